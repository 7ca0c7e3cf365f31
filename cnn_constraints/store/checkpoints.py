"""A group in the middle: the state of what is being trained, through Orbax, and what was found so far."""

import re
import shutil
import warnings
from collections.abc import Container
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_constraints.errors import InputError
from cnn_constraints.files import folder_digest, require_room
from cnn_constraints.store import documents
from cnn_constraints.training.records import Evaluation

ANEW = "the group starts anew."

ORBAX_ADDS = 2**20
"""Bytes, to what is saved, at most; and what is saved lies twice on the disk at times, at most."""


class Checkpoint(NamedTuple):
    """found: the evaluations up to and with this update of the experiments that are trained side by side, by name; each
    is a row of the arrays of `state`. seconds: how long that took.
    """

    update: int
    seconds: float
    found: dict[str, list[Evaluation]]
    state: list[np.ndarray]


class Checkpoints:
    """Of one run folder, the last of each group."""

    def __init__(self, folder: Path) -> None:
        # Orbax takes no relative path.
        self._folder = folder.absolute() / "checkpoints"
        self._told = False

    def save(self, group: str, checkpoint: Checkpoint) -> None:
        """Whole or not at all; then the one before is deleted. Where it cannot be written, that is told once, and training
        goes on: a checkpoint saves time and nothing else.
        """
        place = self._folder / f"{group}-{checkpoint.update}"
        self._remove_half_written(group)
        try:
            shutil.rmtree(place, ignore_errors=True)
            # Where Orbax finds no room its threads go on to complain for a while.
            require_room(self._folder, 2 * sum(array.nbytes for array in checkpoint.state) + ORBAX_ADDS)
            with _orbax() as orbax:
                orbax.save(place, {str(number): array for number, array in enumerate(checkpoint.state)})
            content = checkpoint._asdict() | {
                "found": {name: [one._asdict() for one in found] for name, found in checkpoint.found.items()},
                "state": {"name": place.name, "digest": folder_digest(place)},
            }
            documents.write(self._folder / f"{group}.json", content)
            self._remove_states(group, but=place)
        except (OSError, ValueError, RuntimeError) as error:
            # What is left of it would take the room of what finished experiments found.
            shutil.rmtree(place, ignore_errors=True)
            self._remove_half_written(group)
            self._warn(error)

    def load(self, group: str) -> Checkpoint | None:
        """The last checkpoint of a group, if it has one. One that is not what was written is told and deleted."""
        path = self._folder / f"{group}.json"
        if not path.exists():
            return None
        try:
            content = documents.read(path, ANEW)
            place = self._folder / content["state"]["name"]
            if not place.is_dir() or folder_digest(place) != content["state"]["digest"]:
                raise InputError(f"{place} was damaged or altered, since it has not the digest in {path}: {ANEW}")
            arrays = _restore(place)
        except InputError as error:
            warnings.warn(str(error), stacklevel=2)
            self.drop(group)
            return None
        found = {name: [Evaluation(**one) for one in each] for name, each in content["found"].items()}
        state = [np.asarray(arrays[str(number)]) for number in range(len(arrays))]
        return Checkpoint(content["update"], content["seconds"], found, state)

    def drop(self, group: str) -> None:
        """Delete what there is of a group, which is finished or starts anew."""
        # And what processes that were killed while they wrote it have left of it.
        for document in self._folder.glob(f"{group}.json*"):
            document.unlink(missing_ok=True)
        self._remove_states(group)

    def drop_if_finished(self, group: str, finished: Container[str]) -> None:
        """Delete what there is of a group, unless it has a checkpoint of an experiment that is not finished."""
        try:
            found = documents.read(self._folder / f"{group}.json")["found"]
        except InputError:
            found = {}
        if all(name in finished for name in found):
            self.drop(group)

    def groups(self) -> set[str]:
        """All of which there is something, whole or not."""
        return {re.split("[-.]", path.name)[0] for path in self._folder.iterdir()}

    def _warn(self, error: Exception) -> None:
        if not self._told:
            reason = (isinstance(error, OSError) and error.strerror) or _in_brief(error)
            warnings.warn(
                f"No checkpoint can be written to {self._folder} ({reason}): training goes on, and tries again.",
                stacklevel=3,
            )
        self._told = True

    def _remove_half_written(self, group: str) -> None:
        # Orbax renames a folder that is whole, and ours have no dot.
        for place in self._folder.glob(f"{group}-*.*"):
            shutil.rmtree(place, ignore_errors=True)

    def _remove_states(self, group: str, but: Path | None = None) -> None:
        for place in self._folder.glob(f"{group}-*"):
            if place != but:
                shutil.rmtree(place, ignore_errors=True)


def _in_brief(error: Exception) -> str:
    """What the system said, within the paragraphs of Orbax."""
    said = re.search(r"([^:]+) \[os_error_code=", str(error))
    return said[1].strip() if said else (str(error).strip() or type(error).__name__).splitlines()[0]


def _restore(place: Path) -> dict[str, np.ndarray]:
    try:
        with _orbax() as orbax:
            return orbax.restore(place)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{place} cannot be read ({error}): {ANEW}") from None


def _orbax() -> Any:
    """Orbax is imported when it is needed: that takes longer than many a group."""
    import orbax.checkpoint as orbax

    return orbax.PyTreeCheckpointer()
