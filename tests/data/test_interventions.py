"""What is done to images before training: every content stays, only its place changes."""

import numpy as np
import pytest

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data.interventions import INTERVENTIONS, permutation, permute_pixels


def random_dataset(seed: int) -> Dataset:
    generator = np.random.default_rng(seed)
    height, width, channels = (int(size) for size in generator.integers((4, 4, 1), (8, 8, 4)))

    def split(examples: int) -> Split:
        images = generator.integers(0, 256, (examples, height, width, channels)).astype(np.uint8)
        return Split(images, generator.integers(0, 3, examples).astype(np.int32))

    return Dataset("random", split(7), split(5), ("a", "b", "c"))


def pixels(split: Split) -> np.ndarray:
    """Axes: example, site, channel."""
    return split.images.reshape(len(split.images), -1, split.images.shape[-1])


@pytest.fixture
def dataset(seed: int) -> Dataset:
    return random_dataset(seed)


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_an_intervention_keeps_all_but_the_images(name, dataset):
    changed = INTERVENTIONS[name](dataset)
    assert (changed.name, changed.classes) == (dataset.name, dataset.classes)
    for before, after in zip(dataset[1:3], changed[1:3], strict=True):
        np.testing.assert_array_equal(before.labels, after.labels)
        assert (before.images.shape, before.images.dtype) == (after.images.shape, after.images.dtype)


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_an_intervention_does_not_write_into_the_original(name, seed):
    dataset, untouched = random_dataset(seed), random_dataset(seed)
    INTERVENTIONS[name](dataset)
    np.testing.assert_array_equal(dataset.train.images, untouched.train.images)
    np.testing.assert_array_equal(dataset.test.images, untouched.test.images)


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_an_intervention_is_the_same_each_time(name, dataset):
    """It takes no seed: every trial meets the same task."""
    first, second = INTERVENTIONS[name](dataset), INTERVENTIONS[name](dataset)
    np.testing.assert_array_equal(first.train.images, second.train.images)
    np.testing.assert_array_equal(first.test.images, second.test.images)


def test_no_intervention_changes_nothing(dataset):
    np.testing.assert_array_equal(INTERVENTIONS["none"](dataset).train.images, dataset.train.images)


def test_the_permutation_names_every_site_once(seed):
    sites = int(np.random.default_rng(seed).integers(1, 2000))
    np.testing.assert_array_equal(np.sort(permutation(sites)), np.arange(sites))


def test_permuting_pixels_is_undone_by_the_inverse_permutation(dataset):
    inverse = np.argsort(permutation(pixels(dataset.train).shape[1]))
    changed = permute_pixels(dataset)
    for before, after in zip(dataset[1:3], changed[1:3], strict=True):
        np.testing.assert_array_equal(pixels(after)[:, inverse], pixels(before))


def test_new_pixel_p_is_old_pixel_permutation_p(dataset):
    sites = permutation(pixels(dataset.test).shape[1])
    np.testing.assert_array_equal(pixels(permute_pixels(dataset).test), pixels(dataset.test)[:, sites])


def test_permuting_pixels_moves_most_of_them(dataset):
    sites = pixels(dataset.train).shape[1]
    assert (permutation(sites) == np.arange(sites)).mean() < 0.5


def test_training_and_test_images_are_permuted_alike(dataset):
    same = dataset._replace(test=dataset.train)
    changed = permute_pixels(same)
    np.testing.assert_array_equal(changed.train.images, changed.test.images)


def test_the_channels_of_a_pixel_move_together(dataset):
    first = dataset.train.images[..., :1]
    images = np.concatenate([first, 255 - first], axis=-1)
    changed = permute_pixels(dataset._replace(train=Split(images, dataset.train.labels)))
    assert (changed.train.images.astype(int).sum(-1) == 255).all()
