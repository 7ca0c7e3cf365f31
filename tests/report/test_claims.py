"""What is printed and drawn of a claim says what its record says."""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cnn_constraints.claims import records
from cnn_constraints.claims.claim import Criterion, Picture, curves_of
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.report.claims import (
    as_text,
    as_told,
    criterion_in_words,
    draw_curves,
    measured_in_words,
    print_claim,
    print_summary,
    title_of,
    verdict_in_words,
)
from cnn_constraints.report.figures import STYLES
from cnn_constraints.statistics import Interval, exact

CLAIM = CLAIMS["kernel_lattice"]
LINES = ("dense", "conv", "local, pooled over 5")


def record_of(criterion: Criterion, measured: Interval, seeds: int = 2, **data_sets: str) -> records.Record:
    claim = dataclasses.replace(CLAIM, criteria=(criterion,))
    terms = records.terms(claim, range(1000, 1000 + seeds), data_sets)
    return records.judge(terms, {criterion.quantity: measured}, 3.5)


def random_curves(seed: int, lines: Sequence[str] = LINES) -> pandas.DataFrame:
    generator = np.random.default_rng(seed)
    places = [(panel, line, x) for panel in ("one", "two") for line in lines for x in (10, 100)]
    return curves_of([(*place, generator.uniform(0.1, 1, 3)) for place in places], (0, 1, 2))


@pytest.mark.parametrize(
    ("criterion", "measured", "words"),
    [
        (Criterion("q", low=1.0), Interval(2.5, 2.0, 3.0, 5), ("at least 1", "2.5 [2, 3]")),
        (Criterion("q", high=0.05), Interval(0.01, 0.0, 0.02, 5), ("at most 0.05", "0.01 [0, 0.02]")),
        (Criterion("q", 0.44, 0.56), exact(0.5), ("0.44 to 0.56", "0.5")),
        (Criterion("q", 1e12, 1e12), exact(1e12), ("exactly 1,000,000,000,000", "1,000,000,000,000")),
        (Criterion("q", low=1.0), Interval(np.inf, 3.0, np.inf, 5), ("at least 1", "inf [3, inf]")),
        (Criterion("q", low=1.0), Interval(np.nan, -np.inf, np.inf, 5), ("at least 1", "unknown [-inf, inf]")),
        (Criterion("q", high=999.6), exact(12345.67), ("at most 999.6", "12,346")),
        (Criterion("q", low=1.0), Interval(1.5, 0.99996, 2.04, 5), ("at least 1", "1.5 [0.99996, 2.04]")),
        (Criterion("q", low=1 / 3), Interval(0.5, 0.33331, 0.6, 5), ("at least 0.33333", "0.5 [0.33331, 0.6]")),
        (Criterion("q", high=1e-12), exact(3.25e-16), ("at most 1e-12", "3.25e-16")),
    ],
)
def test_bounds_and_intervals_in_words(criterion, measured, words):
    row = record_of(criterion, measured)["criteria"][0]
    assert (criterion_in_words(row), measured_in_words(row)) == words


@given(bound=st.floats(1e-3, 1e6), end=st.floats(1e-3, 1e6), step=st.sampled_from([0.0, 1e-12, 1e-7, 1e-3]))
def test_an_end_reads_like_a_bound_only_where_it_is_that_bound(bound, end, step):
    low, high = sorted([bound * (1 - step), end])
    row = record_of(Criterion("q", low=bound), Interval(low - 1, low, high, 5))["criteria"][0]
    told, words = criterion_in_words(row).removeprefix("at least "), measured_in_words(row).partition("[")[2]
    for value, text in zip((low, high), words.removesuffix("]").split(", "), strict=True):
        assert (text == told) == (value == bound)
        assert float(text.replace(",", "")) == pytest.approx(value, rel=5.1e-4)
    assert "e" not in told + words


def test_a_claim_is_printed_whole_with_what_stood_for_its_images():
    criterion = Criterion("a quantity [b]", low=1.0, published="two")
    record = record_of(criterion, Interval(0.5, 0.4, 0.6, 7), mnist="mnist", cifar10="/my/images, SHA-256 ab")
    console = Console(file=(stream := io.StringIO()), width=200)
    print_claim("kernel_lattice", record, console)
    print_summary({"kernel_lattice": record, "another": record}, ["lost"], console)
    text = stream.getvalue()
    for word in ("kernel_lattice: fails", "a quantity [b]", "two", "at least 1", "0.5 [0.4, 0.6]", "7", "0 of 1 hold"):
        assert word in text
    assert "0 hold, 2 fail, 0 undecided, 1 not measured." in text and "lost" in text
    assert CLAIM.source in text and CLAIM.statement[:60] in text
    assert "Images in place of cifar10: /my/images, SHA-256 ab." in text and "mnist" not in text


def test_records_are_told_in_the_order_of_the_text_and_those_of_claims_that_are_gone_last(generator):
    mixed = ["gone", *CLAIMS]
    assert list(as_told(dict.fromkeys(map(str, generator.permutation(mixed))))) == [*CLAIMS, "gone"]


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (Interval(1.5, 1.2, 1.8, 5), "holds"),
        (Interval(1.5, 0.5, 2.5, 5), "undecided: the estimate holds; 23 seeds would decide it"),
        (Interval(0.5, -0.5, 1.5, 5), "undecided: the estimate fails; 23 seeds would decide it"),
        (Interval(1.0, 0.5, 1.5, 5), "undecided: the estimate holds; not even 1000 seeds would decide it"),
        (Interval(1.5, 0.9, 1.6, 5), "undecided: the estimate holds; how many seeds would decide it is unknown"),
        (Interval(2.0, np.nan, np.nan, 1), "undecided: the estimate holds; one seed has no interval"),
        (
            Interval(np.inf, 0.9, np.inf, 5),
            "undecided: the estimate holds; the interval has no end, which more seeds",
        ),
        (Interval(np.nan, -np.inf, np.inf, 5), "undecided: there is no estimate"),
    ],
)
def test_of_what_is_undecided_it_is_told_where_the_estimate_is_and_what_would_decide(measured, words):
    [row] = record_of(Criterion("q", low=1.0), measured)["criteria"]
    assert verdict_in_words(row).startswith(words)


def test_tables_have_a_row_a_claim_and_a_row_a_criterion():
    criteria = (Criterion("one", low=1.0), Criterion("two", low=1.0, published="9"), Criterion("three", low=1.0))
    claim = dataclasses.replace(CLAIM, criteria=criteria)
    values = {"one": exact(2), "two": Interval(1.5, 1.2, 1.8, 5), "three": Interval(0.5, 0.4, 0.6, 5)}
    record = records.judge(records.terms(claim, [1], {}), values, 1.0)
    held = record_of(Criterion("alone", low=1.0), exact(3))
    both = {"kernel_lattice": record, "reach": held}
    text = as_text("markdown", both)
    short = [
        f"| reach | {CLAIM.statement} | 1 of 1 | holds |",
        f"| kernel_lattice | {CLAIM.statement} | 2 of 3 | fails |",
    ]
    assert "\n".join(short) in text
    assert "| kernel_lattice | two | 9 | at least 1 | 1.5 [1.2, 1.8] | 5 | holds |" in text
    assert len([line for line in text.splitlines() if line.startswith(("| reach |", "| kernel_lattice |"))]) == 2 + 4
    assert as_text("csv", both).splitlines()[-1] == "kernel_lattice,three,,1.0,,0.5,0.4,0.6,5,fails"
    assert as_text("latex", both).count("\\begin{longtable}") == 2


@pytest.mark.parametrize("form", ["csv", "markdown", "latex"])
def test_a_folder_whose_first_claim_is_still_being_measured_has_tables_without_a_row(form):
    assert as_text(form, {})


def test_a_title_says_what_is_drawn():
    many, one = Interval(2.0, 1.5, 2.5, 5), Interval(np.nan, np.nan, np.nan, 1)
    words = {many: "Mean and 95% interval over 5 seeds", one: "1 seed, no intervals", exact(2.0): "Exact"}
    for measured, drawn in words.items():
        record = record_of(Criterion("q", low=1.0), measured, seeds=measured.seeds)
        assert title_of("claim", record) == f"claim: {record['verdict']}. {drawn}"


def test_a_picture_has_every_panel_and_every_line_in_a_style_of_its_own_and_none_has_that_of_a_cell(seed):
    lines = [*(f"line {number}" for number in range(20)), "conv"]
    figure = draw_curves("title", Picture("samples", "error"), random_curves(seed, lines))
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == lines
    drawn = [container[0] for container in figure.axes[0].containers]
    styles = [(line.get_color(), line.get_marker()) for line in drawn]
    assert len(set(styles)) == len(styles) and styles[-1] == STYLES["conv"]
    colours, markers = (set(column) for column in zip(*STYLES.values(), strict=True))
    assert not [style for style in styles[:-1] if style[0] in colours or style[1] in markers]


def test_a_point_stands_at_its_own_category_though_its_line_lacks_others():
    points = [("p", "dense", x, [1.0]) for x in ("c", "a", "b")] + [("p", "conv", "b", [2.0])]
    [axes] = draw_curves("title", Picture("", "y"), curves_of(points, (0,))).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["c", "a", "b"]
    drawn = {str(line.get_label()): [round(float(x)) for x in line[0].get_xdata()] for line in axes.containers}
    assert sorted(drawn["dense"]) == [0, 1, 2] and drawn["conv"] == [2]


def test_what_diverged_is_in_no_mean_of_the_picture(seed):
    curves = random_curves(seed)
    lost = (curves["line"] == "conv") & (curves["seed"] == 1)
    gone = (curves["line"] == "dense") & (curves["x"] == 10)
    with_gaps = curves.assign(y=curves["y"].mask(lost | gone))
    for picture in (Picture("x", "y"), Picture("x", "y", y_logarithmic=False)):
        figures = [draw_curves("title", picture, table) for table in (with_gaps, curves[~lost & ~gone])]
        drawn = [[line.get_ydata() for axes in f.axes for line in axes.get_lines()] for f in figures]
        for one, other in zip(*drawn, strict=True):
            np.testing.assert_array_equal(np.asarray(one)[np.isfinite(one)], other)


def test_panels_share_a_scale_where_their_values_overlap():
    panels = {"low": (0.05, 0.2), "middle": (0.1, 0.3), "high": (0.6, 0.8)}
    curves = curves_of([(panel, "conv", x, [values[x - 1]]) for panel, values in panels.items() for x in (1, 2)], [1])
    low, middle, high = draw_curves("t", Picture("x", "y"), curves).axes
    assert low.get_ylim() == middle.get_ylim() != high.get_ylim()
