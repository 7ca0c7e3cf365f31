"""Means and comparisons on results whose answers are known, and against SciPy's own tests."""

from pathlib import Path

import numpy as np
import pandas
import pytest
import scipy.stats
from made_up_results import ACCURACY, CELLS, by_cell, experiments_of, make_results, noisy, write_run
from PIL import Image

from cnn_constraints import store, summaries
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data, Experiment, axis, product
from cnn_constraints.resolve import resolve
from cnn_constraints.summaries import compare, summarise

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
    pairs = compare(results, "model.constraint", "conv", "dense").iloc[0]
    assert (pairs["seeds"], pairs["diverged"], pairs["difference"]) == (2, 2, 0)
    nothing = make_results(experiments, lambda _: None)
    assert summarise(nothing)["diverged"].tolist() == [4, 4] and summarise(nothing)["test_accuracy"].isna().all()
    assert compare(nothing, "model.constraint", "conv", "dense")["verdict"].tolist() == ["undecided"]


def test_pairing_removes_what_a_seed_does_to_both_cells(seed: int) -> None:
    results = make_results(experiments_of(ALL_CELLS, axis("data.n_train", [100, 300]), SEEDS), noisy(seed, spread=0))
    pairs = compare(results, "model.constraint", "conv", "local")
    assert pairs["data.n_train"].tolist() == [100, 300] and pairs["verdict"].tolist() == ["better", "better"]
    assert pairs[["difference", "difference_low", "difference_high"]].to_numpy() == pytest.approx(np.full((2, 3), 0.1))


def test_comparison_is_the_paired_t_test_of_scipy_and_antisymmetric_and_blind_to_order(seed: int) -> None:
    results = make_results(experiments_of(ALL_CELLS, axis("seed", range(6))), noisy(seed))
    pairs = compare(results, "model.constraint", "shared", "local").iloc[0]
    accuracies = [results.loc[results["model.constraint"] == cell, "test_accuracy"] for cell in ("shared", "local")]
    expected = scipy.stats.ttest_rel(*accuracies).confidence_interval(0.95)
    assert (pairs["difference_low"], pairs["difference_high"]) == pytest.approx((expected.low, expected.high))
    swapped = compare(results, "model.constraint", "local", "shared").iloc[0]
    assert swapped["difference_low"] == pytest.approx(-pairs["difference_high"])
    assert {pairs["verdict"], swapped["verdict"]} in ({"better", "worse"}, {"undecided"})
    shuffled = results.sample(frac=1, random_state=seed)
    for function in (summarise, lambda table: compare(table, "model.constraint", "shared", "local")):
        pandas.testing.assert_frame_equal(function(results), function(shuffled))
    some = results[(results["seed"] < 2) | (results["model.constraint"] != "dense")]
    assert compare(some, "model.constraint", "conv", "dense")["seeds"].tolist() == [2]
    assert compare(some, "model.constraint", "conv", "local")["seeds"].tolist() == [6]


def test_delta_is_held_equal_where_both_cells_sweep_over_it() -> None:
    deltas = axis("model.delta", [1, 2, None])
    results = make_results(experiments_of(axis("model.constraint", ["conv", "local"]), deltas, SEEDS))
    local, dense = (
        compare(results, "model.constraint", "conv", "local"),
        compare(results, "model.constraint", "conv", "dense"),
    )
    assert local["first"].tolist() == ["conv, delta 1", "conv, delta 2"] == dense["first"].tolist()
    assert local["second"].tolist() == ["local, delta 1", "local, delta 2"] and set(dense["second"]) == {"dense"}


def test_data_and_readout_are_always_held_equal_and_what_follows_from_n_train_too() -> None:
    conditions = (
        axis("model.readout", ["flatten", "global_average"]),
        axis("data.intervention", ["none", "permute_pixels"]),
        axis(("data.n_train", "training.batch_size"), [(10, 8), (100, 32)]),
    )
    results = make_results(experiments_of(*conditions, ALL_CELLS, SEEDS))
    assert compare(results, "model.constraint", "conv", "dense")["seeds"].tolist() == [3] * 8
    fields = ["data.n_train", "training.batch_size", "model.constraint", "model.channels"]
    assert summaries.telling_fields(results, ["data.n_train"], fields) == ["model.constraint"]


def test_arms_matched_in_size_and_tuned_on_their_own_grids_meet() -> None:
    fields = ("model.constraint", "model.channels", "training.learning_rates")
    arms = [("conv", (8, 16), (0.01,)), ("dense", (8, 16), (0.001,)), ("dense", (1, 2), (0.001,))]
    pairs = compare(make_results(experiments_of(axis(fields, arms), SEEDS)), "model.constraint", "conv", "dense")
    assert pairs["second"].tolist() == ["dense"] and pairs["difference"].tolist() == pytest.approx([0.3])
    both = summaries.comparisons(make_results(experiments_of(axis(fields, arms), SEEDS)))
    assert both["second"].tolist() == ["dense", "dense, channels 1, 2", "channels 1, 2"]
    # Two values each and none in common: nothing that could be held equal.
    arms += [("conv", (8, 16), (0.1,)), ("dense", (1, 2), (0.002,))]
    assert (
        len(compare(make_results(experiments_of(axis(fields, arms), SEEDS)), "model.constraint", "conv", "dense")) == 2
    )


def test_a_cell_without_results_is_named_with_those_that_have_some() -> None:
    results = make_results(experiments_of(axis("model.constraint", ["conv", "dense"])))
    for second, sentence in (("local", "allowed are conv, dense"), ("conv", "both 'conv'")):
        with pytest.raises(InputError, match=sentence):
            compare(results, "model.constraint", "conv", second)
    with pytest.raises(InputError, match="no experiment is finished"):
        summarise(results.iloc[:0])


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
