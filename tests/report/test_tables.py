"""Tables show the numbers of the analysis, all of them and nothing cut off."""

import io
import itertools

import pandas
import pytest
from made_up_results import CELLS, experiments_of, make_results, noisy
from rich.console import Console

from cnn_constraints import summaries
from cnn_constraints.experiment import axis
from cnn_constraints.report import tables
from cnn_constraints.summaries.tuning import TUNED

ALL_CELLS, SEEDS = axis("model.constraint", CELLS), axis("seed", range(3))
READOUTS = axis("model.readout", ["flatten", "global_average"])


def as_text(results: pandas.DataFrame, width: int | None = None, encoding: str = "utf-8") -> str:
    """What is printed: on a terminal of that width, or into a file."""
    content = io.BytesIO()
    file = io.TextIOWrapper(content, encoding=encoding, newline="")
    tables.print_tables(
        results,
        None,
        summaries.untold_comparisons(results),
        console=Console(file=file, force_terminal=width is not None, width=width, color_system=None),
    )
    file.flush()
    return content.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [80, None])
def test_tables_are_complete_in_80_columns_and_in_a_file(width: int | None) -> None:
    results = make_results(experiments_of(READOUTS, ALL_CELLS, axis("data.n_train", [50000]), SEEDS))
    text = as_text(results, width)
    assert max(map(len, text.splitlines())) <= 80
    words = [line.split() for line in text.splitlines()]
    rows = (
        "local 2 global_average 50,000 98,765 80.0 ± 0.0 3",
        "dense all flatten 50,000 1,234,567 60.0 ± 0.0 3",
        "flatten dense +30.0 ± 0.0 3 <0.001 better",
    )
    assert "…" not in text and all(row.split() in words for row in rows)
    assert "60.0 +/- 0.0" in as_text(results, width, encoding="ascii")


def test_a_narrow_terminal_folds_and_a_file_is_as_wide_as_it_needs_to_be() -> None:
    channels = [(8, 16), (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)]
    pools = [(1,) * len(entry) for entry in channels]
    fields = ("model.channels", "model.pool_sizes", "model.strides")
    results = make_results(experiments_of(ALL_CELLS, axis(fields, list(zip(channels, pools, pools, strict=True)))))
    assert ", ".join(map(str, channels[1])) in as_text(results)
    assert "…" not in as_text(results, 60)


def test_a_question_names_each_field_once() -> None:
    numbers = axis("model.hidden", [None, 8]), axis("data.frame", [None, 30])
    text = " ".join(as_text(make_results(experiments_of(*numbers, READOUTS, SEEDS))).split())
    assert "Does no hidden beat hidden 8 on" in text and "Does no frame beat frame 30 on" in text
    assert "Does readout flatten beat global_average on" in text


def test_a_column_says_what_both_have_and_is_empty_where_they_differ() -> None:
    ways = [("conv", None), ("conv", 4), ("shared", None), ("shared", 4), ("dense", 8)]
    text = as_text(make_results(experiments_of(axis(("model.constraint", "model.hidden"), ways), SEEDS)))
    compared = [" ".join(line.split("+")[0].split()) for line in text.splitlines() if "better" in line]
    assert {"none conv (delta 2) shared", "4 conv (delta 2) shared"} < {*compared}
    assert {"conv (delta 2, no hidden) dense (hidden 8)", "conv (delta 2, hidden 4) dense (hidden 8)"} < {*compared}


def test_interventions_have_tables_of_their_own_and_rows_are_told_apart() -> None:
    interventions, deltas = axis("data.intervention", ["none", "permute_pixels"]), axis("model.delta", [0, 3, None])
    results = make_results(experiments_of(interventions, axis("model.constraint", ["local", "conv"]), deltas, SEEDS))
    text = as_text(results)
    assert text.count("Test accuracy on digits, readout flatten") == 1
    assert text.count("Test accuracy on digits, permute_pixels, readout flatten") == 1
    compared = [" ".join(line.split("+")[0].split()) for line in text.splitlines() if "better" in line]
    for row in ("none conv (delta 3) local (delta 3)", "permute_pixels shared dense", "none conv (delta 0) shared"):
        assert row in compared
    # A tile means nothing to a cell that is not tiled.
    ways = axis(("model.constraint", "model.tile"), [("tiled", 4), ("tiled", 2), ("conv", 3)])
    words = [line.split() for line in as_text(make_results(experiments_of(ways, SEEDS))).splitlines()]
    for row in ("conv 2 300 1,234 90.0 ± 0.0 3", "tiled 2 4 300 4,321 85.0 ± 0.0 3"):
        assert row.split() in words
    assert ["tiled", "(delta", "2,", "tile", "4)", *["+5.0", "±", "0.0", "3", "<0.001", "better"]] in words


def test_tables_as_csv_have_all_digits_and_as_markdown_and_latex_every_row(seed: int) -> None:
    results = make_results(experiments_of(READOUTS, ALL_CELLS, SEEDS), noisy(seed))
    found = (
        results,
        pandas.DataFrame({name: [] for name in ("experiment", *TUNED)}),
        summaries.untold_comparisons(results),
    )
    parts = tables.FORMS["csv"](*found).split("\n\n")
    for part, table in zip(parts, (summaries.summarise(results), summaries.comparisons(results)), strict=True):
        back = pandas.read_csv(io.StringIO(part), keep_default_na=False, na_values=[""])
        plain = table.astype(object).where(table.notna(), None)
        pandas.testing.assert_frame_equal(
            back.astype(object).where(back.notna(), None), plain, check_exact=False, rtol=1e-15
        )
    rows = sum(len(text.rows()) for text in tables.tables_of(*found))
    markdown, latex = (tables.FORMS[form](*found) for form in ("markdown", "latex"))
    assert sum(line.startswith("|") for line in markdown.splitlines()) == rows + 2 * 3
    assert latex.count(r" \\" + "\n") == rows + 3 and latex.count(r"\toprule") == 3
    for mark in "_%&":
        assert all(before == "\\" for before, letter in itertools.pairwise(latex) if letter == mark and before != " ")
    assert latex.count("{") == latex.count("}")


def test_nothing_in_a_name_has_a_meaning_to_latex_or_markdown() -> None:
    text = tables.TextTable("50% of a_b & c", {"a|b": ["{x}^2 ~ #1 \\ $"]})
    written = tables.as_latex(text)
    assert r"50\% of a\_b \& c" in written
    assert r"\{x\}\textasciicircum{}2 \textasciitilde{} \#1 \textbackslash{} \$" in written
    assert r"| a\|b |" in tables.as_markdown(text)


def test_what_diverged_is_said_and_a_single_cell_is_compared_with_none() -> None:
    accuracy = lambda one: None if one.model.constraint == "dense" or one.seed == 0 else 0.9
    text = as_text(make_results(experiments_of(ALL_CELLS, SEEDS), accuracy))
    assert "diverged" in text and "2 of 3" in text and "0 of 3" in text
    alone = make_results(experiments_of(SEEDS))
    assert len(tables.tables_of(alone, None, summaries.untold_comparisons(alone))) == 1
