"""What is done to a batch of images: each is what it should be of the image that it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints.data.augmentation import AUGMENTATIONS, augment

HEIGHT, WIDTH, EXAMPLES = 5, 10, 600


@pytest.fixture
def key(seed) -> jax.Array:
    return jax.random.key(seed)


@pytest.fixture
def images(generator) -> jax.Array:
    """No two numbers alike, none of them 0."""
    numbers = 1 + generator.permutation(EXAMPLES * HEIGHT * WIDTH * 2)
    return jnp.asarray(numbers.reshape(EXAMPLES, HEIGHT, WIDTH, 2) / 2**18, float)


def alone(name: str, key: jax.Array, images: jax.Array, strength: float) -> np.ndarray:
    return np.array(augment(key, images, [(name, strength)], jnp.arange(HEIGHT * WIDTH)))


@pytest.mark.parametrize(("name", "beyond"), [("translate", "edge"), ("crop", "constant")])
def test_an_image_is_moved_anywhere_within_reach_and_the_nearest_pixel_or_zero_enters(name, beyond, key, images):
    changed, shifts = alone(name, key, images, 0.2), set()
    padded = np.pad(np.asarray(images), ((0, 0), (1, 1), (2, 2), (0, 0)), mode=beyond)
    windows = {(i, j): padded[:, i : i + HEIGHT, j : j + WIDTH] for i in range(3) for j in range(5)}
    for number, image in enumerate(changed):
        found = [shift for shift, moved in windows.items() if np.array_equal(moved[number], image)]
        assert len(found) == 1
        shifts |= set(found)
    assert shifts == set(windows)


def test_a_flip_exchanges_left_and_right_and_is_its_own_inverse(key, images):
    flipped = alone("flip", key, images, 0.3)
    mirrored = (flipped == np.asarray(images)[:, :, ::-1]).all((1, 2, 3))
    np.testing.assert_array_equal(flipped[~mirrored], images[~mirrored])
    assert mirrored.mean() == pytest.approx(0.3, abs=0.1)
    np.testing.assert_array_equal(alone("flip", key, jnp.asarray(flipped), 0.3), images)
    np.testing.assert_array_equal(alone("flip", key, images, 1.0), images[:, :, ::-1])


def test_noise_is_normal_and_added(key, images):
    added = alone("noise", key, images, 0.3) - np.asarray(images)
    np.testing.assert_allclose(alone("noise", key, images + 1, 0.3) - np.asarray(images) - 1, added, atol=1e-6)
    assert abs(added.mean()) < 0.01 and added.std() == pytest.approx(0.3, rel=0.02)
    assert (abs(added) < 0.3).mean() == pytest.approx(0.683, abs=0.02)
    # Every number has noise of its own: another channel, row, column or image.
    for axis in range(4):
        one, other = (added.take(place, axis).ravel() for place in (0, 1))
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.5


def test_edge_noise_is_noise_near_the_edges_alone(key, images):
    inside = (slice(None), slice(1, -1), slice(2, -2))
    noisy, expected = alone("edge_noise", key, images, 0.3), alone("noise", key, images, 0.3)
    expected[inside] = np.asarray(images)[inside]
    np.testing.assert_array_equal(noisy, expected)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_permuted_images_are_augmented_as_pictures_and_then_permuted(name, key, images, generator):
    order = jnp.asarray(generator.permutation(HEIGHT * WIDTH))
    pixels = lambda images: images.reshape(EXAMPLES, HEIGHT * WIDTH, 2)
    permuted = pixels(images)[:, order].reshape(images.shape)
    after = augment(key, permuted, [(name, 0.5), ("flip", 0.5)], order)
    before = augment(key, images, [(name, 0.5), ("flip", 0.5)], jnp.arange(HEIGHT * WIDTH))
    np.testing.assert_array_equal(pixels(after), pixels(before)[:, order])
    assert (after != permuted).any()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentation_draws_from_its_key_and_does_nothing_at_strength_0(name, key, images):
    np.testing.assert_array_equal(alone(name, key, images, 0.0), images)
    changed = alone(name, key, images, 0.5)
    assert changed.dtype == images.dtype
    np.testing.assert_array_equal(alone(name, key, images, 0.5), changed)
    assert (alone(name, jax.random.fold_in(key, 1), images, 0.5) != changed).any()
    twice = np.asarray(augment(key, images, [(name, 0.5)] * 2, jnp.arange(HEIGHT * WIDTH)))
    assert (twice != alone(name, key, jnp.asarray(changed), 0.5)).any(), "each draws by itself"
