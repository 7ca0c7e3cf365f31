"""The labels of synthetic tasks are what their definitions say, written here once more, and slowly."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints.data import sources, tasks
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data, Experiment
from cnn_constraints.resolve import check


@pytest.mark.parametrize("oscillating", [False, True])
def test_local_polynomial_is_its_sum_and_invariant_to_translation_unless_it_oscillates(seed, oscillating):
    signals = tasks.hypercube(np.random.default_rng(seed), 50, 12)
    assert set(np.unique(signals)) == {-1.0, 1.0}
    found = tasks.local_polynomial(signals, oscillating)
    for signal, value in zip(signals, found, strict=True):
        terms = [signal[i] * signal[(i + 1) % 12] * signal[(i + 2) % 12] for i in range(12)]
        assert value == pytest.approx(sum((-1) ** (i * oscillating) * term for i, term in enumerate(terms)) / 12**0.5)
    moved = tasks.local_polynomial(np.roll(signals, 1, axis=1), oscillating)
    np.testing.assert_allclose(moved, -found if oscillating else found)


def test_a_parity_is_the_product_of_neighbours(seed):
    generator = np.random.default_rng(seed)
    signals, first = tasks.hypercube(generator, 50, 12), int(generator.integers(12))
    inside = [(first + step) % 12 for step in range(5)]
    expected = [np.prod([signal[site] for site in inside]) for signal in signals]
    np.testing.assert_array_equal(tasks.parity(jnp.asarray(signals), first, 5), expected)


def test_one_patch_holds_the_signal_and_its_label(seed):
    generator = np.random.default_rng(seed)
    signal = np.array([3.0, 4.0])
    inputs, labels = tasks.signal_patches(generator, 500, 6, signal, noise=0.01)
    projected = inputs @ signal / 25
    place = np.abs(projected).argmax(axis=1)
    np.testing.assert_allclose(projected[np.arange(500), place], labels, atol=0.05)
    assert set(place.tolist()) == set(range(6)) and set(labels.tolist()) == {-1.0, 1.0}
    projected[np.arange(500), place] = 0
    assert np.abs(projected).max() < 0.05


def test_red_stands_left_of_green_above_and_right_of_it_below(seed):
    images, labels = tasks.red_and_green(np.random.default_rng(seed), 60)
    for image, label in zip(images, labels, strict=True):
        assert [image[..., colour].sum() for colour in range(3)] == [tasks.BOX**2, tasks.BOX**2, 0]
        (red_rows, red), (green_rows, green) = (np.nonzero(image[..., colour]) for colour in (0, 1))
        assert (red.max() < green.min()) == (label == 0) and (green.max() < red.min()) == (label == 1)
        assert {row >= tasks.BOXES_SIDE // 2 for row in (*red_rows, *green_rows)} == {bool(label)}


@pytest.mark.parametrize("blanks", [0, 2])
def test_a_sparse_hierarchy_is_read_back_by_its_rules(seed, blanks):
    generator = np.random.default_rng(seed)
    rules = tasks.hierarchy_rules(generator, 2)
    inputs, labels = tasks.sparse_hierarchy(generator, rules, 40, blanks)
    for image, label in zip(inputs, labels, strict=True):
        features = [int(site.argmax()) for site in image.T if site.any()]
        assert image.shape == (tasks.FEATURES, (2 * (blanks + 1)) ** 2) and image.sum() == len(features) == 4
        for rule in rules[::-1]:
            meaning = {tuple(pair): feature for feature, pairs in enumerate(rule) for pair in pairs.tolist()}
            assert len(meaning) == tasks.FEATURES**2
            features = [meaning[pair] for pair in zip(features[::2], features[1::2], strict=True)]
        assert features == [label]


def test_quadratic_labels_say_which_channel_has_the_larger_norm(seed):
    images = np.random.default_rng(seed).standard_normal((50, 3, 4, 3))
    expected = [np.linalg.norm(image[..., 0]) > np.linalg.norm(image[..., 1]) for image in images]
    np.testing.assert_array_equal(tasks.quadratic_labels(images), expected)


def test_a_gaussian_field_has_its_covariance(seed):
    covariance = np.array([[2.0, 1.0], [1.0, 3.0]])
    fields = tasks.gaussian_fields(np.random.default_rng(seed), covariance, 20_000)
    np.testing.assert_allclose(np.cov(fields), covariance, atol=0.2)


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_task_is_a_source_that_is_the_same_each_time_and_takes_the_bytes_that_it_says(name):
    first, second = (sources.load(name, size=3) for _ in range(2))
    np.testing.assert_array_equal(first.train.images, second.train.images)
    assert first.train.images.dtype == np.float32 and first.train.images.shape[1] == 3
    assert len(first.classes) == 2 and 0.45 < first.test.labels.mean() < 0.55
    assert not np.array_equal(first.train.images[:10], first.test.images[:10])
    task = tasks.TASKS[name]
    assert task.bytes(3) == first.train.images.nbytes + first.test.images.nbytes
    size = next(size for size in itertools.count(1) if task.bytes(size) > tasks.MOST_BYTES)
    check(Experiment(Data(source=name, size=size - 1)))
    with pytest.raises(InputError, match=rf"data\.size is {size}: .* bytes, and at most 2,147,483,648 are allowed"):
        check(Experiment(Data(source=name, size=size)))


def test_reduced_images_are_means_of_squares(seed):
    dataset = sources.load("digits")
    reduced = sources.reduce_images(dataset, 2)
    assert reduced.test.images.dtype == np.uint8 and sources.reduce_images(dataset, 1) is dataset
    image = int(np.random.default_rng(seed).integers(len(reduced.test.images)))
    for i, j in np.ndindex(4, 4):
        mean = dataset.test.images[image, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean()
        assert reduced.test.images[image, i, j, 0] == np.rint(mean)
    with pytest.raises(InputError, match=r"data\.reduce is 3: it must divide .* of 8 x 8 images"):
        sources.reduce_images(dataset, 3)
