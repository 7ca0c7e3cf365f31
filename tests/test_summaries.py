"""Intervals and comparisons on results whose answers are known, and against SciPy's own tests."""

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


def test_summary_has_a_row_an_arm_in_the_order_of_the_cells() -> None:
    experiments = experiments_of(
        axis("data.n_train", [300, 100]), axis("model.constraint", CELLS[::-1]), axis("seed", range(3))
    )
    summary = summarise(
        make_results(experiments, lambda experiment: ACCURACY[experiment.model.constraint] + 0.01 * experiment.seed)
    )
    assert list(zip(summary["data.n_train"], summary["model.constraint"], strict=True)) == [
        (n, cell) for n in (100, 300) for cell in CELLS
    ]
    half = 4.302653 * 0.01 / np.sqrt(3)
    conv = summary.iloc[3]
    assert (conv["test_accuracy"], conv["test_accuracy_low"], conv["test_accuracy_high"]) == pytest.approx(
        (0.91, 0.91 - half, 0.91 + half)
    )
    assert (conv["seeds"], conv["diverged"], conv["parameters"], conv["model.delta"]) == (3, 0, 1_234, 2)
    assert (conv["train_accuracy"], conv["learning_rate"]) == (1, 0.003)
    assert summary["model.delta"].isna().tolist() == 2 * [True, True, False, False]


def test_every_varying_field_separates_arms_but_the_place_of_images_does_not() -> None:
    experiments = experiments_of(axis("model.channels", [(8, 16), (2, 4)]), axis("seed", range(2)))
    assert summarise(make_results(experiments))["model.channels"].tolist() == [(8, 16), (2, 4)]
    places = axis(("seed", "data.folder"), [(0, "/here"), (1, "/there")])
    assert summarise(make_results(experiments_of(places)))["seeds"].tolist() == [2]


def test_images_in_a_folder_are_what_lies_there_and_not_its_path(tmp_path: Path) -> None:
    """Two seeds on the same images are one arm, wherever these lay; on others they are two."""
    for name, colour in (("here", 0), ("there", 0), ("elsewhere", 9)):
        for split in ("train", "test"):
            (tmp_path / name / split / "one").mkdir(parents=True)
            Image.new("L", (4, 4), colour).save(tmp_path / name / split / "one" / "0.png")
    base = Experiment(data=Data(source="folder"))

    def arms(first: str, second: str) -> list[int]:
        places = [(0, str(tmp_path / first)), (1, str(tmp_path / second))]
        return summarise(make_results(resolve(product(base, axis(("seed", "data.folder"), places)))))["seeds"].tolist()

    assert arms("here", "there") == [2]
    assert arms("here", "elsewhere") == [1, 1]


def test_diverged_experiments_are_counted_and_in_no_mean() -> None:
    experiments = experiments_of(axis("model.constraint", ["conv", "dense"]), axis("seed", range(4)))
    results = make_results(experiments, lambda experiment: None if experiment.seed == 0 else 0.7)
    never = results.index[(results["seed"] == 1) & (results["model.constraint"] == "conv")]
    results.loc[never, ["validation_accuracy", "test_accuracy"]] = np.nan
    summary = summarise(results).set_index("model.constraint")
    assert summary.loc["conv", ["seeds", "diverged", "test_accuracy"]].tolist() == pytest.approx([2, 2, 0.7])
    assert summary.loc["dense", ["seeds", "diverged", "test_accuracy"]].tolist() == pytest.approx([3, 1, 0.7])
    pairs = compare(results, "conv", "dense").iloc[0]
    assert (pairs["seeds"], pairs["diverged"], pairs["difference"]) == (2, 2, 0)


def test_a_run_in_which_everything_diverged_has_means_of_nan() -> None:
    results = make_results(experiments_of(axis("model.constraint", CELLS)), lambda _: None)
    summary = summarise(results)
    assert summary["diverged"].tolist() == [1] * 4
    assert summary["test_accuracy"].isna().all()
    assert compare(results, "conv", "dense")["verdict"].tolist() == ["undecided"]


def test_pairing_removes_what_a_seed_does_to_both_cells(seed: int) -> None:
    experiments = experiments_of(
        axis("model.constraint", CELLS), axis("data.n_train", [100, 300]), axis("seed", range(5))
    )
    pairs = compare(make_results(experiments, noisy(seed, spread=0)), "conv", "local")
    assert pairs["data.n_train"].tolist() == [100, 300]
    assert pairs["difference"].tolist() == pytest.approx([0.1, 0.1])
    assert (pairs["difference_high"] - pairs["difference_low"]).tolist() == pytest.approx([0, 0], abs=1e-12)
    assert pairs["verdict"].tolist() == ["better", "better"]


def test_comparison_is_the_paired_t_test_of_scipy_and_antisymmetric_and_blind_to_order(seed: int) -> None:
    experiments = experiments_of(axis("model.constraint", CELLS), axis("seed", range(6)))
    results = make_results(experiments, noisy(seed))
    pairs = compare(results, "shared", "local").iloc[0]
    accuracies = [results.loc[results["model.constraint"] == cell, "test_accuracy"] for cell in ("shared", "local")]
    expected = scipy.stats.ttest_rel(*accuracies).confidence_interval(0.95)
    assert (pairs["difference_low"], pairs["difference_high"]) == pytest.approx((expected.low, expected.high))
    swapped = compare(results, "local", "shared").iloc[0]
    assert swapped["difference_low"] == pytest.approx(-pairs["difference_high"])
    assert {pairs["verdict"], swapped["verdict"]} in ({"better", "worse"}, {"undecided"})
    shuffled = results.sample(frac=1, random_state=seed)
    for function in (summarise, lambda table: compare(table, "shared", "local")):
        pandas.testing.assert_frame_equal(function(results), function(shuffled))


def test_seeds_that_one_cell_lacks_are_left_out() -> None:
    results = make_results(experiments_of(axis("model.constraint", CELLS), axis("seed", range(4))))
    results = results[(results["seed"] < 2) | (results["model.constraint"] != "dense")]
    assert compare(results, "conv", "dense")["seeds"].tolist() == [2]
    assert compare(results, "conv", "local")["seeds"].tolist() == [4]


def test_delta_is_held_equal_where_both_cells_sweep_over_it() -> None:
    experiments = experiments_of(
        axis("model.constraint", ["conv", "local"]), axis("model.delta", [1, 2, None]), axis("seed", [0, 1])
    )
    results = make_results(experiments)
    local = compare(results, "conv", "local")
    assert local[["model.delta_first", "model.delta_second"]].to_numpy().tolist() == [[1, 1], [2, 2]]
    dense = compare(results, "conv", "dense")
    assert dense["model.delta_first"].tolist() == [1, 2]
    assert dense["model.delta_second"].isna().all()


def test_data_and_readout_are_always_held_equal_and_what_follows_from_n_train_too() -> None:
    experiments = experiments_of(
        axis("model.readout", ["flatten", "global_average"]),
        axis("data.intervention", ["none", "permute_pixels"]),
        axis(("data.n_train", "training.batch_size"), [(10, 8), (100, 32)]),
        axis("model.constraint", ["dense", "conv"]),
        axis("seed", range(2)),
    )
    pairs = compare(make_results(experiments), "conv", "dense")
    assert len(pairs) == 8
    assert set(pairs["seeds"]) == {2}


def test_arms_matched_in_size_and_tuned_on_their_own_grids_meet() -> None:
    fields = ("model.constraint", "model.channels", "training.learning_rates")
    arms = [("conv", (8, 16), (0.01,)), ("dense", (8, 16), (0.001,)), ("dense", (1, 2), (0.001,))]
    pairs = compare(make_results(experiments_of(axis(fields, arms), axis("seed", range(2)))), "conv", "dense")
    assert pairs["model.channels_second"].tolist() == [(8, 16), (1, 2)]
    assert pairs["difference"].tolist() == pytest.approx([0.3, 0.3])
    # Two values each and none in common: nothing that could be held equal.
    arms.append(("conv", (8, 16), (0.1,)))
    arms.append(("dense", (1, 2), (0.002,)))
    pairs = compare(make_results(experiments_of(axis(fields, arms), axis("seed", range(2)))), "conv", "dense")
    assert len(pairs) == 6


def test_a_cell_without_results_is_named_with_those_that_have_some() -> None:
    results = make_results(experiments_of(axis("model.constraint", ["conv", "dense"])))
    with pytest.raises(InputError, match="allowed are conv, dense"):
        compare(results, "conv", "local")
    with pytest.raises(InputError, match="both 'conv'"):
        compare(results, "conv", "conv")


def test_what_the_store_reads_back_is_summarised_the_same(tmp_path: Path) -> None:
    experiments = experiments_of(axis("model.constraint", CELLS), axis("seed", range(2)))
    for name, accuracy in (("run", by_cell), ("diverged", lambda _: None)):
        write_run(tmp_path / name, experiments, accuracy)
        expected = summarise(make_results(experiments, accuracy))
        pandas.testing.assert_frame_equal(summarise(store.read(tmp_path / name)), expected)


def test_telling_fields_are_those_that_do_not_follow_from_the_others() -> None:
    experiments = experiments_of(
        axis(("data.n_train", "training.batch_size"), [(10, 8), (100, 32)]), axis("training.optimizer", ["adam", "sgd"])
    )
    table = summaries.prepare(make_results(experiments))
    fields = ["data.n_train", "training.batch_size", "training.optimizer", "model.channels"]
    assert summaries.telling_fields(table, ["data.n_train"], fields) == ["training.optimizer"]


def test_learning_curves_are_the_errors_of_the_summary(seed: int) -> None:
    results = make_results(experiments_of(axis("data.n_train", [100, 300]), axis("seed", range(3))), noisy(seed))
    curves, summary = summaries.learning_curves(results), summarise(results)
    assert np.allclose(curves["error"] + summary["test_accuracy"], 1)
    assert (curves["error_low"] < curves["error"]).all() and (curves["error"] < curves["error_high"]).all()


def test_samples_to_an_error_of_power_laws(seed: int) -> None:
    """A cell whose error is that of another at so many times its images needs so many times as many."""
    factor = float(np.random.default_rng(seed).uniform(1.2, 3))
    scale = {"dense": factor, "conv": 1.0}
    law = lambda experiment: (
        1 - (experiment.data.n_train / scale[experiment.model.constraint] / (1 + experiment.seed)) ** -0.5
    )
    sweep = (axis("model.constraint", ["dense", "conv"]), axis("data.n_train", [50, 200, 2000]), axis("seed", range(3)))
    needed = summaries.samples_to_error(make_results(experiments_of(*sweep), law), 0.07).set_index("model.constraint")
    assert needed["seeds"].tolist() == [3, 3]
    assert np.isclose(needed.loc["dense", "samples"] / needed.loc["conv", "samples"], factor)
    assert np.isclose(needed.loc["conv", "samples"], 6 ** (1 / 3) / 0.07**2)


def test_a_seed_without_a_whole_curve_needs_no_number_of_samples() -> None:
    sweep = experiments_of(axis("data.n_train", [100, 300]), axis("seed", range(3)))
    diverged = make_results(
        sweep, lambda experiment: None if (experiment.seed, experiment.data.n_train) == (1, 300) else 0.9
    )
    (needed,) = summaries.samples_to_error(diverged, 0.2).to_dict("records")
    assert needed["seeds"] == 2 and np.isclose(needed["samples"], 100)
    (never,) = summaries.samples_to_error(diverged, 0.05).to_dict("records")
    assert never["samples"] == np.inf
    with pytest.raises(InputError, match="target above 0"):
        summaries.samples_to_error(diverged, 0.0)
