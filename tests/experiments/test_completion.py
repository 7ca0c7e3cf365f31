"""Tab completes commands, flags and names in a real bash, and files where nothing else is meant."""

import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import call

from cnn_constraints import config
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.experiment import Experiment
from experiments import completion


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
        ("python -m experiments.sweep quickstart.py --executor r", "ray "),
        ("python -m experiments.sweep quick", "quickstart.py "),
        ("python3 -m experiments.claims param", "parameter_ladder "),
        ("python -m experiments.benchmark --lan", "--lanes "),
        ("python quick", "quickstart.py "),
    ],
)
def test_tab_completes(bash, typed, completed):
    assert completed in bash.type(f"{typed}\t", completed)


def test_every_flag_and_every_name_is_known():
    words = completion.commands()
    names = {"--" + name.replace("_", "-") for name in config.flat(Experiment())}
    assert names <= set(words["sweep"].flags)
    assert {"--output", "--json", "--coordinator"} <= set(words["sweep"].flags)
    assert list(words["claims"].first) == list(CLAIMS)
    assert not [flag for one in words.values() for flag in one.flags if flag in ("--config", "--suite", "--experiment")]
