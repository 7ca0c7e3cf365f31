"""Many candidates, one compiled program: the candidates of an experiment see the same batches and share the work on them;
experiments, which do not, train side by side on the devices of the machine.

A program has three parts: the drawing of initial weights; the updates from one look at the validation data to the next,
with that look; and the one reading of the test set, once training has ended. So one shape is one program, whatever an
experiment's seed, training-set size, learning rates and weight decays are.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, UInt32

from cnn_constraints.settings import compile_lowered
from cnn_constraints.training import candidates as kinds
from cnn_constraints.training import loop, soft_constraints
from cnn_constraints.training.candidates import Candidates, Unrolled, row
from cnn_constraints.training.loop import Hyperparameters, Images, Standardisation, Task
from cnn_constraints.training.metrics import Metrics, measure

T = TypeVar("T")

EVALUATION_CHUNK = 500
"""Images evaluated at once: bounds the memory of activations, and does not change the result."""


class Arrays(NamedTuple):
    """What one experiment is trained on, or with a leading axis what several are, on the host or on a device. All share the
    images themselves. order: of their pixels, where they are augmented.
    """

    seed: UInt32[Array | np.ndarray, "*experiments"]
    hyperparameters: Hyperparameters
    batches: Int[Array | np.ndarray, "*experiments updates batch"]
    validation: Int[Array | np.ndarray, "*experiments n_validation"]
    standardisation: Standardisation
    order: Int[Array | np.ndarray, "*experiments sites"] | None = None


class Segment(NamedTuple):
    """What happened between two looks at the validation data, for each candidate of one experiment, on the host."""

    update: int
    train: Metrics
    validation: Metrics
    diverged: Int[np.ndarray, " candidates"]
    violations: dict[str, Float[np.ndarray, " candidates"]]


class State(NamedTuple):
    """Experiments after an update that ends a segment. The next segment takes its memory: use or copy it before."""

    update: int
    candidates: Candidates


Steps = Iterator[tuple[list[Segment], State]]
"""What `train` yields: after each segment what happened, experiment by experiment, and the state that it led to."""

SPREAD, WHOLE = PartitionSpec("experiments"), PartitionSpec()
"""Over the devices: an axis of experiments is spread, everything else is on each."""


class Program(NamedTuple):
    """What a group shares: the compiled parts, the shapes of the candidates, and how training is cut up."""

    start: Callable
    segment: Callable
    test: Callable
    candidates: Candidates
    devices: Mesh
    updates: int
    evaluate_every: int

    @property
    def side_by_side(self) -> int:
        """How many experiments are trained at once."""
        return len(jax.tree.leaves(self.candidates)[0])


def stack(experiments: Sequence[T]) -> T:
    """Arrays of experiments of one shape, to be trained side by side."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *experiments)


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
    times, dense the same). No number depends on how many devices there are, but for the last bit of dense alone on one.
    """
    kind = kind or kinds.fastest_kind(jax.default_backend())
    available, experiments = jax.devices(), len(arrays.batches)
    count = max(n for n in range(1, len(available) + 1) if experiments % n == 0)
    devices = Mesh(np.array(available[:count]), ("experiments",))
    one_thread: dict[str, str | bool] = {"xla_cpu_multi_thread_eigen": False}

    def compile_part(function: Callable, specs: tuple[PartitionSpec, ...], shapes: tuple, **options: Any) -> Callable:
        spread = jax.shard_map(_for_each(function), mesh=devices, in_specs=specs, out_specs=SPREAD, check_vma=False)
        shardings = tuple(NamedSharding(devices, spec) for spec in specs)
        lowered = jax.jit(spread, in_shardings=shardings, **options).lower(*shapes)
        return compile_lowered(lowered, one_thread if jax.default_backend() == "cpu" else None)

    of_start, start = (arrays.seed, arrays.hyperparameters), partial(_start, task, kind)
    candidates = jax.eval_shape(jax.vmap(start), *of_start)
    part = arrays._replace(batches=arrays.batches[:, :evaluate_every])
    of_segment = (candidates, part, np.asarray(0), train_split)
    first = lambda candidates: _best(candidates).pick(jnp.asarray(0))
    of_test = (jax.eval_shape(jax.vmap(first), candidates), arrays.standardisation, test_split)
    return Program(
        compile_part(start, (SPREAD, SPREAD), of_start),
        compile_part(partial(_segment, task), (SPREAD, SPREAD, WHOLE, WHOLE), of_segment, donate_argnums=0),
        compile_part(partial(_test, task), (SPREAD, SPREAD, WHOLE), of_test),
        candidates,
        devices,
        task.updates,
        evaluate_every,
    )


def on_devices(program: Program, arrays: Any, spread: PartitionSpec = WHOLE) -> Any:
    """Arrays on the devices of the program; what is there already is not copied."""
    return jax.device_put(arrays, NamedSharding(program.devices, spread))


def train(program: Program, arrays: Arrays, train_split: Images, state: State | None = None) -> Steps:
    """Train stacked experiments with the program of their group, from the start or from a state on."""
    train_split = on_devices(program, train_split)
    start = lambda: program.start(*on_devices(program, (arrays.seed, arrays.hyperparameters), SPREAD))
    done, candidates = state or State(0, start())
    for first in range(done, program.updates, program.evaluate_every):
        part = arrays._replace(batches=arrays.batches[:, first : first + program.evaluate_every])
        here = on_devices(program, np.asarray(first))
        candidates, history = program.segment(candidates, on_devices(program, part, SPREAD), here, train_split)
        history = jax.tree.map(np.asarray, history)
        state = State(first + program.evaluate_every, candidates)
        each = [row(history, number) for number in range(program.side_by_side)]
        yield [Segment(state.update, *one) for one in each], state


def current_parameters(state: State, experiment: int, candidate: int) -> Any:
    """Those of one candidate after the state's update, on the host."""
    return state.candidates.map(lambda one: one.parameters).on_host(experiment, candidate)


def best_variables(state: State, experiment: int, candidate: int) -> Any:
    """Of the network of one candidate at its best look so far, on the host."""
    return _best(state.candidates).on_host(experiment, candidate)


def test(
    program: Program, variables: Sequence[Any], standardisation: Standardisation, test_split: Images
) -> list[Metrics]:
    """What the test set says of one network of each of the program's experiments, given by their variables."""
    given = (on_devices(program, one, SPREAD) for one in (stack(variables), standardisation))
    found = jax.tree.map(np.asarray, program.test(*given, on_devices(program, test_split)))
    return [row(found, number) for number in range(program.side_by_side)]


def load_state(program: Program, update: int, arrays: Sequence[np.ndarray]) -> State | None:
    """A state from the arrays that `jax.tree.leaves` gave of its candidates, one row an experiment, the last one repeated
    for as many as the program takes. None where they are not those of this program.
    """
    shapes, structure = jax.tree.flatten(program.candidates)
    given = [(array.shape[1:], array.dtype) for array in arrays]
    expected = [(shape.shape[1:], shape.dtype) for shape in shapes]
    if given != expected or not 0 < len(arrays[0]) <= program.side_by_side:
        return None
    rows = np.minimum(np.arange(program.side_by_side), len(arrays[0]) - 1)
    whole = jax.tree.unflatten(structure, [array[rows] for array in arrays])
    return State(update, on_devices(program, whole, SPREAD))


def _for_each(function: Callable) -> Callable:
    """A function of one experiment's arrays, the first two, as one of those on a device. For one alone there is no axis:
    layouts would suffer from it.
    """

    def for_each(one: Any, other: Any, *shared: Any) -> Any:
        if len(jax.tree.leaves(one)[0]) > 1:
            return jax.vmap(lambda *own: function(*own, *shared))(one, other)
        return jax.tree.map(lambda leaf: leaf[None], function(*row((one, other), 0), *shared))

    return for_each


def _start(task: Task, kind: type[Candidates], seed: Array, hyperparameters: Hyperparameters) -> Candidates:
    return kinds.alike(loop.start(task, jax.random.key(seed)), jnp.size(hyperparameters.learning_rate), kind)


def _segment(
    task: Task, candidates: Candidates, arrays: Arrays, first: Int[Array, ""], train_split: Images
) -> tuple[Candidates, tuple[Metrics, Metrics, Int[Array, " candidates"], dict[str, Array]]]:
    key = jax.random.key(arrays.seed)

    def step(candidates: Candidates, now: tuple[Array, Array]) -> tuple[Candidates, Metrics]:
        number, batch = now
        own = (arrays.standardisation, arrays.order)
        images, labels = loop.prepare_batch(task, key, number, train_split, batch, *own)
        return _update(task, candidates, images, labels, arrays.hyperparameters)

    numbers = first + jnp.arange(len(arrays.batches))
    candidates, of_batches = lax.scan(step, candidates, (numbers, jnp.asarray(arrays.batches)))
    variables = candidates.map(lambda one: one.variables)
    validation = _evaluate(task, variables, train_split, arrays.validation, arrays.standardisation)
    candidates = candidates.map(partial(loop.remember, first), of_batches.loss.T, validation)
    distances = candidates.map(lambda one: soft_constraints.violations(task.network, task.soft, one.parameters))
    train = jax.tree.map(lambda leaf: leaf.mean(axis=0), of_batches)
    diverged = candidates.map(lambda one: one.diverged).arrays()
    return candidates, (train, validation, diverged, distances.arrays())


def _update(
    task: Task, candidates: Candidates, images: Array, labels: Int[Array, " batch"], hyperparameters: Hyperparameters
) -> tuple[Candidates, Metrics]:
    """`loop.update` for all. No loss depends on another candidate, so the gradient of their sum is that of each."""

    def objective(parameters: Candidates) -> tuple[Float[Array, ""], tuple[Metrics, Candidates]]:
        logits, statistics = respond(parameters)
        each = jax.vmap(measure, (0, None))(logits, labels)
        metrics = jax.tree.map(lambda leaf: leaf.mean(axis=1), each)
        return metrics.loss.sum(), (metrics, statistics)

    def respond(parameters: Candidates) -> tuple[Array, Candidates]:
        before = candidates.map(lambda one: one.statistics)
        if not jax.tree.leaves(before):
            return parameters.map(lambda own: {"params": own}).logits(task.network, images), before
        both = parameters.map(lambda own, statistics: loop.respond(task, own, statistics, images), before)
        return both.map(lambda pair: pair[0]).arrays(), both.map(lambda pair: pair[1])

    gradients, (metrics, after) = jax.grad(objective, has_aux=True)(candidates.map(lambda one: one.parameters))
    candidates = candidates.map(lambda one, statistics: one._replace(statistics=statistics), after)
    return candidates.map(partial(loop.descend, task), gradients, hyperparameters), metrics


def _evaluate(
    task: Task,
    variables: Candidates,
    split: Images,
    indices: Int[Array | np.ndarray, " examples"],
    standardisation: Standardisation,
) -> Metrics:
    """Mean metrics of each candidate's network, a chunk of images at a time."""
    examples = len(indices)
    chunks = -(-examples // EVALUATION_CHUNK)
    size = -(-examples // chunks)
    # The last chunk is filled up with an example that does not count.
    filled = jnp.pad(indices, (0, chunks * size - examples), mode="edge").reshape(chunks, size)
    counts = (jnp.arange(chunks * size) < examples).reshape(chunks, size)

    def chunk(carry: None, part: tuple) -> tuple[None, Metrics]:
        images, labels = loop.prepare(split, part[0], standardisation)
        metrics = jax.vmap(measure, (0, None))(variables.logits(task.network, images), labels)
        return carry, jax.tree.map(lambda leaf: jnp.where(part[1], leaf, 0).sum(axis=1), metrics)

    _, sums = lax.scan(chunk, None, (filled, counts))
    return jax.tree.map(lambda leaf: leaf.sum(axis=0) / examples, sums)


def _test(task: Task, variables: Any, standardisation: Standardisation, test_split: Images) -> Metrics:
    everything = jnp.arange(len(test_split.labels))
    return row(_evaluate(task, Unrolled((variables,)), test_split, everything, standardisation), 0)


def _best(candidates: Candidates) -> Candidates:
    return candidates.map(lambda one: one.best.variables)
