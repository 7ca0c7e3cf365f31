"""From a sweep to a plan: axes of fields, products of axes, and groups of trials that share one compiled program."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from cnn_constraints import config
from cnn_constraints.config import Experiment
from cnn_constraints.errors import InputError

Axis = list[dict[str, Any]]
"""A list of changes to dotted fields. Axes are chained with +."""


class Group(NamedTuple):
    """Trials of one shape, in the order of the sweep. size: how many there were when the sweep was planned."""

    name: str
    trials: tuple[Experiment, ...]
    size: int


def axis(fields: str | Sequence[str], values: Iterable[Any]) -> Axis:
    """One field taking each value; or several fields changing together (a zip), each value then being a sequence.

    >>> axis("seed", [0, 1])
    [{'seed': 0}, {'seed': 1}]
    >>> axis(("model.constraint", "model.delta"), [("conv", 2), ("dense", None)])[1]
    {'model.constraint': 'dense', 'model.delta': None}
    """
    if isinstance(fields, str):
        return [{fields: value} for value in values]
    changes = []
    for value in values:
        if len(value) != len(fields):
            raise InputError(
                f"The axis over {', '.join(fields)} has the entry {value!r}: it needs {len(fields)} values."
            )
        changes.append(dict(zip(fields, value, strict=True)))
    return changes


def product(base: Experiment, *axes: Axis) -> list[Experiment]:
    """Every combination of the axes' entries; the last axis changes fastest. Raises InputError for an unknown field."""
    experiments = [base]
    for changes in axes:
        experiments = [config.replace(experiment, change) for experiment in experiments for change in changes]
    return experiments


def resolve(experiments: Iterable[Experiment]) -> list[Experiment]:
    """Checked, each written in its one way, and each once.

    A delta-sweep at "all offsets" and the cell it ends in are the same trial. Raises InputError where nothing is left.
    """
    resolved = {config.name(trial): trial for trial in map(config.resolve, experiments)}
    if not resolved:
        raise InputError("The sweep is empty: get_sweep() returned no experiments.")
    return list(resolved.values())


def without(groups: Iterable[Group], finished: Collection[str]) -> list[Group]:
    """The groups without the trials of these names, and without those that then are empty."""
    left = (
        group._replace(trials=tuple(trial for trial in group.trials if config.name(trial) not in finished))
        for group in groups
    )
    return [group for group in left if group.trials]


def plan(trials: Iterable[Experiment]) -> list[Group]:
    """Groups of trials that differ only in what is an array to the program; lane counts must agree."""
    groups: dict[str, list[Experiment]] = {}
    for trial in trials:
        groups.setdefault(config.name(config.replace(trial, _neutral(trial))), []).append(trial)
    return [Group(name, tuple(members), len(members)) for name, members in groups.items()]


def _neutral(trial: Experiment) -> dict[str, Any]:
    """One value for all trials of a group, of each field in which they may differ."""
    training = trial.training
    strengths = (0.0,) if training.penalty_strengths else ()
    lanes = len(training.learning_rates) * len(training.weight_decays) * max(1, len(training.penalty_strengths))
    return {
        "seed": 0,
        "data.n_train": max(1, training.batch_size),
        "data.intervention": "none",
        "data.strength": None,
        "training.learning_rates": tuple(float(i + 1) for i in range(lanes)),
        "training.weight_decays": (0.0,),
        "training.penalty_strengths": strengths,
    }


ARRAYS = tuple(_neutral(Experiment()))
"""Fields that are arrays to a program, so that trials of one group may differ in them."""
