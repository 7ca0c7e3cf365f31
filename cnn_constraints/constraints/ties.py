"""A constraint is a tie between the entries of W: `ties[p, q]` names the free weight of output p and input q.

Sites are numbered row by row, p = i * output_width + j and q = k * width + l; -1 says that the pair has no weight.
Locality writes -1 beyond delta; translation invariance gives all pairs of one offset the same name. The four cells are
the corners of two delta-sweeps (tied and untied). What a table allows is a linear subspace of all W, and the subspaces
form a lattice: `leq` is inclusion, `meet` imposes both constraints, `join` is the strongest constraint weaker than both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cnn_constraints import errors
from cnn_constraints.constraints.geometry import Axis, Geometry
from cnn_constraints.errors import InputError

Ties = Int[np.ndarray, "outputs inputs"]

LARGEST_TABLE = 2**28
"""Pairs of sites above which no table is written: at 8 bytes each, 2 GiB. Counts do not need the table."""

TILE = 2
"""Of a tiled convolution that is not told its own."""


class Sizes(NamedTuple):
    """Per pair of channels: the free weights, and the products X W that the definition sums over an image."""

    weights: int
    connections: int


@dataclass(frozen=True)
class Constraint:
    """A member of the lattice.

    field_name: what the literature calls the layer.
    write: the tie table for a geometry and a delta.
    local: whether delta means anything to it.
    bias_per_site: whether its own bias is U[i, j] (True) or one constant u (False), per output channel.
    sizes, inverse_fan_in: what the functions of these names return, in closed form; without them the table is written.
    """

    field_name: str
    write: Callable[[Geometry, int | None], Ties]
    local: bool
    bias_per_site: bool
    sizes: Callable[[Geometry, int | None], Sizes] | None = None
    inverse_fan_in: Callable[[Geometry, int | None], Float[np.ndarray, " weights"]] | None = None


def write_tied(geometry: Geometry, delta: int | None) -> Ties:
    """Translation invariance: one weight an offset (a, b), numbered row by row; -1 where |a| > delta or |b| > delta."""
    return _write(geometry, delta, tile=1)


def write_untied(geometry: Geometry, delta: int | None) -> Ties:
    """Locality alone: a weight of its own for every pair within delta, numbered by (i, a, j, b).

    That order makes the free weights of a layer the product of those of its two axes.
    """
    return _write(geometry, delta, tile=max(geometry.output_height, geometry.output_width))


def write_tiled(geometry: Geometry, delta: int | None) -> Ties:
    """Locality, and one weight an offset for all outputs of a phase, (i mod k, j mod k) with the geometry's tile k.

    Le, Ngiam et al. 2010, "Tiled convolutional neural networks", section 3: k = 1 is `conv`, k = the image's side `local`.
    """
    return _write(geometry, delta, geometry.tile)


def write_dense(geometry: Geometry, delta: int | None) -> Ties:
    """No constraint: a weight for every pair, numbered by (q, p), the order in which one matrix product reads them."""
    names = np.arange(geometry.input_sites * geometry.output_sites)
    return names.reshape(geometry.input_sites, geometry.output_sites).T


def _write(geometry: Geometry, delta: int | None, tile: int) -> Ties:
    row = _pair_names(geometry.rows, delta, tile)[:, None, :, None]
    column = _pair_names(geometry.columns, delta, tile)[None, :, None, :]
    names = np.where((row < 0) | (column < 0), -1, row * (column.max() + 1) + column)
    return names.reshape(geometry.output_sites, geometry.input_sites)


def _pair_names(axis: Axis, delta: int | None, tile: int) -> Int[np.ndarray, "outputs inputs"]:
    """Connected pairs numbered by the phase of the output, i mod tile, then by offset."""
    inputs, inside = axis.input_of_offset(delta)
    met = axis.phases(delta, tile)
    number = met.cumsum().reshape(met.shape) - 1
    outputs, offsets = np.nonzero(inside)
    names = np.full((axis.outputs, axis.size), -1)
    names[outputs, inputs[inside]] = number[outputs % tile, offsets]
    return names


def _tied_sizes(geometry: Geometry, delta: int | None) -> Sizes:
    return Sizes(
        len(geometry.rows.offsets(delta)) * len(geometry.columns.offsets(delta)),
        geometry.rows.connections(delta) * geometry.columns.connections(delta),
    )


def _untied_sizes(geometry: Geometry, delta: int | None) -> Sizes:
    connections = geometry.rows.connections(delta) * geometry.columns.connections(delta)
    return Sizes(connections, connections)


def _tiled_sizes(geometry: Geometry, delta: int | None) -> Sizes:
    rows, columns = (axis.phases(delta, geometry.tile).sum() for axis in (geometry.rows, geometry.columns))
    return Sizes(int(rows * columns), _untied_sizes(geometry, delta).connections)


def _tied_inverse_fan_in(geometry: Geometry, delta: int | None) -> Float[np.ndarray, " weights"]:
    return _inverse_fan_in(geometry, delta, tile=1)


def _untied_inverse_fan_in(geometry: Geometry, delta: int | None) -> Float[np.ndarray, " weights"]:
    return _inverse_fan_in(geometry, delta, tile=max(geometry.output_height, geometry.output_width))


def _tiled_inverse_fan_in(geometry: Geometry, delta: int | None) -> Float[np.ndarray, " weights"]:
    return _inverse_fan_in(geometry, delta, geometry.tile)


def _inverse_fan_in(geometry: Geometry, delta: int | None, tile: int) -> Float[np.ndarray, " weights"]:
    names = (_pair_names(axis, delta, tile) for axis in (geometry.rows, geometry.columns))
    return np.multiply.outer(*map(_mean_inverse_fan_in, names)).ravel()


def _mean_inverse_fan_in(names: Ties) -> Float[np.ndarray, " names"]:
    """For each name, the mean over its pairs (p, q) of 1 / (number of inputs of p)."""
    used = names >= 0
    inverse = np.broadcast_to(1 / used.sum(axis=1, keepdims=True), names.shape)
    return np.bincount(names[used], weights=inverse[used]) / np.bincount(names[used])


def _dense_inverse_fan_in(geometry: Geometry, delta: int | None) -> Float[np.ndarray, " weights"]:
    return np.full(geometry.input_sites * geometry.output_sites, 1 / geometry.input_sites)


CONSTRAINTS: dict[str, Constraint] = {
    "dense": Constraint(
        field_name="fully connected",
        write=write_dense,
        local=False,
        bias_per_site=True,
        sizes=_untied_sizes,
        inverse_fan_in=_dense_inverse_fan_in,
    ),
    "shared": Constraint(
        field_name="global convolution",
        write=write_tied,
        local=False,
        bias_per_site=False,
        sizes=_tied_sizes,
        inverse_fan_in=_tied_inverse_fan_in,
    ),
    "local": Constraint(
        field_name="locally connected",
        write=write_untied,
        local=True,
        bias_per_site=True,
        sizes=_untied_sizes,
        inverse_fan_in=_untied_inverse_fan_in,
    ),
    "conv": Constraint(
        field_name="convolution",
        write=write_tied,
        local=True,
        bias_per_site=False,
        sizes=_tied_sizes,
        inverse_fan_in=_tied_inverse_fan_in,
    ),
    "tiled": Constraint(
        field_name="tiled convolution",
        write=write_tiled,
        local=True,
        bias_per_site=False,
        sizes=_tiled_sizes,
        inverse_fan_in=_tiled_inverse_fan_in,
    ),
}


def find(name: str) -> Constraint:
    """The constraint of that name. Raises InputError with the nearest name where there is none."""
    return errors.find("constraint", name, CONSTRAINTS)


def tile_of(constraint: str, tile: int | None) -> int | None:
    """The tile of a tiled convolution, its own where none is given; None for constraints to which it means nothing."""
    return (TILE if tile is None else tile) if constraint == "tiled" else None


def tie_table(name: str, geometry: Geometry, delta: int | None = None) -> Ties:
    """The table of a registered constraint.

    Raises InputError for an unknown name, a delta the image does not have, or a table too large to write.

    >>> tie_table("conv", Geometry(1, 3), delta=1)  # each row an output, each number a weight
    array([[ 1,  2, -1],
           [ 0,  1,  2],
           [-1,  0,  1]])
    """
    constraint = find(name)
    geometry.check_delta(delta)
    require_table_fits(geometry)
    return constraint.write(geometry, delta if constraint.local else None)


def table_fits(geometry: Geometry) -> bool:
    """Whether a table for this geometry is small enough to be written."""
    return geometry.output_sites * geometry.input_sites <= LARGEST_TABLE


def require_table_fits(geometry: Geometry) -> None:
    """Raises InputError where a table would be too large to write."""
    if not table_fits(geometry):
        pairs = geometry.output_sites * geometry.input_sites
        raise InputError(
            f"The tie table of a {geometry.height} x {geometry.width} image has {pairs:,} entries, {8 * pairs:,} "
            f"bytes: at most {LARGEST_TABLE:,} entries are written, so this needs a smaller image, or a constraint that "
            f"does without its table."
        )


def sizes(name: str, geometry: Geometry, delta: int | None = None) -> Sizes:
    """Free weights and connections of a constraint, per pair of channels; in closed form where it has one."""
    constraint = find(name)
    geometry.check_delta(delta)
    if constraint.sizes is not None:
        return constraint.sizes(geometry, delta if constraint.local else None)
    ties = tie_table(name, geometry, delta)
    return Sizes(int(ties.max()) + 1, int((ties >= 0).sum()))


def inverse_fan_in(name: str, geometry: Geometry, delta: int | None = None) -> Float[np.ndarray, " weights"]:
    """For each free weight, the mean over the pairs (p, q) that use it of 1 / (number of input sites of output p).

    Weights drawn with these variances give pre-activations whose variance, averaged over output sites, is that of the
    input; where weights are not tied it is so at every single site. At a border, outputs have fewer inputs: the kernel
    size is not the fan-in (and for `shared` it is nearly four times too large).
    """
    constraint = find(name)
    geometry.check_delta(delta)
    if constraint.inverse_fan_in is not None:
        return constraint.inverse_fan_in(geometry, delta if constraint.local else None)
    return _mean_inverse_fan_in(tie_table(name, geometry, delta))


def leq(stronger: Ties, weaker: Ties) -> bool:
    """Whether every W that `stronger` allows is allowed by `weaker`: inclusion of the two subspaces."""
    return bool(np.array_equal(meet(stronger, weaker), canonical(stronger)))


def meet(first: Ties, second: Ties) -> Ties:
    """Both constraints imposed: the intersection of the two subspaces.

    Pairs that either table ties are tied, through any chain of such ties; a class that reaches a missing pair is missing
    as a whole.
    """
    pairs = first.size
    missing = pairs
    edges = [_edges_to_class_head(ties.ravel(), missing) for ties in (first, second)]
    heads, members = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(heads), np.int8), (heads, members)), shape=(pairs + 1, pairs + 1))
    _, component = connected_components(graph, directed=False)
    names = np.where(component[:pairs] == component[missing], -1, component[:pairs])
    return canonical(names.reshape(first.shape))


def join(first: Ties, second: Ties) -> Ties:
    """The strongest constraint weaker than both: pairs are tied where both tie them, missing where both miss them."""
    names = (first.astype(np.int64) + 1) * (int(second.max()) + 2) + second + 1
    return canonical(np.where((first < 0) & (second < 0), -1, names))


def canonical(ties: Ties) -> Ties:
    """The same constraint with its names renumbered in the order in which they first appear."""
    flat = ties.ravel()
    used = flat >= 0
    _, first_seen, inverse = np.unique(flat[used], return_index=True, return_inverse=True)
    rank = np.empty(len(first_seen), np.int64)
    rank[np.argsort(first_seen)] = np.arange(len(first_seen))
    names = np.full(flat.shape, -1, np.int64)
    names[used] = rank[inverse]
    return names.reshape(ties.shape)


def _edges_to_class_head(names: np.ndarray, missing: int) -> Int[np.ndarray, "2 pairs"]:
    """One edge from each pair to the first pair of its class, or to the node `missing`."""
    used, first_seen, inverse = np.unique(names, return_index=True, return_inverse=True)
    head = np.where(used < 0, missing, first_seen)
    return np.stack([head[inverse], np.arange(len(names))])
