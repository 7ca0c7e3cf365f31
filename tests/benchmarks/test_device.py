"""A table is taken from formulations timed in the same rounds, and what fails is told and does not stop the rest."""

import json
import re
import time

import jax
import pytest
from small_problem import small_problem

from benchmarks import device, measure
from benchmarks.device import Timing
from benchmarks.measure import Ceilings
from benchmarks.sweep import problem as problems
from cnn_constraints.ops import choose, conv
from experiments import benchmark

CEILINGS = Ceilings(1e9, 1e9)


@pytest.mark.slow
def test_what_fails_or_trains_something_else_is_told_and_the_others_are_timed(seed, monkeypatch, capsys):
    def broken(*_) -> None:
        raise ValueError("it takes no such image\nat all")

    wrong = {"broken": broken, "wrong": lambda *of: 10 * conv.patches(*of)}
    monkeypatch.setitem(device.UNREGISTERED, "conv", wrong)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)  # which is compiled faster
    registered = dict(choose.FORMULATIONS["conv"])
    variants = [((name,), "float32") for name in (None, "broken", "wrong")] + [(("patches",), "bfloat16")]
    ask = lambda deadline: device.time_networks(small_problem("conv", 1, seed), variants, 2, 2, deadline, CEILINGS)
    answer = ask(time.monotonic() + 600)
    assert [(one.formulations, one.precision) for one in answer] == variants
    failures = [one.failure and one.failure.split(":")[0] for one in answer]
    assert failures == [None, "ValueError", "It trains something else", None]
    assert all((one.seconds_median is None) == (one.failure is not None) for one in answer)
    device.print_answer(answer)
    printed = capsys.readouterr().out
    assert "conv, 1 layer, 2 candidates: broken failed. ValueError: it takes no such image\n" in printed
    assert re.search(r"^ *table +\d", printed, re.MULTILINE) and "patches, bfloat16" in printed
    assert ask(time.monotonic() - 1) == [] and choose.FORMULATIONS["conv"] == registered


def made_up(
    cell: str, candidates: int, formulations: tuple, seconds: float | None, precision: str = "float32"
) -> Timing:
    numbers = (seconds, seconds, seconds, 0.5, "memory") if seconds else [None] * 5
    return Timing(cell, len(formulations), candidates, precision, formulations, *numbers)


TIMINGS = [
    made_up("conv", 64, (None, None), 4e-6),
    made_up("conv", 64, (None, "tiles_2x4"), 2e-6),
    made_up("conv", 64, (None, "tiles_8x8"), 1e-6),
    made_up("conv", 64, (None, "library"), None),
    made_up("conv", 64, (None,), 3e-6),
    made_up("conv", 64, ("library",), 3e-6),
    made_up("conv", 64, ("tiles_2x4",), 2e-6),
    # Neither other numbers of candidates, nor another first layer, nor other products, nor other rounds decide.
    made_up("conv", 16, ("library",), 1e-9),
    made_up("conv", 64, ("tiles_2x4", "library"), 1e-9),
    made_up("conv", 64, ("library",), 1e-9, "bfloat16"),
    made_up("conv", 64, ("library",), 1e-9),
    made_up("dense", 64, (None,), 1e-6),
]


def test_the_table_takes_the_winners_at_the_most_candidates_and_tells_what_that_gains():
    assert device.choices(TIMINGS, "gpu") == [
        'Choice(("gpu",), "conv", "tiles_2x4", largest_in_channels=3),  '
        "# on images, 64 candidates: 2.0 us, the present choice 1.50 times as long",
        'Choice(("gpu",), "conv", "tiles_8x8"),  '
        "# later, 64 candidates: 1.0 us, the present choice 4.00 times as long; to be registered first",
    ]
    assert device.choices([], "gpu") == []


def test_the_hopeless_is_not_timed_again_and_one_formulation_needs_no_choice():
    every = [*choose.FORMULATIONS["conv"], *device.UNREGISTERED["conv"]]
    assert device.promising("conv", []) == every and device.promising("dense", []) == []
    assert device.promising("conv", device.timings_of(TIMINGS[:4], "conv", 2)) == ["tiles_2x4", "tiles_8x8"]


@pytest.mark.slow
def test_the_command_times_prints_and_records(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "prepare_jax", lambda: None)
    monkeypatch.setattr(measure, "measure_ceilings", lambda: CEILINGS)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)  # which is compiled faster
    few = {name: choose.FORMULATIONS["shared"][name] for name in ("fourier", "row_fourier")}
    monkeypatch.setitem(choose.FORMULATIONS, "shared", few)
    monkeypatch.setattr(problems, "NETWORKS", {2: (("8x6x1->2", 2), ("4x3x2->2", 1))})
    file = tmp_path / "rows.json"
    flags = ["--cells", "shared", "--layers", "2", "--candidates", "2", "1", "--rounds", "2", "--output", str(file)]
    benchmark.main(["device", *flags])
    rows = json.loads(file.read_text())
    assert all(0 < row["seconds_min"] <= row["seconds_median"] <= row["seconds_max"] for row in rows)
    assert {(row["candidates"], row["precision"]) for row in rows} == {(2, "float32"), (2, "bfloat16"), (1, "float32")}
    assert [row["formulations"] for row in rows[:2]] == [[None, None], [None, "fourier"]]
    assert capsys.readouterr().out.count('Choice(("cpu",), "shared", ') == 1
