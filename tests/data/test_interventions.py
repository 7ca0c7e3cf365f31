"""What is done to images and labels before training: what changes, what does not, and how much."""

import numpy as np
import pytest

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data.interventions import (
    INTERVENTIONS,
    edge_noise,
    full_noise,
    intervene,
    label_positions,
    permutation,
    permute_pixels,
    randomise_labels,
    translate,
    translate_test,
)
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data, Experiment
from cnn_constraints.resolve import check


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
def test_an_intervention_keeps_shapes_and_types(name, dataset):
    changed = intervene(dataset, name)
    assert (changed.name, changed.classes) == (dataset.name, dataset.classes)
    for before, after in zip(dataset[1:3], changed[1:3], strict=True):
        assert (before.images.shape, before.images.dtype) == (after.images.shape, after.images.dtype)
        assert (before.labels.shape, before.labels.dtype) == (after.labels.shape, after.labels.dtype)


@pytest.mark.parametrize("name", sorted(set(INTERVENTIONS) - {"label_positions", "randomise_labels"}))
def test_only_interventions_on_labels_change_labels(name, dataset):
    changed = intervene(dataset, name)
    for before, after in zip(dataset[1:3], changed[1:3], strict=True):
        np.testing.assert_array_equal(before.labels, after.labels)


@pytest.mark.parametrize("name", ["edge_noise", "full_noise", "randomise_labels"])
def test_what_is_done_in_training_leaves_the_test_images_alone(name, dataset):
    changed = intervene(dataset, name)
    np.testing.assert_array_equal(changed.test.images, dataset.test.images)
    np.testing.assert_array_equal(changed.test.labels, dataset.test.labels)


@pytest.mark.parametrize("name", [name for name, entry in INTERVENTIONS.items() if entry.strength is not None])
def test_no_strength_is_no_intervention(name, dataset):
    changed = intervene(dataset, name, 0.0)
    for before, after in zip(dataset[1:3], changed[1:3], strict=True):
        np.testing.assert_array_equal(before.images, after.images)
        np.testing.assert_array_equal(before.labels, after.labels)


@pytest.mark.parametrize(("name", "strength"), [("translate", 1.5), ("translate", -0.1), ("permute_pixels", 0.5)])
def test_a_strength_that_means_nothing_is_refused(name, strength):
    with pytest.raises(InputError, match=r"data\.strength"):
        check(Experiment(Data(intervention=name, strength=strength)))


def test_a_strength_of_no_intervention_is_refused_with_those_that_have_one():
    with pytest.raises(InputError, match="'none' takes no strength; those that do are translate, translate_test, edge"):
        check(Experiment(Data(intervention="none", strength=0.5)))


def test_an_unknown_intervention_is_refused(dataset):
    with pytest.raises(InputError, match="did you mean 'translate'"):
        intervene(dataset, "trnslate")


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_an_intervention_does_not_write_into_the_original(name, seed):
    dataset, untouched = random_dataset(seed), random_dataset(seed)
    intervene(dataset, name)
    np.testing.assert_array_equal(dataset.train.images, untouched.train.images)
    np.testing.assert_array_equal(dataset.test.images, untouched.test.images)


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_an_intervention_is_the_same_each_time(name, dataset):
    """It takes no seed: every experiment meets the same task."""
    first, second = intervene(dataset, name), intervene(dataset, name)
    np.testing.assert_array_equal(first.train.images, second.train.images)
    np.testing.assert_array_equal(first.test.images, second.test.images)


def test_no_intervention_changes_nothing(dataset):
    np.testing.assert_array_equal(intervene(dataset, "none").train.images, dataset.train.images)


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
    both = Split(images, dataset.train.labels)
    changed = permute_pixels(dataset._replace(train=both, test=both))
    assert (changed.train.images.astype(int).sum(-1) == 255).all()


def large_dataset(seed: int, height: int, width: int, examples: int = 400) -> Dataset:
    """No pixel is 0, so that what was moved out can be told."""
    generator = np.random.default_rng(seed)

    def split() -> Split:
        images = generator.integers(1, 256, (examples, height, width, 2)).astype(np.uint8)
        return Split(images, generator.integers(0, 4, examples).astype(np.int32))

    return Dataset("large", split(), split(), ("a", "b", "c", "d"))


def test_a_translated_image_is_the_image_elsewhere_and_zero(seed):
    dataset = large_dataset(seed, 10, 15)
    changed = translate(dataset, 0.2)
    shifts = set()
    for before, after in zip(dataset.train.images, changed.train.images, strict=True):
        filled = after.any(axis=2)
        rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
        down = rows[0] if rows[0] else rows[-1] - 9
        right = columns[0] if columns[0] else columns[-1] - 14
        expected = np.zeros((30, 45, 2), np.uint8)
        expected[10 + down : 20 + down, 15 + right : 30 + right] = before
        np.testing.assert_array_equal(after, expected[10:20, 15:30])
        shifts.add((int(down), int(right)))
    assert {shift for shift, _ in shifts} == set(range(-2, 3))
    assert {shift for _, shift in shifts} == set(range(-3, 4))
    # Down and right are drawn apart: of the 35 pairs most occur.
    assert len(shifts) > 25


def test_translating_the_test_images_leaves_training_images_alone(seed):
    dataset = large_dataset(seed, 8, 8, 20)
    changed = translate_test(dataset, 0.25)
    np.testing.assert_array_equal(changed.train.images, dataset.train.images)
    np.testing.assert_array_equal(changed.test.images, translate(dataset, 0.25).test.images)
    assert (changed.test.images != dataset.test.images).any()


def test_edge_noise_is_at_the_edges_and_as_frequent_as_its_strength(seed):
    dataset = large_dataset(seed, 32, 32, 100)
    changed = edge_noise(dataset, 0.5).train.images != dataset.train.images
    assert not changed[:, 5:27, 5:27].any()
    edge = changed.any(axis=-1).mean(axis=0)
    edge[5:27, 5:27] = 0.5
    # Noise equals the pixel in both channels once in 65,536 times.
    assert edge.mean() == pytest.approx(0.5, abs=0.02)
    assert edge.min() > 0.2


def test_full_noise_is_everywhere_and_as_frequent_as_its_strength(seed):
    dataset = large_dataset(seed, 20, 20, 100)
    changed = full_noise(dataset, 0.7).train.images != dataset.train.images
    assert changed.any(axis=-1).mean() == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("noisy", [edge_noise, full_noise])
def test_noise_is_like_what_it_replaces(noisy, seed):
    generator = np.random.default_rng(seed)
    labels = np.zeros(300, np.int32)
    intensities = Split(np.zeros((300, 8, 8, 3), np.uint8), labels)
    numbers = Split(100 + generator.standard_normal((300, 8, 8, 3), dtype=np.float32), labels)
    for split, low, high, mean, deviation in ((intensities, 0, 255, 127.5, 73.9), (numbers, -10, 10, 0, 1)):
        changed = noisy(Dataset("d", split, split, ("a", "b")), 1.0).train.images
        noise = changed[:, 0].astype(float)
        assert changed.dtype == split.images.dtype
        assert low <= noise.min() and noise.max() <= high
        assert noise.mean() == pytest.approx(mean, abs=0.1 * deviation)
        assert noise.std() == pytest.approx(deviation, rel=0.1)


def test_a_coded_label_says_whether_the_image_was_rolled(seed):
    dataset = large_dataset(seed, 6, 8)
    changed = label_positions(dataset)
    for before, after in zip(dataset[1:3], changed[1:3], strict=True):
        moved = (after.labels - before.labels) % 4
        assert set(moved.tolist()) == {0, 1} and 0.3 < moved.mean() < 0.7
        expected = [np.roll(image, 4 * move, axis=1) for image, move in zip(before.images, moved, strict=True)]
        np.testing.assert_array_equal(after.images, np.stack(expected))


def test_random_labels_are_as_many_as_their_strength(seed):
    dataset = large_dataset(seed, 2, 2, 4000)
    changed = randomise_labels(dataset, 0.5).train.labels != dataset.train.labels
    # Of the labels drawn anew, a quarter is what it was.
    assert changed.mean() == pytest.approx(0.5 * 0.75, abs=0.04)
