"""What the claims compute, against the same written plainly."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.kernel_ridge import KernelRidge

from cnn_constraints.claims import (
    average_is_augmentation,
    dynamic_signal,
    kernel_lattice,
    locality_exponent,
    position_from_the_border,
    pruning_finds_locality,
    quadratic_separation,
    reach,
    receptive_fields_emerge,
    sparse_hierarchy,
)
from cnn_constraints.claims.invisible_at_infinite_width import SITES, exact_kernels
from cnn_constraints.claims.kernels import learning_curves
from cnn_constraints.data import tasks
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.ops.choose import stored_ties


def test_nested_learning_curves_are_separate_regressions(seed):
    generator = np.random.default_rng(seed)
    train, test = generator.standard_normal((30, 4)), generator.standard_normal((9, 4))
    kernel, test_kernel = np.exp(-cdist(train, train)), np.exp(-cdist(test, train))
    targets, test_targets = generator.standard_normal((30, 2)), generator.standard_normal((9, 2))
    found = learning_curves(kernel, test_kernel, targets, test_targets, (5, 17, 30), 1e-3)
    for place, n in enumerate((5, 17, 30)):
        predicted = test_kernel[:, :n] @ np.linalg.solve(kernel[:n, :n] + 1e-3 * np.eye(n), targets[:n])
        expected = ((predicted - test_targets) ** 2).mean(axis=0) / (test_targets**2).mean(axis=0)
        np.testing.assert_allclose(found[:, place], expected)


@pytest.mark.parametrize("cell", kernel_lattice.CELLS)
def test_the_kernel_of_a_cell_is_its_mean_over_windows(cell, seed):
    generator = np.random.default_rng(seed)
    sites = kernel_lattice.SITES
    x, y = (generator.choice([-1.0, 1.0], (n, sites)) for n in (2, 3))
    window, pool = kernel_lattice.CELLS[cell][:2]

    def windows(signal: np.ndarray) -> np.ndarray:
        return np.stack([np.roll(signal, -place)[:window] for place in range(sites)])

    with jax.enable_x64(True):
        found = np.asarray(kernel_lattice.cell_kernel(jnp.asarray(x), jnp.asarray(y), window, pool))
    for (row, one), (column, other) in itertools.product(enumerate(x), enumerate(y)):
        overlap = windows(one) @ windows(other).T / window
        all_pairs = 0.2 * sum(overlap**power for power in range(1, 6))
        # A pooled output is the mean over `pool` places in a row; its kernel is a mean over pairs of those.
        places = [(start + np.arange(pool)) % sites for start in range(sites)]
        assert found[row, column] == pytest.approx(
            np.mean([all_pairs[np.ix_(these, these)].mean() for these in places])
        )


def test_regression_is_kernel_ridge_regression(seed):
    generator = np.random.default_rng(seed)
    sites = kernel_lattice.SITES
    train, test = (generator.choice([-1.0, 1.0], (n, sites)) for n in (6, 4))
    targets = generator.standard_normal(6)
    kernel, test_kernel = (
        np.sum([0.2 * (x @ train.T / sites) ** power for power in range(1, 6)], axis=0) for x in (train, test)
    )
    expected = KernelRidge(alpha=1, kernel="precomputed").fit(kernel, targets).predict(test_kernel)
    np.testing.assert_allclose(average_is_augmentation.regression("dense", 1.0, train, targets, test), expected)


@pytest.mark.parametrize(("cell", "window"), [("dense", 5), ("local", 2), ("conv", 3)])
def test_the_laplacian_kernel_is_its_mean_over_windows(cell, window, seed):
    generator = np.random.default_rng(seed)
    x, y = generator.random((4, 5)), generator.random((3, 5))

    def of(place: int, other: int) -> np.ndarray:
        distance = cdist(np.roll(x, -place, axis=1)[:, :window], np.roll(y, -other, axis=1)[:, :window])
        return np.exp(-distance / (1 if cell == "dense" else window))

    same = [(place, place) for place in range(5)]
    pairs = {"dense": same[:1], "local": same, "conv": list(itertools.product(range(5), repeat=2))}[cell]
    with jax.enable_x64(True):
        found = np.asarray(locality_exponent.cell_kernel(jnp.asarray(x), jnp.asarray(y), cell, window))
    np.testing.assert_allclose(found, np.mean([of(*pair) for pair in pairs], axis=0))


@pytest.mark.parametrize("cell", ["dense", "shared", "local", "conv"])
def test_a_unit_is_its_filter_of_norm_one_on_the_patches(cell, draw):
    patches, examples = 5, 4
    geometry = Geometry(patches, 1, boundary="circular")
    table = stored_ties(cell, geometry, 0)
    weights = draw.normal(dynamic_signal.DIMENSION, int(table.max()) + 1, 1)
    inputs = draw.normal(dynamic_signal.DIMENSION, patches, 1, examples)
    expected = np.zeros(examples)
    for output in range(patches):
        connected = np.flatnonzero(table[output] >= 0)
        unit = np.asarray(weights)[:, table[output, connected], 0]
        unit = unit / np.linalg.norm(unit)
        z = np.einsum("cq,cqn->n", unit, np.asarray(inputs)[:, connected, 0])
        expected += dynamic_signal.SCALE * np.sign(z) * np.maximum(np.abs(z) - 0.25, 0)
    found = dynamic_signal.margins(cell, weights, 0.25, inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_planted_filters_solve_the_task_without_training(seed):
    """Of random weights training makes a test error of 0.11."""
    errors = [dynamic_signal.run("shared", 16, 256, seed + number, planted=True)[1] for number in range(5)]
    assert np.mean(errors) < 0.05


@pytest.mark.parametrize("dimension", [4, 9])
def test_the_least_norm_form_is_exact_from_the_dimension_of_its_space_on(dimension, seed):
    # Of exactly as many samples as dimensions one system in a few thousand is all but singular.
    assert quadratic_separation.exact_error(dimension, 1.1, seed) < 1e-12
    assert quadratic_separation.exact_error(dimension, 0.5, seed) > 1e-6


def test_radius_and_support_of_a_known_field():
    field = np.zeros((9, 9))
    field[4, 4], field[4, 6] = 3.0, 1.0
    assert reach.support(field) == 5
    assert reach.radius(field) == pytest.approx(1.0)
    assert reach.support(np.zeros((9, 9))) == 0


@pytest.mark.parametrize(("cell", "twin"), [("dense", "shared"), ("local", "conv")])
def test_a_cell_and_the_one_that_shares_have_one_exact_kernel_without_an_average_alone(cell, twin, draw):
    inputs = draw.normal(3, SITES, 1, 4)
    (flat, averaged), (flat_twin, averaged_twin) = (exact_kernels(one, inputs) for one in (cell, twin))
    np.testing.assert_allclose(flat, flat_twin, rtol=1e-4)
    assert jnp.abs(averaged - averaged_twin).max() > 0.01 * averaged_twin.max()


@pytest.mark.slow
def test_a_network_feels_where_boxes_stand_unless_it_wraps_around_or_reaches_beyond_the_border(seed, generator):
    images = jnp.asarray(tasks.red_and_green(generator, 20)[0])
    for border in position_from_the_border.BORDERS:
        network = position_from_the_border.network(border)
        weights, apply = jax.jit(network.init)(jax.random.key(seed), images), jax.jit(network.apply)
        answers, moved = (np.asarray(apply(weights, jnp.roll(images, rows, axis=1))) for rows in (0, 16))
        assert np.allclose(answers, moved, atol=1e-5 * np.abs(answers).max()) == (border in ("circular", "full"))


def test_saturated_and_gaussian_inputs_have_one_covariance(seed):
    examples = 4000
    arms = receptive_fields_emerge.covariances()
    inputs = np.asarray(receptive_fields_emerge.draw(jax.random.key(seed), examples, arms))
    # Six of the standard deviations that an entry has, of variance 1 and half the examples.
    error = 6 * np.sqrt(2 / (examples / 2))
    for one_class in np.split(inputs, 2, axis=1):
        found = one_class.swapaxes(1, 2) @ one_class / (examples / 2)
        saturated, gaussian = np.split(found, 2)
        np.testing.assert_allclose(saturated, gaussian, atol=error)
        np.testing.assert_allclose(np.diagonal(found, axis1=1, axis2=2), 1, atol=error)


def test_the_participation_ratio_counts_sites_that_share_alike():
    filters = np.zeros((2, 30))
    filters[0, 3:8], filters[1, 5] = -2.0, 1.5
    np.testing.assert_allclose(receptive_fields_emerge.participation(filters), [1 / 5, 1])


def test_pruning_cuts_the_smallest_weights_that_are_left(generator):
    weights, mask = generator.standard_normal((20, 7)), generator.random((20, 7)) < 0.5
    left = pruning_finds_locality.prune(mask, weights)
    assert (left <= mask).all() and left.sum() == round(0.7 * mask.sum())
    assert np.abs(weights[left]).min() >= np.abs(weights[mask & ~left]).max()


def test_inputs_are_near_where_units_look_at_neighbours_and_not_where_they_share_the_middle(generator):
    places = np.stack(np.divmod(np.arange(100), 10), axis=1).astype(float)
    middle = np.abs(places - 4.5).max(axis=1) < 3
    anywhere = (generator.random((100, 2000)) < 0.3) * middle[:, None]
    neighbours = cdist(places, places) < 2
    assert pruning_finds_locality.nearness(anywhere, places) == pytest.approx(1, abs=0.01)
    assert pruning_finds_locality.nearness(neighbours, places) < 0.4
    pairs = [cdist(places[kept], places[kept])[np.triu_indices(kept.sum(), 1)] for kept in neighbours.T]
    often = np.outer(neighbours.sum(axis=1), neighbours.sum(axis=1)) * (1 - np.eye(100))
    chance = np.average(cdist(places, places), weights=often)
    assert pruning_finds_locality.nearness(neighbours, places) == pytest.approx(np.concatenate(pairs).mean() / chance)


@pytest.mark.parametrize("cell", ["conv", "local"])
def test_a_hierarchy_is_read_patch_by_patch(cell, draw):
    """Every feature is a rectified sum over the four sites of its own patch, level by level."""
    network = tuple(sparse_hierarchy.layers(cell, 1))
    places = [1 if cell == "conv" else layer.geometry.height for layer in network]
    weights = [
        {
            "weights": draw.normal(layer.in_channels, n, layer.out_channels),
            "bias": jnp.zeros((layer.out_channels, 1, 1, 1)),
        }
        for layer, n in zip(network, places, strict=True)
    ]
    inputs = draw.normal(tasks.FEATURES, 64, 2)
    sites = list(np.asarray(inputs).transpose(1, 0, 2))
    for own in (np.asarray(one["weights"]) for one in weights[:-1]):
        patches = [np.stack(sites[first : first + 4], axis=1).reshape(-1, 2) for first in range(0, len(sites), 4)]
        sites = [np.maximum(own[:, place % own.shape[1]].T @ patch, 0) for place, patch in enumerate(patches)]
    [top] = sites
    found = jax.jit(sparse_hierarchy.logits, static_argnums=0)(network, weights, inputs)
    np.testing.assert_allclose(
        found, np.asarray(weights[-1]["weights"])[:, 0].T @ top, rtol=1e-3, atol=1e-3 * np.abs(found).max()
    )
