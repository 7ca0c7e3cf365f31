"""Many candidates, one compiled program: the candidates of an experiment see the same batches and share the work on them;
experiments, which do not, train side by side on the devices of the machine.

A program covers the updates from one look at the validation data to the next, that look, and, at the right moment, the
drawing of initial weights and the one reading of the test set. So one shape is one program, whatever an experiment's seed,
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

from cnn_constraints.training import candidates as kinds
from cnn_constraints.training import evaluation, loop, soft_constraints
from cnn_constraints.training.candidates import Candidates
from cnn_constraints.training.evaluation import Test
from cnn_constraints.training.loop import Candidate, Hyperparameters, Images, Standardisation, Task
from cnn_constraints.training.metrics import Metrics, measure


class Arrays(NamedTuple):
    """What one experiment is trained on, or with a leading axis what several are. All share the images themselves."""

    key: jax.Array
    hyperparameters: Hyperparameters
    batches: Int[Array, "*experiments updates batch"]
    validation: Int[Array, "*experiments n_validation"]
    standardisation: Standardisation


class Segment(NamedTuple):
    """What happened between two looks at the validation data, for each candidate of one experiment, on the host.

    diverged: as in `loop.Candidate`.
    """

    update: int
    train: Metrics
    validation: Metrics
    test: Test
    diverged: Int[np.ndarray, " candidates"]
    violations: dict[str, Float[np.ndarray, " candidates"]]


class State(NamedTuple):
    """Experiments in the middle: their candidates after an update that ends a segment. To be used, or copied, before the
    next segment is computed: that takes the memory of these.
    """

    update: int
    candidates: Candidates


Steps = Iterator[tuple[list[Segment], State]]
"""What `train` yields: after each segment what happened, experiment by experiment, and the state that it led to."""

SPREAD, WHOLE = PartitionSpec("experiments"), PartitionSpec()
"""Over the devices: an axis of experiments is spread, everything else is on each."""


class Program(NamedTuple):
    """What a group shares: the compiled segment, the shapes of the candidates it takes, and how training is cut up."""

    segment: Callable
    candidates: Candidates
    devices: Mesh
    updates: int
    evaluate_every: int

    @property
    def side_by_side(self) -> int:
        """How many experiments are trained at once."""
        return len(jax.tree.leaves(self.candidates)[0])


def stack(experiments: Sequence[Arrays]) -> Arrays:
    """Experiments of one shape, to be trained side by side."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *experiments)


def compile_program(
    task: Task,
    arrays: Arrays,
    train_split: Images,
    test_split: Images,
    evaluate_every: int,
    kind: type[Candidates] | None = None,
) -> Program:
    """The program of a group, compiled for stacked experiments and splits shaped like these.

    Experiments are spread evenly over as many devices as divide their number. On CPU a device computes in one thread:
    experiments side by side use the cores better than one on all of them (measured: conv and local 1.3 times, shared 1.25
    times, dense the same), and no number depends on how many cores there are.
    """
    kind = kind or kinds.fastest_kind(jax.default_backend())
    devices = _devices_for(len(arrays.batches))
    candidates = jax.eval_shape(jax.vmap(partial(_start, task, kind)), arrays.key, arrays.hyperparameters)
    segment = jax.shard_map(
        partial(_segments, task, kind),
        mesh=devices,
        in_specs=(SPREAD, WHOLE, SPREAD, WHOLE, WHOLE),
        out_specs=SPREAD,
        check_vma=False,
    )
    part = arrays._replace(batches=arrays.batches[:, :evaluate_every])
    placed = [(candidates, SPREAD), (jnp.array(0), WHOLE), (part, SPREAD), (train_split, WHOLE), (test_split, WHOLE)]
    arguments = [jax.tree.map(partial(_shape_on, NamedSharding(devices, where)), value) for value, where in placed]
    one_thread: dict[str, str | bool] = {"xla_cpu_multi_thread_eigen": False}
    options = one_thread if jax.default_backend() == "cpu" else None
    compiled = jax.jit(segment, donate_argnums=0).lower(*arguments).compile(options)
    return Program(compiled, candidates, devices, task.updates, evaluate_every)


def _devices_for(experiments: int) -> Mesh:
    devices = jax.devices()
    count = max(n for n in range(1, len(devices) + 1) if experiments % n == 0)
    return Mesh(np.array(devices[:count]), ("experiments",))


def _shape_on(sharding: NamedSharding, array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)


def on_devices(program: Program, arrays: Any, spread: PartitionSpec = WHOLE) -> Any:
    """Arrays on the devices of the program; what is there already is not copied."""
    return jax.device_put(arrays, NamedSharding(program.devices, spread))


def train(
    program: Program, arrays: Arrays, train_split: Images, test_split: Images, state: State | None = None
) -> Steps:
    """Train stacked experiments with the program of their group, from the start or from a state on."""
    splits = on_devices(program, train_split), on_devices(program, test_split)
    done, candidates = state or State(0, _unwritten(program))
    for first in range(done, program.updates, program.evaluate_every):
        part = arrays._replace(batches=arrays.batches[:, first : first + program.evaluate_every])
        here = on_devices(program, jnp.array(first))
        candidates, history = program.segment(candidates, here, on_devices(program, part, SPREAD), *splits)
        history = jax.tree.map(np.asarray, history)
        state = State(first + program.evaluate_every, candidates)
        of_experiment = lambda i, history=history: jax.tree.map(lambda leaf: leaf[i], history)
        yield [Segment(state.update, *of_experiment(i)) for i in range(program.side_by_side)], state


def best_parameters(state: State, experiment: int, candidate: int) -> Any:
    """Those of one candidate that were best on validation data so far, on the host."""
    return jax.tree.map(np.asarray, state.candidates.on_host(experiment, candidate).best.parameters)


def current_parameters(state: State, experiment: int, candidate: int) -> Any:
    """Those of one candidate after the state's update, on the host."""
    return jax.tree.map(np.asarray, state.candidates.on_host(experiment, candidate).parameters)


def _unwritten(program: Program) -> Candidates:
    """Zeros in the shape of the candidates: the first segment replaces them by initial weights."""
    spread = NamedSharding(program.devices, SPREAD)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype, device=spread), program.candidates)


def load_state(program: Program, update: int, arrays: Sequence[np.ndarray]) -> State | None:
    """A state from the arrays that `jax.tree.leaves` gave of its candidates, with one row an experiment; the last row is
    repeated for as many experiments as the program takes.

    None where they are not those of this program.
    """
    shapes, structure = jax.tree.flatten(program.candidates)
    given = [(array.shape[1:], array.dtype) for array in arrays]
    expected = [(shape.shape[1:], shape.dtype) for shape in shapes]
    if given != expected or not 0 < len(arrays[0]) <= program.side_by_side:
        return None
    rows = np.minimum(np.arange(program.side_by_side), len(arrays[0]) - 1)
    whole = jax.tree.unflatten(structure, [array[rows] for array in arrays])
    return State(update, on_devices(program, whole, SPREAD))


def _segments(
    task: Task, kind: type[Candidates], candidates: Candidates, first: Array, arrays: Arrays, *splits: Images
) -> Any:
    """The segments of the experiments on one device. One alone is computed without an axis, which layouts would suffer
    from.
    """
    segment = lambda candidates, arrays: _segment(task, kind, candidates, first, arrays, *splits)
    if len(arrays.batches) > 1:
        return jax.vmap(segment)(candidates, arrays)
    alone = jax.tree.map(lambda leaf: leaf[0], (candidates, arrays))
    return jax.tree.map(lambda leaf: leaf[None], segment(*alone))


def _start(task: Task, kind: type[Candidates], key: jax.Array, hyperparameters: Hyperparameters) -> Candidates:
    return kinds.alike(loop.start(task, key), jnp.size(hyperparameters.learning_rate), kind)


def _segment(
    task: Task,
    kind: type[Candidates],
    candidates: Candidates,
    first: Int[Array, ""],
    arrays: Arrays,
    train_split: Images,
    test_split: Images,
) -> tuple[Candidates, tuple[Metrics, Metrics, Test, Int[Array, " candidates"], dict[str, Array]]]:
    start = lambda: _start(task, kind, arrays.key, arrays.hyperparameters)
    candidates = lax.cond(first == 0, start, lambda: candidates)

    def step(candidates: Candidates, batch: Int[Array, " batch"]) -> tuple[Candidates, Metrics]:
        images, labels = loop.prepare(train_split, batch, arrays.standardisation)
        return _update(task, candidates, images, labels, arrays.hyperparameters)

    candidates, train_metrics = lax.scan(step, candidates, arrays.batches)
    done = first + len(arrays.batches)
    parameters = candidates.map(lambda one: one.parameters)
    validation = evaluation.evaluate(task, parameters, train_split, arrays.validation, arrays.standardisation)
    candidates = candidates.map(partial(_look, first, done), train_metrics.loss.T, validation)
    test = lax.cond(
        done == task.updates,
        lambda: evaluation.test(task, candidates, test_split, arrays.standardisation, read=True),
        lambda: evaluation.test(task, candidates, test_split, arrays.standardisation, read=False),
    )
    distances = candidates.map(lambda one: soft_constraints.violations(task.network, task.soft, one.parameters))
    train = jax.tree.map(lambda leaf: leaf.mean(axis=0), train_metrics)
    diverged = candidates.map(lambda one: one.diverged).arrays()
    return candidates, (train, validation, test, diverged, distances.arrays())


def _look(
    first: Int[Array, ""], done: Int[Array, ""], candidate: Candidate, train: Float[Array, " updates"], now: Metrics
) -> Candidate:
    return loop.keep_best(loop.note_divergence(candidate, first, train, now.loss), done, now)


def _update(
    task: Task,
    candidates: Candidates,
    images: Float[Array, "batch height width channels"],
    labels: Int[Array, " batch"],
    hyperparameters: Hyperparameters,
) -> tuple[Candidates, Metrics]:
    """`loop.update` for all. No loss depends on another candidate, so the gradient of their sum is that of each."""

    def objective(parameters: Candidates) -> tuple[Float[Array, ""], Metrics]:
        each = jax.vmap(measure, (0, None))(parameters.logits(task.network, images), labels)
        metrics = jax.tree.map(lambda leaf: leaf.mean(axis=1), each)
        return metrics.loss.sum(), metrics

    gradients, metrics = jax.grad(objective, has_aux=True)(candidates.map(lambda one: one.parameters))
    descend = lambda pair, own: loop.descend(task, pair[0], pair[1], own)
    return candidates.pair(gradients).map(descend, hyperparameters), metrics
