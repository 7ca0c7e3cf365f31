"""From experiments to what is compiled: groups that share a program, their network, its cost, and the arrays of each.

All that can be refused is refused here, before anything is trained.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_constraints.architecture import Cost, activations, build_network, cost
from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data import subsets
from cnn_constraints.data.augmentation import AUGMENTATIONS, augment
from cnn_constraints.data.datasets import images_of
from cnn_constraints.data.interventions import INTERVENTIONS
from cnn_constraints.environment import device_memory
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data, Experiment
from cnn_constraints.resolve import Resolved, soft_constraints
from cnn_constraints.settings import own_settings
from cnn_constraints.training import soft_constraints as soft
from cnn_constraints.training.ensemble import EVALUATION_CHUNK, Arrays
from cnn_constraints.training.loop import Hyperparameters, Images, Standardisation, Task

BYTES_PER_PARAMETER = 4 * 5
"""In 32 bits: the parameter, its gradient, the two moments of Adam, and the best parameter so far."""


class Group(NamedTuple):
    """Experiments that share a compiled program, in the order of the sweep. size: how many of them, at most, have one data
    set, as it was when they were planned. images_bytes: of the largest of their data sets, which is once on each
    accelerator, and once in the memory of the machine, whose CPU devices read it there.
    """

    name: str
    experiments: tuple[Resolved, ...]
    size: int
    task: Task
    cost: Cost
    images_bytes: int

    @property
    def first(self) -> Resolved:
        """Whose model, and training up to the candidates, all have."""
        return self.experiments[0]

    @property
    def least_memory(self) -> int:
        """Bytes that the parameters of one experiment take while it is trained."""
        return BYTES_PER_PARAMETER * self.cost.parameters * len(self.first.candidates)

    @property
    def weights_bytes(self) -> int:
        """Of the network that an experiment chooses, where weights are kept."""
        return 4 * self.cost.parameters

    @property
    def most_memory(self) -> int:
        """Bytes that one experiment may take in all: beside its parameters, for every candidate and image evaluated at once
        what the network makes of it.
        """
        numbers = activations(self.task.network, self.task.image_shape)
        images = max(self.first.training.batch_size, EVALUATION_CHUNK)
        return self.least_memory + 4 * images * numbers * len(self.first.candidates)


@own_settings()
def plan(experiments: Iterable[Resolved], load: Callable[[Data], Dataset]) -> list[Group]:
    """Groups of experiments that differ only in what is an array to the program.

    Raises InputError for data that cannot be read or do not suffice, and for a network that does not fit its images or the
    memory.
    """
    members: dict[str, list[Resolved]] = {}
    for experiment in experiments:
        members.setdefault(experiment.group, []).append(experiment)
    groups = [_group(name, together, load) for name, together in members.items()]
    for group in groups:
        _check_memory(group)
    return groups


def _group(name: str, experiments: Sequence[Resolved], load: Callable[[Data], Dataset]) -> Group:
    images_bytes, size = 0, max(map(len, by_images(experiments)))
    for data in dict.fromkeys(experiment.data for experiment in experiments):
        train, test = load(data)[1:3]
        subsets.check_sizes(train, data.n_train, data.n_validation)
        images_bytes = max(images_bytes, train.images.nbytes + test.images.nbytes)
    task = build_task(experiments[0], load(experiments[0].data))
    whole_cost = cost(task.network, task.image_shape)
    return Group(name, tuple(experiments), size, task, whole_cost, images_bytes)


def by_images(experiments: Iterable[Resolved]) -> list[list[Resolved]]:
    """Those on one data set together, wherever they stand in the sweep."""
    together: dict[Data, list[Resolved]] = {}
    for one in experiments:
        together.setdefault(images_of(one.data), []).append(one)
    return list(together.values())


def _check_memory(group: Group) -> None:
    needed, available = group.least_memory + group.images_bytes, device_memory()
    if needed > available:
        model = group.first.model
        raise InputError(
            f"The network of {model.constraint} with channels {model.channels} has {group.cost.parameters:,} parameters: "
            f"training {len(group.first.candidates)} candidates takes at least {needed:,} bytes, {group.images_bytes:,} of "
            f"them for images, and the device has {available:,}; make model.channels, the images or the number of learning "
            f"rates and weight decays smaller."
        )


def build_task(experiment: Resolved, dataset: Dataset) -> Task:
    """What is compiled. Raises InputError where the network does not fit the images, with what made them so small, and
    where an augmentation can do nothing to them.
    """
    training, data = experiment.training, experiment.data
    image_shape = dataset.train.images.shape[1:]
    try:
        network = build_network(experiment.model, image_shape, len(dataset.classes))
    except InputError as error:
        made = [f"data.size {data.size}"] * (data.size is not None) + [f"data.reduce {data.reduce}"] * (data.reduce > 1)
        made = made if data.frame is None else [f"data.frame {data.frame}"]
        if not made:
            raise
        size = f"{image_shape[0]} x {image_shape[1]}"
        raise InputError(f"{str(error)[:-1]}; the images are {size} by {' and '.join(made)}.") from None
    asked = soft_constraints(experiment)
    soft.check(network, asked)
    augmentation = tuple(zip(data.augmentation, data.augmentation_strengths, strict=True))
    height, width, _ = image_shape
    for name, strength in augmentation:
        # A sweep over strengths may begin at 0.
        if strength and not AUGMENTATIONS[name].acts(height, width, strength):
            raise InputError(
                f"data.augmentation {name} with data.augmentation_strengths {strength} changes nothing in images of "
                f"{height} x {width}: leave it out, or give it larger images or a greater strength."
            )
    batch, order = (jax.ShapeDtypeStruct(*of) for of in (((2, *image_shape), "float32"), ((height * width,), "int32")))
    jax.eval_shape(lambda images, order: augment(jax.random.key(0), images, augmentation, order), batch, order)
    return Task(network, image_shape, training.optimizer, training.schedule, training.updates, asked, augmentation)


@own_settings()
def cost_of(experiment: Experiment, dataset: Dataset) -> Cost:
    """The cost of an experiment's network. Raises InputError where it does not fit the images."""
    image_shape = dataset.train.images.shape[1:]
    return cost(build_network(experiment.model, image_shape, len(dataset.classes)), image_shape)


def build_arrays(experiment: Resolved, dataset: Dataset) -> Arrays:
    """The arrays of one experiment, on the host. Raises InputError where the data set holds too few images."""
    data, training = experiment.data, experiment.training
    subset = subsets.draw_subset(dataset.train, experiment.seed, data.n_train, data.n_validation)
    positions = subsets.draw_batches(data.n_train, training.batch_size, training.updates, experiment.seed)
    height, width = dataset.train.images.shape[1:3]
    order = INTERVENTIONS[data.intervention].order(height * width).astype(np.int32)
    return Arrays(
        seed=np.asarray(experiment.seed, np.uint32),
        hyperparameters=as_arrays(experiment.candidates),
        batches=subset.train[positions],
        validation=subset.validation,
        standardisation=Standardisation(subset.mean, subset.deviation),
        order=order if data.augmentation else None,
    )


def as_arrays(candidates: Sequence[Hyperparameters]) -> Hyperparameters:
    """The same as arrays, an entry a candidate."""
    return Hyperparameters(*np.asarray(candidates, np.float32).T)


def to_device(split: Split) -> Images:
    """A split, once, on the default device."""
    return Images(jnp.asarray(split.images), jnp.asarray(split.labels))
