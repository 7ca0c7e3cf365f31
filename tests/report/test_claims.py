"""What is printed and drawn of a claim says what its record says."""

import io
import json

import numpy as np
import pandas
import pytest
from rich.console import Console

from cnn_constraints.claims import records
from cnn_constraints.claims.claim import Criterion, Finding, Measurement, Picture
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.errors import InputError
from cnn_constraints.estimates import Interval, exact
from cnn_constraints.report.claims import (
    criterion_in_words,
    draw_curves,
    measured_in_words,
    print_claim,
    print_summary,
)

CLAIM = CLAIMS["kernel_lattice"]


def record_of(*findings: Finding) -> records.Record:
    return records.describe(CLAIM, findings, (1000, 1001), 3.5)


def finding(criterion: Criterion, measured: Interval) -> Finding:
    return Finding(criterion, measured, criterion.verdict(measured))


def curves_of(seed: int) -> pandas.DataFrame:
    generator = np.random.default_rng(seed)
    rows = [
        (panel, line, x, s, generator.uniform(0.1, 1))
        for panel in ("one", "two")
        for line in ("dense", "conv", "local, pooled over 5")
        for x in (10, 100)
        for s in (0, 1, 2)
    ]
    return pandas.DataFrame(rows, columns=["panel", "line", "x", "seed", "y"])


@pytest.mark.parametrize(
    ("criterion", "measured", "words"),
    [
        (Criterion("q", low=1.0), Interval(2.5, 2.0, 3.0, 5), ("at least 1", "2.5 [2, 3]")),
        (Criterion("q", high=0.05), Interval(0.01, 0.0, 0.02, 5), ("at most 0.05", "0.01 [0, 0.02]")),
        (Criterion("q", 0.44, 0.56), exact(0.5), ("0.44 to 0.56", "0.5")),
        (Criterion("q", 1e12, 1e12), exact(1e12), ("exactly 1,000,000,000,000", "1,000,000,000,000")),
        (Criterion("q", low=1.0), Interval(np.inf, 3.0, np.inf, 5), ("at least 1", "inf [3, inf]")),
        (Criterion("q", low=1.0), Interval(np.nan, -np.inf, np.inf, 5), ("at least 1", "unknown [-inf, inf]")),
    ],
)
def test_bounds_and_intervals_in_words(criterion, measured, words):
    row = record_of(finding(criterion, measured))["criteria"][0]
    assert (criterion_in_words(row), measured_in_words(row)) == words


def test_a_claim_is_printed_whole():
    record = record_of(finding(Criterion("a quantity", low=1.0, published="two"), Interval(0.5, 0.4, 0.6, 7)))
    stream = io.StringIO()
    console = Console(file=stream, width=200)
    print_claim("kernel_lattice", record, console)
    print_summary({"kernel_lattice": record}, console)
    text = stream.getvalue()
    for word in ("kernel_lattice: fails", "a quantity", "two", "at least 1", "0.5 [0.4, 0.6]", "7", "1 fails"):
        assert word in text
    assert CLAIM.source in text and CLAIM.statement[:60] in text


def test_the_picture_has_a_panel_a_panel_and_a_line_a_line(seed):
    figure = draw_curves("title", Picture("samples", "error"), curves_of(seed))
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense", "conv", "local, pooled over 5"]


def test_records_are_kept_and_added_to(tmp_path, seed):
    folder = tmp_path / "claims"
    assert records.open_folder(folder, "cpu", 7, {"command": "c"}) == {}
    record = record_of(finding(Criterion("q", low=1.0), Interval(np.inf, 3.0, np.inf, 5)))
    measurement = Measurement({}, curves_of(seed))
    records.write(folder, "first", record, measurement)
    records.write(folder, "second", record, measurement)
    assert records.open_folder(folder, "cpu", 7, {}) == {"first": record, "second": record}
    assert json.loads((folder / "claims.json").read_text())["environment"] == {"command": "c"}
    assert len(pandas.read_csv(folder / "curves" / "first.csv")) == len(measurement.curves)


def test_records_of_other_seeds_are_not_overwritten(tmp_path):
    records.open_folder(tmp_path, "cpu", 7, {})
    with pytest.raises(InputError, match="seed 7, not of 1, cpu and 8"):
        records.open_folder(tmp_path, "cpu", 8, {})


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1}', "{"])
def test_damaged_records_are_refused(tmp_path, content):
    (tmp_path / "claims.json").write_text(content)
    with pytest.raises(InputError, match="is damaged"):
        records.open_folder(tmp_path, "cpu", 7, {})
