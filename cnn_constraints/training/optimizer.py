"""Optimisers whose hyper-parameters are arrays, so that candidates of one program may differ in them."""

from collections.abc import Callable
from functools import partial

import jax
import optax
from jaxtyping import Array, Float

Scalar = Float[Array, ""] | float
LearningRate = Scalar | optax.Schedule


def only_weights(parameters: optax.Params) -> optax.Params:
    """True for weights, False for biases and for the gains of normalisation: decay is a prior on functions, and these have
    no scale to shrink.
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key not in ("bias", "scale"), parameters)


def adam(learning_rate: LearningRate, weight_decay: Scalar) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): every update takes learning_rate * weight_decay of the
    weights off them. Optax and PyTorch multiply so; algorithm 2 of the paper multiplies by the schedule alone.
    """
    return optax.adamw(learning_rate, weight_decay=weight_decay, mask=only_weights)


def sgd(
    learning_rate: LearningRate, weight_decay: Scalar, momentum: float | None = 0.9
) -> optax.GradientTransformation:
    """Stochastic gradient descent, with the decay as part of the gradient."""
    decay = optax.add_decayed_weights(weight_decay, mask=only_weights)
    return optax.chain(decay, optax.sgd(learning_rate, momentum=momentum))


OPTIMIZERS: dict[str, Callable[[LearningRate, Scalar], optax.GradientTransformation]] = {
    "adam": adam,
    "sgd": sgd,
    "sgd_without_momentum": partial(sgd, momentum=None),
}

SCHEDULES: dict[str, Callable[[Scalar, int], LearningRate]] = {
    "constant": lambda learning_rate, updates: learning_rate,
    "cosine": optax.cosine_decay_schedule,
}
