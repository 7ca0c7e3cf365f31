"""Intervals and comparisons on results whose answers are known, and against SciPy's own tests."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.stats

from cnn_constraints import analysis, config, store
from cnn_constraints.analysis import compare, summarise
from cnn_constraints.config import Experiment
from cnn_constraints.errors import InputError
from cnn_constraints.sweep import axis, product, resolve

CELLS = ("dense", "shared", "local", "conv")
ACCURACY = {"dense": 0.6, "shared": 0.7, "local": 0.8, "conv": 0.9, "tiled": 0.85}
PARAMETERS = {"dense": 1_234_567, "shared": 45_678, "local": 98_765, "conv": 1_234, "tiled": 4_321}


def trials_of(*axes: list[dict[str, Any]]) -> list[Experiment]:
    return resolve(product(Experiment(), *axes))


def result_row(trial: Experiment, test_accuracy: float | None) -> dict[str, Any]:
    """What the executor writes of a finished trial; None for one whose test accuracy is not finite."""
    return {
        "event": "result",
        "trial": config.name(trial),
        "learning_rate": 0.003,
        "weight_decay": 0.0,
        "update": 400,
        "train_accuracy": 1.0,
        "validation_accuracy": 0.9,
        "test_loss": 0.3,
        "test_accuracy": test_accuracy,
        "parameters": PARAMETERS[trial.model.constraint],
        "multiply_adds": 10**6,
    }


def make_results(
    trials: Iterable[Experiment], accuracy: Callable[[Experiment], float | None] | None = None
) -> pandas.DataFrame:
    """A table as `store.read` gives it: NaN for no delta. By default accuracy depends on the cell."""
    accuracy = accuracy or (lambda trial: ACCURACY[trial.model.constraint])
    rows = []
    for trial in trials:
        rows.append(config.flat(trial) | result_row(trial, accuracy(trial)))
    return pandas.DataFrame(rows).drop(columns="event")


def write_run(folder: Path, trials: list[Experiment], accuracy: Mapping[str, float] = ACCURACY) -> None:
    """A run folder as a sweep leaves it."""
    rows = []
    for trial in trials:
        evaluation = {"event": "evaluation", "trial": config.name(trial), "lane": 0, "update": 40, "train_loss": 2.0}
        evaluation |= {"train_accuracy": 0.5, "validation_accuracy": 0.5}
        rows += [evaluation, {"lane": 0} | result_row(trial, accuracy[trial.model.constraint])]
    with store.open_run(folder, trials, {"command": "synthetic"}) as run:
        run.commit("group", rows)


def noisy(seed: int, spread: float = 0.02) -> Callable[[Experiment], float]:
    """A cell's accuracy, plus what a seed does to all cells alike, plus noise."""
    rng = np.random.default_rng(seed)
    of_seed = rng.normal(0, 0.05, 100)
    return lambda trial: ACCURACY[trial.model.constraint] + of_seed[trial.seed] + spread * rng.normal()


def test_summary_has_a_row_an_arm_in_the_order_of_the_cells() -> None:
    trials = trials_of(axis("data.n_train", [300, 100]), axis("model.constraint", CELLS[::-1]), axis("seed", range(3)))
    summary = summarise(make_results(trials, lambda trial: ACCURACY[trial.model.constraint] + 0.01 * trial.seed))
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


def test_every_varying_field_separates_arms_but_the_place_of_archives_does_not() -> None:
    trials = trials_of(axis("model.channels", [(8, 16), (2, 4)]), axis("seed", range(2)))
    assert summarise(make_results(trials))["model.channels"].tolist() == [(8, 16), (2, 4)]
    folders = trials_of(axis(("seed", "data.folder"), [(0, "/here"), (1, "/there")]))
    assert summarise(make_results(folders))["seeds"].tolist() == [2]
    folders = [config.replace(trial, {"data.source": "folder"}) for trial in folders]
    assert summarise(make_results(folders))["seeds"].tolist() == [1, 1]


def test_diverged_trials_are_counted_and_in_no_mean() -> None:
    trials = trials_of(axis("model.constraint", ["conv", "dense"]), axis("seed", range(4)))
    results = make_results(trials, lambda trial: None if trial.seed == 0 else 0.7)
    # A trial none of whose lanes ever had a finite loss is tested with its initial weights: not NaN, and no result.
    never = results.index[(results["seed"] == 1) & (results["model.constraint"] == "conv")]
    results.loc[never, ["validation_accuracy", "test_accuracy"]] = [-1.0, 0.1]
    summary = summarise(results).set_index("model.constraint")
    assert summary.loc["conv", ["seeds", "diverged", "test_accuracy"]].tolist() == pytest.approx([2, 2, 0.7])
    assert summary.loc["dense", ["seeds", "diverged", "test_accuracy"]].tolist() == pytest.approx([3, 1, 0.7])
    pairs = compare(results, "conv", "dense").iloc[0]
    assert (pairs["seeds"], pairs["diverged"], pairs["difference"]) == (2, 2, 0)


def test_a_run_in_which_everything_diverged_has_means_of_nan() -> None:
    results = make_results(trials_of(axis("model.constraint", CELLS))).drop(
        columns=["test_accuracy", "validation_accuracy"]
    )
    summary = summarise(results)
    assert summary["diverged"].tolist() == [1] * 4
    assert summary["test_accuracy"].isna().all()
    assert compare(results, "conv", "dense")["verdict"].tolist() == ["undecided"]


def test_pairing_removes_what_a_seed_does_to_both_cells(seed: int) -> None:
    trials = trials_of(axis("model.constraint", CELLS), axis("data.n_train", [100, 300]), axis("seed", range(5)))
    pairs = compare(make_results(trials, noisy(seed, spread=0)), "conv", "local")
    assert pairs["data.n_train"].tolist() == [100, 300]
    assert pairs["difference"].tolist() == pytest.approx([0.1, 0.1])
    assert (pairs["difference_high"] - pairs["difference_low"]).tolist() == pytest.approx([0, 0], abs=1e-12)
    assert pairs["verdict"].tolist() == ["better", "better"]


def test_comparison_is_the_paired_t_test_of_scipy_and_antisymmetric_and_blind_to_order(seed: int) -> None:
    trials = trials_of(axis("model.constraint", CELLS), axis("seed", range(6)))
    results = make_results(trials, noisy(seed))
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
    results = make_results(trials_of(axis("model.constraint", CELLS), axis("seed", range(4))))
    results = results[(results["seed"] < 2) | (results["model.constraint"] != "dense")]
    assert compare(results, "conv", "dense")["seeds"].tolist() == [2]
    assert compare(results, "conv", "local")["seeds"].tolist() == [4]


def test_delta_is_held_equal_where_both_cells_sweep_over_it() -> None:
    trials = trials_of(
        axis("model.constraint", ["conv", "local"]), axis("model.delta", [1, 2, None]), axis("seed", [0, 1])
    )
    results = make_results(trials)
    local = compare(results, "conv", "local")
    assert local[["model.delta_first", "model.delta_second"]].to_numpy().tolist() == [[1, 1], [2, 2]]
    dense = compare(results, "conv", "dense")
    assert dense["model.delta_first"].tolist() == [1, 2]
    assert dense["model.delta_second"].isna().all()


def test_data_and_readout_are_always_held_equal_and_what_follows_from_n_train_too() -> None:
    trials = trials_of(
        axis("model.readout", ["flatten", "global_average"]),
        axis("data.intervention", ["none", "permute_pixels"]),
        axis(("data.n_train", "training.batch_size"), [(10, 8), (100, 32)]),
        axis("model.constraint", ["dense", "conv"]),
        axis("seed", range(2)),
    )
    pairs = compare(make_results(trials), "conv", "dense")
    assert len(pairs) == 8
    assert set(pairs["seeds"]) == {2}


def test_arms_matched_in_size_and_tuned_on_their_own_grids_meet() -> None:
    fields = ("model.constraint", "model.channels", "training.learning_rates")
    arms = [("conv", (8, 16), (0.01,)), ("dense", (8, 16), (0.001,)), ("dense", (1, 2), (0.001,))]
    pairs = compare(make_results(trials_of(axis(fields, arms), axis("seed", range(2)))), "conv", "dense")
    assert pairs["model.channels_second"].tolist() == [(8, 16), (1, 2)]
    assert pairs["difference"].tolist() == pytest.approx([0.3, 0.3])
    # Two values each and none in common: nothing that could be held equal.
    arms.append(("conv", (8, 16), (0.1,)))
    arms.append(("dense", (1, 2), (0.002,)))
    pairs = compare(make_results(trials_of(axis(fields, arms), axis("seed", range(2)))), "conv", "dense")
    assert len(pairs) == 6


def test_a_cell_without_results_is_named_with_those_that_have_some() -> None:
    results = make_results(trials_of(axis("model.constraint", ["conv", "dense"])))
    with pytest.raises(InputError, match="allowed are conv, dense"):
        compare(results, "conv", "local")
    with pytest.raises(InputError, match="both 'conv'"):
        compare(results, "conv", "conv")


def test_what_the_store_reads_back_is_summarised_the_same(tmp_path: Path) -> None:
    trials = trials_of(axis("model.constraint", CELLS), axis("seed", range(2)))
    write_run(tmp_path / "run", trials)
    pandas.testing.assert_frame_equal(summarise(store.read(tmp_path / "run")), summarise(make_results(trials)))


def test_telling_fields_are_those_that_do_not_follow_from_the_others() -> None:
    trials = trials_of(
        axis(("data.n_train", "training.batch_size"), [(10, 8), (100, 32)]), axis("training.optimizer", ["adam", "sgd"])
    )
    table = analysis.prepare(make_results(trials))
    fields = ["data.n_train", "training.batch_size", "training.optimizer", "model.channels"]
    assert analysis.telling_fields(table, ["data.n_train"], fields) == ["training.optimizer"]


def test_learning_curves_are_the_errors_of_the_summary(seed: int) -> None:
    results = make_results(trials_of(axis("data.n_train", [100, 300]), axis("seed", range(3))), noisy(seed))
    curves, summary = analysis.learning_curves(results), summarise(results)
    assert np.allclose(curves["error"] + summary["test_accuracy"], 1)
    assert (curves["error_low"] < curves["error"]).all() and (curves["error"] < curves["error_high"]).all()


def test_samples_to_an_error_of_power_laws(seed: int) -> None:
    """A cell whose error is that of another at so many times its images needs so many times as many."""
    factor = float(np.random.default_rng(seed).uniform(1.2, 3))
    scale = {"dense": factor, "conv": 1.0}
    law = lambda trial: 1 - (trial.data.n_train / scale[trial.model.constraint] / (1 + trial.seed)) ** -0.5
    sweep = (axis("model.constraint", ["dense", "conv"]), axis("data.n_train", [50, 200, 2000]), axis("seed", range(3)))
    needed = analysis.samples_to_error(make_results(trials_of(*sweep), law), 0.07).set_index("model.constraint")
    assert needed["seeds"].tolist() == [3, 3]
    assert np.isclose(needed.loc["dense", "samples"] / needed.loc["conv", "samples"], factor)
    assert np.isclose(needed.loc["conv", "samples"], 6 ** (1 / 3) / 0.07**2)


def test_a_seed_without_a_whole_curve_needs_no_number_of_samples() -> None:
    sweep = trials_of(axis("data.n_train", [100, 300]), axis("seed", range(3)))
    diverged = make_results(sweep, lambda trial: None if (trial.seed, trial.data.n_train) == (1, 300) else 0.9)
    (needed,) = analysis.samples_to_error(diverged, 0.2).to_dict("records")
    assert needed["seeds"] == 2 and np.isclose(needed["samples"], 100)
    (never,) = analysis.samples_to_error(diverged, 0.05).to_dict("records")
    assert never["samples"] == np.inf
    with pytest.raises(InputError, match="target above 0"):
        analysis.samples_to_error(diverged, 0.0)
