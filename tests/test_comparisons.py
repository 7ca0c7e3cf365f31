"""Comparisons on results whose answers are known, against SciPy's own tests, and the laws that any two sides obey."""

import itertools

import numpy as np
import pandas
import pytest
import scipy.stats
from made_up_results import CELLS, DELTA_SWEEP, LADDER, experiments_of, make_results, noisy

from cnn_constraints import summaries
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import axis
from cnn_constraints.lattice import constraints
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.order import leq
from cnn_constraints.resolve import Resolved
from cnn_constraints.summaries import compare, compare_differences, comparisons

ALL_CELLS, SEEDS = axis("model.constraint", CELLS), axis("seed", range(3))
INTERVENTIONS = axis("data.intervention", ["none", "permute_pixels"])
NUMBERS = ["difference", "difference_low", "difference_high"]


@pytest.fixture
def random_results(seed: int) -> pandas.DataFrame:
    """Four cells with and without a permutation, six seeds, no two accuracies alike."""
    return make_results(experiments_of(INTERVENTIONS, ALL_CELLS, axis("seed", range(6))), noisy(seed))


def test_pairing_removes_what_a_seed_does_to_both_sides(seed: int) -> None:
    results = make_results(experiments_of(ALL_CELLS, axis("data.n_train", [100, 300]), SEEDS), noisy(seed, spread=0))
    pairs = compare(results, "model.constraint", "conv", "local")
    assert pairs["data.n_train"].tolist() == [100, 300] and pairs["verdict"].tolist() == ["better", "better"]
    assert pairs[NUMBERS].to_numpy() == pytest.approx(np.full((2, 3), 0.1))


def test_a_comparison_is_the_paired_t_test_of_scipy(random_results: pandas.DataFrame) -> None:
    for second in ("dense", "shared", "local"):
        pairs = compare(random_results, "model.constraint", "conv", second)
        for _, row in pairs.iterrows():
            of_row = random_results[random_results["data.intervention"] == row["data.intervention"]]
            sides = [of_row.loc[of_row["model.constraint"] == cell, "test_accuracy"] for cell in ("conv", second)]
            test = scipy.stats.ttest_rel(*sides)
            interval = test.confidence_interval(0.95)
            assert row[["difference_low", "difference_high", "p"]].tolist() == pytest.approx([*interval, test.pvalue])
            assert (row["verdict"] == "undecided") == (row["p_adjusted"] >= 0.05) == pandas.notna(row["seeds_needed"])


def test_sides_that_are_swapped_turn_the_sign_and_nothing_else(random_results: pandas.DataFrame) -> None:
    turned = {"better": "worse", "worse": "better", "undecided": "undecided"}
    for field, first, second in (
        ("model.constraint", "shared", "local"),
        ("data.intervention", "none", "permute_pixels"),
        (("model.constraint", "data.intervention"), ("conv", "none"), ("dense", "permute_pixels")),
    ):
        there, back = compare(random_results, field, first, second), compare(random_results, field, second, first)
        assert there["first"].tolist() == back["second"].tolist()
        assert there[NUMBERS].to_numpy() == pytest.approx(-back[[NUMBERS[0], NUMBERS[2], NUMBERS[1]]].to_numpy())
        assert there[["p", "p_adjusted"]].to_numpy() == pytest.approx(back[["p", "p_adjusted"]].to_numpy())
        assert there["verdict"].map(turned).tolist() == back["verdict"].tolist()
        assert there["seeds_needed"].equals(back["seeds_needed"])


def test_the_order_of_rows_and_a_seed_that_one_side_lacks_do_not_count(random_results: pandas.DataFrame) -> None:
    shuffled = random_results.sample(frac=1, random_state=1)
    own = lambda table: compare(table, "model.constraint", "shared", "local")
    pandas.testing.assert_frame_equal(own(random_results), own(shuffled))
    some = random_results[(random_results["seed"] < 2) | (random_results["model.constraint"] != "dense")]
    assert compare(some, "model.constraint", "conv", "dense")["seeds"].tolist() == [2, 2]
    assert compare(some, "model.constraint", "conv", "local")["seeds"].tolist() == [6, 6]


def test_a_difference_of_differences_is_that_of_the_comparisons_seed_by_seed(random_results: pandas.DataFrame) -> None:
    of_cells, of_images = ("model.constraint", "conv", "dense"), ("data.intervention", "none", "permute_pixels")
    (row,) = compare_differences(random_results, of_cells, of_images).to_dict("records")
    accuracy = random_results.set_index(["seed", "model.constraint", "data.intervention"])["test_accuracy"].unstack(
        [1, 2]
    )
    gap = {images: accuracy["conv", images] - accuracy["dense", images] for images in of_images[1:]}
    test = scipy.stats.ttest_rel(gap["none"], gap["permute_pixels"])
    assert [row[name] for name in NUMBERS[1:]] == pytest.approx([*test.confidence_interval(0.95)])
    assert row["p"] == pytest.approx(test.pvalue)
    here, there = (compare(random_results, *of_cells).set_index("data.intervention").loc[images] for images in gap)
    assert row["difference"] == pytest.approx(here["difference"] - there["difference"])
    # Whichever of the two is asked first.
    (turned,) = compare_differences(random_results, of_images, of_cells).to_dict("records")
    assert [turned[name] for name in NUMBERS] == pytest.approx([row[name] for name in NUMBERS])
    told = ("first", "second", "between_first", "between_second")
    assert [row[name] for name in told] == ["conv (delta 2)", "dense", "none", "permute_pixels"]
    assert [turned[name] for name in told] == ["none", "permute_pixels", "conv (delta 2)", "dense"]


def test_pairs_in_which_one_diverged_are_counted_and_in_no_mean() -> None:
    experiments = experiments_of(axis("model.constraint", ["conv", "dense"]), axis("seed", range(4)))
    diverged = {("conv", 0), ("dense", 0), ("conv", 1)}
    results = make_results(experiments, lambda one: None if (one.model.constraint, one.seed) in diverged else 0.7)
    (pairs,) = compare(results, "model.constraint", "conv", "dense").to_dict("records")
    assert (pairs["seeds"], pairs["diverged"], pairs["difference"], pairs["p"]) == (2, 2, 0, 1)
    (nothing,) = comparisons(make_results(experiments, lambda _: None)).to_dict("records")
    assert nothing["verdict"] == "undecided" and pandas.isna([nothing["p"], nothing["seeds_needed"]]).all()


def test_delta_is_held_equal_where_it_means_something_to_both() -> None:
    deltas = axis("model.delta", [1, 2, None])
    results = make_results(experiments_of(axis("model.constraint", ["conv", "local"]), deltas, SEEDS))
    local, dense = (compare(results, "model.constraint", "conv", cell) for cell in ("local", "dense"))
    assert local["first"].tolist() == ["conv (delta 1)", "conv (delta 2)"] == dense["first"].tolist()
    assert local["second"].tolist() == ["local (delta 1)", "local (delta 2)"] and set(dense["second"]) == {"dense"}
    # shared and dense are conv and local at all offsets.
    ends = compare(results, "model.delta", 1, None)
    assert ends[["first", "second"]].values.tolist() == [["local (delta 1)", "dense"], ["conv (delta 1)", "shared"]]


def test_data_readout_and_cell_are_always_held_equal_and_what_follows_from_n_train_is_not() -> None:
    conditions = (
        axis("model.readout", ["flatten", "global_average"]),
        INTERVENTIONS,
        axis(("data.n_train", "training.batch_size"), [(10, 8), (100, 32)]),
    )
    results = make_results(experiments_of(*conditions, ALL_CELLS, SEEDS))
    assert compare(results, "model.constraint", "conv", "dense")["seeds"].tolist() == [3] * 8
    assert compare(results, "data.intervention", "none", "permute_pixels")["seeds"].tolist() == [3] * 16
    assert compare(results, "data.n_train", 10, 100)["first"].unique().tolist() == ["10 images (batch size 8)"]
    rest = results[(results["data.intervention"] == "none") != (results["model.constraint"] == "conv")]
    with pytest.raises(InputError, match=r"one seed and agree in data\.intervention, model\.readout, data\.n_train\."):
        compare(rest, "model.constraint", "conv", "dense")


def test_what_is_missing_since_it_means_nothing_blocks_nothing() -> None:
    ways = [("none", None), ("translate", 0.1), ("translate", 0.2)]
    moved = axis(("data.intervention", "data.strength"), ways)
    results = make_results(experiments_of(moved, axis("data.frame", [None, 20]), SEEDS))
    pairs = compare(results, "data.intervention", "none", "translate")
    assert pairs["second"].tolist() == ["translate (strength 0.1)", "translate (strength 0.2)"] * 2
    assert pairs["seeds"].tolist() == [3] * 4
    # No frame is one of two ways to frame images.
    assert len(compare(results, "data.frame", None, 20)) == 3


def test_arms_matched_in_size_and_tuned_on_their_own_grids_meet() -> None:
    fields = ("model.constraint", "model.channels", "training.learning_rates")
    arms = [("conv", (8, 16), (0.01,)), ("dense", (8, 16), (0.001,)), ("dense", (1, 2), (0.001,))]
    results = make_results(experiments_of(axis(fields, arms), SEEDS))
    assert compare(results, "model.constraint", "conv", "dense")["second"].tolist() == ["dense"]
    matched = compare(results, fields[:2], ("conv", (8, 16)), ("dense", (1, 2)))
    assert matched["second"].tolist() == ["dense (channels 1, 2)"]
    shown = ["dense", "dense (channels 1, 2)", "channels 1, 2"]
    assert comparisons(results)["second"].tolist() == shown
    # No width in common: all widths of one meet those of the other.
    apart = results[
        results["model.channels"].map(lambda channels: channels == (1, 2)) | (results["model.constraint"] == "conv")
    ]
    assert compare(apart, "model.constraint", "conv", "dense")["second"].tolist() == ["dense (channels 1, 2)"]


def test_networks_of_different_depths_with_a_delta_for_each_layer_are_compared() -> None:
    fields = ("model.channels", "model.pool_sizes", "model.strides", "model.delta")
    depths = [((4, 4), (2, 2), (1, 1), (1, 2)), ((4, 4, 4), (2, 2, 1), (1, 1, 1), (1, 2, 3))]
    experiments = experiments_of(axis(fields, depths), axis("model.constraint", ["conv", "local"]), SEEDS)
    results = make_results(experiments)
    assert compare(results, "model.constraint", "conv", "local")["seeds"].tolist() == [3, 3]
    assert compare(results, "model.channels", *(depth[0] for depth in depths))["seeds"].tolist() == [3, 3]
    assert set(comparisons(results)["field"]) == {"model.constraint", "model.delta"}


@pytest.mark.parametrize(
    ("field", "first", "second", "sentence"),
    [
        ("model.constraint", "conv", "lokal", "did you mean 'local'"),
        ("model.constraint", "conv", "conv", "both 'conv'"),
        ("model.constrain", "conv", "dense", "did you mean 'model.constraint'"),
        ("model.delta", 2, 7, "allowed are"),
        (("model.constraint", "model.delta"), "conv", "dense", "a value for each of model.constraint, model.delta"),
    ],
)
def test_what_cannot_be_compared_is_refused(field, first, second, sentence: str) -> None:
    results = make_results(experiments_of(ALL_CELLS, SEEDS))
    with pytest.raises(InputError, match=sentence):
        compare(results, field, first, second)
    with pytest.raises(InputError, match=r"both over model\.constraint"):
        compare_differences(results, ("model.constraint", "conv", "dense"), ("model.constraint", "shared", "local"))


def test_an_experiment_that_comes_twice_is_no_second_seed(random_results: pandas.DataFrame) -> None:
    twice = pandas.concat([random_results, random_results.iloc[3:4]])
    for summary in (
        comparisons,
        summaries.summarise,
        lambda table: compare(table, "model.constraint", "conv", "dense"),
    ):
        with pytest.raises(
            InputError, match=rf"The experiment {random_results['experiment'][3]} is in the table twice"
        ):
            summary(twice)
        pandas.testing.assert_frame_equal(summary(twice.drop_duplicates("experiment")), summary(random_results))


def rows_of(experiments: list[Resolved]) -> list[tuple[str, str, str]]:
    found = comparisons(make_results(experiments)).drop_duplicates(["field", "first", "second"])
    return list(found[["field", "first", "second"]].itertuples(index=False, name=None))


def test_a_sweep_compares_along_what_it_varies() -> None:
    others = ("dense", "shared", "local (delta 2)")
    ladder = [("model.constraint", "conv (delta 2)", other) for other in others]
    assert rows_of(LADDER) == [*ladder, ("model.readout", "flatten", "global_average")]
    assert len(comparisons(make_results(LADDER))) == 2 * 3 * 3 + 4 * 3
    assert rows_of(DELTA_SWEEP) == [
        *(("model.constraint", f"conv (delta {delta})", f"local (delta {delta})") for delta in range(3)),
        ("model.constraint", "shared", "dense"),
        *(("model.delta", "local (delta 0)", other) for other in ("local (delta 1)", "local (delta 2)", "dense")),
        *(("model.delta", "conv (delta 0)", other) for other in ("conv (delta 1)", "conv (delta 2)", "shared")),
    ]
    assert rows_of(experiments_of(SEEDS)) == []


def test_layers_that_differ_are_compared_by_name() -> None:
    mixed = [("conv", "conv"), ("conv", "local"), ("local", "conv"), ("local", "local")]
    experiments = experiments_of(axis("model.constraint", mixed), SEEDS)
    accuracy = lambda one: 0.9 - 0.1 * str(one.model.constraint).count("local")
    results = make_results([one for one in experiments if isinstance(one.model.constraint, str)])
    assert comparisons(results)["second"].tolist() == ["local (delta 2)"]
    results = make_results(experiments, accuracy)
    assert set(comparisons(results)["second"]) == {
        f"{cell} (delta 2)" for cell in ("conv then local", "local then conv", "local")
    }
    (row,) = compare(results, "model.constraint", ("conv", "local"), "local").to_dict("records")
    assert row["difference"] == pytest.approx(0.0) and row["first"] == "conv then local (delta 2)"
    # As they were given on the command line, or as results have them.
    pandas.testing.assert_frame_equal(
        compare(results, "model.constraint", ("conv", "conv"), ("local", "local")),
        compare(results, "model.constraint", "conv", "local"),
    )


def test_no_cell_that_is_there_obeys_a_stronger_constraint_than_the_one_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turned = lambda geometry, delta: constraints.canonical(
        np.minimum(table := constraints.conv(geometry, delta), table[::-1, ::-1])
    )
    monkeypatch.setitem(constraints.CONSTRAINTS, "symmetric", constraints.Constraint("symmetric", turned))
    names, geometry = ["symmetric", "conv", "tiled", "local", "shared", "dense"], Geometry(6, 6)
    tables = {name: constraints.ties(name, geometry, 2) for name in names}
    for some in itertools.chain.from_iterable(itertools.combinations(names, count) for count in (2, 3, 6)):
        champion = min(some, key=lambda name: summaries.free_weights(name, 2))
        stronger = [name for name in some if leq(tables[name], tables[champion]) and name != champion]
        assert stronger == [], (some, champion)
    found = comparisons(make_results(experiments_of(axis("model.constraint", ["conv", "symmetric", "dense"]), SEEDS)))
    assert set(found["first"]) == {"symmetric (delta 2)"}
    monkeypatch.delitem(constraints.CONSTRAINTS, "symmetric")
    summaries.free_weights.cache_clear()
    results = make_results(experiments_of(axis("model.constraint", ["conv", "dense"]), SEEDS))
    lost = results.assign(**{"model.constraint": results["model.constraint"].replace("conv", "symmetric")})
    assert set(comparisons(lost)["first"]) == {"dense"}
