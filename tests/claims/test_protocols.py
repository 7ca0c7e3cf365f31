"""Every claim about trained networks asks the engine for what it then reads, and measures what it judges."""

from collections.abc import Iterable

import numpy as np
import pandas
import pytest

from cnn_constraints.claims.claim import CURVE_COLUMNS, Laboratory, judge
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.experiment import Data, Experiment, flat
from cnn_constraints.report.claims import draw_curves
from cnn_constraints.resolve import resolve

TRAINED = (
    "sample_efficiency",
    "bias_against_reality",
    "best_delta",
    "quadratic_separation",
    "translation_and_noise",
    "locality_before_sharing",
    "convolution_in_dense_space",
)
SEEDS = (5, 7, 11)


class Engine:
    """Trains nothing: every experiment gets random results, and is remembered."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self.trained: list[Experiment] = []

    def train(self, experiments: Iterable[Experiment]) -> pandas.DataFrame:
        resolved = resolve(experiments)
        self.trained += resolved
        return pandas.DataFrame([{"experiment": one.name, **flat(one), **self._measured(one)} for one in resolved])

    def _measured(self, experiment: Experiment) -> dict[str, float]:
        names = ["test_accuracy", "train_accuracy", *(f"violation_{name}" for name in experiment.training.violations)]
        return dict(zip(names, self._generator.uniform(0.1, 0.9, len(names)).tolist(), strict=True))


@pytest.mark.parametrize("tier", ["cpu", "gpu"])
@pytest.mark.parametrize("name", TRAINED)
def test_a_claim_reads_what_it_has_trained(name, tier, seed):
    claim, engine = CLAIMS[name], Engine(seed)
    images = {data_set: Data(source="digits") for data_set in ("mnist", "cifar10")}
    measurement = claim.measure(Laboratory(tier, SEEDS, images, engine.train))
    findings = judge(claim, measurement)
    assert [finding.criterion for finding in findings] == list(claim.criteria)
    assert {experiment.seed for experiment in engine.trained} == set(SEEDS)
    assert list(measurement.curves.columns) == CURVE_COLUMNS and set(measurement.curves["seed"]) == set(SEEDS)
    draw_curves(name, claim.picture, measurement.curves)
