"""Tab completes commands, flags and names in a real bash, and files where nothing else is meant."""

import importlib
import os
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import call

import experiments
from cnn_constraints import config
from cnn_constraints.claims.registry import CLAIMS
from experiments import completion, pictures


class Bash:
    """An interactive one, on a terminal of its own."""

    def __init__(self, place: Path) -> None:
        self._ours, theirs = os.openpty()
        environment = {**os.environ, "PS1": "$ ", "TERM": "dumb", "INPUTRC": os.devnull}
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=place,
            env=environment,
        )
        os.close(theirs)

    def type(self, keys: str, until: str) -> str:
        """What the terminal shows, once it shows that."""
        os.write(self._ours, keys.encode())
        shown, end = "", time.monotonic() + 10
        while until not in shown and time.monotonic() < end:
            if select.select([self._ours], [], [], 0.1)[0]:
                shown += os.read(self._ours, 4096).decode()
        return shown

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@pytest.fixture
def bash(tmp_path: Path) -> Iterator[Bash]:
    (tmp_path / "complete.sh").write_text(call(completion.main).out)
    (tmp_path / "quickstart.py").write_text("")
    shell = Bash(tmp_path)
    shell.type("source complete.sh; echo re''ady\n", "ready")
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("python -m experiments.sw", "experiments.sweep "),
        ("python -m experiments.sweep quickstart.py --model.constr", "--model.constraint "),
        ("python -m experiments.sweep quickstart.py --dry", "--dry-run "),
        ("python -m experiments.sweep quickstart.py --model.constraint sha", "shared "),
        ("python -m experiments.sweep quickstart.py --model.constraint=sha", "shared "),
        ("python -m experiments.sweep quickstart.py --training.violations conv loc", "local "),
        ("python -m experiments.sweep quickstart.py --executor r", "ray "),
        ("python -m experiments.sweep quick", "quickstart.py "),
        ("python -m experiments.report --page quick", "quickstart.py "),
        ("python3 -m experiments.claims param", "parameter_ladder "),
        ("python3 -m experiments.claims --tier cpu param", "parameter_ladder "),
        ("python -m experiments.count --dtype float3", "float32 "),
        ("python -m experiments.benchmark --lan", "--lanes "),
        ("python quick", "quickstart.py "),
    ],
)
def test_tab_completes(bash, typed, completed):
    assert completed in bash.type(f"{typed}\t", completed)


def test_every_command_is_known():
    files = [path.stem for path in Path(experiments.__file__).parent.glob("*.py")]
    modules = {name: importlib.import_module(f"experiments.{name}") for name in files if name != "__init__"}
    assert set(completion.commands()) == {name for name, module in modules.items() if hasattr(module, "main")}


@pytest.mark.parametrize(("command", "words"), completion.commands().items())
def test_flags_are_those_of_the_help_and_each_is_taken(command, words):
    module = importlib.import_module(f"experiments.{command}")
    text = call(module.main, "--help").out.partition("\nexamples\n")[0]
    shown = re.findall(r"^\W*?(--[a-z][\w.-]*)(?:, (--[\w.-]+))?", text, re.MULTILINE)
    assert {flag for flags in shown for flag in flags if flag} == set(words.flags)
    refused = [flag for flag in words.flags if "Unknown flag" in call(module.main, "no-such-thing", flag).err]
    assert not refused


def test_names_are_those_of_the_registries():
    words = completion.commands()
    assert list(words["claims"].first) == list(CLAIMS)
    for name, allowed in config.registries().items():
        assert set(words["sweep"].flags["--" + name.replace("_", "-")]) == set(allowed)


@pytest.mark.parametrize("source", completion.commands()["pictures"].flags["--source"])
def test_every_source_of_pictures_is_taken(source):
    """And refused is what is asked for after it."""
    assert "'no_such_picture'" in call(pictures.main, "no_such_picture", "--source", source).err
    assert "Unknown source" not in call(pictures.main, "kernels", "--source", source, "--output", __file__).err
