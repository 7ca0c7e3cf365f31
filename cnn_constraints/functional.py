"""A layer as data and pure functions: H = bias + W X with W under a constraint (D2L 7.1.2).

Parameters come in two forms. Stored ones are what the engine computes with: the batch is the innermost axis, and
weights lie in the order that the fast way wants. Canonical ones are what users see and files hold: see `kernel_shape`.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cnn_constraints import errors
from cnn_constraints.arrays import FreeWeights, Inputs, Outputs
from cnn_constraints.lattice import constraints, counts, low_rank
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.ops import choose
from cnn_constraints.ops.storage import to_canonical, to_storage

Parameters = Mapping[str, Any]

Sharing = Literal["site", "channel"]

PRECISIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "float32": lambda array: array,
    "bfloat16": lambda array: array.astype(jnp.bfloat16),
}
"""What images and weights are rounded to before they are multiplied, and their products, forward and backward, after it.
Everything else is computed in float32."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """All about a layer but its parameters.

    constraint: a registered one, or `low_rank_local`. delta, tile, rank: of constraints to which they mean something.
    bias: U[i, j] for each output site, one u for each channel, or none. gain: the initial variance is multiplied with it.
    """

    constraint: str
    geometry: Geometry
    in_channels: int
    out_channels: int
    delta: int | None = None
    tile: int | None = None
    rank: int | None = None
    bias: Sharing | None = "channel"
    gain: float = 1.0
    precision: str = "float32"
    formulation: str | None = None

    @property
    def tied_by(self) -> str:
        """The registered constraint of the layer, or of its filter banks."""
        return low_rank.bank_of(self.constraint)

    @property
    def ties(self) -> constraints.Ties:
        """The tie table of the layer, or of its filter banks. Raises InputError where it is too large to write."""
        return constraints.ties(self.tied_by, self.geometry, self.delta, self.tile)

    @property
    def sites(self) -> tuple[int, int]:
        """Output rows and columns."""
        return self.geometry.output_height, self.geometry.output_width

    @property
    def count(self) -> counts.Count:
        """Parameters and multiply-adds, from the closed forms."""
        shape = (self.geometry, self.delta, self.in_channels, self.out_channels)
        counted = counts.count(
            self.constraint, *shape, bias_per_site=self.bias == "site", tile=self.tile, rank=self.rank
        )
        if self.bias is None:
            return dataclasses.replace(counted, bias=0, bytes=counted.weights * counts.BYTES["float32"])
        return counted


def initialisers(layer: Layer) -> dict[str, Callable[[jax.Array], jax.Array]]:
    """The stored parameters of a layer by name, each as a function of a key.

    Weights are normal with variance gain * inverse fan-in (see `counts.inverse_fan_in`), divided by the input channels.
    Filter banks are combined with rank^-1/2 each: that keeps the variance, and starts a convolution's banks as a
    convolution (as Elsayed et al. 2020 do). Biases are zero.
    """
    deviation = _initial_deviation(layer)
    shape = (layer.in_channels, len(deviation), layer.out_channels * (layer.rank or 1))
    found: dict[str, Callable] = {"weights": lambda key: draw_normal(key, shape) * deviation[None, :, None]}
    if (rank := layer.rank) is not None:
        found["combining"] = lambda key: jnp.full((rank, *layer.sites), 1 / math.sqrt(rank), jnp.float32)
    if layer.bias is not None:
        per = layer.sites if layer.bias == "site" else (1, 1)
        found["bias"] = lambda key: jnp.zeros((layer.out_channels, *per, 1), jnp.float32)
    return found


@constraints.cached
def _initial_deviation(layer: Layer) -> Float[np.ndarray, " weights"]:
    inverse_fan_in = counts.inverse_fan_in(layer.tied_by, layer.geometry, layer.delta, layer.tile)
    deviation = np.sqrt(layer.gain * inverse_fan_in / layer.in_channels).astype(np.float32)
    order = _order(layer)
    return deviation if order is None else deviation[order]


def draw_normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal numbers: those of `jax.random.normal`, drawn as a vector.

    XLA on CPU takes up to ten times as long to compile the same draw over several axes.
    """
    # The barrier keeps a factor from being folded into the draw, which would round otherwise from program to program.
    return lax.optimization_barrier(jax.random.normal(key, (math.prod(shape),), jnp.float32)).reshape(shape)


def respond(layer: Layer, x: Inputs, networks: Sequence[Parameters]) -> Outputs:
    """H of each of several layers of one shape, side by side along the channels, from their stored parameters.

    To its images several layers are one with the output channels of all: patches and spectra are made once, and one product
    multiplies them with all weights.
    """
    rounded = errors.find("precision", layer.precision, PRECISIONS)
    if not x.shape[3]:
        return jnp.zeros((len(networks) * layer.out_channels, *layer.sites, 0), x.dtype)
    weights = jnp.concatenate([one["weights"] for one in networks], axis=2)
    arguments = (layer.geometry, layer.delta, layer.tile, layer.formulation)
    h = choose.apply(layer.tied_by, rounded(x), rounded(weights), *arguments).astype(x.dtype)
    if layer.rank is not None:
        # Elsayed et al. 2020, equation 2: H[d, i, j, n] = sum_r combining[r, i, j] H_r[d, i, j, n].
        combining = jnp.stack([one["combining"] for one in networks])
        by_bank = h.reshape(len(networks), layer.rank, layer.out_channels, *h.shape[1:])
        h = (by_bank * combining[:, :, None, :, :, None]).sum(axis=1).reshape(-1, *h.shape[1:])
    if layer.bias is not None:
        h = h + jnp.concatenate([one["bias"] for one in networks])
    return h


def kernel_shape(layer: Layer) -> tuple[int, ...]:
    """The axes of the canonical kernel: [a, b, in, out] for tied weights, as of `flax.linen.Conv`; for others
    [weights, in, out], where weight w is the one that the tie table names w. Filter banks have an axis for the rank first.
    """
    if constraints.find(layer.tied_by).tied:
        delta = layer.delta if constraints.find(layer.tied_by).local else None
        weights = (len(layer.geometry.rows.offsets(delta)), len(layer.geometry.columns.offsets(delta)))
    else:
        weights = (counts.sizes(layer.tied_by, layer.geometry, layer.delta, layer.tile).weights,)
    return (*([] if layer.rank is None else [layer.rank]), *weights, layer.in_channels, layer.out_channels)


def canonical_parameters(layer: Layer, stored: Parameters) -> dict[str, Array]:
    """The parameters that users see and files hold, from those that the engine computes with.

    kernel: see `kernel_shape`. bias: [height, width, out], or [out]. combining: [rank, height, width].
    """
    found = dict(stored)
    if "weights" in stored:
        found["kernel"] = kernel_of(layer, to_canonical(found.pop("weights"), _order(layer), axis=1))
    if "bias" in stored:
        bias = jnp.moveaxis(stored["bias"][..., 0], 0, -1)
        found["bias"] = bias if layer.bias == "site" else bias[0, 0]
    return found


def stored_parameters(layer: Layer, canonical: Parameters) -> dict[str, Array]:
    """The inverse of `canonical_parameters`."""
    found = dict(canonical)
    if "kernel" in canonical:
        found["weights"] = to_storage(free_weights(layer, found.pop("kernel")), _order(layer), axis=1)
    if "bias" in canonical:
        bias = canonical["bias"] if layer.bias == "site" else canonical["bias"][None, None]
        found["bias"] = jnp.moveaxis(bias, -1, 0)[..., None]
    return found


def kernel_of(layer: Layer, free: FreeWeights) -> Array:
    """The canonical kernel, of free weights in the order of the tie table; bank by bank along their last axis."""
    banks = free.reshape(*free.shape[:2], layer.rank or 1, layer.out_channels)
    return banks.transpose(2, 1, 0, 3).reshape(kernel_shape(layer))


def free_weights(layer: Layer, kernel: Array) -> FreeWeights:
    """The inverse of `kernel_of`."""
    banks = kernel.reshape(layer.rank or 1, -1, layer.in_channels, layer.out_channels)
    return banks.transpose(2, 1, 0, 3).reshape(layer.in_channels, banks.shape[1], -1)


def _order(layer: Layer) -> Any:
    return choose.storage_order(layer.tied_by, layer.geometry, layer.delta, layer.tile)
