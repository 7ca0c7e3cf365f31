"""What a claim is: a statement and its source, how it is measured, and criteria that were fixed before the run."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar, get_args

import numpy as np
import pandas

from cnn_constraints.claims import Tier
from cnn_constraints.experiment import Data, Experiment
from cnn_constraints.statistics import Interval

Verdict = Literal["fails", "undecided", "holds"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""From the one that decides for a whole claim to the one that all its criteria need."""

PHOTOGRAPHS = "cifar10"

T = TypeVar("T")


class Criterion(NamedTuple):
    """A quantity, in words and with its unit, must lie from low to high, both included; and what the source says of it.

    photographs: whether it is about them, so that the tier quick has no such criterion.
    """

    quantity: str
    low: float = -math.inf
    high: float = math.inf
    published: str = ""
    photographs: bool = False

    def verdict(self, measured: Interval) -> Verdict:
        """holds where the whole interval lies within the bounds, fails where none of it does, else undecided."""
        if self.low <= measured.low and measured.high <= self.high:
            return "holds"
        return "fails" if measured.high < self.low or measured.low > self.high else "undecided"


class Picture(NamedTuple):
    """How the curves of a measurement are drawn. Where x is a text, it is a category, and no line joins the points."""

    x: str
    y: str
    x_logarithmic: bool = True
    y_logarithmic: bool = True


class Measurement(NamedTuple):
    """values: of each criterion's quantity. curves: what they come from, one row a point and seed, with CURVE_COLUMNS."""

    values: Mapping[str, Interval]
    curves: pandas.DataFrame


CURVE_COLUMNS = ["panel", "line", "x", "seed", "y"]


def curves_of(points: Iterable[tuple], seeds: Sequence[int]) -> pandas.DataFrame:
    """The curves of a measurement from its points: panel, line, x, and a y for each seed."""
    rows = [
        (panel, line, x, seed, y) for panel, line, x, values in points for seed, y in zip(seeds, values, strict=True)
    ]
    return pandas.DataFrame(rows, columns=CURVE_COLUMNS)  # type: ignore[arg-type]


def extreme(values: Iterable[float], seeds: int, largest: bool = True) -> Interval:
    """The largest value, or the smallest: of what must hold in every single case, so that one case refutes it."""
    cases = np.asarray(list(values), float)
    value = float(cases.max() if largest else cases.min())
    return Interval(value, value, value, seeds)


class Laboratory(NamedTuple):
    """What a measurement may use. images: of each data set that the claim needs in this tier. train: gives the table of
    `store.read` for experiments.
    """

    tier: Tier
    seeds: tuple[int, ...]
    images: Mapping[str, Data]
    train: Callable[[Iterable[Experiment]], pandas.DataFrame]

    def of_tier(self, numbers: Mapping[Tier, T]) -> T:
        """That of the tier; quick takes cpu's where it has none of its own."""
        return numbers["cpu" if self.tier == "quick" and "quick" not in numbers else self.tier]


@dataclass(frozen=True)
class Claim:
    """frozen: the date when the criteria were fixed, before any run with the seeds that confirm them. seeds: how many each
    tier takes that measures the claim. measure: gives the quantity of every criterion. data_sets: the real images that it
    needs.
    """

    statement: str
    source: str
    protocol: str
    criteria: tuple[Criterion, ...]
    frozen: str
    seeds: Mapping[Tier, int]
    measure: Callable[[Laboratory], Measurement]
    picture: Picture
    data_sets: tuple[str, ...] = ()

    def of_tier(self, tier: Tier) -> "Claim":
        """The claim as a tier measures it: quick without photographs, and without the criteria about them."""
        if tier != "quick":
            return self
        criteria = tuple(criterion for criterion in self.criteria if not criterion.photographs)
        data_sets = tuple(name for name in self.data_sets if name != PHOTOGRAPHS)
        return dataclasses.replace(self, criteria=criteria, data_sets=data_sets)


FIRST_FRESH_SEED = 1000
"""Seeds from 0 to 999 are for tuning a protocol; no confirmation uses them."""


def draw_seeds(claim: Claim, tier: Tier, entropy: int) -> tuple[int, ...]:
    """The seeds of a confirmation: different ones from FIRST_FRESH_SEED to 2**31 - 1.

    They are drawn from all bits of the entropy, so that commands whose entropies are near each other share no seed.
    """
    generator = np.random.default_rng(entropy)
    drawn = generator.choice(2**31 - FIRST_FRESH_SEED, claim.seeds[tier], replace=False)
    return tuple((FIRST_FRESH_SEED + drawn).tolist())
