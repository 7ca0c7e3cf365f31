"""Event files for TensorBoard, below <run>/tensorboard, a folder a trial: written when the trial is finished, and once.

They say what the tables say, and show what the first layer has learned; nothing reads them back. tensorboardX writes them,
an extra, which knows neither TensorFlow nor TensorBoard.
"""

import importlib.util
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8

from cnn_constraints import analysis, config, store
from cnn_constraints.config import Experiment
from cnn_constraints.errors import InputError, told
from cnn_constraints.executors.fields import Fields
from cnn_constraints.executors.local import Finished
from cnn_constraints.executors.progress import describe
from cnn_constraints.files import PARTIAL, alone

CURVES = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
"""Of the chosen lane, at every look at the validation data."""

ENLARGED = 60
"""Pixels of the side of a field, at least: TensorBoard enlarges by blurring."""


def require_library() -> None:
    """Raises InputError where the extra is not installed."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise InputError("--tensorboard needs tensorboardX: pip install -e '.[tensorboard]', or leave it out.")


class EventFiles:
    """Of a run folder that is open: see `store.open_run`. trials: of this sweep; others are left alone.

    Raises InputError, where files are written, for what the file system refuses.
    """

    def __init__(self, run: Path, trials: Iterable[Experiment]) -> None:
        self._run = run
        self._folders = {config.name(trial): run / "tensorboard" / name_of(trial) for trial in trials}
        self._trials = {config.name(trial): trial for trial in trials}

    def catch_up(self) -> None:
        """Write those of trials that were finished without: by a sweep that was not asked to, or was killed just then."""
        missing = [name for name, folder in self._folders.items() if not folder.exists()]
        if set(missing) & store.finished(self._run):
            records = {event: store.read(self._run, event) for event in ("result", "evaluation")}
            chosen = {event: table.loc[table["trial"].isin(missing)] for event, table in records.items()}
            self._write([row | {"event": event} for event in chosen for row in chosen[event].to_dict("records")], {})

    def write(self, finished: Finished) -> None:
        """Those of trials that have just been finished."""
        self._write(finished.rows, finished.fields)

    def _write(self, rows: Iterable[Mapping[Any, Any]], fields: Mapping[str, Fields]) -> None:
        results: list[Mapping[Any, Any]] = []
        looks: dict[str, list[Mapping[Any, Any]]] = {}
        for row in rows:
            if row["event"] == "result":
                results.append(row)
            elif row["event"] == "evaluation":
                looks.setdefault(row["trial"], []).append(row)
        with told(f"{self._run / 'tensorboard'} cannot be written", "make room, or leave out --tensorboard."):
            (self._run / "tensorboard").mkdir(exist_ok=True)
            # Of several processes on one run folder each may find what another has just finished.
            with alone(self._run / "holds" / "tensorboard"):
                for result in results:
                    name = result["trial"]
                    if not self._folders[name].exists():
                        self._write_trial(result, looks.get(name, []), fields.get(name))

    def _write_trial(self, result: Mapping, looks: Iterable[Mapping], fields: Fields | None) -> None:
        folder = self._folders[result["trial"]]
        # A process that is killed in the middle leaves no folder that looks whole.
        partial = folder.with_name(folder.name + PARTIAL)
        shutil.rmtree(partial, ignore_errors=True)
        _write_events(partial, self._trials[result["trial"]], result, looks, fields)
        os.replace(partial, folder)


def name_of(trial: Experiment) -> str:
    """Of a trial's folder: readable, and no other trial's."""
    arm = re.sub(r" ([a-z]+) ", r"-\1", describe(trial)).replace(", ", "-")
    return f"{arm}-n{trial.data.n_train}-seed{trial.seed}-{config.name(trial)}"


def _write_events(
    folder: Path, trial: Experiment, result: Mapping, looks: Iterable[Mapping], fields: Fields | None
) -> None:
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    with SummaryWriter(str(folder)) as writer:
        for row in looks:
            if row["lane"] == result["lane"]:
                for name in CURVES:
                    split, measure = name.split("_")
                    writer.add_scalar(f"{measure}/{split}", row[name], row["update"])
        for measure in ("loss", "accuracy"):
            writer.add_scalar(f"{measure}/test", result[f"test_{measure}"], result["update"])
        for summary in hparams(_hyperparameters(trial, result), {"accuracy/test": result["test_accuracy"]}):
            # Not `add_hparams`, which makes another folder for them.
            writer.file_writer.add_summary(summary)  # pyright: ignore[reportOptionalMemberAccess]
        if fields is not None:
            writer.add_image("first_layer/fields", draw_fields(fields), result["update"], dataformats="HWC")


def _hyperparameters(trial: Experiment, result: Mapping) -> dict[str, str | float]:
    """By which TensorBoard sorts and filters: the arm, and what tuning has chosen."""
    sizes = {"tile": trial.model.tile, "rank": trial.model.rank}
    return {
        "cell": trial.model.constraint,
        "delta": analysis.in_words(trial.model.delta),
        "readout": trial.model.readout,
        "n_train": trial.data.n_train,
        "learning_rate": float(result["learning_rate"]),
        "weight_decay": float(result["weight_decay"]),
        "penalty_strength": float(result["penalty_strength"]),
        **{name: size for name, size in sizes.items() if size is not None},
        "intervention": trial.data.intervention,
        "batch_size": trial.training.batch_size,
        "seed": trial.seed,
    }


def draw_fields(fields: Fields) -> UInt8[np.ndarray, "rows columns 3"]:
    """A row a site and a column a channel: blue below zero, white at zero, red above, on one scale; black where weights
    are not finite.
    """
    # In 64 bits, for twice what just fits 32 does not.
    finite = np.where(np.isfinite(fields), fields, np.nan).astype(np.float64)
    largest = float(np.nanmax(np.abs(finite), initial=0)) or 1.0
    colours = matplotlib.colormaps["RdBu_r"](_in_grid(finite) / (2 * largest) + 0.5, bytes=True)
    return np.asarray(colours)[..., :3]


def _in_grid(fields: Fields) -> Float[np.ndarray, "rows columns"]:
    """Side by side with a line of NaN, which no colour has, around each."""
    enlarge = -(-ENLARGED // max(fields.shape[2:]))
    large = fields.repeat(enlarge, axis=2).repeat(enlarge, axis=3)
    framed = np.pad(large, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=np.nan)
    sites, channels, height, width = framed.shape
    return framed.transpose(0, 2, 1, 3).reshape(sites * height, channels * width)
