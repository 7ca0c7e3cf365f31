"""The labels of synthetic tasks are what their definitions say, written here once more, and slowly."""

import itertools

import numpy as np
import pytest

from cnn_constraints.data import sources, tasks
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data, Experiment
from cnn_constraints.resolve import check


@pytest.mark.parametrize("oscillating", [False, True])
def test_local_polynomial_is_its_sum(seed, oscillating):
    generator = np.random.default_rng(seed)
    sites = 2 * int(generator.integers(2, 8))
    signals = tasks.hypercube(generator, 5, sites)
    assert set(np.unique(signals)) <= {-1.0, 1.0}
    for signal, found in zip(signals, tasks.local_polynomial(signals, oscillating), strict=True):
        terms = [signal[i] * signal[(i + 1) % sites] * signal[(i + 2) % sites] for i in range(sites)]
        signs = [(-1) ** i if oscillating else 1 for i in range(sites)]
        assert found == pytest.approx(sum(s * t for s, t in zip(signs, terms, strict=True)) / sites**0.5)


def test_only_the_polynomial_that_does_not_oscillate_is_invariant_to_translation(seed):
    signals = tasks.hypercube(np.random.default_rng(seed), 50, 12)
    moved = np.roll(signals, 1, axis=1)
    np.testing.assert_allclose(tasks.local_polynomial(moved, False), tasks.local_polynomial(signals, False))
    np.testing.assert_allclose(tasks.local_polynomial(moved, True), -tasks.local_polynomial(signals, True))


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


def test_quadratic_labels_say_which_channel_has_the_larger_norm(seed):
    images = np.random.default_rng(seed).standard_normal((50, 3, 4, 3))
    expected = [np.linalg.norm(image[..., 0]) > np.linalg.norm(image[..., 1]) for image in images]
    np.testing.assert_array_equal(tasks.quadratic_labels(images), expected)


def test_a_gaussian_field_has_its_covariance(seed):
    generator = np.random.default_rng(seed)
    covariance = np.array([[2.0, 1.0], [1.0, 3.0]])
    np.testing.assert_allclose(np.cov(tasks.gaussian_fields(generator, covariance, 20_000)), covariance, atol=0.2)


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_task_is_a_source_that_is_the_same_each_time(name):
    first, second = (sources.load(name, size=3) for _ in range(2))
    np.testing.assert_array_equal(first.train.images, second.train.images)
    assert first.train.images.dtype == np.float32 and first.train.images.shape[1] == 3
    assert len(first.classes) == 2 and 0.45 < first.test.labels.mean() < 0.55
    assert not np.array_equal(first.train.images[:10], first.test.images[:10])


@pytest.mark.parametrize(("name", "size"), [("quadratic_labels", 0), ("digits", 5)])
def test_a_size_that_means_nothing_is_refused(name, size):
    with pytest.raises(InputError, match=r"data\.size"):
        check(Experiment(Data(source=name, size=size)))


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_task_takes_the_bytes_that_it_says(name):
    drawn = sources.load(name, size=3)
    assert tasks.TASKS[name].bytes(3) == drawn.train.images.nbytes + drawn.test.images.nbytes


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_size_that_takes_too_many_bytes_is_refused_before_anything_is_drawn(name):
    size = next(size for size in itertools.count(1) if tasks.TASKS[name].bytes(size) > tasks.MOST_BYTES)
    check(Experiment(Data(source=name, size=size - 1)))
    with pytest.raises(InputError, match=rf"data\.size is {size}: .* bytes, and at most 2,147,483,648 are allowed"):
        check(Experiment(Data(source=name, size=size)))


@pytest.mark.parametrize("name", ["digits", *tasks.TASKS])
def test_a_folder_that_nothing_reads_is_refused(name, tmp_path):
    with pytest.raises(InputError, match=rf"data\.folder is .*: {name} reads no folder"):
        sources.load(name, tmp_path)


def test_reduced_images_are_means_of_squares(seed):
    dataset = sources.load("digits")
    reduced = sources.reduce_images(dataset, 2)
    image = int(np.random.default_rng(seed).integers(len(reduced.test.images)))
    for i in range(4):
        for j in range(4):
            mean = dataset.test.images[image, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean()
            assert reduced.test.images[image, i, j, 0] == np.rint(mean)
    assert reduced.test.images.dtype == np.uint8


def test_squares_that_do_not_fill_the_image_are_refused():
    with pytest.raises(InputError, match=r"data\.reduce is 3"):
        sources.reduce_images(sources.load("digits"), 3)
