"""Fresh randomness for every test, and 64 bits where a law is exact."""

import os
import secrets
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from cnn_constraints.lattice import constraints
from cnn_constraints.lattice.geometry import BOUNDARIES, Geometry
from cnn_constraints.lattice.order import canonical

# Before anything asks for a device: experiments are spread over several, and no result may depend on how many.
jax.config.update("jax_num_cpu_devices", 8)


class Draw:
    """Random cases, all from one seed."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def integer(self, lowest: int, highest: int) -> int:
        """Both ends included."""
        return int(self.rng.integers(lowest, highest + 1))

    def channels(self) -> int:
        return self.integer(1, 3)

    def geometry(
        self,
        boundary: str | None = None,
        stride: int | None = None,
        smallest: int = 1,
        largest: int = 6,
        margin: int | None = None,
    ) -> Geometry:
        """An image of at most 6 x 6 pixels and margins of both signs, unless told otherwise."""
        height, width = self.integer(smallest, largest), self.integer(smallest, largest)
        stride, boundary = stride or self.integer(1, 3), boundary or str(self.rng.choice(BOUNDARIES))
        if margin is None:
            margin = self.margin(height, width, stride) if boundary == "zero" else 0
        return Geometry(height, width, stride, boundary, margin)

    def margin(self, height: int, width: int, stride: int) -> int:
        """None in half of the cases, or one that leaves an output site, and no offset without a pair."""
        shorter = min(height, width)
        lowest, highest = (-2 if stride <= shorter else 0), min(2, (shorter - 1) // 2)
        return int(self.rng.choice([0, self.integer(lowest, highest)]))

    def reach(self, geometry: Geometry) -> int:
        """A delta from the smallest with which every site sees a pixel to the whole image."""
        return self.integer(max(0, -geometry.margin), self.whole(geometry))

    def whole(self, geometry: Geometry) -> int:
        """The delta with which every site sees the whole image."""
        return max(geometry.height, geometry.width) - 1 - geometry.margin

    def delta(self, constraint: str, geometry: Geometry) -> int | None:
        """A reach for constraints to which delta means something, None for the others."""
        return self.reach(geometry) if constraints.find(constraint).local else None

    def tile(self) -> int:
        """Of at most 4 x 4 sites. It means something to tiled convolutions alone."""
        return self.integer(1, 4)

    def normal(self, *shape: int) -> jax.Array:
        return jnp.asarray(self.rng.standard_normal(shape), float)

    def activations(self, geometry: Geometry, channels: int) -> jax.Array:
        return self.normal(channels, geometry.height, geometry.width, self.integer(1, 3))

    def weights(self, table: np.ndarray, in_channels: int, out_channels: int) -> jax.Array:
        return self.normal(in_channels, int(table.max()) + 1, out_channels)

    def absolute(self, geometry: Geometry, in_channels: int, out_channels: int) -> jax.Array:
        """W of a dense layer."""
        sites = (geometry.output_height, geometry.output_width, geometry.height, geometry.width)
        return self.normal(*sites, in_channels, out_channels)

    def table(self, outputs: int, inputs: int) -> np.ndarray:
        """Ties that no geometry explains, and at least one weight."""
        names = self.rng.integers(-1, self.integer(1, outputs * inputs), (outputs, inputs))
        names.flat[self.integer(0, names.size - 1)] = 0
        return canonical(names)


@pytest.fixture
def seed() -> int:
    """A new one for every test; TEST_SEED repeats the one that a failed test has printed."""
    value = int(os.environ.get("TEST_SEED") or secrets.randbits(32))
    print(f"TEST_SEED={value}")
    return value


@pytest.fixture
def draw(seed: int) -> Draw:
    return Draw(seed)


@pytest.fixture
def float64() -> Iterator[None]:
    """JAX computes in 64 bits, and mixes no dtypes by itself."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def in_64_bits() -> Iterator[None]:
    """Without the strictness of `float64`, which Optax and Flax do not share."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def without_shapes() -> Iterator[None]:
    """As in a user's program, where shapes are not checked: there what is wrong with them is told in a sentence."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
