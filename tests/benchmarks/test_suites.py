"""A benchmark compares equals: what computes or trains something else than the others is refused."""

import json
import time

import numpy as np
import pytest
from small_problem import small_problem

from benchmarks.layers import jax_layers
from benchmarks.layers import suite as layers
from benchmarks.layers.case import Arrays, Case, Contender, least_work, make_case
from benchmarks.measure import Ceilings, torch_device
from benchmarks.sweep import suite as sweep
from benchmarks.sweep.jax_loops import flax_loop
from benchmarks.sweep.problem import Contender as Trained
from benchmarks.sweep.problem import definition
from benchmarks.sweep.problem import least_work as least_work_of_update
from cnn_constraints.errors import InputError
from cnn_constraints.lattice.geometry import Geometry
from experiments import benchmark

CELLS = ("dense", "shared", "local", "conv")


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_every_contender_computes_the_layer_by_its_definition(cell, seed):
    case = make_case("5x7x2->3", cell, 2, 4)
    contenders = layers.makers(case, formulations=True)
    assert any(name.startswith("torch") for name in contenders) == (torch_device() is not None)
    layers.check(case, contenders, seed)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_contender_that_computes_something_else_is_refused(place, seed):
    case = make_case("4x5x1->2", "local", 1, 3)
    right = jax_layers.ours(jax_layers.chosen(case))

    def wrong(case: Case, arrays: Arrays) -> Contender:
        contender = right(case, arrays)
        factors = [1.001 if number == place else 1.0 for number in range(3)]
        return contender._replace(both=lambda: tuple(map(np.multiply, contender.both(), factors)))

    layers.check(case, {"ours": right}, seed)
    with pytest.raises(RuntimeError, match=rf"impostor on local 4x5x1->2, .*: {Arrays._fields[place]} is off by"):
        layers.check(case, {"ours": right, "impostor": wrong}, seed)


def test_a_case_is_measured_in_both_directions_printed_and_kept(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "prepare_jax", lambda: None)
    monkeypatch.setattr("benchmarks.measure.measure_ceilings", lambda: Ceilings(1e9, 1e9))
    command = ["layers", "--cells", "conv", "--shapes", "4x5x1->2", "--deltas", "1", "--batch", "2", "--rounds", "2"]
    benchmark.main([*command, "--output", str(tmp_path / "rows.json")])
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["contender"] for row in rows][:2] == ["ours", "flax"] and len({row["case"] for row in rows}) == 2
    assert all(0 < row["seconds_min"] <= row["seconds_median"] <= row["seconds_max"] for row in rows)
    assert "conv 4x5x1->2, delta 1, batch 2, forward and backward" in capsys.readouterr().out


def test_a_megapixel_is_measured_where_its_weights_fit_and_else_told_in_bytes(capsys):
    cases = layers.megapixel(CELLS, (1, 10), 1000)
    told = capsys.readouterr().err
    assert "1,000,000,000,000 weights" in told and "8,000,000,000,000 bytes" in told
    measured = [(case.cell, case.delta) for case in cases if case.cell != "local"]
    assert measured == [("shared", None), ("conv", 1), ("conv", 10)]
    with pytest.raises(InputError, match=r"dense 1000x1000x1->1, .* is not run"):
        layers.megapixel(["dense"], (1,), 1000)


@pytest.mark.parametrize(
    "flags",
    [
        *("sweep --rounds 0", "sweep --cells", "sweep --layers", "device --layers", "layers --batch 0"),
        *("layers --shapes", "layers --deltas", "megapixel --deltas", "megapixel --rounds 0"),
        *("sweep --candidates", "sweep --candidates 8 0", "device --candidates 8 -1", "device --budget nan"),
        *("layers --output {folder}", "device --output {folder}/none/rows.json", "megapixel --output /proc/rows.json"),
    ],
)
def test_what_cannot_be_measured_or_recorded_is_refused_before_anything_is_measured(flags, monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "prepare_jax", lambda: None)
    monkeypatch.setattr("benchmarks.measure.measure_ceilings", lambda: pytest.fail("it measures"))
    with pytest.raises(InputError, match=r"at least 1|is empty|cannot be written"):
        benchmark.main(flags.format(folder=tmp_path).split())
    assert not list(tmp_path.iterdir())


def test_a_benchmark_that_is_stopped_does_not_promise_to_go_on(monkeypatch):
    def stopped():
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "prepare_jax", lambda: None)
    monkeypatch.setattr("benchmarks.measure.measure_ceilings", stopped)
    with pytest.raises(KeyboardInterrupt, match="anew"):
        benchmark.main(["sweep"])


@pytest.mark.parametrize(("shape", "delta"), [("8x8x1", 1), ("8x8x1->1->2", 1), ("8x8x1->1", 9)])
def test_what_is_no_case_is_a_sentence(shape, delta):
    with pytest.raises(InputError, match=r"height x width|delta is 9"):
        make_case(shape, "conv", delta, 1)


def test_the_least_work_is_that_of_the_products_or_of_the_transforms():
    operations, moved = least_work(Case("", "dense", Geometry(2, 3), 5, 7, None, 11), 1)
    assert operations == 2 * 11 * (6 * 5) * (6 * 7) and moved == 4 * (11 * (6 * 5 + 6 * 7) + (6 * 5) * (6 * 7))
    small, large = (Case("", "shared", Geometry(side, side), 1, 1, None, 1) for side in (2, 1000))
    assert least_work(small, 3)[0] == 3 * 2 * (2 * 2) ** 2
    # Three transforms of 1999 x 1999 sites, and four operations a site for the products.
    assert least_work(large, 1)[0] == pytest.approx(1999**2 * (3 * 2.5 * np.log2(1999**2) + 4))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Torchinductor does not support:UserWarning")
@pytest.mark.parametrize(("cell", "layers"), [("dense", 1), ("shared", 2), ("local", 1), ("conv", 2)])
def test_all_contenders_of_the_sweep_train_the_network_of_the_definition_and_others_are_refused(cell, layers, seed):
    problem = small_problem(cell, layers, seed)
    contenders = sweep.checked_contenders(cell, problem, (2, 1))
    names = ["ours", "ours, 1 candidates", "flax loop", "flax vmap"]
    names += ["torch eager", "torch compile", "torch vmap"] if torch_device() else []
    assert list(contenders) == names


def test_a_contender_that_trains_something_else_is_refused(seed):
    problem = small_problem("local", 2, seed)
    right, expected = flax_loop(problem), definition(problem, sweep.CHECKED_UPDATES)
    sweep.check("local", {"ours": right}, expected, sweep.TOLERANCE)
    for factor in (1 - 2e-4, 1 + 2e-4, np.nan):
        wrong = right._replace(train=lambda updates, factor=factor: factor * right.train(updates))
        with pytest.raises(RuntimeError, match="impostor does not follow the losses of local"):
            sweep.check("local", {"ours": right, "impostor": wrong}, expected, sweep.TOLERANCE)


def test_a_slow_contender_makes_fewer_updates_a_round_but_never_fewer_than_are_checked(monkeypatch):
    seconds = iter([0.0, 1.0, 0.0, 3.0, 0.0, 1e6])
    monkeypatch.setattr(time, "perf_counter", lambda: next(seconds))
    # A second for 4 updates is 16 for the 64 of a round; 3 seconds are 48, and 12 for 16 updates.
    assert [sweep.updates_of(Trained(1, lambda updates: 0.0)) for _ in range(3)] == [64, 16, 4]


@pytest.mark.parametrize("layers", [1, 2])
def test_an_update_reads_its_weights_twice_its_moments_once_and_writes_all_three(layers, seed):
    problem = small_problem("local", layers, seed)
    sizes = [leaf.size for number in range(layers) for leaf in problem.parameters[f"layer_{number}"].values()]
    assert least_work_of_update(problem)[1] == 28 * sum(sizes)
