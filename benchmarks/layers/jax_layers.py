"""The layers of this project, images [channels, height, width, batch], and of Flax, [batch, height, width, channels]."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.layers.case import Arrays, Case, Contender, Maker, kernel_of
from cnn_constraints.ops import choose


def contender(apply: Callable[[jax.Array, jax.Array], jax.Array], arrays: Arrays) -> Contender:
    """A compiled function of images and weights."""
    forward = jax.jit(apply)

    @jax.jit
    def both(x: jax.Array, weights: jax.Array, gradient: jax.Array) -> tuple[jax.Array, ...]:
        h, pull_back = jax.vjp(apply, x, weights)
        return (*pull_back(gradient), h)

    x, weights, gradient = (jnp.asarray(np.ascontiguousarray(array)) for array in arrays)
    return Contender(
        lambda: jax.block_until_ready(forward(x, weights)),
        lambda: jax.block_until_ready(both(x, weights, gradient)),
        arrays,
    )


def ours(formulation: str) -> Maker:
    """Our layer by the formulation of that name."""

    def make(case: Case, arrays: Arrays) -> Contender:
        def apply(x: jax.Array, weights: jax.Array) -> jax.Array:
            return choose.apply(case.cell, x, weights, case.geometry, case.delta, formulation=formulation)

        batch_last = (arrays.images.transpose(3, 1, 2, 0), arrays.weights, arrays.outputs.transpose(3, 1, 2, 0))
        return contender(apply, Arrays(*batch_last))

    return make


def chosen(case: Case) -> str:
    """The formulation that our layer takes for a case on this device."""
    channels = (case.in_channels, case.out_channels)
    return choose.formulation_name(case.cell, case.geometry, case.delta, *channels, jax.default_backend())


class FlaxLayer(nn.Module):
    """The cell as Flax's own layers write it."""

    case: Case
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        case, options = self.case, {"use_bias": self.use_bias, "name": "layer"}
        if case.cell == "dense":
            flat = nn.Dense(case.geometry.output_sites * case.out_channels, **options)(x.reshape(len(x), -1))
            return flat.reshape(*x.shape[:3], case.out_channels)
        kind = nn.ConvLocal if case.cell == "local" else nn.Conv
        return kind(case.out_channels, case.kernel_size, padding="SAME", **options)(x)


def flax_kernel(case: Case, weights: np.ndarray) -> np.ndarray:
    """Our free weights as Flax stores them."""
    kernel = kernel_of(case, weights)
    if case.cell == "dense":
        return kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)
    if case.cell == "local":
        # The patches of XLA order their entries by channel first.
        return kernel.transpose(0, 1, 4, 2, 3, 5).reshape(*kernel.shape[:2], -1, kernel.shape[-1])
    return kernel


def flax(case: Case, arrays: Arrays) -> Contender:
    """Flax's layer, which is XLA's."""

    def apply(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return FlaxLayer(case).apply({"params": {"layer": {"kernel": kernel}}}, x)  # type: ignore[return-value]

    return contender(apply, arrays._replace(weights=flax_kernel(case, arrays.weights)))
