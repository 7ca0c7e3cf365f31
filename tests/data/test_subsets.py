"""Which images an experiment sees: nested, balanced, apart from validation, and drawn from the seed alone."""

from functools import partial

import numpy as np
import pytest

from cnn_constraints.arrays import Split
from cnn_constraints.data import subsets
from cnn_constraints.errors import InputError


def random_split(generator: np.random.Generator, sizes: list[int]) -> Split:
    """Images of noise, `sizes[c]` of class c, in any order."""
    labels = generator.permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)
    return Split(generator.integers(0, 256, (len(labels), 3, 4, 2)).astype(np.uint8), labels)


@pytest.fixture
def split(generator) -> Split:
    """Of as many images in every class."""
    return random_split(generator, [int(generator.integers(20, 40))] * int(generator.integers(2, 11)))


@pytest.fixture
def sizes(generator, split) -> tuple[int, int]:
    """Of training and validation, together at most the split."""
    n_validation = int(generator.integers(1, len(split.labels) - 1))
    return int(generator.integers(1, len(split.labels) - n_validation + 1)), n_validation


def test_smaller_training_subsets_begin_larger_ones_apart_from_the_same_validation_images(
    split, sizes, generator, seed
):
    n_train, n_validation = sizes
    smaller = int(generator.integers(1, n_train + 1))
    small, large, everything = (
        subsets.draw_subset(split, seed, n, n_validation) for n in (smaller, n_train, len(split.labels) - n_validation)
    )
    assert (len(small.train), len(large.train), len(large.validation)) == (smaller, *sizes)
    np.testing.assert_array_equal(small.train, large.train[:smaller])
    np.testing.assert_array_equal(small.validation, large.validation)
    np.testing.assert_array_equal(np.sort(np.concatenate(everything[:2])), np.arange(len(split.labels)))


def test_subsets_are_balanced(split, sizes, generator, seed):
    """Validation always, training after whole rounds of either."""
    classes = int(split.labels.max()) + 1
    uneven = lambda chosen: np.ptp(np.bincount(split.labels[chosen], minlength=classes))
    assert uneven(subsets.draw_subset(split, seed, *sizes).validation) <= 1
    for n_validation in range(1, 2 * classes):
        n_train = classes * int(generator.integers(1, 10))
        assert uneven(subsets.draw_subset(split, seed, n_train, n_validation).train) <= 1
    n_train = int(generator.integers(1, len(split.labels) - classes + 1))
    assert uneven(subsets.draw_subset(split, seed, n_train, classes).train) <= 1


def test_a_class_falls_behind_only_when_its_images_are_used_up(generator, seed):
    split = random_split(generator, [int(size) for size in generator.integers(0, 40, 5)] + [1, 60])
    subset = subsets.draw_subset(split, seed, 30, 25)
    left = np.bincount(split.labels)
    for chosen in (subset.validation, subset.train):
        counts = np.bincount(split.labels[chosen], minlength=len(left))
        left -= counts
        assert (left[counts < counts.max() - 1] == 0).all()


def test_subsets_and_batches_are_determined_by_the_seed_alone(split, seed):
    state = np.random.get_state(legacy=False)["state"]
    draw = lambda seed: (*subsets.draw_subset(split, seed, 20, 15), subsets.draw_batches(50, 8, 10, seed))
    for one, again, other in zip(draw(seed), draw(seed), draw(seed + 1), strict=True):
        np.testing.assert_array_equal(one, again)
        assert (one != other).any()
    assert len({tuple(epoch) for epoch in subsets.draw_batches(30, 30, 5, seed).tolist()}) == 5
    np.testing.assert_equal(np.random.get_state(legacy=False)["state"], state)


def test_every_image_has_its_chance(generator):
    split = random_split(generator, [3, 3])
    drawn = [subsets.draw_subset(split, seed, 1, 1) for seed in range(200)]
    for which in ("train", "validation"):
        assert {int(getattr(subset, which)[0]) for subset in drawn} == set(range(6))


def test_images_are_standardised_by_the_training_subset_and_no_other(split, sizes, generator, seed):
    split.images[..., 1] = 77  # a constant channel has deviation 1
    before = subsets.draw_subset(split, seed, *sizes)
    pixels = split.images[before.train].reshape(-1, 2).astype(float)
    np.testing.assert_allclose(before.mean, pixels.mean(0), rtol=1e-5)
    deviation = pixels.std(0)
    np.testing.assert_allclose(before.deviation, np.where(deviation > 0, deviation, 1), rtol=1e-5)
    images = generator.integers(0, 256, split.images.shape).astype(np.uint8)
    images[before.train] = split.images[before.train]
    for one, other in zip(before, subsets.draw_subset(split._replace(images=images), seed, *sizes), strict=True):
        np.testing.assert_array_equal(one, other)


def test_subsets_that_cannot_be_drawn_are_refused(split, generator, seed):
    images = len(split.labels)
    n_train = int(generator.integers(1, images))
    for draw in (partial(subsets.draw_subset, split, seed), partial(subsets.check_sizes, split)):
        with pytest.raises(InputError, match=rf"{n_train} \+ {images - n_train + 1}.* {images} images"):
            draw(n_train, images - n_train + 1)
    uneven = random_split(generator, [2, 30, 30])
    subsets.check_sizes(uneven, 10, 3)
    subsets.check_sizes(uneven, 2, 9)
    with pytest.raises(InputError, match=r"n_validation is 4: that takes up to 2 images of every class.* has 2, so"):
        subsets.check_sizes(uneven, 3, 4)


def test_after_any_update_no_image_was_seen_twice_more_than_another(generator, seed):
    n_train, batch, updates = (int(size) for size in generator.integers(1, 40, 3))
    batches = subsets.draw_batches(n_train, batch, updates, seed)
    assert batches.shape == (updates, batch) and batches.min() >= 0 and batches.max() < n_train
    for update in range(1, updates + 1):
        assert np.ptp(np.bincount(batches[:update].ravel(), minlength=n_train)) <= 1
    np.testing.assert_array_equal(subsets.draw_batches(n_train, batch, 2 * updates, seed)[:updates], batches)
