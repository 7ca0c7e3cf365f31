"""Rows, ratios and rounds: what a benchmark reports follows from what it timed."""

import json

import pytest

from benchmarks import measure
from benchmarks.measure import Ceilings, Row, side_by_side

ROWS = [
    Row("sweep", "conv", "ours", 0.001, 0.0008, 0.002, 0.5, "memory"),
    Row("sweep", "conv", "flax_loop", 0.01, 0.008, 0.02, 0.05, "memory"),
]


def test_a_row_is_seconds_per_unit_and_the_ceiling_over_the_median():
    made = measure.row(("layers", "case", "ours"), [2.0, 4.0, 3.0], 10, (6e9, 1e6), Ceilings(1e11, 1e9))
    assert made == Row("layers", "case", "ours", 0.3, 0.2, 0.4, pytest.approx(0.2), "arithmetic")
    ceilings = Ceilings(operations=100.0, bytes=10.0)
    assert [ceilings.shortest_time(work, 10.0) for work in (50.0, 500.0)] == [(1.0, "memory"), (5.0, "arithmetic")]


def test_a_case_is_printed_with_its_ratios_and_kept_with_every_field(tmp_path, capsys):
    measure.print_case(ROWS)
    printed = capsys.readouterr().out
    for word in ("over ours", "0.8 to 2", "10.00", "4.00 to 25.00", "0.40 to 2.50", "50%"):
        assert word in printed
    measure.write_json(ROWS, tmp_path / "rows.json")
    assert [Row(**one) for one in json.loads((tmp_path / "rows.json").read_text())] == ROWS


def test_contenders_run_once_to_warm_up_and_once_a_round_and_slow_ones_sit_out_after_three():
    runs = {"a": 0, "b": 0}
    contenders = {name: lambda name=name: runs.update({name: runs[name] + 1}) for name in runs}
    assert [len(seconds) for seconds in side_by_side(contenders, 5).values()] == [5, 5] and runs == {"a": 6, "b": 6}
    assert len(side_by_side({"slow": lambda: None}, 9, slow_seconds=-1.0)["slow"]) == 3
