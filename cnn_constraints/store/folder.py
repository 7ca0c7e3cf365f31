"""A run folder, open to be added to: by several processes at once, each of which works on groups of its own."""

import contextlib
import fcntl
import os
import socket
import warnings
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from cnn_constraints.errors import InputError, input_error
from cnn_constraints.experiment import to_json
from cnn_constraints.files import PARTIAL, foreign_entry, locked
from cnn_constraints.resolve import Resolved
from cnn_constraints.store import documents, parts
from cnn_constraints.store.checkpoints import Checkpoints
from cnn_constraints.store.documents import entry
from cnn_constraints.training.records import Finished

DRAWN = ("figures", "report.html", "tensorboard")

ENTRIES = ("config.json", "environment.json", "index.json", "metrics", "checkpoints", "holds", *DRAWN)
"""All that may lie in a run folder."""

LOCKS = "choose a folder on a file system that can lock files."

WRITABLE = "see that it can be written, or choose another folder."


class RunFolder:
    """Groups are held by this process until it ends, however it does; what they found is committed part by part."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, IO[str]] = {}
        self._own: dict[str, frozenset[str]] = {}

    def hold(self, group: str) -> bool:
        """Hold a group for this process. False where another process holds it."""
        if group in self._held:
            return True
        with _locking(self.folder / "holds" / group):
            lock = (self.folder / "holds" / group).open("a+")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                lock.close()
                if isinstance(error, BlockingIOError):
                    return False
                raise
        # Who holds it is told to others where there is room to say so.
        with contextlib.suppress(OSError):
            os.truncate(lock.fileno(), 0)
            os.write(lock.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())
        self._held[group] = lock
        return True

    def holder(self, group: str) -> str:
        """Who holds a group that `hold` did not get."""
        return (self.folder / "holds" / group).read_text() or "another process"

    def finished(self) -> set[str]:
        """The names of the experiments that have a result by now, whoever found it."""
        return _results(self.folder, self._own)

    def commit(self, group: str, found: Collection[Finished]) -> None:
        """Keep what experiments of a group found, whose checkpoint then saves nothing. Raises InputError where the file
        system refuses.
        """
        # All of it alone: a process that opens the run clears away what it finds half-written.
        with _changing(self.folder):
            part = parts.write(self.folder, group, found, lambda: _make_room(self.folder, self._held))
            index = _read_index(self.folder)
            _write_index(self.folder, [*index, part], self._held)
        # Not read back: a report looks at every part again.
        self._own[part] = frozenset(one.experiment for one in found)
        Checkpoints(self.folder).drop_if_finished(group, self.finished())

    def close(self) -> None:
        """Let go of all groups."""
        for lock in self._held.values():
            lock.close()
        self._held.clear()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_run(folder: Path, experiments: Iterable[Resolved], environment: Mapping[str, Any]) -> RunFolder:
    """Create the run folder, or add to it.

    Experiments of earlier attempts stay. A part that is damaged is put aside and a part that is missing is forgotten, both
    with a warning: their experiments are not finished any more. Raises InputError where the folder holds something else, or
    cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: a run needs a folder.")
    _refuse_other_folders(folder)
    if (folder / "config.json").exists():
        # A folder that cannot be understood stays as it is.
        read_config(folder)
    _make_folders(folder)
    with _changing(folder):
        described = read_config(folder) if (folder / "config.json").exists() else {"experiments": {}}
        named = {experiment.name: to_json(experiment) for experiment in experiments}
        attempts = read_attempts(folder)
        index = _read_index(folder) if (folder / "index.json").exists() or parts.present(folder) else []
        # What is there is read before anything is written, here too: another process may have written it just now.
        content = {"experiments": described["experiments"] | named}
        for name, document in (
            ("config.json", content),
            ("environment.json", {"attempts": [*attempts, dict(environment)]}),
        ):
            documents.write(folder / name, document, lambda: _make_room(folder))
        _mend(folder, index)
    return RunFolder(folder)


def finished(folder: Path) -> set[str]:
    """The names of the experiments that have a result; those of damaged parts have none. Raises InputError for a run that
    cannot be read.
    """
    if (folder / "config.json").exists():
        read_config(folder)
    return _results(folder)


def _results(folder: Path, known: Mapping[str, frozenset[str]] = MappingProxyType({})) -> set[str]:
    """known: the experiments of parts that need not be read, by the names of these."""
    return set().union(*(known.get(path.name) or parts.experiments(path) for path in parts.present(folder)))


def is_whole(folder: Path, experiments: Iterable[Resolved]) -> bool:
    """Whether nothing is lost or damaged: a report reads it, and `open_run` has nothing to mend. Raises InputError where
    that cannot be told, as of another format.
    """
    if not (folder / "config.json").exists():
        return False
    if not {experiment.name for experiment in experiments} <= set(read_config(folder)["experiments"]):
        return False
    try:
        index = read_index(folder)
    except documents.OtherFormat:
        raise
    except InputError:
        return False
    there = parts.present(folder)
    # A damaged part has no experiments, and every other has some.
    return set(index) <= {path.name for path in there} and all(map(parts.experiments, there))


def read_config(folder: Path) -> documents.Document:
    """config.json. Raises InputError where it is missing, of another format, damaged or altered."""
    path = folder / "config.json"
    described = documents.read(path)
    if not all(isinstance(one, dict) for one in entry(path, described, "experiments", dict).values()):
        raise InputError(f"{path} is damaged, since an experiment is not an object: {documents.REMEDY}")
    return described


def read_index(folder: Path, remedy: str = "repeat the sweep, which writes it anew.") -> list[str]:
    """The names of all parts that were committed. Raises InputError where the index is not what was written."""
    path = folder / "index.json"
    if not path.exists():
        raise InputError(f"{path} is missing: {remedy}")
    return entry(path, documents.read(path, remedy), "parts", list, remedy)


@contextlib.contextmanager
def _changing(folder: Path) -> Iterator[None]:
    """Wait for other processes that change a document, so that none overwrites what another has just added."""
    with contextlib.ExitStack() as stack:
        with _locking(folder / "holds" / "folder"):
            stack.enter_context(locked(folder / "holds" / "folder"))
        yield


def _make_folders(folder: Path) -> None:
    """Raises InputError where that cannot be."""
    with input_error(f"The run folder {folder} cannot be made", "choose another."):
        folder.mkdir(parents=True, exist_ok=True)
    for place in (folder / "metrics", folder / "checkpoints", folder / "holds"):
        if place.exists() and not place.is_dir():
            raise InputError(f"{place} is a file, where a run has a folder: move it away, or choose another folder.")
        with input_error(f"The run folder {folder} cannot be written", WRITABLE):
            place.mkdir(exist_ok=True)


@contextlib.contextmanager
def _locking(path: Path) -> Iterator[None]:
    """What the file system refuses becomes a sentence: to write a file, or to lock it."""
    try:
        yield
    except OSError as error:
        # What cannot be opened is named by the system.
        what, remedy = ("locked", LOCKS) if error.filename is None else ("written", WRITABLE)
        raise InputError(f"{path} cannot be {what} ({error.strerror or error}): {remedy}") from None


def _mend(folder: Path, index: Iterable[str]) -> None:
    """Put damaged parts aside, and make the index that of the parts that are there."""
    for path, error in list(parts.damaged(folder, "it is put aside, and its experiments are computed again.")):
        warnings.warn(str(error), stacklevel=3)
        with input_error(f"{path} cannot be moved", documents.ROOM):
            path.replace(path.with_name(path.name + ".damaged"))
    there = [path.name for path in parts.present(folder)]
    for lost in sorted(set(index) - set(there)):
        if not (folder / "metrics" / f"{lost}.damaged").exists():
            path = folder / "metrics" / lost
            warnings.warn(f"{path} is missing: its experiments are computed again.", stacklevel=3)
    _write_index(folder, there)
    for torn in [*folder.glob("*" + PARTIAL), *(folder / "metrics").glob("*" + PARTIAL)]:
        torn.unlink(missing_ok=True)


def _read_index(folder: Path) -> list[str]:
    """The index, or where it was lost or damaged the parts that are there. Raises OtherFormat."""
    try:
        return read_index(folder, "it is written anew.")
    except documents.OtherFormat:
        raise
    except InputError as error:
        warnings.warn(str(error), stacklevel=3)
        return [path.name for path in parts.present(folder)]


def _write_index(folder: Path, names: Iterable[str], held: Container[str] = ()) -> None:
    documents.write(folder / "index.json", {"parts": sorted(set(names))}, lambda: _make_room(folder, held))


def _make_room(folder: Path, held: Container[str] = ()) -> bool:
    """Delete the checkpoints of all groups but those that others hold: they save time, and what is to be written counts.
    False where there are none.
    """
    checkpoints = Checkpoints(folder)
    groups = [group for group in checkpoints.groups() if group in held or not _is_held(folder, group)]
    for group in groups:
        checkpoints.drop(group)
    return bool(groups)


def _is_held(folder: Path, group: str) -> bool:
    try:
        with (folder / "holds" / group).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        # Where nobody has ever held it there is no lock.
        return not isinstance(error, FileNotFoundError)
    return False


def read_attempts(folder: Path) -> list[Any]:
    """What `environment.describe_environment` said at each attempt to run it, the first first.

    Raises InputError where environment.json is not what was written.
    """
    path = folder / "environment.json"
    return entry(path, documents.read(path), "attempts", list) if path.exists() else []


def _refuse_other_folders(folder: Path) -> None:
    """What is not a run, and not empty, is left as it is. A run that lost its config.json, or was killed before it had
    one, is still a run.
    """
    if not (folder / "config.json").exists() and (name := foreign_entry(folder, ENTRIES)):
        raise InputError(
            f"{folder} holds {name} and no config.json, so it is no run folder: choose an empty or a new one."
        )
