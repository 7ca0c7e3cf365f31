"""The ensemble engine computes what the ordinary loop computes, candidate by candidate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_variables import widened
from small_runs import (
    EVERY,
    PROGRAMS,
    random_dataset,
    require_the_ordinary_loop,
    small_experiment,
    train_alone,
    train_side_by_side,
)

from cnn_constraints.experiment import replace
from cnn_constraints.plan import build_arrays, build_task, to_device
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.training import ensemble, loop
from cnn_constraints.training.candidates import Stacked, Unrolled
from cnn_constraints.training.metrics import Metrics, better, worst
from cnn_constraints.training.optimizer import OPTIMIZERS


def same_bits(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def same_numbers(one, other) -> None:
    """Of two programs: to the bit on CPU. Elsewhere several matrices are multiplied otherwise than one alone."""
    close = lambda mine, beside: np.testing.assert_allclose(mine, beside, rtol=1e-4)
    same_bits(one, other) if jax.default_backend() == "cpu" else jax.tree.map(close, one, other)


def changed(experiment: Resolved, **changes) -> Resolved:
    return resolve([replace(experiment, {name.replace("__", "."): value for name, value in changes.items()})])[0]


MIXED = {"constraint": ("conv", "local"), "channels": (3, 2), "pool_sizes": (2, 1), "strides": (1, 1)}
EQUAL = MIXED | {"channels": (2, 2), "pool_sizes": (1, 1)}

NETWORKS = {
    "conv, local, batch": MIXED | {"normalisation": "batch", "hidden": 3},
    "dense, conv": MIXED | {"constraint": ("dense", "conv"), "readout": "global_max"},
    "valid, layer": MIXED | {"padding": "valid", "delta": (1, 0), "normalisation": "layer"},
    "full, batch": MIXED | {"padding": "full", "normalisation": "batch"},
    "residual, batch": EQUAL | {"network": "residual", "normalisation": "batch", "hidden": 3},
    "residual": EQUAL | {"constraint": ("low_rank_local", "dense"), "network": "residual"},
}
"""Changes of the model, beyond one constraint for all layers."""

RESUMED = "conv, local, batch"


def experiment_of(network: str, seed: int, **training) -> Resolved:
    """One constraint, or one of the NETWORKS."""
    if network not in NETWORKS:
        return small_experiment(network, seed, **training)
    return changed(
        small_experiment("conv", seed, **training), **{f"model__{k}": v for k, v in NETWORKS[network].items()}
    )


@pytest.mark.usefixtures("trained_in_64_bits")
@pytest.mark.parametrize(
    ("network", "kind", "optimizer", "schedule"),
    [
        ("conv", Unrolled, "adam", "constant"),
        ("dense", Stacked, "adam", "cosine"),
        pytest.param("shared", Unrolled, "adam", "cosine", marks=pytest.mark.slow),
        pytest.param("local", Stacked, "sgd", "cosine", marks=pytest.mark.slow),
        pytest.param("conv", Stacked, "adam", "constant", marks=pytest.mark.slow),
        pytest.param("tiled", Unrolled, "adam", "constant", marks=pytest.mark.slow),
        pytest.param("low_rank_local", Stacked, "adam", "constant", marks=pytest.mark.slow),
        (RESUMED, Unrolled, "adam", "constant"),
        pytest.param("conv, local, batch", Stacked, "sgd", "cosine", marks=pytest.mark.slow),
        pytest.param("dense, conv", Unrolled, "sgd", "constant", marks=pytest.mark.slow),
        pytest.param("valid, layer", Unrolled, "adam", "constant", marks=pytest.mark.slow),
        pytest.param("full, batch", Stacked, "adam", "constant", marks=pytest.mark.slow),
        pytest.param("residual, batch", Unrolled, "adam", "constant", marks=pytest.mark.slow),
    ],
)
def test_every_candidate_is_the_ordinary_loop_and_the_chosen_one_is_tested(network, kind, optimizer, schedule, seed):
    dataset = random_dataset(seed)
    settings = {"optimizer": optimizer, "schedule": schedule, "weight_decays": (0.1,)}
    experiment = experiment_of(network, seed, **settings)
    trained, candidates = require_the_ordinary_loop(experiment, dataset, kind)
    best = trained.best
    assert best
    chosen = candidates[best.candidate].best
    assert all(not one.best.metrics.accuracy > best.validation_accuracy + 1e-6 for one in candidates)
    standardisation = widened(build_arrays(experiment, dataset).standardisation)
    images, labels = loop.prepare(to_device(dataset.test), jnp.arange(37), standardisation)
    task = build_task(experiment, dataset)
    metrics = jax.tree.map(jnp.mean, loop.evaluate(task, chosen.variables, images, labels))
    np.testing.assert_allclose(trained.test.loss, metrics.loss, rtol=1e-10)
    assert best.update == int(chosen.update)


@pytest.mark.usefixtures("trained_in_64_bits")
def test_what_goes_on_from_a_checkpoint_ends_where_the_whole_does_to_the_bit(seed):
    """Running statistics too: they are part of the state that checkpoints hold."""
    dataset = random_dataset(seed)
    experiment = experiment_of(RESUMED, seed, optimizer="adam", schedule="constant", weight_decays=(0.1,))
    whole = train_alone(experiment, dataset).segments
    [program] = [one for shape, one in PROGRAMS.items() if shape[0] == build_task(experiment, dataset)]
    split, arrays = to_device(dataset.train), widened(ensemble.stack([build_arrays(experiment, dataset)]))
    [begun], state = next(ensemble.train(program, arrays, split))
    assert jax.tree.leaves(state.candidates.map(lambda one: one.statistics))
    kept = [np.array(leaf) for leaf in jax.tree.leaves(state.candidates)]
    resumed = ensemble.load_state(program, state.update, kept)
    rest = [one for [one], _ in ensemble.train(program, arrays, split, resumed)]
    same_bits([begun, *rest], whole)


@pytest.mark.compiled_as_for_users
def test_in_the_32_bits_of_users_nothing_but_rounding_differs_from_the_ordinary_loop(seed):
    """By descent along the gradient, which amplifies it least."""
    experiment = small_experiment("conv", seed, optimizer="sgd", weight_decays=(0.1,))
    require_the_ordinary_loop(experiment, random_dataset(seed), Unrolled, tolerance=1e-5)


@pytest.mark.compiled_as_for_users
@pytest.mark.parametrize(
    ("constraint", "width"),
    [
        ("conv", 1),
        pytest.param("local", 1, marks=pytest.mark.slow),
        # On one device alone, dense differs by the last bit.
        pytest.param("dense", 2, marks=pytest.mark.slow),
    ],
)
def test_no_bit_depends_on_the_devices_on_who_trains_beside_or_on_the_repetition(constraint, width, seed):
    dataset = random_dataset(seed)
    several = [small_experiment(constraint, seed + i, optimizer="sgd") for i in range(4)]
    everywhere = train_side_by_side(several, dataset)
    groups = [several[i : i + width] for i in range(0, 4, width)]
    same_numbers(everywhere, [one for group in groups for one in train_side_by_side(group, dataset)])
    same_bits(everywhere, train_side_by_side(several, dataset))


@pytest.mark.slow
@pytest.mark.usefixtures("trained_in_64_bits")
@pytest.mark.parametrize("kind", [Unrolled, Stacked])
def test_experiments_that_share_a_device_are_those_trained_alone(kind, seed, monkeypatch):
    dataset = random_dataset(seed)
    several = [small_experiment("conv", seed + i) for i in range(2)]
    [device, *_] = jax.devices()
    monkeypatch.setattr(jax, "devices", lambda: [device])
    alone = [train_alone(experiment, dataset, kind) for experiment in several]
    for one, other in zip(alone, train_side_by_side(several, dataset, kind), strict=True):
        for mine, beside in zip(one.segments, other.segments, strict=True):
            np.testing.assert_allclose(mine.validation.loss, beside.validation.loss, rtol=1e-10)
        assert one.best.candidate == other.best.candidate


@pytest.mark.usefixtures("trained_in_64_bits")
def test_evaluation_does_not_depend_on_its_chunks(seed, monkeypatch):
    experiment, dataset = small_experiment("conv", seed), random_dataset(seed)
    whole = train_alone(experiment, dataset)
    monkeypatch.setattr(ensemble, "EVALUATION_CHUNK", 7)
    cut = train_alone(experiment, dataset)
    for one, other in zip(whole.segments, cut.segments, strict=True):
        np.testing.assert_allclose(one.validation.loss, other.validation.loss, rtol=1e-10)
    np.testing.assert_allclose(whole.test.loss, cut.test.loss, rtol=1e-10)


def test_one_program_serves_every_seed_size_and_learning_rate_whatever_the_test_images_are(seed):
    dataset = random_dataset(seed)
    first = small_experiment("conv", seed, optimizer="sgd")
    train_alone(first, dataset)
    other = changed(first, seed=seed % 1000 + 1, data__n_train=50, training__learning_rates=(0.1, 0.2))
    found = train_alone(other, dataset)
    altered = dataset._replace(test=dataset.test._replace(labels=dataset.test.labels[::-1].copy()))
    same_bits(found[:2], train_alone(other, altered)[:2])
    PROGRAMS.clear()
    same_bits(found, train_alone(other, dataset))


def test_a_candidate_that_diverges_leaves_its_neighbours_alone_and_is_never_chosen(seed):
    dataset = random_dataset(seed)
    calm = small_experiment("conv", seed, optimizer="sgd", weight_decays=(0.1,))
    quiet = train_alone(calm, dataset)
    loud = train_alone(changed(calm, training__learning_rates=(1e-3, 1e30)), dataset)
    for one, other in zip(quiet.segments, loud.segments, strict=True):
        same_bits(one.validation.loss[0], other.validation.loss[0])
        assert other.diverged[0] == loop.NEVER
    last = loud.segments[-1]
    assert not np.isfinite(last.validation.loss[1])
    assert 0 <= last.diverged[1] <= EVERY and loud.best and loud.best.candidate == 0
    assert train_alone(changed(calm, training__learning_rates=(1e30, 2e30)), dataset).best is None


def test_better_is_a_strict_order_that_nothing_infinite_wins():
    low, high = Metrics(jnp.array(1.0), jnp.array(0.5)), Metrics(jnp.array(0.9), jnp.array(0.5))
    assert better(high, low) and not better(low, high) and not better(low, low)
    assert better(low, worst())
    assert not better(Metrics(jnp.array(jnp.nan), jnp.array(1.0)), worst())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_moves_weights_and_not_biases(name):
    ones = {"layer_0": {"weights": jnp.ones(3), "bias": jnp.ones(3)}, "classifier": {"kernel": jnp.ones(2)}}
    optimizer = OPTIMIZERS[name](0.1, 0.5)
    changes, _ = optimizer.update(jax.tree.map(jnp.zeros_like, ones), optimizer.init(ones), ones)
    for path, change in jax.tree_util.tree_leaves_with_path(changes):
        np.testing.assert_allclose(change, 0.0 if path[-1].key == "bias" else -0.05, atol=1e-7)
