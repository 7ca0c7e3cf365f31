"""Trains groups one after the other on all devices of this machine, while threads compile the programs of those that
follow: groups in, what each experiment found out.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np

from cnn_constraints.arrays import Dataset
from cnn_constraints.data.datasets import images_of
from cnn_constraints.environment import device_memory, machine_memory
from cnn_constraints.experiment import Data
from cnn_constraints.plan import Group, as_arrays, build_arrays, by_images
from cnn_constraints.resolve import Resolved
from cnn_constraints.settings import cores, fixed_settings
from cnn_constraints.store import Checkpoint, Checkpoints, weights
from cnn_constraints.training import ensemble, tuning
from cnn_constraints.training.ensemble import Arrays, Program, State
from cnn_constraints.training.loop import Images
from cnn_constraints.training.records import Evaluation, Finished, choose, evaluations_of, result_of
from cnn_constraints.training.tuning import Grid

T = TypeVar("T")

CANDIDATES_ON_ACCELERATOR = 256
"""On an H200 each takes up to a quarter less time than one of 64 does (see benchmarks/results); more were not tried."""

FILLED = 0.8
"""Share of an accelerator's memory that experiments fill: images, and kernels that are timed, need some too."""

CHECKPOINT_EVERY = 60.0
"""Seconds of training between two checkpoints."""

CHECKPOINT_SHARE = 0.01
"""At most so much of the time goes into checkpoints, however large they are."""

COMPILER_CORES, COMPILER_BYTES = 1, 2**31
"""So many cores, and so much memory, are there for each program that is compiled beside others."""

STOP_EVERY = 0.1
"""Seconds between two looks, while a program is waited for, at whether to stop."""


@runtime_checkable
class Progress(Protocol):
    """Told what is going on; see progress.py."""

    def compiling(self, group: Group) -> None:
        """The program of a group begins to be compiled; said in the thread that does it."""

    def compiled(self, group: Group) -> None:
        """It is."""

    def running(self, experiments: Sequence[Resolved]) -> None:
        """These experiments begin to be trained side by side."""

    def advanced(self, updates: int) -> None:
        """So many updates more are done, of all experiments together."""

    def looked(self, experiment: Resolved, looks: Sequence[Evaluation]) -> None:
        """This was measured of the experiment's candidates, and was not told before."""

    def extended(self, updates: int) -> None:
        """So many updates more are to be done than was thought."""


@dataclass(eq=False)
class LocalExecutor:
    """Holds what groups have in common: data sets in memory and on the device, each loaded once.

    checkpoints: where groups that take long are kept in the middle, and go on from; whoever keeps what they found deletes
    them. checkpoint_every: in seconds; 0 for after every step, whatever it costs.
    stop: whether to stop, asked before experiments are trained and after every step, that is after each look at the
    validation data. planned: the groups that will be run, as far as is known, in their order. keep_weights: whether what is
    found comes with the chosen networks. programs: how many were compiled.
    """

    progress: Progress
    load: Callable[[Data], Dataset]
    checkpoints: Checkpoints | None = None
    checkpoint_every: float = CHECKPOINT_EVERY
    stop: Callable[[], bool] = lambda: False
    planned: Sequence[Group] = ()
    keep_weights: bool = False
    programs: int = field(default=0, init=False)
    _on_device: dict[tuple, tuple[Images, Images]] = field(default_factory=dict, init=False)
    _compilers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(compilers()), init=False)
    _compiled: dict[tuple[str, int], Future[Program]] = field(default_factory=dict, init=False)
    _last: tuple[str, int] | None = field(default=None, init=False)

    def close(self) -> None:
        """Wait for the programs that are being compiled, and compile no others."""
        self._compilers.shutdown(cancel_futures=True)

    def run(self, groups: Iterable[Group]) -> Iterator[list[Finished]]:
        """Train and test every experiment of the groups; what those trained side by side found comes together.

        Raises KeyboardInterrupt, with a checkpoint of the group, where it is asked to stop.
        """
        for group in groups:
            width = side_by_side(group)
            checkpoint = self._load_checkpoint(group, width)
            for members in rounds(group, width, checkpoint):
                if self.stop():
                    raise KeyboardInterrupt
                dataset = self.load(members[0].data)
                arrays = ensemble.stack([build_arrays(member, dataset) for member in filled_up(members, width)])
                program = self._program(group)
                yield self._round(Round(group, members, arrays), program, checkpoint)
                checkpoint = None

    def _round(self, round_: "Round", program: Program, checkpoint: Checkpoint | None) -> list[Finished]:
        """What a round finds, from its checkpoint on if it has one."""
        members, group = round_.members, round_.group
        self.progress.running(members)
        so_far = self._resume(round_, program, checkpoint)
        train, test = self._splits(members[0].data, program)
        while any(so_far.grids):
            self._train(round_, program, train, so_far)
            so_far = so_far.after_grid(members)
            self.progress.extended(sum(grid is not None for grid in so_far.grids) * program.updates)
        networks = filled_up(so_far.best, program.side_by_side)
        tested = ensemble.test(program, networks, round_.arrays.standardisation, test)
        device, seconds = jax.devices()[0].device_kind, so_far.seconds / len(members)
        return [
            Finished(
                one.name,
                result_of(looks := so_far.found[one.name], metrics, *group.cost, device),
                looks,
                seconds,
                self._packed(round_, number, so_far.best[number]) if self.keep_weights and choose(looks) else None,
            )
            for number, (one, metrics) in enumerate(zip(members, tested, strict=False))
        ]

    def _packed(self, round_: "Round", number: int, variables: Any) -> bytes:
        """The weights of one of the experiments of a round, as a file holds them."""
        member, scales = round_.members[number], ensemble.row(round_.arrays.standardisation, number)
        return weights.pack(member, round_.group.task.network, variables, scales, self.load(member.data))

    def _train(self, round_: "Round", program: Program, split: Images, so_far: "SoFar") -> None:
        """Train the grids of a round to their end. Raises KeyboardInterrupt, with a checkpoint, where it is to stop."""
        # Who has no grid left trains the first one again, and nobody looks.
        now = [as_arrays(grid or one.candidates) for grid, one in zip(so_far.grids, round_.members, strict=True)]
        stacked = ensemble.stack(filled_up(now, program.side_by_side))
        arrays = round_.arrays._replace(hyperparameters=stacked)
        spent, started = so_far.seconds, time.perf_counter()
        for parts, state in ensemble.train(program, arrays, split, so_far.state):
            now = time.perf_counter()
            so_far.state, so_far.seconds = state, spent + now - started
            for member, grid, part in zip(round_.members, so_far.grids, parts, strict=False):
                if grid:
                    looks = evaluations_of(part, grid, so_far.number * len(grid))
                    so_far.found[member.name] += looks
                    self.progress.looked(member, looks)
                    self.progress.advanced(program.evaluate_every)
            if state.update == program.updates and not any(so_far.next_grids(round_.members)):
                return
            pause = max(self.checkpoint_every, so_far.cost / CHECKPOINT_SHARE) if self.checkpoint_every else 0.0
            stop = self.stop()
            if now - so_far.saved >= pause or stop:
                self._save(round_, so_far)
                so_far.saved = time.perf_counter()
                so_far.cost = so_far.saved - now
            if stop:
                raise KeyboardInterrupt

    def _save(self, round_: "Round", so_far: "SoFar") -> None:
        if self.checkpoints and so_far.state:
            count = len(round_.members)
            own = [np.array(array[:count]) for array in jax.tree.leaves(so_far.state.candidates)]
            best = [np.stack(leaves) for leaves in zip(*map(jax.tree.leaves, so_far.best), strict=True)]
            of_state = (so_far.state.update, so_far.seconds, so_far.found, [*own, *best])
            self.checkpoints.save(round_.group.name, Checkpoint(*of_state))

    def _load_checkpoint(self, group: Group, width: int) -> Checkpoint | None:
        """The checkpoint of a group, if its experiments are not finished and fit side by side."""
        checkpoint = self.checkpoints.load(group.name) if self.checkpoints else None
        if checkpoint is None or len(checkpoint.found) > width:
            return None
        return checkpoint if checkpoint.found.keys() <= {one.name for one in group.experiments} else None

    def _resume(self, round_: "Round", program: Program, checkpoint: Checkpoint | None) -> "SoFar":
        """Where a round begins: at its checkpoint, or at the start."""
        members, count = round_.members, len(jax.tree.leaves(program.candidates))
        anew = SoFar({member.name: [] for member in members}, [member.candidates for member in members])
        if checkpoint is None:
            return anew
        state = ensemble.load_state(program, checkpoint.update, checkpoint.state[:count])
        if state is None:
            warnings.warn("A checkpoint is of another program, so its experiments start anew.", stacklevel=2)
            return anew
        found = {name: list(looks) for name, looks in checkpoint.found.items()}
        tried = [tuning.tried(found[member.name], len(member.candidates)) for member in members]
        number = max(map(len, tried)) - 1
        self.progress.extended(sum(len(each) - 1 for each in tried) * program.updates)
        for member in members:
            self.progress.looked(member, looks := found[member.name])
            self.progress.advanced(len(looks) // len(member.candidates) * program.evaluate_every)
        structure = jax.tree.structure(ensemble.best_variables(state, 0, 0))
        rows = zip(*checkpoint.state[count:], strict=True)
        best = [jax.tree.unflatten(structure, row) for row in rows]
        now = [each[number] if len(each) > number else None for each in tried]
        return SoFar(found, now, number, best, state, checkpoint.seconds)

    def _splits(self, data: Data, program: Program) -> tuple[Images, Images]:
        """One data set at a time stays on the devices: their memory is for models."""
        key = (images_of(data), program.devices)
        if key not in self._on_device:
            dataset = self.load(data)
            train, test = (ensemble.on_devices(program, Images(*split)) for split in (dataset.train, dataset.test))
            self._on_device = {key: (train, test)}
        return self._on_device[key]

    def _program(self, group: Group) -> Program:
        """The program of a group; those of the groups that follow are compiled from now on, as many as there are threads.

        Raises KeyboardInterrupt where it is asked to stop before the program is there.
        """
        names = [one.name for one in self.planned]
        after = names.index(group.name) + 1 if group.name in names else len(names)
        wanted = {(one.name, side_by_side(one)): one for one in (group, *self.planned[after : after + compilers()])}
        self._compiled = {key: self._compiled.get(key) or self._compile(one) for key, one in wanted.items()}
        key, program = next(iter(self._compiled.items()))
        while not wait([program], STOP_EVERY).done:
            if self.stop():
                raise KeyboardInterrupt
        self.programs += key != self._last
        self._last = key
        return program.result()

    def _compile(self, group: Group) -> Future[Program]:
        dataset, width = self.load(group.first.data), side_by_side(group)
        # A caller's `with jax.default_matmul_precision(...)` is of the caller's thread alone.
        precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]

        def compile_program() -> Program:
            # Compiling asks for shapes only, so nothing is copied for the others.
            repeat = lambda array: np.broadcast_to(array, (width, *array.shape))
            arrays = jax.tree.map(repeat, build_arrays(group.first, dataset))
            splits = Images(*dataset.train), Images(*dataset.test)
            self.progress.compiling(group)
            with fixed_settings(), jax.default_matmul_precision(precision):
                program = ensemble.compile_program(group.task, arrays, *splits, group.first.training.evaluate_every)
            self.progress.compiled(group)
            return program

        return self._compilers.submit(compile_program)


def compilers() -> int:
    """How many programs are compiled at once on this machine."""
    return max(1, min(cores() // COMPILER_CORES, machine_memory() // COMPILER_BYTES))


class Round(NamedTuple):
    """Experiments of one group and data set that are trained side by side. arrays: filled up to the program's number."""

    group: Group
    members: list[Resolved]
    arrays: Arrays


@dataclass
class SoFar:
    """A round in the middle. found: evaluations by experiment. grids: what each experiment is trained with, None for one
    that is done; the `number`-th, from 0 on. best: the network of the best candidate of the grids before. state: to go on
    from, None at the start of a grid. seconds: of training. saved, cost: when, and how long it took.
    """

    found: dict[str, list[Evaluation]]
    grids: Sequence[Grid | None]
    number: int = 0
    best: list[Any] = field(default_factory=list)
    state: State | None = None
    seconds: float = 0.0
    saved: float = field(default_factory=time.perf_counter)
    cost: float = 0.0

    def next_grids(self, members: Sequence[Resolved]) -> list[Grid | None]:
        """What the experiments are trained with once the grids of now are at their end."""
        return [
            tuning.beyond(one.candidates, self.found[one.name])
            if grid and self.number < one.training.extend_grid
            else None
            for one, grid in zip(members, self.grids, strict=True)
        ]

    def after_grid(self, members: Sequence[Resolved]) -> "SoFar":
        """At the start of the next grids. Called at the end of these."""
        assert self.state
        best = []
        for place, one in enumerate(members):
            chosen = choose(self.found[one.name])
            grid, candidate = divmod(chosen.candidate if chosen else 0, len(one.candidates))
            now = grid == self.number
            best.append(ensemble.best_variables(self.state, place, candidate) if now else self.best[place])
        return replace(self, grids=self.next_grids(members), number=self.number + 1, best=best, state=None)


def side_by_side(group: Group) -> int:
    """How many experiments of a group are trained at once on this machine: by the group and the device, whatever else its
    memory holds, since bits and checkpoints depend on it on accelerators.
    """
    on_cpu = jax.default_backend() == "cpu"
    fit = device_memory() / group.least_memory if on_cpu else FILLED * device_memory() / group.most_memory
    return experiments_at_once(group, on_cpu, jax.device_count(), max(1, int(fit)))


def memory_at_once(group: Group) -> int:
    """Bytes that the parameters of the experiments side by side take, and their images: once on every accelerator, and once
    in the memory that the devices of a CPU share.
    """
    copies = 1 if jax.default_backend() == "cpu" else min(jax.device_count(), group.size)
    return copies * group.images_bytes + side_by_side(group) * group.least_memory


def experiments_at_once(group: Group, on_cpu: bool, devices: int, fit: int) -> int:
    """One for each device of a CPU, for each accelerator as many as make CANDIDATES_ON_ACCELERATOR candidates. fit: into
    the memory of a device.

    Experiments that are finished count too, so that a sweep that goes on has the programs that it had.
    """
    count = group.size
    if on_cpu:
        # The devices of a CPU share its memory. Rounds of even size: three devices three times for nine on four.
        # A lone experiment has a twin: XLA rounds otherwise where there is one device only, and no number may depend on it.
        most = min(devices, fit, max(count, 2))
        return max(math.ceil(count / math.ceil(count / most)), min(most, 2))
    devices = min(devices, count)
    wanted = math.ceil(CANDIDATES_ON_ACCELERATOR / len(group.first.candidates))
    return devices * min(wanted, fit, math.ceil(count / devices))


def filled_up(members: list[T], width: int) -> list[T]:
    """A program takes so many: in a round with fewer, the last counts several times over."""
    return [*members, *members[-1:] * (width - len(members))]


def rounds(group: Group, width: int, checkpoint: Checkpoint | None = None) -> Iterator[list[Resolved]]:
    """The group's experiments, at most `width` at a time, all on one data set; those of a checkpoint first, in its order,
    which is that of its arrays.
    """
    rest = {one.name: one for one in group.experiments}
    if checkpoint:
        yield [rest.pop(name) for name in checkpoint.found]
    for together in by_images(rest.values()):
        yield from (together[first : first + width] for first in range(0, len(together), width))
