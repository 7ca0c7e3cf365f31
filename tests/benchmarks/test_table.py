"""Rows, ratios and rounds: what a benchmark reports follows from what it timed."""

import json

import numpy as np
import pytest

from benchmarks import table, timing
from benchmarks.table import Row
from benchmarks.timing import Ceilings, Timing, side_by_side
from cnn_constraints.errors import InputError

ROWS = [
    Row("sweep", "conv", "ours", 0.001, 0.0008, 0.002, 0.5, "memory"),
    Row("sweep", "conv", "flax_loop", 0.01, 0.008, 0.02, 0.05, "memory"),
]


def test_a_row_is_seconds_per_unit_and_the_ceiling_over_the_median():
    made = table.row("layers", "case", "ours", Timing((4.0, 2.0, 3.0)), 10, (6e9, 1e6), Ceilings(1e11, 1e9))
    assert made == Row("layers", "case", "ours", 0.3, 0.2, 0.4, pytest.approx(0.2), "arithmetic")


def test_work_that_was_not_counted_has_no_ceiling(capsys):
    made = table.row("executors", "case", "plain", Timing((4.0, 2.0, 3.0)), 1, None, Ceilings(1e11, 1e9))
    assert made == Row("executors", "case", "plain", 3.0, 2.0, 4.0, None, None)
    table.print_case([made, made._replace(contender="other")])
    assert "over plain" in (told := capsys.readouterr().out) and "ceiling" not in told


def test_the_slower_ceiling_bounds():
    ceilings = Ceilings(operations=100.0, bytes=10.0)
    assert ceilings.shortest_time(50.0, 10.0) == (1.0, "memory")
    assert ceilings.shortest_time(500.0, 10.0) == (5.0, "arithmetic")


def test_a_ratio_has_the_spread_of_both_sides():
    (_, *ours), (_, *flax) = table.ratios(ROWS)
    assert ours == [1.0, pytest.approx(0.4), pytest.approx(2.5)]
    assert flax == [pytest.approx(10), pytest.approx(4), pytest.approx(25)]


def test_json_holds_every_field_of_every_row(tmp_path):
    table.write_json(ROWS, tmp_path / "rows.json")
    assert [Row(**one) for one in json.loads((tmp_path / "rows.json").read_text())] == ROWS
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


def test_rows_that_cannot_be_written_are_a_sentence_and_leave_nothing(tmp_path):
    (tmp_path / "rows.json").mkdir()
    with pytest.raises(InputError, match=r"rows\.json cannot be written"):
        table.write_json(ROWS, tmp_path / "rows.json")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


def test_a_figure_shows_every_case_and_contender():
    drawing = table.figure(ROWS)
    assert [label.get_text() for label in drawing.axes[0].get_yticklabels()] == ["conv"]
    assert [text.get_text() for text in drawing.legends[0].get_texts()] == ["ours", "flax_loop"]


def test_contenders_run_once_to_warm_up_and_once_a_round():
    runs = {"a": 0, "b": 0}
    timings = side_by_side({name: lambda name=name: runs.update({name: runs[name] + 1}) for name in runs}, 5)
    assert runs == {"a": 6, "b": 6}
    assert [len(timing.seconds) for timing in timings.values()] == [5, 5]


def test_a_slow_contender_sits_out_after_three_rounds(monkeypatch):
    monkeypatch.setattr(timing, "SLOW_SECONDS", -1.0)
    assert len(side_by_side({"slow": lambda: None}, 9)["slow"].seconds) == 3


def test_spread_is_that_of_the_rounds():
    seconds = tuple(np.random.default_rng().exponential(size=9))
    timed = Timing(seconds)
    assert (timed.shortest, timed.median, timed.longest) == (min(seconds), np.median(seconds), max(seconds))
