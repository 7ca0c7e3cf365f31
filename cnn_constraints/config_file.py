"""Config files: Python programs of the user that say what an experiment is, and which of them a sweep has."""

import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeVar

from cnn_constraints.errors import InputError, input_error, nearest_name
from cnn_constraints.experiment import (
    MOST_EXPERIMENTS,
    Axis,
    Experiment,
    fields_of,
    get,
    product,
    replace_axes,
    require_axes,
    require_sections,
)

T = TypeVar("T")


def load_config(path: Path) -> ModuleType:
    """Run a config file. Raises InputError where it is missing, fails, or lacks get_config()."""
    with input_error(f"The config file {path} cannot be read", "mend that, or name another."):
        is_file = path.is_file()
    if not is_file:
        near = nearest_name(str(path), sorted(map(str, [*Path("configs").glob("*.py"), *Path("runs").glob("*")])))
        raise InputError(f"There is no config file or run folder {path}" + (f": did you mean {near}?" if near else "."))
    spec = importlib.util.spec_from_file_location("config_file", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file: a config file ends in .py.")
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    # A config may build on its neighbours (from configs import ...), wherever the command is started.
    sys.path.insert(0, str(path.resolve().parent.parent))
    try:
        try_config(path, lambda: loader.exec_module(module))
    finally:
        sys.path.pop(0)
    if not callable(getattr(module, "get_config", None)) or not callable(getattr(module, "get_sweep", list)):
        raise InputError(f"{path} needs a function get_config(), and get_sweep(base) must be a function if it has one.")
    return module


class Sweep(NamedTuple):
    """experiments: all combinations. counts: what they are the combinations of, and the number of each."""

    experiments: list[Experiment]
    counts: dict[str, int]


def sweep_of(
    path: Path | None,
    get_sweep: Callable[[Experiment], Iterable[Axis | Experiment]],
    base: Experiment,
    given: Sequence[Axis],
) -> Sweep:
    """What a config's get_sweep() returns for a base, which is axes or Experiments, and the axes that are given, which
    take the place of its own or are added (see `replace_axes`).

    Raises InputError where it returns anything else, where an axis is given over a field that its Experiments differ in,
    and for more than MOST_EXPERIMENTS.
    """
    found = try_config(path, lambda: get_sweep(base))
    if not isinstance(found, Iterable):
        raise InputError(f"{path}: get_sweep() must return axes or Experiments, not {type(found).__name__}.")
    entries = try_config(path, lambda: list(itertools.islice(found, MOST_EXPERIMENTS + 1)))
    if len(entries) > MOST_EXPERIMENTS:
        raise InputError(f"{path}: get_sweep() returns more than {MOST_EXPERIMENTS:,} Experiments: split the sweep.")
    own = [entry for entry in entries if isinstance(entry, list)]
    if own and len(own) == len(entries):
        try_config(path, lambda: require_axes(own))
        axes = replace_axes(own, *given)
        return Sweep(product(base, *axes), counts_of(axes))
    try_config(path, lambda: [require_sections(one) for one in entries])
    experiments = [entry for entry in entries if isinstance(entry, Experiment)]
    for name in itertools.chain.from_iterable(map(fields_of, given)):
        if any(get(one, name) != get(base, name) for one in experiments):
            raise InputError(
                f"{path} sweeps over {name} in a list of Experiments: let its get_sweep() return axes instead, which can "
                f"be replaced."
            )
    require_axes([*given, [{}] * len(experiments)])
    multiplied = [each for one in experiments for each in product(one, *given)]
    return Sweep(multiplied, {str(path): len(experiments)} | counts_of(given))


def counts_of(axes: Iterable[Axis]) -> dict[str, int]:
    """The number of entries of each axis by its fields."""
    return {", ".join(fields_of(axis)): len(axis) for axis in axes}


def try_config(path: Path | None, call: Callable[[], T]) -> T:
    """Call into a config file, if there is one; what goes wrong there becomes a sentence that names the file."""
    place = f"{path}: " if path else ""
    try:
        return call()
    except InputError as error:
        raise InputError(f"{place}{error}") from None
    except (Exception, SystemExit) as error:
        # A config file is the user's program: whatever it raises is the user's to mend.
        told = " ".join(str(error).split())
        raise InputError(f"{place}{type(error).__name__}: {told}.") from None
