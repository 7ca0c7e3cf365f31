"""Config files: Python programs of the user that say what an experiment is, and which of them a sweep has."""

import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from cnn_constraints.errors import InputError, input_error, nearest_name
from cnn_constraints.experiment import Experiment, require_sections

T = TypeVar("T")

MOST_EXPERIMENTS = 100_000
"""More take longer to be planned than anyone would wait, and a mistake in an axis may make endlessly many."""


def load_config(path: Path) -> ModuleType:
    """Run a config file. Raises InputError where it is missing, fails, or lacks get_config()."""
    with input_error(f"The config file {path} cannot be read", "mend that, or name another."):
        is_file = path.is_file()
    if not is_file:
        near = nearest_name(str(path), sorted(map(str, Path("configs").glob("*.py"))))
        what = f"{path} is a folder, and no config file" if path.is_dir() else f"There is no config file {path}"
        raise InputError(what + (f": did you mean {near}?" if near else "."))
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


def sweep_of(path: Path, get_sweep: Callable[[Experiment], Iterable[Experiment]], base: Experiment) -> list[Experiment]:
    """What a config's get_sweep() returns for a base. Raises InputError where that is no list of Experiments."""
    found = try_config(path, lambda: get_sweep(base))
    if not isinstance(found, Iterable):
        raise InputError(f"{path}: get_sweep() must return Experiments, not {type(found).__name__}.")
    experiments = try_config(path, lambda: list(itertools.islice(found, MOST_EXPERIMENTS + 1)))
    if len(experiments) > MOST_EXPERIMENTS:
        raise InputError(f"{path}: get_sweep() returns more than {MOST_EXPERIMENTS:,} Experiments: split the sweep.")
    try_config(path, lambda: [require_sections(one) for one in experiments])
    return experiments


def try_config(path: Path, call: Callable[[], T]) -> T:
    """Call into a config file; what goes wrong there becomes a sentence that names the file."""
    try:
        return call()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (Exception, SystemExit) as error:
        # A config file is the user's program: whatever it raises is the user's to mend.
        told = " ".join(str(error).split())
        raise InputError(f"{path}: {type(error).__name__}: {told}.") from None
