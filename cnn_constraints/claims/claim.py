"""What a claim is: a statement and its source, how it is measured, and criteria that were fixed before the run."""

import datetime
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas

from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data, Experiment
from cnn_constraints.statistics import Interval

TIERS = ("cpu", "gpu")
"""cpu: minutes on two cores. gpu: the protocol in full."""

Verdict = Literal["fails", "undecided", "holds"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""From the one that decides for a whole claim to the one that all its criteria need."""


class Criterion(NamedTuple):
    """A quantity, in words and with its unit, must lie from low to high, both included; and what the source says of it."""

    quantity: str
    low: float = -math.inf
    high: float = math.inf
    published: str = ""

    def verdict(self, measured: Interval) -> Verdict:
        """holds where the whole interval lies within the bounds, fails where none of it does, else undecided."""
        if self.low <= measured.low and measured.high <= self.high:
            return "holds"
        if measured.high < self.low or measured.low > self.high:
            return "fails"
        return "undecided"


class Picture(NamedTuple):
    """How the curves of a measurement are drawn. Where x is a text, it is a category, and no line joins the points."""

    x: str
    y: str
    x_logarithmic: bool = True
    y_logarithmic: bool = True


class Measurement(NamedTuple):
    """values: each criterion's quantity, measured. curves: what they come from, one row a panel, line, x and seed, with
    CURVE_COLUMNS.
    """

    values: Mapping[str, Interval]
    curves: pandas.DataFrame


CURVE_COLUMNS = ["panel", "line", "x", "seed", "y"]


def curves_of(rows: Iterable[tuple]) -> pandas.DataFrame:
    """The curves of a measurement from tuples in the order of CURVE_COLUMNS."""
    return pandas.DataFrame(rows, columns=CURVE_COLUMNS)  # type: ignore[arg-type]


class Laboratory(NamedTuple):
    """What a measurement may use: the tier, the seeds, where the images of each data set come from, and the engine, which
    trains experiments and returns the table of `store.read`.
    """

    tier: str
    seeds: tuple[int, ...]
    images: Mapping[str, Data]
    train: Callable[[Iterable[Experiment]], pandas.DataFrame]


@dataclass(frozen=True)
class Claim:
    """seeds: how many each tier takes; a tier that is missing does not have the claim. frozen: when the criteria were
    fixed, before any run with the seeds that confirm them. measure: gives the quantity of every criterion, and the curves
    it comes from. data_sets: the real images that it needs.
    """

    statement: str
    source: str
    protocol: str
    criteria: tuple[Criterion, ...]
    frozen: datetime.date
    seeds: Mapping[str, int]
    measure: Callable[[Laboratory], Measurement]
    picture: Picture
    data_sets: tuple[str, ...] = ()


class Finding(NamedTuple):
    """A criterion, what was measured, and the verdict."""

    criterion: Criterion
    measured: Interval
    verdict: Verdict


def judge(claim: Claim, measurement: Measurement) -> list[Finding]:
    """One finding a criterion. Raises InputError where the measurement lacks a quantity or has one that none asks for."""
    asked = [criterion.quantity for criterion in claim.criteria]
    if set(asked) != set(measurement.values):
        raise InputError(f"The measurement must give {sorted(asked)}, not {sorted(measurement.values)}.")
    measured = [measurement.values[quantity] for quantity in asked]
    return [Finding(c, value, c.verdict(value)) for c, value in zip(claim.criteria, measured, strict=True)]


def overall(findings: Iterable[Finding]) -> Verdict:
    """The verdict on a claim: it fails where one criterion fails, and holds where all hold."""
    return VERDICTS[min(VERDICTS.index(finding.verdict) for finding in findings)]


def draw_seeds(claim: Claim, tier: str, entropy: int) -> tuple[int, ...]:
    """The seeds of a confirmation: different ones from FIRST_FRESH_SEED to 2**31 - 1; tuning uses those below.

    They are drawn from all bits of the entropy, so that commands whose entropies are near each other share no seed.
    """
    generator = np.random.default_rng(entropy)
    drawn = generator.choice(2**31 - FIRST_FRESH_SEED, claim.seeds[tier], replace=False)
    return tuple((FIRST_FRESH_SEED + drawn).tolist())


FIRST_FRESH_SEED = 1000
"""Seeds from 0 to 999 are for tuning a protocol; no confirmation uses them."""
