"""Low-rank local connectivity: V[i, j, a, b, c, d] = sum_r w[r, i, j] F_r[a, b, c, d] with `rank` filter banks F_r.

Elsayed, Ramachandran, Shlens & Kornblith 2020, "Revisiting Spatial Invariance with Low-Rank Local Connectivity",
equations 2 to 4: all output sites share the filter banks, and each combines them with weights of its own. One bank and
constant weights are a convolution, as many banks as sites a locally connected layer. A product of two unknowns is no tie:
such a layer has no table and no place in the lattice of constraints, but its banks have.

The paper's own weights are those of a row plus those of a column, with or without a softmax over r. Here they are free at
every site and not normalised: only so is every locally connected layer among these.
"""

from cnn_constraints.lattice import constraints
from cnn_constraints.lattice.geometry import Geometry

BANKS = {"low_rank_local": "conv"}
"""Layers of this kind, and the registered constraint that each of their banks obeys."""

RANK = 2
"""Of a layer that is not told its own."""


def names() -> list[str]:
    """What a layer may be: under a registered constraint, or of this kind."""
    return [*constraints.CONSTRAINTS, *BANKS]


def bank_of(name: str) -> str:
    """The registered constraint of a layer, or of its banks."""
    return BANKS.get(name, name)


def rank_of(name: str, rank: int | None) -> int | None:
    """The rank of a layer of this kind, its own where none is given; None for the others."""
    return (RANK if rank is None else rank) if name in BANKS else None


def largest_rank(bank: int, geometry: Geometry) -> int:
    """More filter banks than a bank has weights, or than there are output sites to combine them, are combinations of
    these.
    """
    return min(bank, geometry.output_sites)
