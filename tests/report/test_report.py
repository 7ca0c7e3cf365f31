"""The report ends up on standard output and on disk, whoever leaves early and whatever is in the way."""

import json
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from made_up_results import CELLS, experiments_of, write_run
from PIL import Image

from cnn_constraints import store, summaries
from cnn_constraints.claims import records
from cnn_constraints.claims.claim import curves_of
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.experiment import axis
from cnn_constraints.report import outcome, tables
from cnn_constraints.report.claims import as_text
from cnn_constraints.report.terminal import report_run
from cnn_constraints.statistics import exact
from cnn_constraints.sweep import Ran
from experiments import report
from experiments.entry import entry_point

ALL_CELLS, SEEDS = axis("model.constraint", CELLS), axis("seed", range(3))
NEEDS_EXTRA = pytest.mark.skipif(find_spec("vl_convert") is None, reason="needs the extra `report`")
EXPERIMENTS = experiments_of(ALL_CELLS, SEEDS)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", EXPERIMENTS)
    return tmp_path / "run"


def test_report_prints_tables_and_writes_figures_the_same_each_time(run: Path, capsys: pytest.CaptureFixture) -> None:
    written = []
    for _ in range(2):
        report.main([str(run), "--figures", str(run.parent / "paper")])
        files = {path: path.read_bytes() for path in run.parent.rglob("*") if path.suffix in (".png", ".pdf")}
        written.append((capsys.readouterr().out, files))
    assert written[0] == written[1]
    printed, files = written[0]
    assert "60.0 ± 0.0" in printed and "Does conv (delta 2) beat the others" in printed
    paper = {run.parent / "paper" / f"run_cells.{kind}" for kind in ("pdf", "png")}
    assert set(files) == paper | {run / "figures" / "cells.png"} and all(str(path) in printed for path in files)
    with Image.open(run / "figures" / "cells.png") as image:
        assert image.format == "PNG" and round(image.info["dpi"][0]) == 150 and len(np.unique(np.asarray(image))) > 50
    assert len(store.read(run)) == len(EXPERIMENTS)


def test_what_the_tables_do_not_show_is_told(run: Path, capsys: pytest.CaptureFixture) -> None:
    report_run(run, [one.name for one in EXPERIMENTS if one.model.constraint == "conv"])
    printed = capsys.readouterr().out
    assert "dense" not in printed and f"holds {3 * len(EXPERIMENTS) // 4} experiments of other settings" in printed
    store.open_run(run, experiments_of(ALL_CELLS, axis("seed", range(5))), {}).close()
    write_run(run.parent / "other", EXPERIMENTS, lambda _: None)
    report.main([str(run), str(run.parent / "other"), "--page", str(run.parent / "both.html")])
    printed = capsys.readouterr().out
    assert "12 of 20 experiments are finished" in printed and f"{run.parent / 'other'}:\n" in printed
    assert "Every experiment diverged" in printed and not (run.parent / "other" / "figures").exists()


@pytest.mark.parametrize("form", ["csv", "markdown", "latex"])
def test_tables_for_others_are_all_that_is_printed_and_nothing_is_written(run: Path, form: str, capsys) -> None:
    results, claims = store.read(run), run.parent / "claims"
    records.open_folder(claims, "cpu", 7, {})
    terms = records.terms(CLAIMS["reach"], [1], {})
    values = dict.fromkeys((criterion.quantity for criterion in CLAIMS["reach"].criteria), exact(0))
    records.write(claims, "reach", records.judge(terms, values, 1.0), curves_of([], []))
    of_run = tables.FORMS[form](results, store.read(run, "evaluation"), summaries.untold_comparisons(results))
    before = sorted(run.parent.rglob("*"))
    for folder, expected in ((run, of_run), (claims, as_text(form, records.read(claims)["claims"]))):
        report.main([str(folder), "--tables", form])
        assert capsys.readouterr().out == expected
    assert sorted(run.parent.rglob("*")) == before


def test_the_outcome_for_programs_has_what_the_tables_have(run: Path) -> None:
    results = store.read(run)
    told = json.loads(json.dumps(outcome.as_json(run, Ran(results, 12, 0, 4, 1.0)), allow_nan=False))
    pairs = summaries.comparisons(results)
    assert [row["verdict"] for row in told["comparisons"]] == pairs["verdict"].tolist() == ["better"] * 3
    assert len(told["arms"]) == 4 and told["at_edge"]["last_look"] == 1.0 and "last look" in told["tuning"][0]


def test_who_reads_tables_and_leaves_early_has_the_files(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnn_constraints.report.terminal.print_tables", Mock(side_effect=BrokenPipeError))
    with pytest.raises(BrokenPipeError):
        report_run(run)
    assert (run / "figures" / "cells.png").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["empty"], "empty has no finished experiment yet: run `python -m experiments.sweep` first."),
        (["run", "empty"], "empty has no finished experiment yet"),
        (["nowhere"], "There is no run folder"),
        (["run", "--figures", "in_the_way"], "--figures is in_the_way, which cannot be made"),
        pytest.param(["run", "--page", "nowhere/report.html"], "report.html cannot be written", marks=NEEDS_EXTRA),
        (["run", "other/run", "--figures", "paper"], "two have one name"),
        (["run", "claims"], "claims holds claims"),
        (["claims", "--figures", "paper"], "claims holds claims"),
        (["run", "--tables", "csv", "--page", "page.html"], "--tables writes no file"),
        (["blocked"], "blocked/figures/cells.png cannot be written"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    run: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    store.open_run(Path("empty"), EXPERIMENTS, {}).close()
    write_run(Path("blocked"), EXPERIMENTS)
    for name in ("blocked/figures", "in_the_way", "claims/claims.json"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("in the way")
    monkeypatch.setattr("sys.argv", ["report", *arguments])
    with pytest.raises(SystemExit) as stopped:
        entry_point(report.main)()
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and sentence in told and told.count("\n") == 1
