"""Training images are augmented update by update, alike for all that train from one seed, and no others are."""

import jax
import numpy as np
import pytest
from small_runs import EVERY, UPDATES, random_dataset, require_the_ordinary_loop, small_experiment, train_alone

from cnn_constraints import experiment as fields
from cnn_constraints.arrays import Dataset
from cnn_constraints.data.augmentation import AUGMENTATIONS, Augmentation
from cnn_constraints.data.interventions import INTERVENTIONS, intervene, permutation
from cnn_constraints.plan import build_arrays, build_task, to_device
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.training import ensemble, loop
from cnn_constraints.training.candidates import Stacked, Unrolled

ALL = tuple(AUGMENTATIONS)


def augmented(experiment: Resolved, names: tuple[str, ...], intervention: str = "none") -> Resolved:
    changes = {"data.augmentation": names, "data.augmentation_strengths": (), "data.intervention": intervention}
    return resolve([fields.replace(experiment, changes)])[0]


def batches_of(experiment: Resolved, dataset: Dataset) -> list[np.ndarray]:
    """As a network sees them, but for standardisation, which is that of the images without augmentation."""
    task, arrays, key = (
        build_task(experiment, dataset),
        build_arrays(experiment, dataset),
        jax.random.key(experiment.seed),
    )
    mean, deviation = arrays.standardisation
    found = []
    for number, batch in enumerate(arrays.batches):
        own = (arrays.standardisation, arrays.order)
        images, _ = loop.prepare_batch(task, key, number, to_device(dataset.train), batch, *own)
        found.append(np.asarray(images) * deviation + mean)
    return found


@pytest.mark.usefixtures("trained_in_64_bits")
@pytest.mark.parametrize(
    ("constraint", "kind"), [("conv", Unrolled), pytest.param("dense", Stacked, marks=pytest.mark.slow)]
)
def test_every_candidate_is_the_ordinary_loop_whose_images_are_augmented(constraint, kind, seed):
    dataset = intervene(random_dataset(seed), "permute_pixels")
    experiment = augmented(small_experiment(constraint, seed), ALL, "permute_pixels")
    require_the_ordinary_loop(experiment, dataset, kind)


def test_the_images_of_an_update_depend_on_the_seed_alone_and_are_augmented_once(seed, monkeypatch):
    """Whatever the constraint, the layers and the candidates are; and neither validation nor test images are augmented."""
    seen, dataset = [], random_dataset(seed)

    def spy(key, images, strength):
        jax.debug.callback(lambda images: seen.append(np.asarray(images)), images)
        return images

    monkeypatch.setitem(AUGMENTATIONS, "spy", Augmentation(spy, 1.0))
    names = ("translate", "flip", "crop", "spy")
    arms = [("conv", {}), ("dense", {"learning_rates": (0.1,), "layers": 2})]
    everything = []
    for constraint, changes in arms:
        seen.clear()
        train_alone(augmented(small_experiment(constraint, seed, **changes), names), dataset)
        jax.effects_barrier()
        everything.append(sorted(images.tobytes() for images in seen))
    assert len(set(everything[0])) == len(everything[0]) == UPDATES
    assert everything[0] == everything[1]
    seen.clear()
    batches_of(augmented(small_experiment("conv", seed), names), dataset)
    jax.effects_barrier()
    assert everything[0] == sorted(images.tobytes() for images in seen)


def test_every_update_and_every_seed_has_an_augmentation_of_its_own(seed):
    dataset = random_dataset(seed)
    experiment = small_experiment("conv", seed, batch_size=24)
    plain, noisy = (batches_of(augmented(experiment, names), dataset) for names in ((), ("noise",)))
    added = [after - before for before, after in zip(plain, noisy, strict=True)]
    other = augmented(fields.replace(experiment, {"seed": experiment.seed + 1}), ("noise",))
    added += [batches_of(other, dataset)[0] - batches_of(augmented(other, ()), dataset)[0]]
    correlations = np.corrcoef([one.ravel() for one in added])
    assert abs(correlations - np.eye(UPDATES + 1)).max() < 0.2
    # A tenth of full intensity.
    assert np.std(added) == pytest.approx(25.5, rel=0.05)


def test_images_whose_pixels_were_permuted_are_augmented_before(seed):
    dataset, experiment = random_dataset(seed), small_experiment("conv", seed)
    plain = batches_of(augmented(experiment, ALL), dataset)
    permuted = batches_of(augmented(experiment, ALL, "permute_pixels"), intervene(dataset, "permute_pixels"))
    for before, after in zip(plain, permuted, strict=True):
        np.testing.assert_allclose(after.reshape(8, 36, 2), before.reshape(8, 36, 2)[:, permutation(36)], atol=1e-3)


@pytest.mark.parametrize("name", [name for name, one in INTERVENTIONS.items() if one.commutes])
def test_an_intervention_that_may_come_first_permutes_moves_or_leaves_training_images(name, seed):
    """So that what was black is so still: noise, or a label that tells a place, would be moved with the image."""
    dataset = random_dataset(seed)
    after = intervene(dataset, name).train.images
    for before, image in zip(dataset.train.images, after, strict=True):
        assert set(image.ravel().tolist()) <= {0, *before.ravel().tolist()}


def test_what_goes_on_in_the_middle_goes_on_with_the_same_images(seed):
    dataset, experiment = random_dataset(seed), augmented(small_experiment("conv", seed), ALL)
    splits = to_device(dataset.train), to_device(dataset.test)
    arrays = ensemble.stack([build_arrays(experiment, dataset)])
    program = ensemble.compile_program(build_task(experiment, dataset), arrays, *splits, EVERY)
    whole = [segments for segments, _ in ensemble.train(program, arrays, splits[0])]
    _, first = next(ensemble.train(program, arrays, splits[0]))
    kept = [np.array(leaf) for leaf in jax.tree.leaves(first.candidates)]
    state = ensemble.load_state(program, first.update, kept)
    [(rest, _)] = ensemble.train(program, arrays, splits[0], state)
    jax.tree.map(np.testing.assert_array_equal, rest, whole[-1])
