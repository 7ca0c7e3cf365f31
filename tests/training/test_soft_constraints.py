"""Layers held to a stronger constraint, drawn to it or thinned out: what training under it does to their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_runs import EVERY, random_dataset, require_the_ordinary_loop, small_experiment, train_loop

from cnn_constraints.architecture import build_network
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Model
from cnn_constraints.lattice import constraints, projection
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.ops.choose import stored_ties
from cnn_constraints.plan import build_task
from cnn_constraints.training import loop, soft_constraints
from cnn_constraints.training.candidates import Stacked, Unrolled
from cnn_constraints.training.optimizer import OPTIMIZERS
from cnn_constraints.training.soft_constraints import NONE, SoftConstraints

GEOMETRY = Geometry(5, 4)
EVERY_PAIR = pytest.mark.parametrize(
    ("weaker", "stronger"),
    [
        ("dense", "conv"),
        ("local", "tiled"),
        pytest.param("local", "conv", marks=pytest.mark.slow),
        pytest.param("dense", "local", marks=pytest.mark.slow),
        pytest.param("dense", "shared", marks=pytest.mark.slow),
        pytest.param("shared", "conv", marks=pytest.mark.slow),
        pytest.param("tiled", "conv", marks=pytest.mark.slow),
    ],
)


def tables_of(*names: str) -> list[np.ndarray]:
    return [stored_ties(name, GEOMETRY, 1, 2) for name in names]


def network_of(constraint: str):
    """One layer from two channels to three."""
    return build_network(Model(constraint, 1, (3,), (1,), (1,), tile=2), (5, 4, 2), 3)


@EVERY_PAIR
def test_held_layers_move_as_the_stronger_layer_does_whatever_the_optimiser(weaker, stronger, draw, in_64_bits):
    tables, network = dict(zip((weaker, stronger), tables_of(weaker, stronger), strict=True)), network_of(weaker)
    classes = projection.classes(tables[stronger], tables[weaker])

    def bias_shape(constraint: str) -> tuple[int, ...]:
        return (3, *((5, 4) if constraints.find(constraint).bias_per_site else (1, 1)), 1)

    def random_layer(constraint: str):
        weights = draw.weights(tables[constraint], 2, 3)
        return {"layer_0": {"weights": weights, "bias": draw.normal(*bias_shape(constraint))}}

    def embed(tree):
        bias = jnp.broadcast_to(tree["layer_0"]["bias"], bias_shape(weaker))
        return {"layer_0": {"weights": projection.spread(tree["layer_0"]["weights"], classes), "bias": bias}}

    for optimizer in OPTIMIZERS.values():
        held, free = (
            soft_constraints.constrain(optimizer(0.1, 0.01), network, soft, 0.0)
            for soft in (SoftConstraints(switch_from=stronger, switch_at=3), NONE)
        )
        of_strong = random_layer(stronger)
        of_weak = embed(of_strong)
        of_stronger_gradient = jax.linear_transpose(embed, of_strong)
        states = [held.init(of_weak), free.init(of_strong)]
        for _ in range(3):
            gradient = random_layer(weaker)
            [as_the_stronger_has_it] = of_stronger_gradient(gradient)
            change, states[0] = held.update(gradient, states[0], of_weak)
            of_weak = optax.apply_updates(of_weak, change)
            change, states[1] = free.update(as_the_stronger_has_it, states[1], of_strong)
            of_strong = optax.apply_updates(of_strong, change)
            # Where a gradient is 1e-7 times the usual one, Adam amplifies its rounding to 1e-9.
            jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, atol=1e-8), of_weak, embed(of_strong))
        change, _ = held.update(random_layer(weaker), states[0], of_weak)
        freed = optax.apply_updates(of_weak, change)["layer_0"]["weights"]
        assert jnp.abs(projection.excess(freed, classes)).max() > 1e-3


@pytest.mark.parametrize(
    "bias", ["own", "channel", *(pytest.param(bias, marks=pytest.mark.slow) for bias in ("site", "none"))]
)
def test_a_held_network_starts_as_the_stronger_one_and_with_its_bias_only_if_that_is_its_own(
    bias, seed, trained_in_64_bits
):
    task = build_task(small_experiment("dense", seed, bias, switch_from="conv", switch_at=4), random_dataset(seed))
    parameters = jax.jit(lambda key: loop.start(task, key).parameters)(jax.random.key(seed))
    expected = jax.eval_shape(task.network.init, jax.random.key(seed), jnp.zeros((1, 6, 6, 2)))["params"]
    assert jax.tree.map(jnp.shape, parameters) == jax.tree.map(jnp.shape, expected)
    found = soft_constraints.violations(task.network, SoftConstraints(violations=("conv",)), parameters)
    assert found["conv"] < 1e-12
    gradient = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(seed), leaf.shape), parameters)
    hold = soft_constraints.hold(task.network, "conv", 4, task.soft.own_bias)
    held = hold.update(gradient, hold.init(parameters))[0]["layer_0"]
    if bias != "none":
        assert bool((held["bias"] == held["bias"][:, :1, :1]).all()) == (bias in ("own", "channel"))


@pytest.mark.usefixtures("trained_in_64_bits")
@pytest.mark.parametrize("constraint", ["dense", pytest.param(("conv", "dense"), marks=pytest.mark.slow)])
def test_a_held_network_is_the_stronger_one_until_the_switch_and_then_it_is_not(constraint, seed):
    """And keeps the state of its optimiser. Layers that are as strong already stay as they are."""
    dataset, usual = random_dataset(seed), {"optimizer": "sgd", "learning_rates": (1e-2,)}
    usual["layers"] = len(constraint) if isinstance(constraint, tuple) else 1
    held = small_experiment(
        constraint, seed, switch_from="conv", switch_at=EVERY, violations=("conv", "local", "shared"), **usual
    )
    task, before, _ = train_loop(held, dataset, updates=EVERY)
    other, expected, _ = train_loop(small_experiment("conv", seed, **usual), dataset, updates=EVERY)
    images = jax.random.normal(jax.random.key(seed), (5, 6, 6, 2))
    found, wanted = (
        one.network.apply({"params": candidate.parameters}, images)
        for one, candidate in ((task, before), (other, expected))
    )
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)
    _, after, _ = train_loop(held, dataset)
    violations = [soft_constraints.violations(task.network, task.soft, one.parameters) for one in (before, after)]
    assert max(violations[0].values()) < 1e-12 and min(violations[1].values()) > 1e-4
    zero = jax.tree.map(jnp.zeros_like, before.parameters)
    moved = loop.descend(task, before, zero, loop.Hyperparameters(jnp.array(1e-2), jnp.array(0.0), jnp.array(0.0)))
    change = jax.tree.map(lambda one, two: float(jnp.abs(one - two).max()), before.parameters, moved.parameters)
    assert min(jax.tree.leaves(change)) > 0


@pytest.mark.usefixtures("in_64_bits")
def test_of_a_mixed_network_only_layers_that_are_weaker_are_drawn_and_all_count_for_the_distance(draw):
    model = Model(("conv", "dense"), 1, (3, 2), (1, 1), (1, 1), bias="none")
    network = build_network(model, (5, 4, 2), 3)
    tables, names = tables_of("conv", "dense"), ("layer_0", "layer_1")
    sizes = {"layer_0": (2, 3), "layer_1": (3, 2)}
    own = {name: {"weights": draw.weights(table, *sizes[name])} for name, table in zip(names, tables, strict=True)}
    drawn = soft_constraints.draw(network, "conv", 1.0)
    zero = jax.tree.map(jnp.zeros_like, own)
    pull = drawn.update(zero, drawn.init(own), own)[0]
    assert abs(pull["layer_0"]["weights"]).max() < 1e-12 < abs(pull["layer_1"]["weights"]).max()
    squares = [np.square(own[name]["weights"]).sum(axis=(0, 2)) for name in names]
    norms = [(squares[number] * np.bincount(table[table >= 0])).sum() for number, table in enumerate(tables)]
    alone = projection.violation(projection.expand(own["layer_1"]["weights"], tables[1], GEOMETRY), tables[0], GEOMETRY)
    found = soft_constraints.violations(network, SoftConstraints(violations=("conv",)), own)["conv"]
    np.testing.assert_allclose(found, alone * np.sqrt(norms[1] / sum(norms)), rtol=1e-6)


@EVERY_PAIR
def test_drawing_is_the_gradient_of_half_the_squared_distance(weaker, stronger, draw, float64):
    weak, strong = tables_of(weaker, stronger)
    network, weights = network_of(weaker), draw.weights(weak, 2, 3)

    def penalty(weights):
        absolute = projection.expand(weights, weak, GEOMETRY)
        nearest = projection.expand(projection.project(absolute, strong), strong, GEOMETRY)
        return ((absolute - nearest) ** 2).sum() / 2

    transformation = soft_constraints.draw(network, stronger, 0.7)
    parameters = {"layer_0": {"weights": weights}, "classifier": {"kernel": jnp.ones((2, 2))}}
    zero = jax.tree.map(jnp.zeros_like, parameters)
    found, _ = transformation.update(zero, transformation.init(parameters), parameters)
    expected = 0.7 * jax.jit(jax.grad(penalty))(weights)
    np.testing.assert_allclose(found["layer_0"]["weights"], expected, atol=1e-12)
    assert not found["classifier"]["kernel"].any()
    measured = soft_constraints.violations(network, SoftConstraints(violations=(stronger,)), parameters)[stronger]
    expected = projection.violation(projection.expand(weights, weak, GEOMETRY), strong, GEOMETRY)
    np.testing.assert_allclose(measured, expected, rtol=1e-6)


@pytest.mark.usefixtures("trained_in_64_bits")
def test_a_strong_pull_makes_a_local_network_nearly_a_convolution(seed):
    settings = {"optimizer": "sgd", "penalty": "conv", "penalty_strengths": (0.0, 5.0), "violations": ("conv",)}
    experiment, dataset = small_experiment("local", seed, learning_rates=(1e-2,), **settings), random_dataset(seed)
    (task, free, _), (_, drawn, _) = (train_loop(experiment, dataset, number) for number in range(2))
    away = [soft_constraints.violations(task.network, task.soft, one.parameters)["conv"] for one in (free, drawn)]
    assert away[1] < 0.7 * away[0]


@pytest.mark.usefixtures("in_64_bits")
def test_beta_lasso_is_a_step_with_l1_and_then_a_threshold(seed):
    generator = np.random.default_rng(seed)
    weights, gradient = generator.normal(size=(2, 200))
    rate, strength, beta = 0.1, 0.01, 50.0
    expected = weights - rate * (gradient + strength * np.sign(weights))
    expected[np.abs(expected) < beta * strength] = 0
    assert 0 < (expected == 0).sum() < 200
    soft = SoftConstraints(penalty="beta_lasso", threshold=beta)
    optimizer = soft_constraints.constrain(optax.sgd(rate), network_of("dense"), soft, strength)
    parameters, gradients = (
        {"layer_0": {"weights": one, "bias": one}} for one in map(jnp.asarray, (weights, gradient))
    )
    changes, _ = optimizer.update(gradients, optimizer.init(parameters), parameters)
    found = optax.apply_updates(parameters, changes)["layer_0"]
    np.testing.assert_allclose(found["weights"], expected, atol=1e-12)
    np.testing.assert_allclose(found["bias"], weights - rate * gradient, atol=1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("trained_in_64_bits")
@pytest.mark.parametrize("kind", [Unrolled, Stacked])
@pytest.mark.parametrize(
    "settings",
    [
        {"switch_from": "conv", "switch_at": EVERY},
        {"penalty": "beta_lasso", "penalty_strengths": (1e-4, 1e-2), "penalty_threshold": 5.0},
        {"penalty": "shared", "penalty_strengths": (0.1, 1.0)},
    ],
)
def test_the_engine_computes_what_the_ordinary_loop_computes(kind, settings, seed):
    dataset = random_dataset(seed)
    usual = {"learning_rates": (1e-2,), "violations": ("local", "conv")}
    experiment = small_experiment("dense", seed, layers=2, **usual | settings)
    trained, candidates = require_the_ordinary_loop(experiment, dataset, kind)
    task = build_task(experiment, dataset)
    for number, candidate in enumerate(candidates):
        distances = soft_constraints.violations(task.network, task.soft, candidate.parameters)
        for name, expected in distances.items():
            np.testing.assert_allclose(trained.segments[-1].violations[name][number], expected, rtol=1e-10)


def test_a_constraint_that_is_not_stronger_is_refused(seed):
    for weaker, other in (("conv", "dense"), ("local", "shared"), ("shared", "local")):
        with pytest.raises(InputError, match=f"{other} is not stronger than {weaker}"):
            build_task(small_experiment(weaker, seed, violations=(other,)), random_dataset(seed))
        with pytest.raises(InputError, match=f"{other} is not stronger than {weaker}"):
            mixed = small_experiment((weaker, "conv"), seed, layers=2, violations=(other,))
            build_task(mixed, random_dataset(seed))
