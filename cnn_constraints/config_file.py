"""Config files: Python programs of the user that say what an experiment is, and which of them a sweep has."""

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from cnn_constraints import experiment
from cnn_constraints.errors import InputError, nearest_name, unknown_name

T = TypeVar("T")


def load_config(path: Path) -> ModuleType:
    """Run a config file. Raises InputError where it is missing, fails, or lacks get_config()."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise InputError(
            f"The config file {path} cannot be read ({error.strerror}): mend that, or name another."
        ) from None
    if path.is_dir():
        raise InputError(f"{path} is a folder: name one of its config files.")
    if not path.is_file():
        configs = sorted(str(other) for other in Path("configs").glob("*.py"))
        near = nearest_name(str(path), configs)
        raise InputError(f"There is no config file {path}" + (f": did you mean {near}?" if near else "."))
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
    if not callable(getattr(module, "get_config", None)):
        raise InputError(f"{path} lacks get_config(), which returns the Experiment it is about.")
    if not callable(getattr(module, "get_sweep", list)):
        raise InputError(f"{path} has a get_sweep that is no function: it must return the Experiments to run.")
    return module


def try_config(path: Path, call: Callable[[], T]) -> T:
    """Call into a config file; what goes wrong there becomes a sentence that names the file."""
    try:
        return call()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (Exception, SystemExit) as error:
        # A config file is the user's program: whatever it raises is the user's to mend.
        raise InputError(f"{path}: {_in_words(error)}") from None


def _in_words(error: BaseException) -> str:
    """A misspelt field of a config dataclass, with the nearest field; any other mistake as Python tells it."""
    match = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    section = getattr(experiment, match[1], None) if match else None
    if match is None or section is None:
        told = " ".join(str(error).split())
        return f"{type(error).__name__}: {told}." if told else f"{type(error).__name__}."
    return str(unknown_name(f"field of {match[1]}", match[2], section.__dataclass_fields__))
