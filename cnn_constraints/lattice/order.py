"""The lattice: what a tie table allows is a linear subspace of all W, and the subspaces are ordered by inclusion.

`leq` is inclusion, `meet` imposes both constraints, `join` is the strongest constraint weaker than both.
"""

import numpy as np
from jaxtyping import Int

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
    from scipy.sparse import coo_array  # which counts, for one, should not wait for
    from scipy.sparse.csgraph import connected_components

    _require_same_sites(first, second)
    pairs = first.size
    heads = []
    for table in (first, second):
        # An edge from each pair to the first of its class, or to a node for those without a weight.
        names, first_seen, of_pair = np.unique(table, return_index=True, return_inverse=True)
        heads.append(np.where(names < 0, pairs, first_seen)[of_pair.ravel()])
    edges = (np.ones(2 * pairs, np.int8), (np.concatenate(heads), np.tile(np.arange(pairs), 2)))
    _, component = connected_components(coo_array(edges, shape=(pairs + 1, pairs + 1)), directed=False)
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


def _require_same_sites(first: Ties, second: Ties) -> None:
    if not (isinstance(first, np.ndarray) and isinstance(second, np.ndarray)):
        raise InputError("Constraints are compared by their tie tables, which are arrays: see cc.ties.")
    if first.shape != second.shape:
        raise InputError(
            f"The tables are of different sites, {first.shape[0]} outputs of {first.shape[1]} inputs and "
            f"{second.shape[0]} of {second.shape[1]}: constraints are compared on one geometry."
        )
