"""A group in the middle: the state of what is being trained and what was found so far, in one safetensors file."""

import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from cnn_constraints.files import atomic_write
from cnn_constraints.store import parts
from cnn_constraints.training.records import Evaluation


class Checkpoint(NamedTuple):
    """found: the evaluations up to and with this update of the experiments that are trained side by side, by name; each
    is a row of the arrays of `state`. seconds: how long that took.
    """

    update: int
    seconds: float
    found: dict[str, list[Evaluation]]
    state: list[np.ndarray]


class Checkpoints:
    """Of one run folder, the last of each group. A checkpoint saves time and nothing else: one that cannot be written, or
    is not what was written, is told, and training goes on.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "checkpoints"
        self._told = False

    def save(self, group: str, checkpoint: Checkpoint) -> None:
        """Whole or not at all; then the one before is deleted."""
        arrays = {f"{number:04}": np.ascontiguousarray(array) for number, array in enumerate(checkpoint.state)}
        found = {name: [one._asdict() for one in each] for name, each in checkpoint.found.items()}
        described = {"update": checkpoint.update, "seconds": checkpoint.seconds, "found": found}
        content = safetensors.numpy.save(arrays, {"checkpoint": json.dumps(described)})
        path = self._folder / parts.name_of(group, content, ".safetensors")
        try:
            with atomic_write(path) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            if not self._told:
                told = f"No checkpoint can be written to {self._folder} ({error.strerror or error})"
                warnings.warn(f"{told}: training goes on, and tries again.", stacklevel=2)
            self._told = True
            return
        self.drop(group, but=path)

    def load(self, group: str) -> Checkpoint | None:
        """The last checkpoint of a group, if it has one. What is not what was written is told and deleted."""
        found = []
        for path in self._folder.glob(f"{group}-*.safetensors"):
            if parts.whole_content(path) is not None:
                found.append(_read(path))
            else:
                warnings.warn(f"{path} was damaged or altered: the group starts anew.", stacklevel=2)
                path.unlink(missing_ok=True)
        # A process that is killed before it deletes the one before leaves two.
        return max(found, key=lambda checkpoint: checkpoint.update, default=None)

    def drop(self, group: str, but: Path | None = None) -> None:
        """Delete what there is of a group, but for this file: half-written files too."""
        for path in self._folder.glob(f"{group}-*"):
            if path != but:
                path.unlink(missing_ok=True)


def _read(path: Path) -> Checkpoint:
    with safetensors.safe_open(path, "numpy") as file:
        described: dict[str, Any] = json.loads(file.metadata()["checkpoint"])
        state = [file.get_tensor(name) for name in sorted(file.keys())]
    found = {name: [Evaluation(**one) for one in each] for name, each in described["found"].items()}
    return Checkpoint(described["update"], described["seconds"], found, state)
