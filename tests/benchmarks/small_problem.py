"""Whole training at its smallest."""

from benchmarks.layers.case import make_case
from benchmarks.sweep.problem import Problem, make_problem


def small_problem(cell: str, layers: int, seed: int, updates: int = 4) -> Problem:
    """One layer on images of 8 x 6 pixels and two channels, or a second one behind it."""
    cases = tuple(make_case(shape, cell, 1, 4) for shape in ("8x6x2->3", "4x3x3->2")[:layers])
    return make_problem(cases, (2, 1)[:layers], updates, seed)
