"""Which images an experiment sees: nested, balanced, apart from validation, and drawn from the seed alone."""

import numpy as np
import pytest

from cnn_constraints.arrays import Split
from cnn_constraints.data import subsets
from cnn_constraints.errors import InputError


def random_split(generator: np.random.Generator, sizes: list[int], channels: int = 2) -> Split:
    """Images of noise, `sizes[c]` of class c, in any order."""
    labels = generator.permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)
    images = generator.integers(0, 256, (len(labels), 3, 4, channels)).astype(np.uint8)
    return Split(images, labels)


def balanced_split(generator: np.random.Generator) -> Split:
    return random_split(generator, [int(generator.integers(20, 40))] * int(generator.integers(2, 11)))


def random_sizes(generator: np.random.Generator, split: Split) -> tuple[int, int]:
    """Of training and validation, together at most the split."""
    n_validation = int(generator.integers(1, len(split.labels) - 1))
    return int(generator.integers(1, len(split.labels) - n_validation + 1)), n_validation


def uneven(split: Split, chosen: np.ndarray) -> int:
    """How much larger the largest class is than the smallest."""
    return int(np.ptp(np.bincount(split.labels[chosen], minlength=split.labels.max() + 1)))


@pytest.fixture
def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_smaller_training_subset_is_the_beginning_of_every_larger_one(generator, seed):
    split = balanced_split(generator)
    n_train, n_validation = random_sizes(generator, split)
    smaller = int(generator.integers(1, n_train + 1))
    small, large = (subsets.draw_subset(split, seed, size, n_validation).train for size in (smaller, n_train))
    np.testing.assert_array_equal(small, large[:smaller])


def test_validation_images_are_the_same_for_every_training_size(generator, seed):
    split = balanced_split(generator)
    n_train, n_validation = random_sizes(generator, split)
    small, large = (subsets.draw_subset(split, seed, size, n_validation).validation for size in (1, n_train))
    np.testing.assert_array_equal(small, large)


def test_no_image_is_chosen_twice_for_training_or_validation(generator, seed):
    split = balanced_split(generator)
    n_train, n_validation = random_sizes(generator, split)
    subset = subsets.draw_subset(split, seed, n_train, n_validation)
    assert (len(subset.train), len(subset.validation)) == (n_train, n_validation)
    assert len({*subset.train.tolist(), *subset.validation.tolist()}) == n_train + n_validation


def test_a_validation_set_is_balanced(generator, seed):
    split = balanced_split(generator)
    n_train, n_validation = random_sizes(generator, split)
    assert uneven(split, subsets.draw_subset(split, seed, n_train, n_validation).validation) <= 1


def test_a_training_subset_is_balanced_after_whole_rounds_of_validation(generator, seed):
    split = balanced_split(generator)
    classes = int(split.labels.max()) + 1
    n_validation = classes * int(generator.integers(1, 10))
    n_train = int(generator.integers(1, len(split.labels) - n_validation + 1))
    assert uneven(split, subsets.draw_subset(split, seed, n_train, n_validation).train) <= 1


def test_a_training_subset_is_balanced_whatever_the_size_of_validation(generator, seed):
    split = balanced_split(generator)
    classes = int(split.labels.max()) + 1
    for n_validation in range(1, 2 * classes):
        n_train = classes * int(generator.integers(1, 10))
        assert uneven(split, subsets.draw_subset(split, seed, n_train, n_validation).train) <= 1


def test_a_class_falls_behind_only_when_its_images_are_used_up(generator, seed):
    split = random_split(generator, [int(size) for size in generator.integers(0, 40, 5)] + [1, 60])
    n_train, n_validation = random_sizes(generator, split)
    subset = subsets.draw_subset(split, seed, n_train, n_validation)
    left = np.bincount(split.labels)
    for chosen in (subset.validation, subset.train):
        counts = np.bincount(split.labels[chosen], minlength=len(left))
        left -= counts
        assert (left[counts < counts.max() - 1] == 0).all()


def test_a_subset_is_determined_by_its_seed(generator, seed):
    split = balanced_split(generator)
    first, second = (subsets.draw_subset(split, seed, 20, 10) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_seeds_draw_other_subsets(generator, seed):
    split = random_split(generator, [200, 200])
    first, second = (subsets.draw_subset(split, one, 100, 100) for one in (seed, seed + 1))
    assert set(first.train.tolist()) != set(second.train.tolist())
    assert set(first.validation.tolist()) != set(second.validation.tolist())


def test_every_image_has_its_chance(generator):
    split = random_split(generator, [3, 3])
    drawn = [subsets.draw_subset(split, seed, 1, 1) for seed in range(200)]
    assert (
        {int(subset.train[0]) for subset in drawn} == {int(subset.validation[0]) for subset in drawn} == set(range(6))
    )


@pytest.mark.parametrize("excess", [1, 100])
def test_more_images_than_there_are_is_refused(generator, seed, excess):
    split = balanced_split(generator)
    n_train = int(generator.integers(1, len(split.labels)))
    n_validation = len(split.labels) - n_train + excess
    with pytest.raises(InputError, match=rf"{n_train} \+ {n_validation}.* {len(split.labels)} images"):
        subsets.draw_subset(split, seed, n_train, n_validation)


def test_all_images_can_be_used(generator, seed):
    split = balanced_split(generator)
    n_train = int(generator.integers(1, len(split.labels)))
    subset = subsets.draw_subset(split, seed, n_train, len(split.labels) - n_train)
    assert sorted([*subset.train, *subset.validation]) == list(range(len(split.labels)))


def test_images_are_standardised_by_the_moments_of_the_training_subset(generator, seed):
    split = balanced_split(generator)
    subset = subsets.draw_subset(split, seed, *random_sizes(generator, split))
    pixels = split.images[subset.train].reshape(-1, 2).astype(float)
    np.testing.assert_allclose(subset.mean, pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(subset.deviation, np.sqrt(((pixels - pixels.mean(0)) ** 2).mean(0)), rtol=1e-5)


def test_images_outside_the_training_subset_do_not_influence_it(generator, seed):
    split = balanced_split(generator)
    sizes = random_sizes(generator, split)
    before = subsets.draw_subset(split, seed, *sizes)
    images = generator.integers(0, 256, split.images.shape).astype(np.uint8)
    images[before.train] = split.images[before.train]
    after = subsets.draw_subset(split._replace(images=images), seed, *sizes)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_constant_channel_has_deviation_one(generator, seed):
    split = balanced_split(generator)
    value = int(generator.integers(0, 256))
    split.images[..., 1] = value
    subset = subsets.draw_subset(split, seed, *random_sizes(generator, split))
    assert subset.deviation[1] == 1 and subset.mean[1] == value


def test_after_any_update_no_image_was_seen_twice_more_than_another(generator, seed):
    n_train, batch, updates = (int(size) for size in generator.integers(1, 40, 3))
    batches = subsets.draw_batches(n_train, batch, updates, seed)
    assert batches.shape == (updates, batch)
    for update in range(1, updates + 1):
        assert np.ptp(np.bincount(batches[:update].ravel(), minlength=n_train)) <= 1
    assert batches.min() >= 0 and batches.max() < n_train


def test_every_epoch_has_an_order_of_its_own(generator, seed):
    n_train = int(generator.integers(20, 40))
    epochs = subsets.draw_batches(n_train, n_train, 5, seed)
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 5


def test_more_updates_begin_with_the_same_batches(generator, seed):
    n_train, batch, updates = (int(size) for size in generator.integers(1, 40, 3))
    short, long = (subsets.draw_batches(n_train, batch, length, seed) for length in (updates, 2 * updates))
    np.testing.assert_array_equal(short, long[:updates])


def test_batches_are_determined_by_their_seed(seed):
    first, second, other = (subsets.draw_batches(50, 8, 10, one) for one in (seed, seed, seed + 1))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_neither_subsets_nor_batches_touch_the_random_numbers_of_others(generator, seed):
    before = np.random.get_state(legacy=False)["state"]
    subsets.draw_subset(balanced_split(generator), seed, 10, 10)
    subsets.draw_batches(10, 5, 5, seed)
    np.testing.assert_equal(np.random.get_state(legacy=False)["state"], before)
