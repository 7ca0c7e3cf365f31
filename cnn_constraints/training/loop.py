"""One candidate: a network, trained with one learning rate and weight decay. Pure functions of key, data, hyper-parameters.

`train` is the ordinary loop that anyone would write. It is the reference that the ensemble engine is tested against.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt8

from cnn_constraints.data.augmentation import WHITE, augment
from cnn_constraints.network import AnyNetwork
from cnn_constraints.training import soft_constraints
from cnn_constraints.training.metrics import Metrics, better, measure, worst
from cnn_constraints.training.optimizer import OPTIMIZERS, SCHEDULES
from cnn_constraints.training.soft_constraints import NONE, SoftConstraints

INITIAL_WEIGHTS, AUGMENTATION = 0, 1
"""Names of the streams of `jax.random.key(seed)` from which initial weights come, and what augments the images."""


@dataclass(frozen=True)
class Task:
    """What is compiled in: everything that changes shapes or the program. Hashable."""

    network: AnyNetwork
    image_shape: tuple[int, int, int]
    optimizer: str
    schedule: str
    updates: int
    soft: SoftConstraints = NONE
    augmentation: tuple[tuple[str, float], ...] = ()


class Hyperparameters(NamedTuple):
    """What may differ from candidate to candidate without another program."""

    learning_rate: Float[Array, "*candidates"] | float
    weight_decay: Float[Array, "*candidates"] | float
    penalty_strength: Float[Array, "*candidates"] | float


class Images(NamedTuple):
    """A split: intensities, or the numbers of a synthetic task, and labels. Where it is computed with, on the device."""

    images: (
        UInt8[Array | np.ndarray, "examples height width channels"]
        | Float[Array | np.ndarray, "examples height width channels"]
    )
    labels: Int[Array | np.ndarray, " examples"]


class Standardisation(NamedTuple):
    """Per channel, of the training subset."""

    mean: Float[Array | np.ndarray, " channels"]
    deviation: Float[Array | np.ndarray, " channels"]


class Best(NamedTuple):
    """The network with the best validation metrics so far, and the number of updates that led to it."""

    parameters: Any
    update: Int[Array, ""]
    metrics: Metrics
    statistics: Any

    @property
    def variables(self) -> dict[str, Any]:
        """Of the network, as Flax has them."""
        return {"params": self.parameters, **self.statistics}


NEVER = -1
"""Stands on the device for the update at which a candidate diverged, while it has not."""


class Candidate(NamedTuple):
    """The state of one candidate between two updates. diverged: after how many updates its loss was not finite any more.
    statistics: the network's variables that training moves without a gradient, by collection, such as the running means of
    `batch_stats`; {} where it has none.
    """

    parameters: Any
    optimizer_state: Any
    best: Best
    diverged: Int[Array, ""]
    statistics: Any

    @property
    def variables(self) -> dict[str, Any]:
        """Of the network, as Flax has them."""
        return {"params": self.parameters, **self.statistics}


def start(task: Task, key: jax.Array) -> Candidate:
    """Initial weights from the experiment's key, which candidates of one experiment have in common."""
    image = jnp.zeros((1, *task.image_shape))
    variables = soft_constraints.start(task.network, task.soft, jax.random.fold_in(key, INITIAL_WEIGHTS), image)
    parameters, statistics = variables["params"], {name: own for name, own in variables.items() if name != "params"}
    # The structure of an optimiser's state does not depend on the values of its hyper-parameters.
    optimizer_state = _optimizer(task, Hyperparameters(*jnp.zeros(3))).init(parameters)
    best = Best(parameters, jnp.array(0), worst(), statistics)
    return Candidate(parameters, optimizer_state, best, jnp.array(NEVER), statistics)


def prepare(
    split: Images,
    indices: Int[Array | np.ndarray, " batch"],
    standardisation: Standardisation,
    augmented: Callable[[Array], Array] | None = None,
) -> tuple[Float[Array, "batch height width channels"], Int[Array, " batch"]]:
    """(intensity - mean) / deviation, for the images at `indices`; augmented: of images in which white is 1."""
    images = jnp.asarray(split.images)[indices].astype(float)
    if augmented is not None:
        white = WHITE if jnp.issubdtype(split.images.dtype, jnp.integer) else 1
        images = white * augmented(images / white)
    return (images - standardisation.mean) / standardisation.deviation, jnp.asarray(split.labels)[indices]


def prepare_batch(
    task: Task,
    key: jax.Array,
    number: Int[Array, ""] | int,
    split: Images,
    indices: Int[Array | np.ndarray, " batch"],
    standardisation: Standardisation,
    order: Int[Array | np.ndarray, " sites"] | None,
) -> tuple[Float[Array, "batch height width channels"], Int[Array, " batch"]]:
    """`prepare` for the update that follows so many, with the augmentation of the task, drawn from the experiment's key.

    order: of the pixels of augmented images; see `augment`. Mean and deviation stay those of images as they were.
    """
    if order is None:
        return prepare(split, indices, standardisation)
    own = jax.random.fold_in(jax.random.fold_in(key, AUGMENTATION), number)
    augmented = lambda images: augment(own, images, task.augmentation, jnp.asarray(order))
    return prepare(split, indices, standardisation, augmented)


def update(
    task: Task,
    candidate: Candidate,
    images: Float[Array, "batch height width channels"],
    labels: Int[Array, " batch"],
    hyperparameters: Hyperparameters,
) -> tuple[Candidate, Metrics]:
    """One gradient step on the mean cross-entropy, and the metrics of the batch before it."""

    def objective(parameters: Any) -> tuple[Float[Array, ""], tuple[Metrics, Any]]:
        logits, statistics = respond(task, parameters, candidate.statistics, images)
        metrics = jax.tree.map(jnp.mean, measure(logits, labels))
        return metrics.loss, (metrics, statistics)

    gradient, (metrics, statistics) = jax.grad(objective, has_aux=True)(candidate.parameters)
    return descend(task, candidate._replace(statistics=statistics), gradient, hyperparameters), metrics


def respond(
    task: Task, parameters: Any, statistics: Any, images: Float[Array, "batch height width channels"]
) -> tuple[Float[Array, "batch classes"], Any]:
    """What a network says of a batch that it is trained on, and its statistics after that."""
    variables = {"params": parameters, **statistics}
    if not statistics:
        return task.network.apply(variables, images), statistics  # type: ignore[return-value]
    return task.network.apply(variables, images, train=True, mutable=list(statistics))  # type: ignore[return-value]


def descend(task: Task, candidate: Candidate, gradient: Any, hyperparameters: Hyperparameters) -> Candidate:
    """What the optimiser makes of a gradient."""
    optimizer, parameters = _optimizer(task, hyperparameters), candidate.parameters
    changes, optimizer_state = optimizer.update(gradient, candidate.optimizer_state, parameters)
    return candidate._replace(parameters=optax.apply_updates(parameters, changes), optimizer_state=optimizer_state)


def evaluate(
    task: Task, variables: Any, images: Float[Array, "batch height width channels"], labels: Int[Array, " batch"]
) -> Metrics:
    """Metrics of each example."""
    logits: Any = task.network.apply(variables, images)
    return measure(logits, labels)


_jitted_prepare_batch = jax.jit(prepare_batch, static_argnums=0)
_jitted_update = jax.jit(update, static_argnums=0)
_jitted_evaluate = jax.jit(evaluate, static_argnums=0)


def remember(
    first: Int[Array, ""] | int, candidate: Candidate, losses: Float[Array, " updates"], validation: Metrics
) -> Candidate:
    """The candidate after a look at the validation data: it remembers its network if that is the best so far, and when its
    loss was first not finite. losses: before each update from `first` on.
    """
    wrong = ~jnp.isfinite(jnp.append(losses, validation.loss))
    diverged = jnp.where(wrong.any(), first + wrong.argmax(), NEVER)
    now = Best(candidate.parameters, jnp.asarray(first + len(losses)), validation, candidate.statistics)
    keep = better(validation, candidate.best.metrics)
    return candidate._replace(
        best=jax.tree.map(lambda new, old: jnp.where(keep, new, old), now, candidate.best),
        diverged=jnp.where(candidate.diverged == NEVER, diverged, candidate.diverged),
    )


def train(
    task: Task,
    key: jax.Array,
    hyperparameters: Hyperparameters,
    split: Images,
    batches: Int[Array | np.ndarray, "updates batch"],
    validation: Int[Array | np.ndarray, " n_validation"],
    standardisation: Standardisation,
    evaluate_every: int,
    order: Int[Array | np.ndarray, " sites"] | None = None,
) -> tuple[Candidate, list[Metrics]]:
    """The ordinary loop: one candidate, one jitted update at a time. Returns the candidate and its validation metrics."""
    candidate, history, losses = start(task, key), [], []
    for number, batch in enumerate(batches, start=1):
        prepared = _jitted_prepare_batch(task, key, number - 1, split, batch, standardisation, order)
        candidate, of_batch = _jitted_update(task, candidate, *prepared, hyperparameters)
        losses.append(of_batch.loss)
        if number % evaluate_every == 0:
            examples = _jitted_evaluate(task, candidate.variables, *prepare(split, validation, standardisation))
            history.append(jax.tree.map(jnp.mean, examples))
            candidate = remember(number - len(losses), candidate, jnp.stack(losses), history[-1])
            losses = []
    return candidate, history


def _optimizer(task: Task, hyperparameters: Hyperparameters) -> optax.GradientTransformation:
    learning_rate = SCHEDULES[task.schedule](hyperparameters.learning_rate, task.updates)
    optimizer = OPTIMIZERS[task.optimizer](learning_rate, hyperparameters.weight_decay)
    return soft_constraints.constrain(optimizer, task.network, task.soft, hyperparameters.penalty_strength)
