"""What is done to images and labels before training: what changes, what does not, and how much."""

import numpy as np
import pytest

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data.interventions import INTERVENTIONS, intervene, permutation, place_in_frame
from cnn_constraints.errors import InputError

OF_LABELS = ("label_positions", "randomise_labels")
UNTOUCHED = {"edge_noise": "test", "full_noise": "test", "randomise_labels": "test", "translate_test": "train"}


def random_dataset(seed: int, height: int = 6, width: int = 8, examples: int = 400) -> Dataset:
    """No pixel is 0, so that what was moved out can be told."""
    generator = np.random.default_rng(seed)

    def split() -> Split:
        images = generator.integers(1, 256, (examples, height, width, 2)).astype(np.uint8)
        return Split(images, generator.integers(0, 4, examples).astype(np.int32))

    return Dataset("random", split(), split(), ("a", "b", "c", "d"))


def same(first: Split, second: Split) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_an_intervention_is_a_data_set_like_the_original_which_stays_as_it_was(name, seed):
    """It takes no seed: every experiment meets the same task."""
    dataset, untouched = random_dataset(seed), random_dataset(seed)
    changed, again, none = intervene(dataset, name), intervene(dataset, name), intervene(dataset, name, 0.0)
    assert (changed.name, changed.classes) == (dataset.name, dataset.classes)
    for before, after in zip([*dataset.train, *dataset.test], [*changed.train, *changed.test], strict=True):
        assert (before.shape, before.dtype) == (after.shape, after.dtype)
    for split in ("train", "test"):
        before, after = getattr(dataset, split), getattr(changed, split)
        assert same(before, getattr(untouched, split)) and same(after, getattr(again, split))
        assert name in OF_LABELS or np.array_equal(before.labels, after.labels)
        assert same(before, after) == (name == "none" or split == UNTOUCHED.get(name))
        assert same(before, getattr(none, split)) or INTERVENTIONS[name].strength is None


def test_an_image_stands_whole_in_its_frame_anywhere_and_nothing_else_does(seed):
    dataset, side = random_dataset(seed, examples=900), 10
    framed, places = place_in_frame(dataset, side), []
    for before, after in zip(dataset[1:3], framed[1:3], strict=True):
        assert after.images.dtype == np.uint8 and np.array_equal(before.labels, after.labels)
        corners = [(image.any((1, 2)).argmax(), image.any((0, 2)).argmax()) for image in after.images]
        for image, moved, (top, left) in zip(before.images, after.images, corners, strict=True):
            frame = np.zeros((side, side, 2), np.uint8)
            frame[top : top + 6, left : left + 8] = image
            np.testing.assert_array_equal(moved, frame)
        assert set(corners) == {(top, left) for top in range(5) for left in range(3)}
        places.append(corners)
    assert places[0] != places[1]
    again = place_in_frame(random_dataset(seed + 1, examples=900), side).train.images
    np.testing.assert_array_equal(again.any(-1), framed.train.images.any(-1), "the places are those of the task")
    # An intervention that follows draws apart: else who stands low would be moved up.
    shifts = [down for down, _ in shifts_of(intervene(random_dataset(seed, 20, 20, 900), "translate").train.images)]
    assert abs(np.corrcoef(shifts, [top for top, _ in places[0]])[0, 1]) < 0.2


def test_frames_that_do_not_fit_or_have_no_effect_are_refused(seed):
    assert place_in_frame(random_dataset(seed), 8).test.images.shape == (400, 8, 8, 2)
    for dataset, side, least in ((random_dataset(seed), 7, 8), (random_dataset(seed, 8), 8, 9)):
        with pytest.raises(InputError, match=rf"data\.frame is {side}: it must be at least {least}, .* x 8; "):
            place_in_frame(dataset, side)
    with pytest.raises(InputError, match=r"data\.frame is 2000: the images would take 6,400,000,000 bytes"):
        place_in_frame(random_dataset(seed), 2000)


def shifts_of(moved: np.ndarray) -> list[tuple[int, int]]:
    """How far down and right images without a zero were moved, one by one."""
    shifts = []
    for image in moved:
        filled = image.any(axis=2)
        height, width = filled.shape
        rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
        down = rows[0] if rows[0] else rows[-1] + 1 - height
        right = columns[0] if columns[0] else columns[-1] + 1 - width
        shifts.append((int(down), int(right)))
    return shifts


def test_permuting_pixels_is_one_permutation_of_sites(seed):
    """The same for training and test images and for all channels: new pixel p is old pixel permutation[p]."""
    dataset = random_dataset(seed)
    changed, order = intervene(dataset, "permute_pixels"), permutation(48)
    np.testing.assert_array_equal(np.sort(order), np.arange(48))
    assert (order == np.arange(48)).mean() < 0.5
    for before, after in zip(dataset[1:3], changed[1:3], strict=True):
        np.testing.assert_array_equal(after.images.reshape(400, 48, 2), before.images.reshape(400, 48, 2)[:, order])


def test_a_translated_image_is_the_image_elsewhere_and_zero(seed):
    dataset = random_dataset(seed, 10, 15)
    changed = intervene(dataset, "translate", 0.2)
    each = shifts_of(changed.train.images)
    for before, after, (down, right) in zip(dataset.train.images, changed.train.images, each, strict=True):
        expected = np.zeros((30, 45, 2), np.uint8)
        expected[10 + down : 20 + down, 15 + right : 30 + right] = before
        np.testing.assert_array_equal(after, expected[10:20, 15:30])
    shifts = set(each)
    assert {shift for shift, _ in shifts} == set(range(-2, 3))
    assert {shift for _, shift in shifts} == set(range(-3, 4))
    # Down and right are drawn apart: of the 35 pairs most occur.
    assert len(shifts) > 25
    np.testing.assert_array_equal(intervene(dataset, "translate_test", 0.2).test.images, changed.test.images)


def test_noise_is_where_it_should_be_and_as_frequent_as_its_strength(seed):
    dataset = random_dataset(seed, 32, 32, 100)
    edge, full = (
        (intervene(dataset, name, 0.5).train.images != dataset.train.images).any(axis=-1).mean(axis=0)
        for name in ("edge_noise", "full_noise")
    )
    assert not edge[5:27, 5:27].any()
    edge[5:27, 5:27] = 0.5
    # Noise equals the pixel in both channels once in 65,536 times.
    for frequency in (edge, full):
        assert frequency.mean() == pytest.approx(0.5, abs=0.02) and frequency.min() > 0.2


@pytest.mark.parametrize("name", ["edge_noise", "full_noise"])
def test_noise_is_like_what_it_replaces(name, seed):
    numbers = 100 + np.random.default_rng(seed).standard_normal((300, 8, 8, 3), dtype=np.float32)
    for images, low, high, mean, deviation in (
        (np.zeros((300, 8, 8, 3), np.uint8), 0, 255, 127.5, 73.9),
        (numbers, -10, 10, 0, 1),
    ):
        split = Split(images, np.zeros(300, np.int32))
        noise = intervene(Dataset("d", split, split, ("a", "b")), name, 1.0).train.images[:, 0].astype(float)
        assert low <= noise.min() and noise.max() <= high
        assert noise.mean() == pytest.approx(mean, abs=0.1 * deviation)
        assert noise.std() == pytest.approx(deviation, rel=0.1)


def test_a_coded_label_says_whether_the_image_was_rolled(seed):
    dataset = random_dataset(seed)
    for before, after in zip(dataset[1:3], intervene(dataset, "label_positions")[1:3], strict=True):
        moved = (after.labels - before.labels) % 4
        assert set(moved.tolist()) == {0, 1} and 0.3 < moved.mean() < 0.7
        expected = [np.roll(image, 4 * move, axis=1) for image, move in zip(before.images, moved, strict=True)]
        np.testing.assert_array_equal(after.images, np.stack(expected))


def test_random_labels_are_as_many_as_their_strength(seed):
    dataset = random_dataset(seed, 2, 2, 4000)
    changed = intervene(dataset, "randomise_labels", 0.5).train
    np.testing.assert_array_equal(changed.images, dataset.train.images)
    # Of the labels drawn anew, a quarter is what it was.
    assert (changed.labels != dataset.train.labels).mean() == pytest.approx(0.5 * 0.75, abs=0.04)
