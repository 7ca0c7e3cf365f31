"""Groups are trained one after the other while the programs of the next are compiled, on images that lie in memory once."""

import threading
from collections.abc import Callable

import jax
import pytest

from cnn_constraints.data.datasets import Datasets
from cnn_constraints.executors import local
from cnn_constraints.executors.local import LocalExecutor, experiments_at_once, rounds
from cnn_constraints.executors.progress import ProgressBar
from cnn_constraints.experiment import Data, Experiment, Training, axis, product
from cnn_constraints.plan import Group, plan
from cnn_constraints.resolve import resolve
from cnn_constraints.training import ensemble

LOAD = Datasets()


def groups_of(*constraints: str, seeds: int = 2, rates: int = 1, interventions: tuple = ("none",)) -> list[Group]:
    training = Training(updates=2, evaluate_every=1, batch_size=8, learning_rates=tuple(0.1**i for i in range(rates)))
    base = Experiment(data=Data(source="digits", n_train=20, n_validation=20), training=training)
    of_images = "data.intervention", interventions
    experiments = product(base, axis("model.constraint", constraints), axis("seed", range(seeds)), axis(*of_images))
    return plan(resolve(experiments), LOAD)


def executor(groups: list[Group], planned: list[Group], stop: Callable[[], bool] = lambda: False) -> LocalExecutor:
    return LocalExecutor(ProgressBar(groups), LOAD, stop=stop, planned=planned)


def test_programs_are_compiled_while_others_are_trained_and_change_no_order_and_no_number(monkeypatch):
    groups, compiled, both = groups_of("conv", "local"), [], threading.Barrier(2, timeout=100)
    whole, names = ensemble.compile_program, [one.name for group in groups for one in group.experiments]

    def found(planned: list[Group]) -> list:
        one = executor(groups, planned)
        together = [[each._replace(seconds=0.0) for each in together] for together in one.run(groups)]
        assert one.programs == len(groups) and [each.experiment for part in together for each in part] == names
        one.close()
        return together

    alone = found([])

    def compile_program(task, *shapes):
        compiled.append(task.network.layers[0].constraint)
        both.wait()  # which only another thread ends
        return whole(task, *shapes)

    monkeypatch.setattr(local, "compilers", lambda: 2)
    monkeypatch.setattr(ensemble, "compile_program", compile_program)
    assert found(groups) == alone
    assert sorted(compiled) == ["conv", "local"]


def test_it_stops_while_it_waits_for_a_program_and_a_failure_to_compile_is_told(monkeypatch):
    groups, compiling, enough = groups_of("conv"), threading.Event(), threading.Event()

    def compile_program(*_):
        compiling.set()
        enough.wait(100)
        raise MemoryError("too large")

    monkeypatch.setattr(ensemble, "compile_program", compile_program)
    one = executor(groups, groups, stop=compiling.is_set)
    with pytest.raises(KeyboardInterrupt):
        list(one.run(groups))
    enough.set()
    one.close()
    compiling.clear()
    with pytest.raises(MemoryError, match="too large"):
        list(executor(groups, groups).run(groups))


@pytest.mark.parametrize("precision", ["highest", "bfloat16"])
def test_a_program_has_the_precision_that_its_caller_asks_for(precision, monkeypatch):
    groups, asked = groups_of("conv", "local"), []

    def compile_program(*_):
        asked.append(jax.config.jax_default_matmul_precision)
        raise MemoryError

    monkeypatch.setattr(ensemble, "compile_program", compile_program)
    one = executor(groups, groups)
    with jax.default_matmul_precision(precision), pytest.raises(MemoryError):
        list(one.run(groups))
    one.close()
    assert set(asked) == {precision}


def test_every_device_of_a_cpu_reads_the_images_where_they_lie():
    if jax.default_backend() != "cpu":
        pytest.skip("devices have memories of their own")
    [group] = groups_of("conv", seeds=4)
    one = executor([group], [])
    list(one.run([group]))
    one.close()
    [splits] = one._on_device.values()
    for on_devices, split in zip(splits, (LOAD(group.first.data).train, LOAD(group.first.data).test), strict=True):
        for spread, array in zip(on_devices, split, strict=True):
            assert {shard.data.unsafe_buffer_pointer() for shard in spread.addressable_shards} == {array.ctypes.data}


@pytest.mark.parametrize(("seeds", "rates"), [(1, 1), (5, 3), (9, 2)])
def test_rounds_hold_every_experiment_once_and_no_more_than_fit(seeds, rates, generator):
    [group] = groups_of("conv", seeds=seeds, rates=rates)
    for on_cpu in (True, False):
        devices, fit = map(int, generator.integers(1, 9, 2))
        width = experiments_at_once(group, on_cpu, devices, fit)
        together = list(rounds(group, width))
        assert [one for members in together for one in members] == list(group.experiments)
        if on_cpu:
            assert width <= max(min(devices, fit), 1)
        else:
            used = min(devices, seeds)
            assert width % used == 0 and width // used <= fit
            # As many candidates as keep the device busy, and no experiment more than that takes.
            assert (width // used - 1) * rates < local.CANDIDATES_ON_ACCELERATOR
    [single] = groups_of("conv")
    assert group.least_memory < group.most_memory == single.most_memory * rates


@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_round_is_as_wide_as_its_data_set_has_experiments_wherever_they_stand_in_the_sweep(on_cpu):
    [group] = groups_of("conv", seeds=3, interventions=("none", "permute_pixels"))
    width = experiments_at_once(group, on_cpu, 1 if not on_cpu else 4, 9)
    together = list(rounds(group, width))
    assert [len(members) for members in together] == [width, width] == [3, 3]
    assert [{one.data.intervention for one in members} for members in together] == [{"none"}, {"permute_pixels"}]
