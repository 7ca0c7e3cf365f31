"""A constraint is a tie between the entries of W: `ties[p, q]` names the free weight of output p and input q.

Sites are numbered row by row, p = i * output_width + j and q = k * width + l; -1 says that the pair has no weight.
Locality writes -1 where |a| > delta or |b| > delta. Translation invariance gives all pairs of one offset (a, b) one name.
The four cells of D2L 7.1.2 are the four ways to impose these two or not:

|                             | all offsets | only within delta |
|---|---|---|
| **a weight for every pair** | `dense`     | `local`           |
| **a weight for an offset**  | `shared`    | `conv`            |

Another constraint is one function that writes a table, and one line of CONSTRAINTS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from numbers import Integral
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
from jaxtyping import Int

from cnn_constraints import errors
from cnn_constraints.errors import InputError
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.order import Ties, canonical

P = ParamSpec("P")
T = TypeVar("T")

Offsets = Int[np.ndarray, "outputs inputs"]

LARGEST_TABLE = 2**28
"""Pairs of sites above which no table is written: at 8 bytes each, 2 GiB. Counts do not need the table."""

TILE = 2
"""Of a tiled convolution that is not told its own."""


def offsets_of_pairs(geometry: Geometry) -> tuple[Offsets, Offsets]:
    """(a, b), the offset between every output p and every input q."""
    shape = (geometry.output_height, geometry.output_width, geometry.height, geometry.width)
    a = geometry.rows.offset_of_pair()[:, None, :, None]
    b = geometry.columns.offset_of_pair()[None, :, None, :]
    sites = (geometry.output_sites, geometry.input_sites)
    return np.broadcast_to(a, shape).reshape(sites), np.broadcast_to(b, shape).reshape(sites)


def near(geometry: Geometry, delta: int | None) -> np.ndarray:
    """Locality: which pairs may have a weight, |a| <= delta and |b| <= delta."""
    a, b = offsets_of_pairs(geometry)
    return np.ones(a.shape, bool) if delta is None else (abs(a) <= delta) & (abs(b) <= delta)


def offset_names(geometry: Geometry) -> Offsets:
    """Translation invariance: one name for each offset (a, b), in the order of a, then b."""
    a, b = offsets_of_pairs(geometry)
    return (a - a.min()) * len(geometry.columns.offsets(None)) + (b - b.min())


def pair_names(geometry: Geometry) -> Offsets:
    """No tie: a name for each pair, in the order of its output, then of its offset."""
    names = offset_names(geometry)
    return names + (names.max() + 1) * np.arange(geometry.output_sites)[:, None]


def dense(geometry: Geometry) -> Ties:
    """No constraint: a weight for every pair."""
    return pair_names(geometry)


def shared(geometry: Geometry) -> Ties:
    """Translation invariance alone: a weight for every offset."""
    return offset_names(geometry)


def local(geometry: Geometry, delta: int | None) -> Ties:
    """Locality alone: a weight for every pair within delta."""
    return np.where(near(geometry, delta), pair_names(geometry), -1)


def conv(geometry: Geometry, delta: int | None) -> Ties:
    """Both: a weight for every offset within delta."""
    return np.where(near(geometry, delta), offset_names(geometry), -1)


def tiled(geometry: Geometry, delta: int | None, tile: int) -> Ties:
    """Between conv and local: a weight for every offset within delta and every phase of the output, (i mod k, j mod k).

    Le, Ngiam et al. 2010, "Tiled convolutional neural networks", section 3: a tile of k = 1 is `conv`, one as large as the
    image `local`.
    """
    i, j = np.divmod(np.arange(geometry.output_sites), geometry.output_width)
    phase = (i % tile) * tile + j % tile
    names = offset_names(geometry)
    return np.where(near(geometry, delta), names + (names.max() + 1) * phase[:, None], -1)


@dataclass(frozen=True)
class Constraint:
    """A member of the lattice.

    field_name: what the literature calls the layer.
    write: gives the tie table of a geometry and the arguments that mean something to the constraint.
    arguments: their names, under which `write` takes them. A larger delta must allow every W that a smaller one does.
    tied: whether weights are known by their offset alone, so that they make up one kernel V[a, b].
    bias_per_site: whether its own bias is U[i, j] (True) or one constant u (False), per output channel.
    """

    field_name: str
    write: Callable[..., Ties]
    arguments: tuple[Literal["delta", "tile"], ...] = ("delta",)
    tied: bool = False
    bias_per_site: bool = False

    @property
    def local(self) -> bool:
        """Whether delta means anything to it."""
        return "delta" in self.arguments


CONSTRAINTS: dict[str, Constraint] = {
    "dense": Constraint("fully connected", dense, arguments=(), bias_per_site=True),
    "shared": Constraint("global convolution", shared, arguments=(), tied=True),
    "local": Constraint("locally connected", local, bias_per_site=True),
    "conv": Constraint("convolution", conv, tied=True),
    "tiled": Constraint("tiled convolution", tiled, arguments=("delta", "tile")),
}

LAWFUL = frozenset(CONSTRAINTS.values())
"""Those that are counted in closed form; others by their tables."""


def find(name: str) -> Constraint:
    """The constraint of that name. Raises InputError with the nearest name where there is none."""
    return errors.find("constraint", name, CONSTRAINTS)


def cached(function: Callable[P, T]) -> Callable[P, T]:
    """The function, which is called once for the same arguments while the same constraints are registered: in a notebook a
    name may get another table.
    """
    remembered: Any = lru_cache(maxsize=64)(lambda registered, *given, **named: function(*given, **named))

    @wraps(function)
    def recall(*given: P.args, **named: P.kwargs) -> T:
        return remembered(tuple(CONSTRAINTS.items()), *given, **named)

    return recall


def tile_of(name: str, tile: int | None) -> int | None:
    """The tile of a tiled convolution, its own where none is given; None for constraints to which it means nothing."""
    if "tile" not in find(name).arguments:
        return None
    if tile is not None and (not isinstance(tile, Integral) or tile < 1):
        raise InputError(f"tile is {tile!r}: it must be a whole number, at least 1.")
    return TILE if tile is None else tile


def ties(name: str, geometry: Geometry, delta: int | None = None, tile: int | None = None) -> Ties:
    """The table of a registered constraint. A delta or tile that means nothing to it is passed over.

    Raises InputError for an unknown name, a delta the image does not have, a table too large to write, and where a
    constraint of the user's own writes something that is no table of this geometry.

    >>> ties("conv", Geometry(1, 3), delta=1)  # each row an output, each number a weight
    array([[ 1,  2, -1],
           [ 0,  1,  2],
           [-1,  0,  1]])
    """
    constraint = find(name)
    geometry.check_delta(delta)
    require_table_fits(geometry)
    given = {"delta": delta, "tile": tile_of(name, tile)}
    table = constraint.write(geometry, **{argument: given[argument] for argument in constraint.arguments})
    try:
        table = np.asarray(table)
    except ValueError:
        table = np.asarray(table, object)  # lists of several lengths
    sites, pixels = (geometry.output_sites, geometry.input_sites), f"{geometry.height} x {geometry.width} pixels"
    if table.shape != sites or not np.issubdtype(table.dtype, np.integer):
        raise InputError(
            f"The constraint {name} writes an array of {table.dtype} of shape {table.shape}: on {pixels} it must be one "
            f"of whole numbers of shape {sites}, one row an output site, one column an input site."
        )
    if table.min() < -1 or table.max() < 0:
        raise InputError(
            f"The constraint {name} writes the names {table.min()} to {table.max()}, on {pixels}: there must be names from "
            f"0 on, and -1 for none."
        )
    table = canonical(table)
    if constraint.tied and constraint not in LAWFUL:
        by_offset = conv(geometry, delta if constraint.local else None)
        if not np.array_equal(table, canonical(by_offset)):
            raise InputError(
                f"The constraint {name} is tied=True, and its table on {pixels} is not that of conv or shared, whose "
                f"kernel has an entry for every offset: leave tied out, and the kernel has one for every name."
            )
    return table


def require_table_fits(geometry: Geometry) -> None:
    """Raises InputError where a table would be too large to write."""
    pairs = geometry.output_sites * geometry.input_sites
    if pairs > LARGEST_TABLE:
        raise InputError(
            f"The tie table of a {geometry.height} x {geometry.width} image has {pairs:,} entries, {8 * pairs:,} "
            f"bytes: at most {LARGEST_TABLE:,} entries are written, so this needs a smaller image, or a constraint that "
            f"does without its table."
        )
