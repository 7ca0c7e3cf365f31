"""Everything that can be refused is refused before anything is trained."""

from collections.abc import Callable, Iterable

from cnn_constraints import trials
from cnn_constraints.arrays import Dataset
from cnn_constraints.config import Data, Experiment
from cnn_constraints.data import subsets
from cnn_constraints.environment import device_memory
from cnn_constraints.errors import InputError
from cnn_constraints.sweep import Group

BYTES_PER_PARAMETER = 4 * 5
"""In 32 bits: the parameter, its gradient, the two moments of Adam, and the best parameter so far."""


def check_before_running(load: Callable[[Data], Dataset], groups: Iterable[Group]) -> None:
    """Raises InputError for a trial whose data cannot be read or do not suffice, and for a network that does not fit its
    images or the memory.
    """
    for group in groups:
        for experiment in group.trials:
            dataset = load(experiment.data)
            trials.build_task(experiment, dataset)
            subsets.check_sizes(dataset.train, experiment.data.n_train, experiment.data.n_validation)
            _check_memory(experiment, dataset)


def least_memory(experiment: Experiment, dataset: Dataset) -> int:
    """Bytes that the parameters of a trial take while it is trained."""
    return BYTES_PER_PARAMETER * trials.cost(experiment, dataset).parameters * len(trials.lanes(experiment))


def _check_memory(experiment: Experiment, dataset: Dataset) -> None:
    needed, available = least_memory(experiment, dataset), device_memory()
    if needed > available:
        model, parameters = experiment.model, trials.cost(experiment, dataset).parameters
        raise InputError(
            f"The network of {model.constraint} with channels {model.channels} has {parameters:,} parameters: "
            f"training {len(trials.lanes(experiment))} lanes takes at least {needed:,} bytes, and the device has "
            f"{available:,}; make model.channels, the images or the number of learning rates and weight decays smaller."
        )
