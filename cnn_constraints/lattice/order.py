"""The lattice: what a tie table allows is a linear subspace of all W, and the subspaces are ordered by inclusion.

`leq` is inclusion, `meet` imposes both constraints, `join` is the strongest constraint weaker than both.
"""

import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cnn_constraints.errors import InputError

Ties = Int[np.ndarray, "outputs inputs"]
"""ties[p, q] names the free weight of output p and input q; -1: the pair has none."""


def canonical(names: Ties) -> Ties:
    """The same constraint, its names numbered 0, 1, 2, ... without gaps, in the order of the names that are given."""
    table = np.full(names.shape, -1)
    used = names >= 0
    table[used] = np.unique(names[used], return_inverse=True)[1]
    return table


def leq(stronger: Ties, weaker: Ties) -> bool:
    """Whether every W that `stronger` allows is allowed by `weaker`: inclusion of the two subspaces.

    It is where all pairs of one name in `weaker` have one name in `stronger`, and pairs without a weight none.
    Raises InputError where the two are of different sites.
    """
    _require_same_sites(stronger, weaker)
    names, first, of_pair = np.unique(weaker.ravel(), return_index=True, return_inverse=True)
    of_name = np.where(names < 0, -1, stronger.ravel()[first])
    return bool(np.array_equal(of_name[of_pair], stronger.ravel()))


def equal(first: Ties, second: Ties) -> bool:
    """Whether both are the same constraint, whatever its names."""
    return leq(first, second) and leq(second, first)


def meet(first: Ties, second: Ties) -> Ties:
    """Both constraints imposed: the intersection of the two subspaces.

    Pairs that either table ties are tied, through any chain of such ties; a class that reaches a missing pair is missing
    as a whole. Raises InputError where the two are of different sites.
    """
    _require_same_sites(first, second)
    pairs = first.size
    edges = [_edges_to_class_head(ties.ravel(), pairs) for ties in (first, second)]
    heads, members = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(heads), np.int8), (heads, members)), shape=(pairs + 1, pairs + 1))
    _, component = connected_components(graph, directed=False)
    names = np.where(component[:pairs] == component[pairs], -1, component[:pairs])
    return _by_first_pair(names.reshape(first.shape))


def join(first: Ties, second: Ties) -> Ties:
    """The strongest constraint weaker than both: pairs are tied where both tie them, missing where both miss them.

    Raises InputError where the two are of different sites.
    """
    _require_same_sites(first, second)
    names = (canonical(first) + 1) * (int(second.max()) + 2) + second + 1
    return _by_first_pair(np.where((first < 0) & (second < 0), -1, names))


def _by_first_pair(names: Ties) -> Ties:
    """Numbered in the order in which they first appear, so that it does not matter which of two tables came first."""
    flat = names.ravel()
    _, first, of_pair = np.unique(flat, return_index=True, return_inverse=True)
    return canonical(np.where(flat < 0, -1, first[of_pair]).reshape(names.shape))


def _edges_to_class_head(names: np.ndarray, missing: int) -> Int[np.ndarray, "2 pairs"]:
    """One edge from each pair to the first pair of its class, or to the node `missing`."""
    used, first_seen, inverse = np.unique(names, return_index=True, return_inverse=True)
    head = np.where(used < 0, missing, first_seen)
    return np.stack([head[inverse], np.arange(len(names))])


def _require_same_sites(first: Ties, second: Ties) -> None:
    for table in (first, second):
        if not isinstance(table, np.ndarray):
            raise InputError(
                f"A {type(table).__name__} is no tie table: constraints are compared by theirs, see cc.ties."
            )
    if first.shape != second.shape:
        raise InputError(
            f"The tables are of different sites, {first.shape[0]} outputs of {first.shape[1]} inputs and "
            f"{second.shape[0]} of {second.shape[1]}: constraints are compared on one geometry."
        )
