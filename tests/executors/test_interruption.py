"""A signal is a request to stop, heeded before anything more is trained, and never lost."""

import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cnn_constraints import store
from cnn_constraints.data.datasets import Datasets
from cnn_constraints.executors.interruption import SIGNALS, Interruption
from cnn_constraints.executors.local import LocalExecutor
from cnn_constraints.executors.progress import ProgressBar
from cnn_constraints.experiment import Data, Experiment, Training
from cnn_constraints.plan import plan
from cnn_constraints.resolve import resolve

ROOT = Path(__file__).parents[2]


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


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


def test_in_another_thread_no_signal_is_touched():
    """Python lets the main thread alone take them."""
    before = handlers()

    def look() -> list[object]:
        with Interruption() as interruption:
            assert not interruption.asked()
            return handlers()

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(look).result() == before
    assert handlers() == before


def test_where_the_terminal_is_gone_the_request_is_heeded_and_more_may_be_said(tmp_path):
    """Whoever reads standard error has gone; standard output is another file, and stays."""
    script = """
import os, signal, sys
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


def test_where_it_is_asked_to_stop_nothing_more_is_compiled_or_trained(monkeypatch):
    monkeypatch.setattr(LocalExecutor, "_compile", lambda *_: pytest.fail("it was compiled"))
    load = Datasets()
    groups = plan(resolve([Experiment(data=Data(source="digits", n_train=40, n_validation=40))]), load)
    with pytest.raises(KeyboardInterrupt):
        list(LocalExecutor(ProgressBar(groups), load, stop=lambda: True).run(groups))


def test_where_it_is_asked_to_stop_in_the_middle_there_is_a_checkpoint(tmp_path):
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


def stopped(process: "subprocess.Popen[str]") -> None:
    told = [line for line in process.communicate(timeout=100)[1].splitlines() if not line.startswith("import time:")]
    assert process.returncode == 130, told
    assert told == ["stopped: run the same command again to go on."]


@pytest.mark.parametrize("command", ["sweep config.py", "report runs/none"])
def test_an_interrupt_while_a_command_is_imported_ends_it_in_a_sentence(command, seed):
    module = random.Random(seed).choice(["numpy", "jax", "pandas", "tyro", "cnn_constraints.experiment"])
    arguments = [sys.executable, "-X", "importtime", "-m", *f"experiments.{command}".split()]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stderr is not None
        assert any(line.split()[-1:] == [module] for line in process.stderr), module
        process.send_signal(signal.SIGINT)
        stopped(process)


def test_an_interrupt_in_what_cleans_up_is_not_lost():
    """Python tells what is raised there, and forgets it."""
    script = """
import os, signal, sys, time
sys.argv[0] = "-m"
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
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, cwd=ROOT, text=True) as process:
        stopped(process)
