"""The geometries on which laws are tested: few and fixed, so that compiled programs are used again; numbers are drawn.

Laws of formulations are tested on random geometries too, among the slow tests.
"""

from typing import Any, NamedTuple

import pytest

from cnn_constraints.lattice import constraints, low_rank
from cnn_constraints.lattice.constraints import Ties, ties
from cnn_constraints.lattice.geometry import Geometry


class Case(NamedTuple):
    """A layer's geometry, and the delta and tile of constraints to which they mean something."""

    geometry: Geometry
    delta: int | None
    tile: int

    def delta_of(self, constraint: str) -> int | None:
        return self.delta if constraints.find(constraint).local else None

    def table(self, constraint: str) -> Ties:
        return ties(constraint, self.geometry, self.delta, self.tile)


CASES = {
    "image": Case(Geometry(5, 4), 1, 2),
    "all offsets": Case(Geometry(3, 4), None, 2),
    "stride 2": Case(Geometry(6, 5, 2), 2, 2),
    "stride 3": Case(Geometry(4, 7, 3), 1, 1),
    "torus": Case(Geometry(4, 5, boundary="circular"), 1, 3),
    "torus, stride 2": Case(Geometry(6, 4, 2, "circular"), 2, 2),
    "torus, a stride that does not divide it": Case(Geometry(5, 4, 3, "circular"), 1, 2),
    "inside": Case(Geometry(6, 5, margin=1), 2, 3),
    "outside": Case(Geometry(4, 3, 2, margin=-1), 1, 2),
    "line": Case(Geometry(1, 6), 2, 3),
    "column of a torus": Case(Geometry(5, 1, 2, "circular"), 0, 2),
}


def cases(*names: str) -> pytest.MarkDecorator:
    """A parameter `case`, of these names."""
    return pytest.mark.parametrize("case", [CASES[name] for name in names], ids=names)


def options_of(constraint: str) -> dict[str, Any]:
    """What a user writes for a layer under it: a delta of one, a tile and a rank of two, where these mean something."""
    arguments = constraints.find(low_rank.bank_of(constraint)).arguments
    heeded = [*arguments, "rank"] if constraint in low_rank.BANKS else arguments
    return {"constraint": constraint, **{name: {"delta": 1, "tile": 2, "rank": 2}[name] for name in heeded}}


EVERY_CASE = cases(*CASES)
EVERY_CONSTRAINT = pytest.mark.parametrize("constraint", constraints.CONSTRAINTS)
