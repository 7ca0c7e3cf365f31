"""Fresh randomness for every test, and 64 bits where a law is exact."""

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.order import canonical
from cnn_constraints.settings import DATA_VARIABLE

# Before anything asks for a device: experiments are spread over several, and no result may depend on how many.
jax.config.update("jax_num_cpu_devices", 8)
# A GPU rounds factors to TF32 by itself, in some programs and not in others; on CPU this changes no bit.
jax.config.update("jax_default_matmul_precision", "highest")
# Or the first of several processes on one GPU takes most of its memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# New examples at every run, in CI too, however busy the machine; a failure prints the line that repeats it.
settings.register_profile(
    "fresh",
    deadline=None,
    database=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("fresh")


class Draw:
    """Random cases, all from one seed."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def integer(self, lowest: int, highest: int) -> int:
        """Both ends included."""
        return int(self.rng.integers(lowest, highest + 1))

    def geometry(self, boundary: str, largest: int) -> Geometry:
        """Of any size and stride; half of those with a border have a margin, which leaves an output site and no offset
        without a pair.
        """
        height, width, stride, margin = self.integer(1, largest), self.integer(1, largest), self.integer(1, 3), 0
        if boundary == "zero":
            shorter = min(height, width)
            lowest, highest = (-2 if stride <= shorter else 0), min(2, (shorter - 1) // 2)
            margin = int(self.rng.choice([0, self.integer(lowest, highest)]))
        return Geometry(height, width, stride, boundary, margin)

    def reach(self, geometry: Geometry) -> int:
        """A delta from the smallest with which every site sees a pixel to the whole image."""
        return self.integer(max(0, -geometry.margin), max(geometry.height, geometry.width) - 1 - geometry.margin)

    def normal(self, *shape: int) -> jax.Array:
        return jnp.asarray(self.rng.standard_normal(shape), float)

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


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """Those of one file are of no use to the next, and would come to gigabytes."""
    compile_quickly(True)
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def compile_as_users_do(request: pytest.FixtureRequest) -> None:
    """For slow tests, and fast ones that are marked."""
    compile_quickly(not any(map(request.node.get_closest_marker, ("slow", "compiled_as_for_users"))))


def compile_quickly(quickly: bool) -> None:
    """Compiling takes a third less. What was compiled otherwise is forgotten, since it rounds otherwise."""
    if jax.config.read("jax_disable_most_optimizations") != quickly:
        jax.config.update("jax_disable_most_optimizations", quickly)
        jax.clear_caches()


@pytest.fixture
def seed() -> int:
    """A new one for every test; TEST_SEED repeats the one that a failed test has printed."""
    value = int(os.environ.get("TEST_SEED") or secrets.randbits(32))
    print(f"TEST_SEED={value}")
    return value


@pytest.fixture
def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def draw(seed: int) -> Draw:
    return Draw(seed)


@pytest.fixture(scope="session")
def archives() -> Path:
    """The folder of the original MNIST archives, directly or in a subfolder."""
    if not (folder := os.environ.get(DATA_VARIABLE)):
        pytest.skip(f"{DATA_VARIABLE} names no folder that holds the original MNIST archives")
    return Path(folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, which playwright opens."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `dev`")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium is installed")
    with sync_api.sync_playwright() as playwright:
        # Within a container nobody but root may be there, for whom chromium has no sandbox.
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A working directory with a folder and a file of images, no folder of archives, small tasks, and values as they come
    from a user, whose shapes nobody checks.
    """
    # Not before the shapes of the package are being checked.
    from random_experiments import FILE, FOLDER, write_arrays, write_images

    here, generator = tmp_path_factory.mktemp("world"), np.random.default_rng()
    write_images(here / FOLDER, generator, per_class=15, shape=(8, 6))
    write_arrays(here / FILE, generator)
    jaxtyping.config.update("jaxtyping_disable", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv(DATA_VARIABLE, "nothing")
        patch.setenv("CNN_CONSTRAINTS_CACHE", str(here / "cache"))
        patch.setattr("cnn_constraints.data.tasks.TRAIN_EXAMPLES", 60)
        patch.setattr("cnn_constraints.data.tasks.TEST_EXAMPLES", 20)
        yield
    jaxtyping.config.update("jaxtyping_disable", False)
