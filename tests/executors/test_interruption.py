"""A signal is a request to stop, heeded before anything more is trained, with a checkpoint; the second ends the process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from cnn_constraints import store
from cnn_constraints.data.datasets import Datasets
from cnn_constraints.executors.interruption import SIGNALS, Interruption
from cnn_constraints.executors.local import LocalExecutor
from cnn_constraints.executors.progress import ProgressBar, describe
from cnn_constraints.experiment import Data, Experiment, Training, replace
from cnn_constraints.plan import plan
from cnn_constraints.resolve import resolve

ROOT = Path(__file__).parents[2]


handlers = lambda: [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_first_signal_is_a_request_and_the_second_ends_the_process(number, capsys):
    before = handlers()
    with Interruption() as interruption:
        assert not interruption.asked()
        signal.raise_signal(number)
        assert interruption.asked()
        assert handlers() == [signal.SIG_DFL] * len(SIGNALS)
    assert handlers() == before
    assert "stopping after the current step" in capsys.readouterr().err


def test_a_signal_that_is_ignored_stays_ignored():
    """As under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGHUP)
            assert not interruption.asked()
            signal.raise_signal(signal.SIGTERM)
            assert interruption.asked() and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_where_the_terminal_is_gone_the_request_is_heeded_and_more_may_be_said():
    """Whoever reads standard error has gone; standard output is another file, and stays."""
    script = """
import signal, sys
from cnn_constraints.executors.interruption import Interruption
with Interruption() as interruption:
    signal.raise_signal(signal.SIGHUP)
    print("more", file=sys.stderr, flush=True)
    print("asked" if interruption.asked() else "lost")
"""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=writer, cwd=ROOT, text=True)
    os.close(writer)
    assert (done.returncode, done.stdout) == (0, "asked\n")


def test_where_it_is_asked_to_stop_nothing_more_is_trained_and_there_is_a_checkpoint(tmp_path, monkeypatch):
    training = Training(updates=4, evaluate_every=1, batch_size=8, learning_rates=(0.1,))
    experiments = resolve([Experiment(data=Data(source="digits", n_train=40, n_validation=40), training=training)])
    load, asked = Datasets(), []
    (group,) = plan(experiments, load)

    class Asking(ProgressBar):
        def advanced(self, updates: int) -> None:
            asked.append(updates)

    with store.open_run(tmp_path, experiments, {}):
        checkpoints = store.Checkpoints(tmp_path)
        executor = LocalExecutor(Asking([group]), load, checkpoints, stop=lambda: bool(asked))
        with pytest.raises(KeyboardInterrupt):
            list(executor.run([group]))
        checkpoint = checkpoints.load(group.name)
        assert checkpoint is not None and checkpoint.update == 1
        assert checkpoint.found.keys() == {experiments[0].name}
        with pytest.raises(KeyboardInterrupt):
            monkeypatch.setattr(LocalExecutor, "_program", lambda *_: pytest.fail("it was compiled"))
            list(executor.run([group]))


def test_an_interrupt_while_a_command_imports_ends_it_in_a_sentence():
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "experiments.sweep", "configs/quickstart.py", "--dry-run"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
        text=True,
    ) as process:
        assert process.stderr is not None
        # The command has begun, and imports what takes long.
        assert any(line.split()[-1:] == ["jax._src.util"] for line in process.stderr)
        process.send_signal(signal.SIGINT)
        told = [
            line for line in process.communicate(timeout=100)[1].splitlines() if not line.startswith("import time:")
        ]
    assert (process.returncode, told) == (130, ["stopped: run the same command again to go on."])


def test_an_interrupt_in_what_cleans_up_is_not_lost():
    """Python tells what is raised there, in a callback of JAX's say, and forgets it."""
    script = """
import os, signal, time
from experiments.entry import entry_point

class Cleaned:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

def main(arguments):
    Cleaned()
    time.sleep(100)

entry_point(main)()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=ROOT, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (130, "stopped: run the same command again to go on.\n")


def test_progress_counts_updates_and_tells_the_time_left(monkeypatch, capfd):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    (group,) = plan(resolve([Experiment()]), Datasets())
    with ProgressBar([group]) as bar:
        bar.compiling(group)
        assert "left" not in capfd.readouterr().err
        now[0] = 20.0
        bar.advanced(100)
        bar.running(group.experiments)
        assert " 25%  conv delta 2, flatten: n = 300, seed 0, about 0:01:00 left" in capfd.readouterr().err


def test_a_line_of_progress_is_written_whole_beside_those_of_other_threads(monkeypatch):
    (group,) = plan(resolve([Experiment()]), Datasets())
    written = []
    stream = SimpleNamespace(write=written.append, flush=lambda: None)
    bar = ProgressBar([group])
    monkeypatch.setattr(sys, "stderr", stream)
    bar.compiling(group)
    assert [text for text in written if text] == ["  0%  compiling conv delta 2, flatten\n"]


def test_an_arm_is_told_with_the_sizes_that_mean_something_to_it():
    cells = ("conv", "tiled", "low_rank_local", ("conv", "dense"))
    arms = [{"model.constraint": cell, "model.tile": 3} for cell in cells]
    told = [describe(one) for one in resolve(replace(Experiment(), arm) for arm in arms)]
    expected = ["conv delta 2", "tiled delta 2 tile 3", "low_rank_local delta 2 rank 2", "conv, dense delta 2"]
    assert told == [f"{one}, flatten" for one in expected]
