"""However a sweep is run, and however often it is killed, its tables are the same to the last byte."""

import random
import signal
import time

import pytest
from sweep_process import attempts, finish, start, tables, wait_until

from cnn_constraints import store
from cnn_constraints.data.datasets import Datasets

pytestmark = pytest.mark.slow

KILLS = 20


def test_a_sweep_that_is_killed_at_random_moments(place, undisturbed, seed):
    generator, run = random.Random(seed), place / "killed"
    for kill in range(KILLS):
        with start(place, "killed", "--checkpoint-every", "0", "--keep", "weights") as process:
            if kill % 2:
                # In the middle of its work, and not while it starts.
                before = attempts(run)
                wait_until(lambda before=before: attempts(run) > before, process)
            time.sleep(generator.uniform(0, 2))
            process.kill()
        if (run / "parts.json").exists():
            # What is finished has its weights, whenever it was killed.
            assert all(store.load(run, name) for name in store.finished(run))
    finish(start(place, "killed", "--keep", "weights"))
    assert tables(run) == undisturbed
    load = Datasets()
    for row in store.read(run).itertuples():
        trained = store.load(run, row.experiment)
        test = load(trained.experiment.data).test
        right = (store.predict(trained, test.images).classes == test.labels).sum()
        assert right == round(row.test_accuracy * len(test.labels))
    assert not list((run / "checkpoints").iterdir())


def test_a_sweep_that_is_stopped_says_how_to_go_on(place, undisturbed, seed):
    number = random.Random(seed).choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    name = number.name
    with start(place, name, "--checkpoint-every", "0") as process:
        wait_until(lambda: any((place / name).glob("checkpoints/*.safetensors")), process)
        process.send_signal(number)
        _, told = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "stopping after the current step" in told
    assert told.endswith("stopped: run the same command again to go on.\n")
    assert "Traceback" not in told
    assert list((place / name / "checkpoints").glob("*.safetensors"))
    finish(start(place, name))
    assert tables(place / name) == undisturbed


def test_several_processes_on_one_run_folder(place, undisturbed):
    told = [finish(process) for process in [start(place, "several") for _ in range(3)]]
    assert tables(place / "several") == undisturbed
    run = [int(line.split()[0]) for line in "".join(told).splitlines() if " run, " in line]
    assert len(run) == 3 and sum(run) == 9


def test_a_group_whose_process_died_is_taken_over(place, undisturbed):
    run = place / "orphan"
    with start(place, "orphan", "--checkpoint-every", "0") as first:
        wait_until(lambda: any(run.glob("checkpoints/*.safetensors")), first)
        first.send_signal(signal.SIGSTOP)
        second = start(place, "orphan")
        wait_until(lambda: len(store.finished(run)) == 6, second)
        time.sleep(1)
        assert second.poll() is None
        first.kill()
    assert "waiting for another process, which works on " in finish(second)
    assert tables(run) == undisturbed


@pytest.mark.parametrize("devices", [1, 3])
def test_any_number_of_devices(place, undisturbed, devices):
    finish(start(place, f"devices-{devices}", devices=devices))
    assert tables(place / f"devices-{devices}") == undisturbed


def test_a_diverged_candidate_is_recorded_with_its_update_and_not_chosen(place, undisturbed):
    evaluations = store.read(place / "undisturbed", "evaluation")
    wild = evaluations["learning_rate"] == 1e30
    assert evaluations.loc[wild, "diverged_update"].between(1, 2).all()
    assert evaluations.loc[~wild, "diverged_update"].isna().all()
    results = store.read(place / "undisturbed")
    assert (results["diverged_candidates"] == 1).all() and (results["learning_rate"] < 1).all()
    assert not set(results["update"]) - set(range(2, 41, 2))
