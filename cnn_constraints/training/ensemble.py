"""Many lanes, one compiled program: the lanes of a trial see the same batches and share the work on them; trials, which
do not, train side by side on the devices of the machine.

A program covers the updates from one look at the validation data to the next, that look, and, at the right moment, the
drawing of initial weights and the one reading of the test set. So one shape is one program, whatever a trial's seed,
training-set size, learning rates and weight decays are.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from cnn_constraints.model import logits_of_lanes
from cnn_constraints.training import run, soft_constraints
from cnn_constraints.training.metrics import Metrics, better, measure
from cnn_constraints.training.run import Hyperparameters, Images, Lane, Standardisation, Task

Lanes = Any
"""A tuple of Lane (unrolled), or one Lane whose arrays have a leading axis of lanes (vmapped)."""


class Trial(NamedTuple):
    """What one trial is trained on, or with a leading axis what several are. The images themselves are shared by all."""

    key: jax.Array
    hyperparameters: Hyperparameters
    batches: Int[Array, "*trials updates batch"]
    validation: Int[Array, "*trials n_validation"]
    standardisation: Standardisation


class Test(NamedTuple):
    """The chosen lane, by validation alone, and its test metrics: NaN until the last segment reads the test set."""

    lane: Int[Array, ""]
    update: Int[Array, ""]
    validation: Metrics
    metrics: Metrics


class Segment(NamedTuple):
    """What happened between two looks at the validation data, for each lane of one trial."""

    update: int
    train: Metrics
    validation: Metrics
    test: Test
    violations: dict[str, Float[Array, " lanes"]]


def lane_axis(backend: str) -> str:
    """On CPU lanes are unrolled: XLA still computes what they share once, and every product keeps the memory layout of
    a single model, which a batch axis would destroy (measured: dense 2.5 times faster, conv 1.5 times). Elsewhere one
    batched product is what keeps the machine busy.
    """
    return "unrolled" if backend == "cpu" else "vmapped"


TRIALS = "trials"
"""The axis of devices over which trials are spread."""


class Program(NamedTuple):
    """What a group shares: the compiled segment, the shapes of the lanes it takes, and how a trial is cut up."""

    segment: Callable
    lanes: Lanes
    devices: Mesh
    updates: int
    evaluate_every: int

    @property
    def trials(self) -> int:
        """How many are trained side by side."""
        return len(jax.tree.leaves(self.lanes)[0])


def stack(trials: Sequence[Trial]) -> Trial:
    """Trials of one shape, to be trained side by side."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trials)


def compile_program(
    task: Task,
    trials: Trial,
    train_split: Images,
    test_split: Images,
    evaluate_every: int,
    axis: str | None = None,
) -> Program:
    """The program of a group, compiled for stacked trials and splits shaped like these.

    Trials are spread evenly over as many of this machine's devices as divide their number. On CPU a device computes
    in one thread: trials side by side use the cores better than one trial on all of them (measured: conv and local 1.3
    times, shared 1.25 times, dense the same), and no number depends on how many cores there are.
    """
    axis = axis or lane_axis(jax.default_backend())
    devices = _devices_for(len(trials.batches))
    lanes = jax.eval_shape(jax.vmap(partial(_start, task, axis)), trials.key, trials.hyperparameters)
    spread, whole = PartitionSpec(TRIALS), PartitionSpec()
    segment = jax.shard_map(
        partial(_segments, task, axis),
        mesh=devices,
        in_specs=(spread, whole, spread, whole, whole),
        out_specs=spread,
        check_vma=False,
    )
    part = trials._replace(batches=trials.batches[:, :evaluate_every])
    placed = [(lanes, spread), (jnp.array(0), whole), (part, spread), (train_split, whole), (test_split, whole)]
    arguments = [jax.tree.map(partial(_shape_on, NamedSharding(devices, where)), value) for value, where in placed]
    one_thread: dict[str, str | bool] = {"xla_cpu_multi_thread_eigen": False}
    options = one_thread if jax.default_backend() == "cpu" else None
    compiled = jax.jit(segment, donate_argnums=0).lower(*arguments).compile(options)
    return Program(compiled, lanes, devices, task.updates, evaluate_every)


def _devices_for(trials: int) -> Mesh:
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if trials % n == 0)
    return Mesh(np.array(devices[:count]), (TRIALS,))


def _shape_on(sharding: NamedSharding, array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)


def on_devices(program: Program, arrays: Any) -> Any:
    """Arrays, a split for instance, on every device of the program; what is there already is not copied."""
    return jax.device_put(arrays, NamedSharding(program.devices, PartitionSpec()))


def train(program: Program, trials: Trial, train_split: Images, test_split: Images) -> Iterator[list[Segment]]:
    """Train stacked trials with the program of their group: after each segment what happened, trial by trial."""
    spread = NamedSharding(program.devices, PartitionSpec(TRIALS))
    splits = on_devices(program, train_split), on_devices(program, test_split)
    # Zeros in the shape of the lanes: the first segment replaces them by initial weights.
    zeros = lambda leaf: jnp.zeros(leaf.shape, leaf.dtype, device=spread)
    lanes = jax.tree.map(zeros, program.lanes)
    for first in range(0, program.updates, program.evaluate_every):
        part = trials._replace(batches=trials.batches[:, first : first + program.evaluate_every])
        here = on_devices(program, jnp.array(first))
        lanes, history = program.segment(lanes, here, jax.device_put(part, spread), *splits)
        history = jax.tree.map(np.asarray, history)
        update = first + program.evaluate_every
        yield [Segment(update, *jax.tree.map(lambda leaf, i=i: leaf[i], history)) for i in range(program.trials)]


def _segments(task: Task, axis: str, lanes: Lanes, first: Array, trials: Trial, *splits: Images) -> Any:
    """The segments of the trials on one device. One alone is computed without an axis, which layouts would suffer from."""
    segment = lambda lanes, trial: _segment(task, axis, lanes, first, trial, *splits)
    if len(trials.batches) > 1:
        return jax.vmap(segment)(lanes, trials)
    alone = jax.tree.map(lambda leaf: leaf[0], (lanes, trials))
    return jax.tree.map(lambda leaf: leaf[None], segment(*alone))


def _start(task: Task, axis: str, key: jax.Array, hyperparameters: Hyperparameters) -> Lanes:
    count = len(hyperparameters.learning_rate)
    lane = run.start(task, key)
    if axis == "unrolled":
        return (lane,) * count
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), lane)


def _over_lanes(function: Callable, axis: str, lanes: Lanes, *more: Any) -> tuple[Lanes, Any]:
    """function(lane, *more) -> (lane, metrics) for every lane; metrics come back with a leading axis of lanes."""
    if axis == "vmapped":
        return jax.vmap(function)(lanes, *more)
    results = [function(lane, *jax.tree.map(lambda leaf, i=i: leaf[i], more)) for i, lane in enumerate(lanes)]
    return tuple(lane for lane, _ in results), jax.tree.map(lambda *leaves: jnp.stack(leaves), *[m for _, m in results])


def _segment(
    task: Task,
    axis: str,
    lanes: Lanes,
    first: Int[Array, ""],
    trial: Trial,
    train_split: Images,
    test_split: Images,
) -> tuple[Lanes, tuple[Metrics, Metrics, Test, dict[str, Array]]]:
    lanes = lax.cond(first == 0, lambda: _start(task, axis, trial.key, trial.hyperparameters), lambda: lanes)

    def step(lanes: Lanes, batch: Int[Array, " batch"]) -> tuple[Lanes, Metrics]:
        images, labels = run.prepare(train_split, batch, trial.standardisation)
        if axis == "unrolled":
            return _update_lanes(task, lanes, images, labels, trial.hyperparameters)
        one = lambda lane, hyperparameters: run.update(task, lane, images, labels, hyperparameters)
        return jax.vmap(one)(lanes, trial.hyperparameters)

    lanes, train_metrics = lax.scan(step, lanes, trial.batches)
    done = first + len(trial.batches)
    parameters = lanes.parameters if axis == "vmapped" else tuple(lane.parameters for lane in lanes)
    validation = _evaluate(task, axis, parameters, train_split, trial.validation, trial.standardisation)
    lanes, _ = _over_lanes(lambda lane, m: (run.keep_best(lane, done, m), 0), axis, lanes, validation)
    test = lax.cond(
        done == task.updates,
        lambda: _test(task, axis, lanes, test_split, trial.standardisation, read=True),
        lambda: _test(task, axis, lanes, test_split, trial.standardisation, read=False),
    )
    violations = lambda lane: (lane, soft_constraints.violations(task.network, task.soft, lane.parameters))
    distances = _over_lanes(violations, axis, lanes)[1]
    return lanes, (jax.tree.map(lambda leaf: leaf.mean(axis=0), train_metrics), validation, test, distances)


def _update_lanes(
    task: Task,
    lanes: tuple[Lane, ...],
    images: Float[Array, "batch height width channels"],
    labels: Int[Array, " batch"],
    hyperparameters: Hyperparameters,
) -> tuple[tuple[Lane, ...], Metrics]:
    """`run.update` for every lane. No loss depends on another lane, so the gradient of their sum is that of each."""

    def objective(parameters: tuple) -> tuple[Float[Array, ""], Metrics]:
        logits = jnp.stack(logits_of_lanes(task.network, parameters, images))
        metrics = jax.tree.map(lambda leaf: leaf.mean(axis=1), jax.vmap(measure, (0, None))(logits, labels))
        return metrics.loss.sum(), metrics

    gradients, metrics = jax.grad(objective, has_aux=True)(tuple(lane.parameters for lane in lanes))
    own = [jax.tree.map(lambda leaf, i=i: leaf[i], hyperparameters) for i in range(len(lanes))]
    return tuple(run.descend(task, *lane) for lane in zip(lanes, gradients, own, strict=True)), metrics


def _evaluate(
    task: Task,
    axis: str,
    parameters: Any,
    split: Images,
    indices: Int[Array, " examples"],
    standardisation: Standardisation,
) -> Metrics:
    """Mean metrics of each lane's parameters, a chunk of images at a time."""
    chunks, counts = _in_chunks(indices)

    def chunk(carry: None, part: tuple) -> tuple[None, Metrics]:
        images, labels = run.prepare(split, part[0], standardisation)

        if axis == "unrolled":
            logits = jnp.stack(logits_of_lanes(task.network, parameters, images))
        else:
            logits: Any = jax.vmap(lambda lane: task.network.apply({"params": lane}, images))(parameters)
        metrics = jax.vmap(measure, (0, None))(logits, labels)
        return carry, jax.tree.map(lambda leaf: jnp.where(part[1], leaf, 0).sum(axis=1), metrics)

    _, sums = lax.scan(chunk, None, (chunks, counts))
    return jax.tree.map(lambda leaf: leaf.sum(axis=0) / len(indices), sums)


def _in_chunks(indices: Int[Array, " examples"]) -> tuple[Int[Array, "chunks chunk"], Bool[Array, "chunks chunk"]]:
    """Equal chunks, and which places of them hold an example: the last chunk is filled up with the first example."""
    examples = len(indices)
    chunks = -(-examples // run.EVALUATION_CHUNK)
    chunk = -(-examples // chunks)
    filler = jnp.broadcast_to(indices[:1], (chunks * chunk - examples,))
    real = jnp.arange(chunks * chunk) < examples
    return jnp.concatenate([indices, filler]).reshape(chunks, chunk), real.reshape(chunks, chunk)


def _test(
    task: Task, axis: str, lanes: Lanes, test_split: Images, standardisation: Standardisation, read: bool
) -> Test:
    best = _over_lanes(lambda lane: (lane, lane.best._replace(parameters=0)), axis, lanes)[1]
    chosen = _argbest(best.metrics)
    validation = jax.tree.map(lambda leaf: leaf[chosen], best.metrics)
    metrics = Metrics(jnp.array(jnp.nan), jnp.array(jnp.nan))
    if read:
        if axis == "unrolled":
            winner = jax.tree.map(
                lambda *leaves: lax.select_n(chosen, *leaves), *[lane.best.parameters for lane in lanes]
            )
        else:
            winner = jax.tree.map(lambda leaf: leaf[chosen], lanes.best.parameters)
        everything = jnp.arange(len(test_split.labels))
        metrics = _evaluate(task, "unrolled", (winner,), test_split, everything, standardisation)
        # A trial whose every lane diverged has chosen nothing that could be tested.
        metrics = jax.tree.map(lambda leaf: jnp.where(validation.accuracy < 0, jnp.nan, leaf[0]), metrics)
    return Test(chosen, best.update[chosen], validation, metrics)


def _argbest(metrics: Metrics) -> Int[Array, ""]:
    """The first lane that no other lane is better than."""
    beaten = better(
        jax.tree.map(lambda leaf: leaf[None, :], metrics), jax.tree.map(lambda leaf: leaf[:, None], metrics)
    )
    return jnp.argmin(beaten.any(axis=1)).astype(jnp.int32)
