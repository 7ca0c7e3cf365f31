"""Event files for TensorBoard, below <run>/tensorboard, a folder an experiment: written when the experiment is
finished, and once.

They say what the tables say, and show what the first layer has learned; nothing reads them back. tensorboardX writes them,
an extra, which knows neither TensorFlow nor TensorBoard.
"""

import importlib.util
import math
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8

from cnn_constraints import store, summaries
from cnn_constraints.errors import InputError, input_error
from cnn_constraints.executors.progress import describe
from cnn_constraints.files import PARTIAL, locked
from cnn_constraints.receptive_fields import ReceptiveFields
from cnn_constraints.resolve import Resolved
from cnn_constraints.training.records import Finished

CURVES = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
"""Of the chosen candidate, at every look at the validation data."""

ENLARGED = 60
"""Pixels of the side of a field, at least: TensorBoard enlarges by blurring."""


def require_library() -> None:
    """Raises InputError where the extra is not installed."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise InputError("--tensorboard needs tensorboardX: pip install -e '.[tensorboard]', or leave it out.")


class EventFiles:
    """Of a run folder that is open: see `store.open_run`. experiments: of this sweep; others are left alone.

    Raises InputError, where files are written, for what the file system refuses.
    """

    def __init__(self, run: Path, experiments: Iterable[Resolved]) -> None:
        self._run = run
        self._folders = {experiment.name: run / "tensorboard" / name_of(experiment) for experiment in experiments}
        self._experiments = {experiment.name: experiment for experiment in experiments}

    def opened(self) -> None:
        """Write those of experiments that were finished without: by a sweep that was not asked to, or was killed just
        then.
        """
        missing = {name for name, folder in self._folders.items() if not folder.exists()} & store.finished(self._run)
        self.finished([one for one in store.read_finished(self._run) if one.experiment in missing] if missing else [])

    def finished(self, found: Iterable[Finished]) -> None:
        """Write those of experiments that have just been finished."""
        with input_error(f"{self._run / 'tensorboard'} cannot be written", "make room, or leave out --tensorboard."):
            (self._run / "tensorboard").mkdir(exist_ok=True)
            # Of several processes on one run folder each may find what another has just finished.
            with locked(self._run / "holds" / "tensorboard"):
                for one in found:
                    if not self._folders[one.experiment].exists():
                        self._write(one)

    def _write(self, one: Finished) -> None:
        folder = self._folders[one.experiment]
        # A process that is killed in the middle leaves no folder that looks whole.
        partial = folder.with_name(folder.name + PARTIAL)
        shutil.rmtree(partial, ignore_errors=True)
        _write_events(partial, self._experiments[one.experiment], one)
        os.replace(partial, folder)


def name_of(experiment: Resolved) -> str:
    """Of an experiment's folder: readable, and no other's."""
    arm = re.sub(r" ([a-z]+) ", r"-\1", describe(experiment)).replace(", ", "-")
    return f"{arm}-n{experiment.data.n_train}-seed{experiment.seed}-{experiment.name}"


def _write_events(folder: Path, experiment: Resolved, found: Finished) -> None:
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    result = found.result
    update = result.update or 0
    with SummaryWriter(str(folder)) as writer:
        for look in found.evaluations:
            if look.candidate == result.candidate:
                for name in CURVES:
                    split, measure = name.split("_")
                    writer.add_scalar(f"{measure}/{split}", _number(getattr(look, name)), look.update)
        for measure, value in (("loss", result.test_loss), ("accuracy", result.test_accuracy)):
            writer.add_scalar(f"{measure}/test", _number(value), update)
        for summary in hparams(_hyperparameters(experiment, found), {"accuracy/test": _number(result.test_accuracy)}):
            # Not `add_hparams`, which makes another folder for them.
            writer.file_writer.add_summary(summary)  # pyright: ignore[reportOptionalMemberAccess]
        if found.receptive_fields is not None:
            writer.add_image("first_layer/fields", draw_fields(found.receptive_fields), update, dataformats="HWC")


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _hyperparameters(experiment: Resolved, found: Finished) -> dict[str, str | float]:
    """By which TensorBoard sorts and filters: the arm, and what tuning has chosen."""
    model, result = experiment.model, found.result
    optional = {
        "tile": model.tile,
        "rank": model.rank,
        "learning_rate": result.learning_rate,
        "weight_decay": result.weight_decay,
        "penalty_strength": result.penalty_strength,
    }
    return {
        "cell": model.constraint,
        "delta": summaries.in_words(model.delta),
        "readout": model.readout,
        "n_train": experiment.data.n_train,
        **{name: value for name, value in optional.items() if value is not None},
        "intervention": experiment.data.intervention,
        "batch_size": experiment.training.batch_size,
        "seed": experiment.seed,
    }


def draw_fields(fields: ReceptiveFields) -> UInt8[np.ndarray, "rows columns 3"]:
    """A row a site and a column a channel: blue below zero, white at zero, red above, on one scale; black where weights
    are not finite.
    """
    # In 64 bits, for twice what just fits 32 does not.
    finite = np.where(np.isfinite(fields), fields, np.nan).astype(np.float64)
    largest = float(np.nanmax(np.abs(finite), initial=0)) or 1.0
    colours = matplotlib.colormaps["RdBu_r"](_in_grid(finite) / (2 * largest) + 0.5, bytes=True)
    return np.asarray(colours)[..., :3]


def _in_grid(fields: ReceptiveFields) -> Float[np.ndarray, "rows columns"]:
    """Side by side with a line of NaN, which no colour has, around each."""
    enlarge = -(-ENLARGED // max(fields.shape[2:]))
    large = fields.repeat(enlarge, axis=2).repeat(enlarge, axis=3)
    framed = np.pad(large, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=np.nan)
    sites, channels, height, width = framed.shape
    return framed.transpose(0, 2, 1, 3).reshape(sites * height, channels * width)
