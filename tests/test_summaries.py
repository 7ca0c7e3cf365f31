"""Means over seeds, on results whose answers are known."""

from pathlib import Path

import numpy as np
import pandas
import pytest
from made_up_results import ACCURACY, CELLS, by_cell, experiments_of, make_results, write_run
from PIL import Image

from cnn_constraints import store, summaries
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data, Experiment, axis, product
from cnn_constraints.resolve import resolve
from cnn_constraints.summaries import summarise

ALL_CELLS, SEEDS = axis("model.constraint", CELLS), axis("seed", range(3))


def test_a_summary_has_a_row_an_arm_in_the_order_of_the_cells_and_a_curve_its_errors() -> None:
    experiments = experiments_of(axis("data.n_train", [300, 100]), axis("model.constraint", CELLS[::-1]), SEEDS)
    results = make_results(experiments, lambda one: ACCURACY[one.model.constraint] + 0.01 * one.seed)
    summary, curves = summarise(results), summaries.learning_curves(results)
    assert list(zip(summary["data.n_train"], summary["model.constraint"], strict=True)) == [
        (n, cell) for n in (100, 300) for cell in CELLS
    ]
    half = 4.302653 * 0.01 / np.sqrt(3)
    conv, error = summary.iloc[3], curves.iloc[3]
    ends = [conv[f"test_accuracy{end}"] for end in ("", "_low", "_high")]
    assert ends == pytest.approx([0.91, 0.91 - half, 0.91 + half])
    assert [1 - error[f"error{end}"] for end in ("", "_high", "_low")] == pytest.approx(ends)
    assert (conv["seeds"], conv["diverged"], conv["parameters"], conv["model.delta"]) == (3, 0, 1_234, 2)
    assert (conv["train_accuracy"], conv["learning_rate"]) == (1, 0.003)
    assert summary["model.delta"].isna().tolist() == 2 * [True, True, False, False]


def test_images_in_a_folder_are_what_lies_there_and_not_its_path(tmp_path: Path) -> None:
    """Two seeds on the same images are one arm, wherever these lay; on others they are two."""
    for name, colour in (("here", 0), ("there", 0), ("elsewhere", 9)):
        for split in ("train", "test"):
            (tmp_path / name / split / "one").mkdir(parents=True)
            Image.new("L", (4, 4), colour).save(tmp_path / name / split / "one" / "0.png")
    for second, seeds in (("there", [2]), ("elsewhere", [1, 1])):
        places = axis(("seed", "data.folder"), [(0, str(tmp_path / "here")), (1, str(tmp_path / second))])
        experiments = resolve(product(Experiment(data=Data(source="folder")), places))
        assert summarise(make_results(experiments))["seeds"].tolist() == seeds


def test_diverged_experiments_are_counted_and_in_no_mean() -> None:
    experiments = experiments_of(axis("model.constraint", ["conv", "dense"]), axis("seed", range(4)))
    diverged = {("conv", 0), ("dense", 0), ("conv", 1)}
    results = make_results(experiments, lambda one: None if (one.model.constraint, one.seed) in diverged else 0.7)
    summary = summarise(results).set_index("model.constraint")[["seeds", "diverged", "test_accuracy"]]
    assert summary.loc["conv"].tolist() == pytest.approx([2, 2, 0.7])
    assert summary.loc["dense"].tolist() == pytest.approx([3, 1, 0.7])
    nothing = make_results(experiments, lambda _: None)
    assert summarise(nothing)["diverged"].tolist() == [4, 4] and summarise(nothing)["test_accuracy"].isna().all()


def test_results_without_a_row_are_refused() -> None:
    with pytest.raises(InputError, match="no experiment is finished"):
        summarise(make_results(experiments_of(SEEDS)).iloc[:0])


def test_what_the_store_reads_back_is_summarised_the_same(tmp_path: Path) -> None:
    experiments = experiments_of(ALL_CELLS, SEEDS)
    for name, accuracy in (("run", by_cell), ("diverged", lambda _: None)):
        write_run(tmp_path / name, experiments, accuracy)
        expected = summarise(make_results(experiments, accuracy))
        pandas.testing.assert_frame_equal(summarise(store.read(tmp_path / name)), expected)


def test_samples_to_an_error_of_power_laws(seed: int) -> None:
    """A cell whose error is that of another at so many times its images needs so many times as many."""
    scale = {"dense": float(np.random.default_rng(seed).uniform(1.2, 3)), "conv": 1.0}
    law = lambda one: 1 - (one.data.n_train / scale[one.model.constraint] / (1 + one.seed)) ** -0.5
    sweep = (axis("model.constraint", ["dense", "conv"]), axis("data.n_train", [50, 200, 2000]), SEEDS)
    needed = summaries.samples_to_error(make_results(experiments_of(*sweep), law), 0.07).set_index("model.constraint")
    assert needed["seeds"].tolist() == [3, 3]
    assert np.isclose(needed.loc["dense", "samples"] / needed.loc["conv", "samples"], scale["dense"])
    assert np.isclose(needed.loc["conv", "samples"], 6 ** (1 / 3) / 0.07**2)


def test_a_seed_without_a_whole_curve_needs_no_number_of_samples() -> None:
    lost = lambda one: None if (one.seed, one.data.n_train) == (1, 300) else 0.9
    diverged = make_results(experiments_of(axis("data.n_train", [100, 300]), SEEDS), lost)
    for error, samples in ((0.2, 100), (0.05, np.inf)):
        (needed,) = summaries.samples_to_error(diverged, error).to_dict("records")
        assert needed["seeds"] == 2 and np.isclose(needed["samples"], samples)
    with pytest.raises(InputError, match="target above 0"):
        summaries.samples_to_error(diverged, 0.0)
