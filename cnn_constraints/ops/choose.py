"""Which formulation computes a cell where. One table, read from the top; every entry gives the same numbers."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import numpy as np

from cnn_constraints.arrays import FreeWeights, Inputs, Outputs
from cnn_constraints.errors import unknown_name
from cnn_constraints.lattice import constraints
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.ops import conv, dense, local, shared, tiled
from cnn_constraints.ops.storage import Order

Formulation = Callable[..., Outputs]
"""Of images, stored weights, geometry and delta; of a tiled convolution also the tile."""


def _tiles(formulation: Callable, *sizes: tuple[int, int]) -> dict[str, Formulation]:
    return {f"tiles_{rows}x{columns}": partial(formulation, rows=rows, columns=columns) for rows, columns in sizes}


FORMULATIONS: dict[str, dict[str, Formulation]] = {
    "dense": {"matrix": dense.matrix},
    "shared": {"fourier": shared.fourier, "row_fourier": shared.row_fourier, "row_toeplitz": conv.row_toeplitz},
    "local": {
        **_tiles(local.tiles, (1, 1), (1, 2), (2, 2), (2, 4)),
        "row_scan": local.row_scan,
        "masked": local.masked,
    },
    "conv": {
        "patches": conv.patches,
        **_tiles(conv.tiles, (1, 2), (1, 4), (2, 4), (4, 4)),
        "row_toeplitz": conv.row_toeplitz,
        "overlap_add": partial(conv.overlap_add, columns=2),
        "library": conv.library,
    },
    "tiled": {"polyphase": tiled.polyphase},
}
"""A constraint that is not listed here runs through its tie table (`dense.expanded`)."""


ORDERS: dict[str, Callable[..., Order]] = {"dense": dense.order, "local": local.order, "tiled": tiled.order}
"""In which order the formulations of a constraint want its weights, where that is not the canonical one."""


@lru_cache(maxsize=64)
def storage_order(constraint: str, geometry: Geometry, delta: int | None, tile: int | None = None) -> Order | None:
    """order[w] is the canonical name of the weight that is stored w-th; None where both are the same."""
    if constraint not in ORDERS:
        return None
    given = {"delta": delta, "tile": constraints.tile_of(constraint, tile)}
    arguments = {name: given[name] for name in constraints.find(constraint).arguments}
    return ORDERS[constraint](geometry, **arguments)


def stored_ties(constraint: str, geometry: Geometry, delta: int | None, tile: int | None = None) -> constraints.Ties:
    """The tie table of a constraint whose names are the places of weights in storage."""
    table = constraints.ties(constraint, geometry, delta, tile)
    order = storage_order(constraint, geometry, delta, tile)
    # -1 names the last place, and stays.
    return table if order is None else np.append(np.argsort(order), -1)[table]


class Choice(NamedTuple):
    """Use `formulation` for the constraint on the backend, while delta, channels and input sites stay within bounds.

    Candidates that are joined count with the output channels of all.
    """

    backends: tuple[str, ...]
    constraint: str
    formulation: str
    largest_delta: float = float("inf")
    least_in_channels: int = 1
    largest_in_channels: float = float("inf")
    least_out_channels: int = 1
    largest_sites: float = float("inf")


CPU, ACCELERATORS = ("cpu",), ("gpu", "tpu")

# On CPU: the winners of benchmarks/results, of single layers and in whole training; `library` is left out, for it is slow
# inside a scan.
# On accelerators: what both layers of networks of two were fastest with on one card, an H200. Images that differ from
# experiment to experiment make groups of a library's convolution, which is slow then.
TABLE = (
    Choice(CPU, "dense", "matrix"),
    Choice(CPU, "shared", "row_fourier", largest_in_channels=16, largest_sites=64 * 64),
    Choice(CPU, "shared", "fourier"),
    Choice(CPU, "local", "tiles_2x2", largest_delta=7, least_in_channels=8, largest_sites=64 * 64),
    Choice(CPU, "local", "tiles_1x2", largest_delta=5, largest_sites=64 * 64),
    Choice(CPU, "local", "tiles_2x4", largest_delta=9, largest_sites=64 * 64),
    Choice(CPU, "local", "masked", largest_sites=32 * 32),
    Choice(CPU, "local", "row_scan"),
    Choice(CPU, "conv", "patches", largest_delta=1, largest_in_channels=3),
    Choice(CPU, "conv", "patches", largest_delta=3, largest_in_channels=3, least_out_channels=48),
    Choice(
        CPU, "conv", "overlap_add", largest_delta=2, least_in_channels=8, largest_in_channels=8, largest_sites=14 * 14
    ),
    Choice(CPU, "conv", "tiles_1x2", largest_delta=2),
    Choice(CPU, "conv", "tiles_1x4", largest_in_channels=1),
    Choice(CPU, "conv", "tiles_1x2", largest_delta=5),
    Choice(CPU, "conv", "tiles_2x4"),
    Choice(CPU, "tiled", "polyphase"),
    Choice(ACCELERATORS, "dense", "matrix"),
    Choice(ACCELERATORS, "shared", "row_fourier", largest_in_channels=16, largest_sites=64 * 64),
    Choice(ACCELERATORS, "shared", "fourier"),
    Choice(ACCELERATORS, "local", "tiles_2x2"),
    Choice(ACCELERATORS, "conv", "tiles_2x4"),
    Choice(ACCELERATORS, "tiled", "polyphase"),
)


def formulation_name(
    constraint: str, geometry: Geometry, delta: int | None, in_channels: int, out_channels: int, backend: str
) -> str:
    """The table's choice; backends it does not know are treated as GPUs."""
    backend = backend if backend in CPU else "gpu"
    reach = max(geometry.height, geometry.width) - 1 if delta is None else delta
    for choice in TABLE:
        if (
            backend in choice.backends
            and choice.constraint == constraint
            and reach <= choice.largest_delta
            and choice.least_in_channels <= in_channels <= choice.largest_in_channels
            and out_channels >= choice.least_out_channels
            and geometry.input_sites <= choice.largest_sites
        ):
            return choice.formulation
    return "expanded"


def joins_candidates(constraint: str) -> bool:
    """Whether the first layers of networks on the same images are computed as one layer with the output channels of all.

    Dense and shared layers are bound by their weights and by the spectra of those: to write them side by side for all
    candidates costs more than one product saves.
    """
    return constraint not in ("dense", "shared")


def apply(
    constraint: str,
    x: Inputs,
    weights: FreeWeights,
    geometry: Geometry,
    delta: int | None = None,
    tile: int | None = None,
    formulation: str | None = None,
) -> Outputs:
    """H = W X for a constrained layer, without bias: D2L 7.1.2 with W = expand(weights).

    weights: in storage order. formulation: None for the table's choice on the default backend, "expanded" for the
    definition, or a name from FORMULATIONS. Raises InputError for a name the constraint does not have.
    """
    if not constraints.find(constraint).local:
        delta = None
    tile = constraints.tile_of(constraint, tile)
    if formulation is None:
        channels = (x.shape[0], weights.shape[2])
        formulation = formulation_name(constraint, geometry, delta, *channels, jax.default_backend())
    if formulation == "expanded":
        return dense.expanded(x, weights, stored_ties(constraint, geometry, delta, tile), geometry)
    available = FORMULATIONS.get(constraint, {})
    if formulation not in available:
        raise unknown_name(f"formulation of {constraint}", formulation, ["expanded", *available])
    return available[formulation](x, weights, geometry, delta, **({} if tile is None else {"tile": tile}))
