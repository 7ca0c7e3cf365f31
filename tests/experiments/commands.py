"""What tests of the commands share: a small config, and a command as a function of its arguments."""

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from experiments.entry import entry_point

CONFIG = """
from cnn_constraints.experiment import Data, Experiment, Model, Training, axis, product


def get_config():
    return Experiment(
        data=Data(source="digits", n_train=20, n_validation=20),
        model=Model(constraint="shared", delta=1, channels=(2,), pool_sizes=(2,), strides=(1,)),
        training=Training(updates=2, evaluate_every=1, batch_size=4, learning_rates=(0.01,)),
    )


def get_sweep(base):
    return product(base, axis("model.constraint", ["shared", "conv"]), axis("seed", [0, 1]))
"""


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def call(main: Callable[[list[str]], None], *arguments: str) -> Outcome:
    """What a command exits with and prints."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["command", *arguments])
        try:
            entry_point(main)()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else bool(exit_.code)
    return Outcome(code, out.getvalue(), err.getvalue())


def refusal(outcome: Outcome) -> str:
    """The sentence of a command that refused its input."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: ")
    return line


def write_config(folder: Path, *changes: tuple[str, str], name: str = "config.py") -> str:
    text = CONFIG
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text)
    return name
