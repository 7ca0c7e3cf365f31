"""Whatever is typed after a command is in order, or refused in one sentence, or tyro's: exit code 2, nothing written."""

import dataclasses
import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from any_input import MANY
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from made_up_records import write_random_run
from made_up_results import LADDER
from test_commands import COMMANDS, CONFIG, Outcome, call

from benchmarks.measure import Ceilings
from cnn_constraints.experiment import Experiment, flat
from cnn_constraints.settings import DATA_VARIABLE
from experiments.benchmark import Device, Layers, Megapixel, Sweep

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache", "without_shapes")]

PLACES = ["config.py", "run", "empty", "text", "missing/run", "", ".", "~nobody/x", "gs://bucket/x", "/proc/x"]

WORDS = ["x", "conv", "digits", "mnist", "None", "True", "[", "(", "a b", "caf\udce9", "new\nline", "漢", "--", "-h"]

NUMBERS = ["0", "1", "2", "-1", "1.5", "1e400", "nan", "inf", "1_0", "9" * 400, "1e-50", "4096"]

AXES = ["seed=0,1", "seed=range(9)", "model.delta=1,2", "model.constraint=conv,local", "seed=", "=1", "delta=1"]

VALUES = st.sampled_from([*PLACES, *WORDS, *NUMBERS, *AXES])

BEGINNINGS = [
    "cnn_constraints.executors.local.LocalExecutor.run",
    "cnn_constraints.claims.laboratory.Session.settle",
    "cnn_constraints.report.pictures.draw",
    "cnn_constraints.report.trained_cells.train_cells",
    "cnn_constraints.report.terminal._write",
    "benchmarks.layers.suite.check",
    "benchmarks.sweep.suite.make_problem",
    "benchmarks.device.time_formulations",
]
"""What is called once nothing more is refused."""


class Reached(Exception):
    """What was typed is in order: the work would begin."""


SUITES = {suite.__name__.lower(): suite for suite in (Layers, Sweep, Megapixel, Device)}


def flags_of(command: str) -> list[str]:
    kinds = SUITES.values() if command == "benchmark" else [import_module(f"experiments.{command}").Command]
    names = {field.name for kind in kinds for field in dataclasses.fields(kind)} - {"experiment", "config", "names"}
    return [f"--{name.replace('_', '-')}" for name in sorted(names)] + ["--help"]


FLAGS = {command: flags_of(command) for command in COMMANDS}
FLAGS["sweep"] += (
    [f"--{name.replace('_', '-')}" for name in flat(Experiment())] * 2 + ["--grid"] * 8 + ["--dry-run"] * 8
)

FIRST = {
    "sweep": ["config.py", "config.py", "run"],
    "report": ["run", "run", "empty"],
    "claims": ["reach", "parameter_ladder", "best_delta"],
    "count": [],
    "pictures": ["tie_tables", "kernels", "mistakes"],
    "benchmark": sorted(SUITES),
}
"""Words that begin a line that may be in order."""


@st.composite
def lines(draw: st.DrawFn, command: str) -> list[str]:
    usual = st.sampled_from(FIRST[command]).map(lambda word: [word]) if FIRST[command] else st.just([])
    line = draw(usual) if draw(st.integers(0, 9)) else draw(st.lists(VALUES, max_size=2))
    for flag in draw(st.lists(st.sampled_from(FLAGS[command]), max_size=3)):
        line += [flag, *draw(st.lists(VALUES, max_size=2))] if draw(st.booleans()) else [f"{flag}={draw(VALUES)}"]
    return line


def written(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def world(own_cache, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with what a line may name; where the work begins it ends."""
    here = tmp_path_factory.mktemp("world")
    (here / "config.py").write_text(CONFIG)
    (here / "text").write_text("text")
    (here / "empty").mkdir()
    write_random_run(here / "run", LADDER, np.random.default_rng())

    def reached(*_, **__):
        raise Reached

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv(DATA_VARIABLE, "empty")
        patch.setenv("HOME", str(here))
        patch.setattr("benchmarks.measure.measure_ceilings", lambda: Ceilings(1e9, 1e9))
        for name in BEGINNINGS:
            patch.setattr(name, reached)
        yield here


def require_the_law(command: str, line: list[str], world: Path) -> None:
    for made in ("runs", "pictures"):
        shutil.rmtree(world / made, ignore_errors=True)
    before = written(world)
    try:
        outcome = call(import_module(f"experiments.{command}").main, *line)
    except Reached:
        event("is in order")
        return
    event(f"ends with {outcome.code}")
    assert outcome.code in (0, 2), outcome
    if outcome.code == 2:
        refused_well(outcome)
        assert written(world) == before


def refused_well(outcome: Outcome) -> None:
    assert not outcome.out, outcome
    if not outcome.err.rstrip().endswith("--help"):
        *told, sentence = outcome.err.splitlines()
        assert sentence.startswith("error: ") and sentence[-1] in ".?" and len(sentence) < 2000, outcome
        # A sweep says its size before it reads data, and a benchmark the speed of the device before it builds layers.
        assert all(re.match(r"[\d,]+ experiments?|ceilings: ", line) for line in told), outcome


@example(typed=("pictures", ["mistakes", "--run", "run", "--output", "pictures"]))
@example(typed=("report", ["empty", "--figures", "pictures"]))
@settings(max_examples=2 * MANY)
@given(typed=st.sampled_from(COMMANDS).flatmap(lambda command: st.tuples(st.just(command), lines(command))))
def test_any_command_line(typed, world):
    require_the_law(*typed, world)
