"""A plan puts together exactly the experiments that one program can run, and refuses whatever cannot be run."""

import math
from collections.abc import Callable

import jax
import numpy as np
import pytest
from any_input import refusal_of
from random_experiments import PAIRS, pair

from cnn_constraints import plan as plan_module
from cnn_constraints.architecture import PADDINGS, build_network, cost
from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data.augmentation import AUGMENTATIONS, Augmentation
from cnn_constraints.data.datasets import Datasets
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import DEFAULTS, PLACES, Data, Experiment, axis, get, product, replace
from cnn_constraints.lattice import low_rank
from cnn_constraints.network import NORMALISATIONS, READOUTS
from cnn_constraints.plan import Group, build_arrays, build_task, cost_of, plan
from cnn_constraints.resolve import ARRAYS, Resolved, resolve
from cnn_constraints.sweep import without

CLASSES = 3
SIDE = 16

Load = Callable[[Data], Dataset]


def images(generator: np.random.Generator, count: int, labels: np.ndarray | None = None) -> Split:
    labels = np.arange(count) % CLASSES if labels is None else labels
    return Split(generator.integers(0, 256, (count, SIDE, SIDE, 1)).astype(np.uint8), labels.astype(np.int32))


@pytest.fixture
def dataset(generator: np.random.Generator) -> Dataset:
    return Dataset("noise", images(generator, 900), images(generator, 30), tuple("abc"))


@pytest.fixture
def load(dataset: Dataset) -> Load:
    """The same images whatever is asked for."""
    return lambda data: dataset


def random_experiments(generator: np.random.Generator) -> list[Resolved]:
    """Experiments of several programs, each with several arrays, in any order."""
    # A circular boundary takes no other padding.
    apart = ("data.source", "seed", "model.boundary")
    alone = [field for field, (changes, _) in PAIRS.items() if not changes and field not in apart]
    chosen = ["seed", *map(str, generator.choice(alone, 4, replace=False))]
    axes = [axis(field, [DEFAULTS[field], PAIRS[field][1]]) for field in chosen]
    experiments = resolve(product(Experiment(), *axes))
    return [experiments[i] for i in generator.permutation(len(experiments))]


def as_told(one: Resolved) -> tuple:
    """What a program is told: all fields that are no arrays to it, and the number of candidates."""
    fields = [get(one, field) for field in DEFAULTS if field not in (*ARRAYS, *PLACES)]
    return *fields, len(one.candidates)


@pytest.mark.parametrize("field", PAIRS)
def test_what_is_an_array_shares_a_program_and_any_other_field_needs_one_of_its_own(field, load):
    assert len(plan(resolve(pair(field)), load)) == (1 if field in ARRAYS else 2)


def test_candidates_share_a_program_when_their_number_agrees(load, generator):
    counts = generator.integers(1, 5, (2, 2)).tolist()
    experiments = [
        replace(
            Experiment(),
            {
                "training.learning_rates": tuple(generator.random(rates).tolist()),
                "training.weight_decays": tuple(generator.random(decays).tolist()),
            },
        )
        for rates, decays in counts
    ]
    assert len(plan(resolve(experiments), load)) == (1 if math.prod(counts[0]) == math.prod(counts[1]) else 2)


def test_a_plan_holds_every_experiment_once_and_in_order_and_separates_programs(load, generator):
    experiments = random_experiments(generator)
    groups = plan(experiments, load)
    planned = [experiment for group in groups for experiment in group.experiments]
    assert sorted(map(experiments.index, planned)) == list(range(len(experiments)))
    for group in groups:
        assert list(group.experiments) == [experiment for experiment in experiments if experiment in group.experiments]
        assert {experiment.group for experiment in group.experiments} == {group.name}
        # Or a run that is taken up again would compile, and file, another program.
        assert [left.name for left in plan(group.experiments[-1:], load)] == [group.name]
    told = [set(map(as_told, group.experiments)) for group in groups]
    assert all(len(one) == 1 for one in told)
    assert len(set.union(*told)) == len(groups) == len({group.name for group in groups})


def test_what_is_finished_is_left_out_and_the_program_stays_what_it_was(load, generator):
    groups = plan(random_experiments(generator), load)
    names = [experiment.name for group in groups for experiment in group.experiments]
    finished = {name for name in names if generator.random() < 0.6}
    left = without(groups, finished)
    assert [one.name for group in left for one in group.experiments] == [n for n in names if n not in finished]
    before = {group.name: group for group in groups}
    assert all(group == before[group.name]._replace(experiments=group.experiments) for group in left)
    assert without(groups, ()) == groups and without(groups, names) == []


def parameters_of(group: Group) -> int:
    """Counted one by one, in the network that is trained."""
    network = group.task.network
    images = jax.numpy.zeros((1, *group.task.image_shape))
    shapes = jax.eval_shape(lambda key: network.init(key, images)["params"], jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize("constraint", low_rank.names())
@pytest.mark.parametrize("readout", READOUTS)
def test_a_group_carries_its_network_its_cost_and_its_memory(constraint, readout, load, dataset, draw):
    layers = draw.integer(1, 2)
    changes = {
        "model.constraint": (constraint, *draw.rng.choice(low_rank.names(), 1).tolist())[:layers],
        "model.readout": readout,
        "model.padding": str(draw.rng.choice(sorted(PADDINGS))),
        "model.normalisation": str(draw.rng.choice(sorted(NORMALISATIONS))),
        "model.hidden": [None, draw.integer(1, 5)][draw.integer(0, 1)],
        "model.delta": tuple(draw.integer(0, 1) for _ in range(layers)),
        "model.channels": tuple(draw.integer(2, 4) for _ in range(layers)),
        # More would leave no pixel of so small images, where nothing is padded.
        "model.pool_sizes": (draw.integer(1, 2), 1)[:layers],
        # One more would leave a single site, on which no rank has an effect.
        "model.strides": (1, draw.integer(1, 2))[-layers:],
        "training.learning_rates": tuple(0.1 / (1 + n) for n in range(draw.integer(1, 4))),
        "training.weight_decays": (0.0, 0.1),
    }
    (group,) = plan(resolve(product(replace(Experiment(), changes), axis("seed", [0, 1]))), load)
    assert group.size == 2 and group.task == build_task(group.first, dataset)
    assert group.task.network == build_network(group.first.model, (SIDE, SIDE, 1), CLASSES)
    assert group.cost == cost(group.task.network, (SIDE, SIDE, 1)) == cost_of(group.first, dataset)
    assert group.cost.parameters == parameters_of(group)
    assert group.images_bytes == (900 + 30) * SIDE * SIDE
    assert group.least_memory == 4 * 5 * group.cost.parameters * 2 * len(changes["training.learning_rates"])


def test_the_arrays_of_an_experiment_are_of_its_own_images_and_candidates(dataset, generator):
    for one in random_experiments(generator)[:4]:
        arrays = build_arrays(one, dataset)
        assert arrays.batches.shape == (one.training.updates, one.training.batch_size)
        assert len(np.unique(arrays.batches)) <= one.data.n_train and len(arrays.validation) == one.data.n_validation
        assert not set(np.unique(arrays.batches).tolist()) & set(arrays.validation.tolist())
        for values, candidates in zip(arrays.hyperparameters, zip(*one.candidates, strict=True), strict=True):
            np.testing.assert_array_equal(values, np.array(candidates, np.float32))


GOOD = replace(Experiment(), {"seed": 1})


def refusal(load: Load, *experiments: Experiment) -> str:
    return refusal_of(lambda: plan(resolve(experiments), load)) or pytest.fail("it was not refused")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.n_train": 850}, "images"),
        ({"data.n_validation": 850}, "images"),
        ({"model.delta": SIDE}, f"delta is {SIDE}"),
        ({"model.delta": SIDE, "data.reduce": 2}, f"; the images are {SIDE} x {SIDE} by data.reduce 2."),
        (
            {"model.delta": SIDE, "data.reduce": 2, "data.frame": SIDE},
            f"; the images are {SIDE} x {SIDE} by data.frame {SIDE}.",
        ),
        ({"model.pool_sizes": (SIDE + 1, 1)}, "leave no pixel"),
        ({"model.strides": (SIDE, SIDE), "model.pool_sizes": (1, 2)}, "leave no pixel"),
        ({"model.delta": 3, "model.padding": "valid"}, "model.padding is valid: in layer 2 margin is 3"),
        ({"model.delta": 15, "model.padding": "full", "model.pool_sizes": (4, 1)}, "in layer 2 delta is 15"),
        ({"model.network": "residual"}, "model.network is residual: no layer of model.channels (8, 16)"),
        ({"model.constraint": "tiled", "model.tile": SIDE + 1}, f"model.tile is {SIDE + 1}"),
        ({"model.constraint": "low_rank_local", "model.rank": 201}, "model.rank is 201"),
        (
            {"data.augmentation": ("flip", "crop"), "data.augmentation_strengths": (0.5, 0.03)},
            "crop with data.augmentation_strengths 0.03 changes nothing in images of 16 x 16",
        ),
        ({"training.violations": ("shared",)}, "shared is not stronger than conv"),
        (
            {"training.violations": ("shared",), "model.constraint": ("dense", "local")},
            "shared is not stronger than local",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_wherever_it_is_in_the_sweep(changes, words, load, generator):
    experiments = [GOOD, replace(GOOD, changes), replace(GOOD, {"training.schedule": "cosine"})]
    assert words in refusal(load, *(experiments[i] for i in generator.permutation(3)))


@pytest.mark.parametrize("wrong", [lambda x: x[:1], lambda x: x.astype("int32"), lambda x: None])
def test_an_augmentation_that_returns_no_images_like_those_it_was_given_is_refused(wrong, load, monkeypatch):
    monkeypatch.setitem(AUGMENTATIONS, "own", Augmentation(lambda key, images, strength: wrong(images), 1.0))
    told = refusal(load, replace(GOOD, {"data.augmentation": ("own",)}))
    assert "data.augmentation own must return images as it gets them, of float32 and shape (2, " in told


def test_data_that_cannot_be_read_or_lose_a_class_to_validation_are_refused(generator):
    labels = np.concatenate([[2], np.arange(899) % 2])
    dataset = Dataset("noise", images(generator, 900, labels), images(generator, 30), tuple("abc"))
    assert "so that none would be left" in refusal(lambda data: dataset, GOOD)
    assert "needs a folder" in refusal(Datasets(), GOOD, replace(GOOD, {"data.source": "folder"}))


def test_a_network_is_refused_exactly_where_its_memory_is_not_there(load, monkeypatch):
    experiments = resolve([GOOD, replace(GOOD, {"model.constraint": "dense"})])
    most = max(group.least_memory + group.images_bytes for group in plan(experiments, load))
    monkeypatch.setattr(plan_module, "device_memory", lambda: most)
    plan(experiments, load)
    monkeypatch.setattr(plan_module, "device_memory", lambda: most - 1)
    with pytest.raises(InputError, match=f"The network of dense .* takes at least {most:,} bytes"):
        plan(experiments, load)
