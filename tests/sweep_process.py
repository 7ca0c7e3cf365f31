"""A small sweep as a process of its own, for tests that stop it, kill it, or start several."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cnn_constraints import store

ROOT = Path(__file__).parents[1]

CONFIG = """
from cnn_constraints.experiment import Data, Experiment, Model, Training, axis


def get_config():
    return Experiment(
        data=Data(source="digits", n_train=40, n_validation=40),
        model=Model(delta=1, channels=(2,), pool_sizes=(2,), strides=(1,)),
        training=Training(updates=40, evaluate_every=2, batch_size=8, learning_rates=(0.003, 0.01, 1e30)),
    )


def get_sweep(base):
    networks = [("dense", "none"), ("shared", "layer"), ("conv", "batch")]
    return [axis(("model.constraint", "model.normalisation"), networks), axis("seed", [0, 1, 2])]
"""
"""Nine experiments of three groups, a third of whose candidates diverge."""


def start(place: Path, run: str, *flags: str, devices: int = 2) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "experiments.sweep", "config.py", "--output", run, *flags]
    own = {"PYTHONPATH": str(ROOT), "CNN_CONSTRAINTS_CACHE": str(place / "cache"), "JAX_NUM_CPU_DEVICES": str(devices)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=place, env={**os.environ, **own, "JAX_PLATFORMS": "cpu"}, **pipes)


def finish(process: subprocess.Popen[str]) -> str:
    """What the process says, which must end well."""
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return told


def tables(folder: Path) -> list[bytes]:
    return [content for event in ("result", "evaluation") for content in as_files(folder, event)]


def as_files(folder: Path, event: str) -> tuple[bytes, bytes]:
    table = store.read(folder, event)
    return table.to_parquet(None), table.to_csv().encode()


def attempts(run: Path) -> int:
    try:
        return len(json.loads((run / "environment.json").read_text()))
    except OSError:
        return 0


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition() and process.poll() is None:
        time.sleep(0.02)
