"""A run folder, open to be added to: by several processes at once, each of which works on groups of its own."""

import contextlib
import itertools
import json
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from cnn_constraints.environment import tell_other_settings
from cnn_constraints.errors import InputError, input_error, nearest_name
from cnn_constraints.experiment import Experiment, flatten, replace, to_json
from cnn_constraints.files import PARTIAL, digest, foreign_entry, locked, write_json
from cnn_constraints.resolve import Resolved, name_of
from cnn_constraints.store import parts
from cnn_constraints.store.checkpoints import Checkpoints
from cnn_constraints.training.records import Finished

T = TypeVar("T")

FORMAT = 4
"""Of a run folder; this version reads no other."""

FOLDERS = ("metrics", "checkpoints", "weights", "locks")

ENTRIES = ("config.json", "environment.json", "parts.json", *FOLDERS, "figures", "report.html", "tensorboard")
"""All that may lie in a run folder."""

REMEDY = "restore it, or move it away and repeat the sweep, which keeps all results and writes it anew."

SHOWN = 8
"""Run folders that are named."""


class RunFolder:
    """Groups are held by this process until it ends, however it does; what they found is committed part by part."""

    def __init__(
        self, folder: Path, with_weights: bool = False, known: Mapping[str, frozenset[str]] = MappingProxyType({})
    ) -> None:
        """with_weights: whether only experiments whose weights are kept are finished. known: the experiments of parts that
        were read already, by the names of these.
        """
        self.folder = folder
        self._with_weights = with_weights
        self._held: dict[str, FileLock] = {}
        self._known = dict(known)

    def hold(self, group: str) -> bool:
        """Hold a group for this process. False where another process holds it."""
        if group not in self._held:
            lock = locked(self.folder / "locks" / group)
            with _locking(lock):
                try:
                    lock.acquire(blocking=False)
                except Timeout:
                    return False
            self._held[group] = lock
        return True

    def finished(self) -> set[str]:
        """The names of the experiments that have a result by now, whoever found it."""
        for path in parts.present(self.folder):
            if path.name not in self._known:
                self._known[path.name] = parts.experiments(path, self._with_weights) or frozenset()
        return set().union(*self._known.values())

    def commit(self, group: str, found: Collection[Finished]) -> None:
        """Keep what experiments of a group found, whose checkpoint then saves nothing. Raises InputError where the file
        system refuses.
        """
        # All of it alone: a process that opens the run clears away what it finds half-written.
        with _changing(self.folder):
            part = parts.write(self.folder, group, found)
            _write_parts(self.folder, {*_read_parts(self.folder), part})
        self._known[part] = frozenset(one.experiment for one in found)
        Checkpoints(self.folder).drop(group)

    def close(self) -> None:
        """Let go of all groups."""
        for lock in self._held.values():
            lock.release()
        self._held.clear()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_run(
    folder: Path, experiments: Iterable[Resolved], environment: Mapping[str, Any], with_weights: bool = False
) -> RunFolder:
    """Create the run folder, or add to it. with_weights: whether experiments without weights are not finished.

    Experiments of earlier attempts stay. A part that is damaged is put aside and a part that is missing is forgotten, both
    with a warning: their experiments are not finished any more. Raises InputError where the folder holds something else, or
    cannot be written.
    """
    _require_run(folder)
    for place in (folder, *(folder / name for name in FOLDERS)):
        with input_error(f"{place} cannot be made", "move away what is in its place, or choose another folder."):
            place.mkdir(parents=True, exist_ok=True)
    with _changing(folder):
        known = read_config(folder)["experiments"] if (folder / "config.json").exists() else {}
        known |= {experiment.name: to_json(experiment) for experiment in experiments}
        attempts = read_attempts(folder)
        if attempts:
            tell_other_settings(folder, attempts[-1], environment)
        _write(folder / "config.json", {"format": FORMAT, "experiments": known})
        _write(folder / "environment.json", [*attempts, dict(environment)])
        return RunFolder(folder, with_weights, _mend(folder, with_weights))


def finished(folder: Path, with_weights: bool = False) -> set[str]:
    """The names of the experiments that have a result, and weights if these are asked for; those of damaged parts have
    none. Raises InputError for a run that cannot be read.
    """
    if (folder / "config.json").exists():
        read_config(folder)
    return RunFolder(folder, with_weights).finished()


def read_config(folder: Path) -> dict[str, Any]:
    """config.json. Raises InputError where it is missing, of another format, damaged or altered."""
    path = folder / "config.json"
    if not path.is_file():
        raise _no_run(folder)
    described = _read(path, dict)
    if described.get("format") != FORMAT:
        raise InputError(
            f"{folder} has format {described.get('format')}, and this version reads format {FORMAT}: read it with the "
            f"version that made it, or choose another folder."
        )
    experiments = described.get("experiments")
    if not isinstance(experiments, dict):
        raise InputError(f"{path} is damaged, since it has no experiments: {REMEDY}")
    for name, experiment in experiments.items():
        if not isinstance(experiment, dict) or name != name_of(flatten(experiment)):
            raise InputError(f"{path} was altered, since the experiment {name} is not what its name says: {REMEDY}")
    return described


def read_experiments(folder: Path) -> list[Experiment]:
    """All experiments of the run, finished or not, in the order of the sweep. Raises InputError as `read_config` does."""
    return [replace(Experiment(), flatten(one)) for one in read_config(folder)["experiments"].values()]


def read_attempts(folder: Path) -> list[Any]:
    """What `environment.describe_environment` said at each attempt to run it, the first first. Raises InputError where
    environment.json is damaged.
    """
    path = folder / "environment.json"
    attempts = _read(path, list) if path.exists() else []
    parts_of = ("packages", "settings")
    if not all(
        isinstance(one, dict) and all(isinstance(one.get(part, {}), dict) for part in parts_of) for one in attempts
    ):
        raise InputError(f"{path} is damaged: {REMEDY}")
    return attempts


def read_parts(folder: Path) -> list[str]:
    """The names of all parts that were committed. Raises InputError where their list is not what was written."""
    path = folder / "parts.json"
    listed = _read(path, dict) if path.exists() else {}
    names = listed.get("parts")
    if not isinstance(names, list) or listed.get("digest") != digest(json.dumps(names).encode()):
        raise InputError(f"{path} was damaged, altered or lost: repeat the sweep, which writes it anew.")
    return names


def _read_parts(folder: Path) -> list[str]:
    """What is listed, or where the list was lost or damaged the parts that are there."""
    try:
        return read_parts(folder)
    except InputError:
        if there := [path.name for path in parts.present(folder)]:
            warnings.warn(f"{folder / 'parts.json'} was damaged, altered or lost: it is written anew.", stacklevel=3)
        return there


def _write_parts(folder: Path, names: Iterable[str]) -> None:
    listed = sorted(names)
    _write(folder / "parts.json", {"parts": listed, "digest": digest(json.dumps(listed).encode())})


def _mend(folder: Path, with_weights: bool) -> dict[str, frozenset[str]]:
    """Put damaged parts aside, list those that are there, and return their experiments by name."""
    listed, whole = _read_parts(folder), {}
    for path in sorted((folder / "weights").glob("*.safetensors")) if with_weights else ():
        if parts.whole_content(path) is None:
            _put_aside(path, "its experiment is computed again")
    for path in parts.present(folder):
        if (experiments := parts.experiments(path, with_weights)) is not None:
            whole[path.name] = experiments
        else:
            _put_aside(path, "its experiments are computed again")
    for name in sorted({*listed} - {*whole}):
        if not (folder / "metrics" / f"{name}.damaged").exists():
            warnings.warn(f"{folder / 'metrics' / name} is missing: its experiments are computed again.", stacklevel=3)
    _write_parts(folder, whole)
    for torn in itertools.chain(
        *(place.glob("*" + PARTIAL) for place in (folder, folder / "metrics", folder / "weights"))
    ):
        torn.unlink(missing_ok=True)
    return whole


def _put_aside(path: Path, then: str) -> None:
    warnings.warn(f"{path} was damaged or altered: {then}.", stacklevel=4)
    with input_error(f"{path} cannot be moved", parts.ROOM):
        path.replace(path.with_name(path.name + ".damaged"))


def _read(path: Path, kind: type[T]) -> T:
    """A JSON file. Raises InputError where it is damaged."""
    with input_error(f"{path} cannot be read", "mend that, then try again."):
        content = path.read_bytes()
    with contextlib.suppress(ValueError):
        if isinstance(value := json.loads(content), kind):
            return value
    raise InputError(f"{path} is damaged: {REMEDY}")


def _write(path: Path, content: Any) -> None:
    with input_error(f"{path} cannot be written", parts.ROOM):
        write_json(path, content)


@contextlib.contextmanager
def _changing(folder: Path) -> Iterator[None]:
    """Wait for other processes that change a document, so that none overwrites what another has just added."""
    lock = locked(folder / "locks" / "folder")
    with contextlib.ExitStack() as stack:
        with _locking(lock):
            stack.enter_context(lock)
        yield


def _locking(lock: FileLock) -> contextlib.AbstractContextManager[None]:
    return input_error(
        f"{lock.lock_file} cannot be locked", "choose a folder that is yours, on a disk that can lock files."
    )


def _require_run(folder: Path) -> None:
    """Raises InputError for what is not a run, and not empty: it is left as it is. A run that lost its config.json, or was
    killed before it had one, is still a run.
    """
    if (folder / "config.json").exists():
        read_config(folder)
    elif name := foreign_entry(folder, ENTRIES):
        raise InputError(
            f"{folder} holds {name} and no config.json, so it is no run folder: choose an empty or a new one."
        )


def _no_run(folder: Path) -> InputError:
    if folder.is_dir():
        inside = _runs_in(folder)
        hint = f", but {', '.join(inside[:SHOWN])} in it are" if inside else ""
        return InputError(f"{folder} is not a run folder: it has no config.json{hint}.")
    near = nearest_name(folder.name, _runs_in(folder.parent))
    return InputError(f"There is no run folder {folder}{f': did you mean {folder.parent / near}?' if near else '.'}")


def _runs_in(folder: Path) -> list[str]:
    return sorted(found.parent.name for found in folder.glob("*/config.json"))
