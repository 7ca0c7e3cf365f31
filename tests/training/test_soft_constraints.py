"""Layers held to a stronger constraint, drawn to it or thinned out: what training under it does to their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data, Experiment, Model, Training
from cnn_constraints.lattice import constraints, projection
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.ops.choose import stored_ties
from cnn_constraints.plan import build_arrays, build_network, build_task, to_device
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.training import ensemble, loop, soft_constraints
from cnn_constraints.training.candidates import Stacked, Unrolled
from cnn_constraints.training.optimizer import OPTIMIZERS
from cnn_constraints.training.soft_constraints import NONE, SoftConstraints

WEAKER_AND_STRONGER = [
    ("dense", "conv"),
    ("dense", "local"),
    ("dense", "shared"),
    ("local", "conv"),
    ("shared", "conv"),
    ("local", "tiled"),
    ("tiled", "conv"),
]

UPDATES, EVERY = 8, 2


def random_dataset(seed: int) -> Dataset:
    """Two channels, the first of them brighter in one corner for one class than for another."""
    generator = np.random.default_rng(seed)

    def split(examples: int) -> Split:
        labels = np.arange(examples, dtype=np.int32) % 3
        images = generator.integers(0, 128, (examples, 6, 6, 2))
        images[:, :3, :3, 0] += 40 * labels[:, None, None]
        return Split(images.astype(np.uint8), labels)

    return Dataset("random", split(120), split(37), ("a", "b", "c"))


def small_experiment(constraint: str, seed: int, bias: str = "own", **training) -> Resolved:
    usual = {"batch_size": 8, "updates": UPDATES, "evaluate_every": EVERY, "learning_rates": (1e-2,)}
    model = Model(constraint, 1, (3, 2), (1, 1), (2, 1), bias=bias)
    (experiment,) = resolve([Experiment(Data(n_train=24, n_validation=31), model, Training(**usual | training), seed)])
    return experiment


def train_one(experiment: Resolved, dataset, updates: int = UPDATES):
    """The ordinary loop, for so many updates: the task, and the candidate."""
    task, arrays = build_task(experiment, dataset), build_arrays(experiment, dataset)
    hyperparameters = jax.tree.map(lambda leaf: leaf[0], arrays.hyperparameters)
    split = to_device(dataset.train)
    batches, validation, standardisation = arrays.batches[:updates], arrays.validation, arrays.standardisation
    return task, loop.train(task, arrays.key, hyperparameters, split, batches, validation, standardisation, EVERY)[0]


def logits(task, candidate, seed: int):
    return task.network.apply({"params": candidate.parameters}, jax.random.normal(jax.random.key(seed), (5, 6, 6, 2)))


@pytest.mark.parametrize(("weaker", "stronger"), WEAKER_AND_STRONGER)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_held_layers_move_as_the_stronger_layer_does(weaker, stronger, optimizer, draw, in_64_bits):
    geometry, channels = Geometry(5, 4), (2, 3)
    weak, strong = (stored_ties(name, geometry, 1, 2) for name in (weaker, stronger))
    network = build_network(Model(weaker, 1, (channels[1],), (1,), (1,), tile=2), (5, 4, channels[0]), 3)
    classes = projection.classes(strong, weak)

    def optimiser(soft: SoftConstraints) -> optax.GradientTransformation:
        return soft_constraints.constrain(OPTIMIZERS[optimizer](0.1, 0.01), network, soft, 0.0)

    def step(transformation, state, parameters, gradient):
        tree = {"layer_0": parameters}
        changes, state = transformation.update({"layer_0": gradient}, state, tree)
        return optax.apply_updates(tree, changes)["layer_0"], state

    def bias_shape(constraint: str) -> tuple[int, ...]:
        return (channels[1], *((5, 4) if constraints.find(constraint).bias_per_site else (1, 1)), 1)

    def embed(parameters):
        bias = jnp.broadcast_to(parameters["bias"], bias_shape(weaker))
        return {"weights": projection.spread(parameters["weights"], classes), "bias": bias}

    def draw_parameters(table, constraint: str):
        return {"weights": draw.weights(table, *channels), "bias": draw.normal(*bias_shape(constraint))}

    def as_the_stronger_layer_has_it(gradient):
        bias = gradient["bias"]
        if bias.shape != bias_shape(stronger):
            bias = bias.sum(axis=(1, 2), keepdims=True)
        return {"weights": projection.class_sums(gradient["weights"], classes), "bias": bias}

    of_strong = draw_parameters(strong, stronger)
    of_weak = embed(of_strong)
    free, held = optimiser(NONE), optimiser(SoftConstraints(switch_from=stronger, switch_at=5))
    states = [t.init({"layer_0": own}) for t, own in ((free, of_strong), (held, of_weak))]
    for _ in range(5):
        gradient = draw_parameters(weak, weaker)
        of_weak, states[1] = step(held, states[1], of_weak, gradient)
        of_strong, states[0] = step(free, states[0], of_strong, as_the_stronger_layer_has_it(gradient))
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-10), of_weak, embed(of_strong))
    of_weak, _ = step(held, states[1], of_weak, draw_parameters(weak, weaker))
    assert float(jnp.abs(projection.excess(of_weak["weights"], classes)).max()) > 1e-3


@pytest.mark.parametrize("bias", ["own", "site", "channel", "none"])
def test_a_held_network_starts_as_the_stronger_one_and_with_its_bias_only_if_that_is_its_own(bias, seed):
    dataset = random_dataset(seed)
    task = build_task(small_experiment("dense", seed, bias, switch_from="conv", switch_at=4), dataset)
    parameters = loop.start(task, jax.random.key(seed)).parameters
    shapes = jax.tree.map(jnp.shape, parameters)
    expected = jax.eval_shape(task.network.init, jax.random.key(seed), jnp.zeros((1, 6, 6, 2)))["params"]
    assert shapes == jax.tree.map(jnp.shape, expected)
    found = soft_constraints.violations(task.network, SoftConstraints(violations=("conv",)), parameters)
    assert found["conv"] < 1e-6
    gradient = jax.tree.map(lambda array: jax.random.normal(jax.random.key(seed), array.shape), parameters)
    hold = soft_constraints.hold(task.network, "conv", 4, task.soft.own_bias)
    held, _ = hold.update(gradient, hold.init(parameters))
    if bias != "none":
        tied = bool((held["layer_0"]["bias"] == held["layer_0"]["bias"][:, :1, :1]).all())
        assert tied == (bias in ("own", "channel"))


def test_a_network_held_to_the_end_is_the_stronger_network(seed):
    dataset, settings = random_dataset(seed), {"optimizer": "sgd"}
    held = small_experiment("dense", seed, switch_from="conv", switch_at=UPDATES, **settings)
    found, expected, free = (
        logits(*train_one(experiment, dataset), seed)
        for experiment in (
            held,
            small_experiment("conv", seed, **settings),
            small_experiment("dense", seed, **settings),
        )
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert not np.allclose(free, expected, rtol=0.02, atol=0.02)


def test_until_the_switch_the_violation_is_zero_and_then_it_is_not(seed):
    dataset = random_dataset(seed)
    experiment = small_experiment(
        "dense", seed, switch_from="conv", switch_at=4, violations=("conv", "local", "shared")
    )
    for updates, free in ((2, False), (4, False), (6, True)):
        task, candidate = train_one(experiment, dataset, updates)
        found = soft_constraints.violations(task.network, task.soft, candidate.parameters)
        assert all((value > 1e-3) == free and (value > 1e-6) == free for value in found.values())


def test_the_optimiser_keeps_its_state_at_the_switch(seed):
    experiment = small_experiment("dense", seed, switch_from="conv", switch_at=4)
    task, before = train_one(experiment, random_dataset(seed), 4)
    zero = jax.tree.map(jnp.zeros_like, before.parameters)
    hyperparameters = loop.Hyperparameters(jnp.array(1e-2), jnp.array(0.0), jnp.array(0.0))
    after = loop.descend(task, before, zero, hyperparameters)
    moved = jax.tree.map(lambda one, other: float(jnp.abs(one - other).max()), before.parameters, after.parameters)
    assert min(jax.tree.leaves(moved)) > 1e-5


@pytest.mark.parametrize(("weaker", "stronger"), WEAKER_AND_STRONGER)
def test_drawing_is_the_gradient_of_half_the_squared_distance(weaker, stronger, seed, draw, float64):
    geometry = Geometry(5, 4)
    tables = [stored_ties(name, geometry, 1, 2) for name in (weaker, stronger)]
    weights = draw.weights(tables[0], 2, 3)

    def penalty(weights):
        absolute = projection.expand(weights, tables[0], geometry)
        return (
            (absolute - projection.expand(projection.project(absolute, tables[1]), tables[1], geometry)) ** 2
        ).sum() / 2

    network = build_network(Model(weaker, 1, (3,), (1,), (1,), tile=2), (5, 4, 2), 3)
    transformation = soft_constraints.draw(network, stronger, 0.7)
    parameters = {"layer_0": {"weights": weights}, "classifier": {"kernel": jnp.ones((2, 2))}}
    zero = jax.tree.map(jnp.zeros_like, parameters)
    found, _ = transformation.update(zero, transformation.init(parameters), parameters)
    np.testing.assert_allclose(found["layer_0"]["weights"], 0.7 * jax.grad(penalty)(weights), atol=1e-12)
    assert not found["classifier"]["kernel"].any()
    measured = soft_constraints.violations(network, SoftConstraints(violations=(stronger,)), parameters)[stronger]
    expected = projection.violation(projection.expand(weights, tables[0], geometry), tables[1], geometry)
    np.testing.assert_allclose(measured, expected, rtol=1e-6)


def test_a_strong_pull_makes_a_local_network_nearly_a_convolution(seed):
    dataset = random_dataset(seed)
    settings = {"optimizer": "sgd", "penalty": "conv", "violations": ("conv",)}
    found = []
    for strength in (0.0, 3.0):
        task, candidate = train_one(small_experiment("local", seed, penalty_strengths=(strength,), **settings), dataset)
        found.append(float(soft_constraints.violations(task.network, task.soft, candidate.parameters)["conv"]))
    assert found[1] < 0.8 * found[0]


def test_beta_lasso_is_a_step_with_l1_and_then_a_threshold(seed):
    generator = np.random.default_rng(seed)
    weights, gradient = generator.normal(size=(2, 200))
    rate, strength, beta = 0.1, 0.01, 50.0
    expected = weights - rate * (gradient + strength * np.sign(weights))
    expected[np.abs(expected) < beta * strength] = 0
    assert 0 < (expected == 0).sum() < 200
    network = build_network(Model("dense", None, (1,), (1,), (1,)), (4, 4, 1), 3)
    soft = SoftConstraints(penalty="beta_lasso", threshold=beta)
    optimizer = soft_constraints.constrain(optax.sgd(rate), network, soft, strength)
    parameters = {"layer_0": {"weights": jnp.asarray(weights), "bias": jnp.asarray(weights)}}
    changes, _ = optimizer.update(
        {"layer_0": {"weights": jnp.asarray(gradient), "bias": jnp.asarray(gradient)}},
        optimizer.init(parameters),
        parameters,
    )
    found = optax.apply_updates(parameters, changes)["layer_0"]
    np.testing.assert_allclose(found["weights"], expected, atol=1e-6)
    np.testing.assert_allclose(found["bias"], weights - rate * gradient, atol=1e-6)


@pytest.mark.parametrize("kind", [Unrolled, Stacked])
@pytest.mark.parametrize(
    "settings",
    [
        {"switch_from": "conv", "switch_at": 4},
        {"penalty": "beta_lasso", "penalty_strengths": (1e-4, 1e-2), "penalty_threshold": 5.0},
        {"penalty": "shared", "penalty_strengths": (0.1, 1.0)},
    ],
)
def test_the_engine_computes_what_the_ordinary_loop_computes(kind, settings, seed):
    dataset = random_dataset(seed)
    experiment = small_experiment("dense", seed, violations=("local", "conv"), **settings)
    task, arrays = build_task(experiment, dataset), build_arrays(experiment, dataset)
    splits = to_device(dataset.train), to_device(dataset.test)
    stacked = ensemble.stack([arrays])
    program = ensemble.compile_program(task, stacked, *splits, EVERY, kind)
    segments = [segment for (segment,), _ in ensemble.train(program, stacked, *splits)]
    for number in range(len(experiment.candidates)):
        hyperparameters = jax.tree.map(lambda leaf, i=number: leaf[i], arrays.hyperparameters)
        candidate, history = loop.train(task, arrays.key, hyperparameters, splits[0], *arrays[2:], evaluate_every=EVERY)
        assert len(history) == len(segments)
        for segment, expected in zip(segments, history, strict=True):
            np.testing.assert_allclose(segment.validation.loss[number], expected.loss, rtol=1e-4)
        distances = soft_constraints.violations(task.network, task.soft, candidate.parameters)
        for name, expected in distances.items():
            np.testing.assert_allclose(segments[-1].violations[name][number], expected, rtol=1e-3, atol=1e-6)


def test_a_constraint_that_is_not_stronger_is_refused(seed):
    dataset = random_dataset(seed)
    for weaker, other in (("conv", "dense"), ("local", "shared"), ("shared", "local")):
        with pytest.raises(InputError, match=f"{other} is not stronger than {weaker}"):
            build_task(small_experiment(weaker, seed, violations=(other,)), dataset)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"penalty": "lasso"}, "did you mean 'beta_lasso'"),
        ({"penalty": "conv"}, "training.penalty_strengths is ()"),
        ({"penalty_strengths": (1.0,)}, "no effect without training.penalty"),
        (
            {"penalty": "conv", "penalty_strengths": (1.0,), "penalty_threshold": 1.0},
            "without training.penalty beta_lasso",
        ),
        ({"switch_at": 4}, "no effect without training.switch_from"),
        ({"switch_from": "conv"}, "training.switch_at is None"),
        ({"switch_from": "conv", "switch_at": UPDATES + 1}, "between 0 and training.updates, 8"),
        ({"violations": ("conv", "conv")}, "each constraint once"),
        ({"violations": ("cnv",)}, "did you mean 'conv'"),
    ],
)
def test_senseless_settings_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence.replace("(", r"\(").replace(")", r"\)")):
        small_experiment("dense", 0, **settings)
