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
from jaxtyping import Array, Float, Int

from cnn_constraints.model import logits_of_lanes
from cnn_constraints.training import evaluation, hosts, run, soft_constraints
from cnn_constraints.training.evaluation import Lanes, Test
from cnn_constraints.training.metrics import Metrics, measure
from cnn_constraints.training.run import Hyperparameters, Images, Lane, Standardisation, Task


class Trial(NamedTuple):
    """What one trial is trained on, or with a leading axis what several are. The images themselves are shared by all."""

    key: jax.Array
    hyperparameters: Hyperparameters
    batches: Int[Array, "*trials updates batch"]
    validation: Int[Array, "*trials n_validation"]
    standardisation: Standardisation


class Segment(NamedTuple):
    """What happened between two looks at the validation data, for each lane of one trial. diverged: as in `run.Lane`."""

    update: int
    train: Metrics
    validation: Metrics
    test: Test
    diverged: Int[Array, " lanes"]
    violations: dict[str, Float[Array, " lanes"]]


class State(NamedTuple):
    """Trials in the middle: their lanes after an update that ends a segment. To be used, or copied, before the next segment
    is computed: that takes the lanes' memory.
    """

    update: int
    lanes: Lanes


Steps = Iterator[tuple[list[Segment], State]]
"""What `train` yields: after each segment what happened, trial by trial, and the state that it led to."""


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

    Trials are spread evenly over as many of the job's devices as divide their number. On CPU a device computes
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
    devices = jax.devices()
    count = max(n for n in range(1, len(devices) + 1) if trials % n == 0)
    return Mesh(np.array(devices[:count]), (TRIALS,))


def _shape_on(sharding: NamedSharding, array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)


def on_devices(program: Program, arrays: Any) -> Any:
    """Arrays, a split for instance, on every device of the program; what is there already is not copied."""
    return hosts.place(arrays, NamedSharding(program.devices, PartitionSpec()))


def train(
    program: Program, trials: Trial, train_split: Images, test_split: Images, state: State | None = None
) -> Steps:
    """Train stacked trials with the program of their group, from the start or from a state on."""
    spread = NamedSharding(program.devices, PartitionSpec(TRIALS))
    splits = on_devices(program, train_split), on_devices(program, test_split)
    done, lanes = state or State(0, _unwritten(program, spread))
    for first in range(done, program.updates, program.evaluate_every):
        part = trials._replace(batches=trials.batches[:, first : first + program.evaluate_every])
        here = on_devices(program, jnp.array(first))
        lanes, history = program.segment(lanes, here, hosts.place(part, spread), *splits)
        history = hosts.gather(history)
        state = State(first + program.evaluate_every, lanes)
        of_trial = lambda i, history=history: jax.tree.map(lambda leaf: leaf[i], history)
        yield [Segment(state.update, *of_trial(i)) for i in range(program.trials)], state


def best_parameters(state: State, trial: int, lane: int) -> Any:
    """Those of one lane that were best on validation data so far, on the host."""
    return _of_lane(state, trial, lane, lambda lanes: lanes.best.parameters)


def current_parameters(state: State, trial: int, lane: int) -> Any:
    """Those of one lane after the state's update, on the host."""
    return _of_lane(state, trial, lane, lambda lanes: lanes.parameters)


def _of_lane(state: State, trial: int, lane: int, part: Callable[[Lane], Any]) -> Any:
    """A part of one lane; with an axis of lanes, that follows the axis of trials."""
    if isinstance(state.lanes, Lane):
        return jax.tree.map(lambda leaf: np.asarray(leaf[trial, lane]), part(state.lanes))
    return jax.tree.map(lambda leaf: np.asarray(leaf[trial]), part(state.lanes[lane]))


def _unwritten(program: Program, spread: NamedSharding) -> Lanes:
    """Zeros in the shape of the lanes: the first segment replaces them by initial weights."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype, device=spread), program.lanes)


def load_state(program: Program, update: int, arrays: Sequence[np.ndarray]) -> State | None:
    """A state from the arrays that `jax.tree.leaves` gave of its lanes, with one row a trial; the last row is repeated for
    as many trials as the program takes. Of several hosts the first must have the arrays.

    None where they are not those of this program.
    """
    shapes, structure = jax.tree.flatten(program.lanes)
    given = [(array.shape[1:], array.dtype) for array in arrays]
    fits = given == [(shape.shape[1:], shape.dtype) for shape in shapes] and 0 < len(arrays[0]) <= program.trials
    if not hosts.agreed(np.array(fits)):
        return None
    rows = np.minimum(np.arange(program.trials), len(arrays[0]) - 1) if fits else None
    whole = [np.zeros(shape.shape, shape.dtype) if rows is None else arrays[i][rows] for i, shape in enumerate(shapes)]
    lanes = jax.tree.unflatten(structure, hosts.agreed(whole))
    return State(update, hosts.place(lanes, NamedSharding(program.devices, PartitionSpec(TRIALS))))


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


def _segment(
    task: Task,
    axis: str,
    lanes: Lanes,
    first: Int[Array, ""],
    trial: Trial,
    train_split: Images,
    test_split: Images,
) -> tuple[Lanes, tuple[Metrics, Metrics, Test, Int[Array, " lanes"], dict[str, Array]]]:
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
    validation = evaluation.evaluate(task, axis, parameters, train_split, trial.validation, trial.standardisation)
    lanes, diverged = evaluation.over_lanes(partial(_look, first, done), axis, lanes, train_metrics.loss.T, validation)
    test = lax.cond(
        done == task.updates,
        lambda: evaluation.test(task, axis, lanes, test_split, trial.standardisation, read=True),
        lambda: evaluation.test(task, axis, lanes, test_split, trial.standardisation, read=False),
    )
    violations = lambda lane: (lane, soft_constraints.violations(task.network, task.soft, lane.parameters))
    distances = evaluation.over_lanes(violations, axis, lanes)[1]
    return lanes, (jax.tree.map(lambda leaf: leaf.mean(axis=0), train_metrics), validation, test, diverged, distances)


def _look(
    first: Int[Array, ""], done: Int[Array, ""], lane: Lane, train: Float[Array, " updates"], validation: Metrics
) -> tuple[Lane, Int[Array, ""]]:
    lane = run.keep_best(run.note_divergence(lane, first, train, validation.loss), done, validation)
    return lane, lane.diverged


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
