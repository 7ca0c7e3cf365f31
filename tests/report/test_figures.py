"""Tables and figures show the numbers of the analysis, all of them and nothing cut off; the report ends up on disk."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
from made_up_results import CELLS, experiments_of, make_results, noisy, write_run
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from cnn_constraints import store, summaries
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import axis
from cnn_constraints.report import figures, tables
from cnn_constraints.report.terminal import report_run
from cnn_constraints.resolve import Resolved
from experiments import report
from experiments.entry import entry_point

READOUTS = axis("model.readout", ["flatten", "global_average"])
ALL_CELLS = axis("model.constraint", CELLS)
SEEDS = axis("seed", range(3))
NUMBERS = axis("data.n_train", [100, 300, 1000])
DELTAS = axis("model.delta", [0, 1, 3, None])
TWO_SWEEPS = axis("model.constraint", ["local", "conv"])


def line_of(axes: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    """The points that an entry of the legend stands for: the markers of its colour and shape."""
    entry = next(line for line in axes.get_lines() if line.get_label() == label)
    style = (entry.get_marker(), to_hex(entry.get_color()))
    markers = [line for line in axes.get_lines() if (line.get_marker(), to_hex(line.get_color())) == style]
    points = [line for line in markers if len(line.get_xdata()) and line is not entry]
    assert len(points) == 1
    return np.asarray(points[0].get_xdata()), np.asarray(points[0].get_ydata())


def labels_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def ticks_of(axes: Axes, name: str) -> list[str]:
    axis_ = axes.xaxis if name == "x" else axes.yaxis
    return [label.get_text() for label in axis_.get_ticklabels() if label.get_text()]


def as_text(results: pandas.DataFrame, width: int | None = None, encoding: str = "utf-8") -> str:
    """What is printed: on a terminal of that width, or into a file."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    tables.print_tables(results, Console(file=file, force_terminal=width is not None, width=width, color_system=None))
    file.flush()
    return file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


def test_figures_are_those_that_the_varying_fields_allow() -> None:
    names = lambda *axes: set(figures.figures_for(make_results(experiments_of(*axes))))
    assert names(ALL_CELLS, NUMBERS) == {"learning_curves"}
    assert names(ALL_CELLS, SEEDS) == {"cells"}
    assert names() == {"cells"}
    assert names(TWO_SWEEPS, DELTAS) == {"cells", "delta_curve"}
    assert names(TWO_SWEEPS, DELTAS, NUMBERS) == {"learning_curves", "delta_curve"}
    # Local cells with one delta each are corners and no sweep.
    assert names(axis(("model.constraint", "model.delta"), [("conv", 1), ("local", 2), ("dense", None)])) == {"cells"}
    assert figures.figures_for(make_results(experiments_of(ALL_CELLS), lambda _: None)) == {}


def test_learning_curves_show_the_summary(seed: int) -> None:
    results = make_results(experiments_of(READOUTS, ALL_CELLS, NUMBERS, SEEDS), noisy(seed))
    figure = figures.plot_learning_curves(results)
    assert [axes.get_title() for axes in figure.axes] == ["readout: flatten", "readout: global_average"]
    assert labels_of(figure) == ["dense", "shared", "local, delta 2", "conv, delta 2"]
    summary = summaries.summarise(results).set_index(["model.readout", "model.constraint"])
    for axes, readout in zip(figure.axes, ["flatten", "global_average"], strict=True):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert ticks_of(axes, "x") == ["100", "300", "1000"]
        for cell, label in zip(CELLS, labels_of(figure), strict=True):
            x, y = line_of(axes, label)
            assert x == pytest.approx([100, 300, 1000], rel=0.06)
            assert y == pytest.approx(100 * (1 - summary.loc[(readout, cell), "test_accuracy"]))
        bars = np.concatenate([bar.lines[2][0].get_segments() for bar in axes.containers])
        ends = 100 * (1 - summary.loc[readout, ["test_accuracy_high", "test_accuracy_low"]].to_numpy())
        # Bars are drawn cell by cell, the summary goes on n_train by n_train.
        ends = ends.reshape(3, 4, 2).swapaxes(0, 1).reshape(12, 2)
        assert bars[:, :, 1] == pytest.approx(ends.clip(*axes.get_ylim()))
    title = figure.get_suptitle()
    assert "digits" in title and "95%" in title and "3 seeds" in title


def test_delta_curves_end_in_the_unconstrained_cells() -> None:
    error = {"dense": 40, "shared": 30}

    def accuracy(experiment: Resolved) -> float:
        delta, base = experiment.model.delta, {"local": 20, "conv": 10}
        cell = experiment.model.constraint
        return 1 - (error[cell] if delta is None else base[cell] + delta) / 100

    figure = figures.plot_delta_curve(make_results(experiments_of(TWO_SWEEPS, DELTAS, SEEDS), accuracy))
    (axes,) = figure.axes
    assert ticks_of(axes, "x") == ["0", "1", "3", "all"]
    places = list(axes.get_xticks())
    for cell, weights, errors in (("conv", "tied", [10, 11, 13]), ("local", "untied", [20, 21, 23])):
        x, y = line_of(axes, f"{cell}, {weights} weights")
        assert (list(x), list(y)) == (pytest.approx(places[:3], abs=0.1), pytest.approx(errors))
    for cell, weights in (("shared", "tied"), ("dense", "untied")):
        x, y = line_of(axes, f"{cell}, {weights} weights")
        assert (list(x), list(y)) == (pytest.approx(places[3:], abs=0.1), pytest.approx([error[cell]]))


def test_each_cell_has_one_colour_and_marker_of_its_own() -> None:
    results = make_results(experiments_of(TWO_SWEEPS, DELTAS, axis("data.n_train", [100, 300])))
    delta_curve = figures.plot_delta_curve(results).legends[0].get_lines()
    curves = figures.plot_learning_curves(make_results(experiments_of(ALL_CELLS, NUMBERS))).legends[0].get_lines()
    looks = [{(to_hex(line.get_color()), line.get_marker()) for line in lines} for lines in (delta_curve, curves)]
    assert looks[0] == looks[1]
    assert [len({look[part] for look in looks[0]}) for part in (0, 1)] == [4, 4]


def test_dots_show_the_mean_and_every_seed(seed: int) -> None:
    results = make_results(experiments_of(ALL_CELLS, SEEDS), noisy(seed))
    (axes,) = figures.plot_cells(results).axes
    assert ticks_of(axes, "y") == ["dense", "shared", "local, delta 2", "conv, delta 2"]
    drawn = np.sort(np.concatenate([line.get_xdata() for line in axes.get_lines() if len(line.get_xdata()) == 3]))
    assert drawn == pytest.approx(np.sort(100 * results["test_accuracy"].to_numpy()))


@pytest.mark.parametrize(
    "accuracy",
    [
        lambda experiment: 1.0,
        lambda experiment: 0.0,
        lambda experiment: 1.0 if experiment.model.constraint == "conv" else 0.5 + 0.2 * experiment.seed,
        lambda experiment: None if experiment.model.constraint == "conv" else 0.9,
        lambda experiment: None if experiment.seed > 0 else 0.9,
    ],
    ids=["no error", "all errors", "wide", "a cell diverged", "seeds diverged"],
)
@pytest.mark.parametrize("sweep", [[NUMBERS, ALL_CELLS], [TWO_SWEEPS, DELTAS]], ids=["n_train", "delta"])
def test_extremes_are_drawn_inside_the_axes(accuracy: Callable, sweep: list) -> None:
    results = make_results(experiments_of(*sweep, SEEDS), accuracy)
    assert as_text(results)
    for name, figure in figures.figures_for(results).items():
        if name == "cells":
            figure.savefig(io.BytesIO(), format="png", dpi=30)
            continue
        for axes in figure.axes:
            low, high = axes.get_ylim()
            points = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.get_lines()[:-1]])
            assert 0 < low < high <= 100
            assert ((points >= low) & (points <= high) | ~np.isfinite(points)).all()


@pytest.mark.parametrize("width", [80, None])
def test_tables_are_complete_in_80_columns_and_in_a_file(width: int | None) -> None:
    results = make_results(experiments_of(READOUTS, ALL_CELLS, axis("data.n_train", [50000]), SEEDS))
    text = as_text(results, width)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    words = [line.split() for line in text.splitlines()]
    assert ["local", "2", "global_average", "50000", "98,765", "80.0", "±", "0.0", "3"] in words
    assert ["dense", "all", "flatten", "50000", "1,234,567", "60.0", "±", "0.0", "3"] in words
    assert ["flatten", "50000", "dense", "+30.0", "±", "0.0", "3", "better"] in words


def test_a_narrow_terminal_folds_and_a_file_is_as_wide_as_it_needs_to_be() -> None:
    channels = [(8, 16), (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)]
    pools = [(1,) * len(entry) for entry in channels]
    fields = ("model.channels", "model.pool_sizes", "model.strides")
    results = make_results(
        experiments_of(READOUTS, ALL_CELLS, axis(fields, list(zip(channels, pools, pools, strict=True))))
    )
    in_file = as_text(results)
    assert "16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768" in in_file
    assert "…" not in as_text(results, 60)


def test_tables_in_ascii() -> None:
    text = as_text(make_results(experiments_of(ALL_CELLS, SEEDS)), encoding="ascii")
    assert "60.0 +/- 0.0" in text


def test_interventions_have_tables_of_their_own_and_rows_are_told_apart() -> None:
    interventions = axis("data.intervention", ["none", "permute_pixels"])
    text = as_text(make_results(experiments_of(interventions, TWO_SWEEPS, DELTAS, SEEDS)))
    assert text.count("Test accuracy on digits, readout flatten") == 1
    assert text.count("Test accuracy on digits, permute_pixels, readout flatten") == 1
    compared = [line.split("+")[0].split() for line in text.splitlines() if "better" in line]
    assert ["300", "delta", "3", "local,", "delta", "3"] in compared
    assert ["300", "delta", "3", "dense"] in compared


def test_tiles_tell_tiled_cells_apart_and_mean_nothing_to_others() -> None:
    ways = axis(("model.constraint", "model.tile"), [("tiled", 4), ("tiled", 2), ("conv", 3)])
    results = make_results(experiments_of(ways, SEEDS))
    (axes,) = figures.plot_cells(results).axes
    assert ticks_of(axes, "y") == ["conv, delta 2", "tiled, delta 2, tile 2", "tiled, delta 2, tile 4"]
    words = [line.split() for line in as_text(results).splitlines()]
    assert ["conv", "2", "300", "1,234", "90.0", "±", "0.0", "3"] in words
    assert ["tiled", "2", "4", "300", "4,321", "85.0", "±", "0.0", "3"] in words
    assert ["300", "tiled,", "tile", "4", "+5.0", "±", "0.0", "3", "better"] in words


def test_no_comparison_of_a_single_cell() -> None:
    assert tables.comparison_table(make_results(experiments_of(SEEDS))) is None


def test_report_prints_tables_and_writes_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    write_run(run, experiments_of(ALL_CELLS, NUMBERS, SEEDS))
    report.main([str(run)])
    report.main([str(run)])
    picture = run / "figures" / "learning_curves.png"
    assert [path.name for path in picture.parent.iterdir()] == [picture.name]
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert round(image.info["dpi"][0]) == 150
        assert len(np.unique(np.asarray(image))) > 50
    printed = capsys.readouterr().out
    assert printed.count(f"{picture}\n") == 2
    assert "60.0 ± 0.0" in printed and "Does conv beat the others" in printed
    assert len(store.read(run)) == 36


def test_report_of_some_experiments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiments = experiments_of(ALL_CELLS, SEEDS)
    write_run(tmp_path / "run", experiments)
    report_run(
        tmp_path / "run", [experiment.name for experiment in experiments if experiment.model.constraint == "conv"]
    )
    printed = capsys.readouterr().out
    assert "dense" not in printed and f"holds {3 * len(experiments) // 4} experiments of other settings" in printed


def test_a_run_in_progress_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run", experiments_of(SEEDS))
    store.open_run(tmp_path / "run", experiments_of(NUMBERS, SEEDS), {}).close()
    report.main([str(tmp_path / "run")])
    planned = len(store.read_config(tmp_path / "run")["experiments"])
    assert f"{len(store.read(tmp_path / 'run'))} of {planned} experiments are finished" in capsys.readouterr().out


def test_who_reads_tables_and_leaves_early_has_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "run", experiments_of(ALL_CELLS, SEEDS))

    def leave(_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("cnn_constraints.report.terminal.print_tables", leave)
    with pytest.raises(BrokenPipeError):
        report_run(tmp_path / "run")
    assert (tmp_path / "run" / "figures" / "cells.png").exists()


def test_figures_for_papers_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    write_run(tmp_path / "run", experiments_of(ALL_CELLS, NUMBERS, SEEDS))
    for name in ("one", "two"):
        report.main([str(tmp_path / "run"), "--figures", str(tmp_path / name)])
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two")]
    assert files[0] == files[1] and {Path(name).suffix for name in files[0]} == {".pdf", ".png"}


def test_bars_that_go_on_below_the_edge_are_told_of(seed: int) -> None:
    results = make_results(experiments_of(ALL_CELLS, NUMBERS, SEEDS), noisy(seed))
    arms = summaries.learning_curves(results)
    title = figures.plot_learning_curves(results).get_suptitle()
    floor = figures.error_limits(
        arms.assign(**{name: 100 * arms[name] for name in ("error", "error_low", "error_high")})
    )[0]
    assert ("lower edge" in title) == bool((100 * arms["error_low"] < floor).any())


def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.open_run(tmp_path / "empty", experiments_of(SEEDS), {}).close()
    write_run(tmp_path / "blocked", experiments_of(SEEDS))
    (tmp_path / "blocked" / "figures").write_text("in the way")
    for given, sentence in (
        ([str(tmp_path / "empty")], "empty has no finished experiment yet: run `python -m experiments.sweep` first."),
        ([str(tmp_path / "nowhere")], "There is no run folder"),
        ([str(tmp_path / "blocked")], "figures is a file and must be a folder."),
        ([], "Name a run folder"),
        ([str(tmp_path / "empty"), "another"], "empty has no finished experiment yet"),
        (["--rum", "x"], "Unknown flag --rum"),
    ):
        monkeypatch.setattr("sys.argv", ["report", *given])
        with pytest.raises(SystemExit) as stopped:
            entry_point(report.main)()
        told = capsys.readouterr().err
        assert stopped.value.code == 2
        assert sentence in told
        assert told.count("\n") == 1
    with pytest.raises(InputError):
        report_run(tmp_path / "blocked", [])
    with pytest.raises(InputError, match="nothing to draw"):
        figures.plot_cells(store.read(tmp_path / "blocked").iloc[:0])
