"""Event files for TensorBoard, below <run>/tensorboard, a folder an experiment: scalars and hyper-parameters.

They say what the tables say, are written when an experiment is finished, and once; nothing reads them back. tensorboardX
writes them, an extra, which knows neither TensorFlow nor TensorBoard.
"""

import importlib.util
import math
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from cnn_constraints import store, summaries
from cnn_constraints.errors import InputError, input_error
from cnn_constraints.executors.progress import describe
from cnn_constraints.files import PARTIAL
from cnn_constraints.resolve import Resolved
from cnn_constraints.sweep import Observer
from cnn_constraints.training.records import Finished

CURVES = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
"""Of the chosen candidate, at every look at the validation data."""


class EventFiles(Observer):
    """Of a run folder that is open: see `store.open_run`. experiments: of this sweep; others are left alone.

    Raises InputError without the extra `tensorboard`, and where files are written for what the file system refuses.
    """

    def __init__(self, run: Path, experiments: Iterable[Resolved]) -> None:
        if importlib.util.find_spec("tensorboardX") is None:
            raise InputError("--tensorboard needs tensorboardX: pip install -e '.[tensorboard]', or leave it out.")
        self._run = run
        self._experiments = {experiment.name: experiment for experiment in experiments}

    def opened(self) -> None:
        """Write those of experiments that were finished without, by a sweep that was not asked to or was killed."""
        if any(not self._folder(name).exists() for name in self._experiments.keys() & store.finished(self._run)):
            self.finished(one for one in store.read_finished(self._run) if one.experiment in self._experiments)

    def finished(self, found: Iterable[Finished]) -> None:
        """Write those of experiments that have just been finished."""
        place = self._run / "tensorboard"
        with input_error(f"{place} cannot be written", "make room, or leave out --tensorboard."):
            place.mkdir(exist_ok=True)
            for one in found:
                if not self._folder(one.experiment).exists():
                    self._write(place, one)

    def _folder(self, name: str) -> Path:
        return self._run / "tensorboard" / name_of(self._experiments[name])

    def _write(self, place: Path, one: Finished) -> None:
        """Whole or not at all. Several processes may write the same: the first one's folder stays."""
        folder = self._folder(one.experiment)
        with tempfile.TemporaryDirectory(suffix=PARTIAL, dir=place) as partial:
            written = Path(partial) / folder.name
            _write_events(written, self._experiments[one.experiment], one)
            try:
                written.rename(folder)
            except OSError:
                if not folder.exists():
                    raise


def name_of(experiment: Resolved) -> str:
    """Of an experiment's folder: readable, and no other's."""
    arm = re.sub(r" ([a-z]+) ", r"-\1", describe(experiment)).replace(", ", "-")
    return f"{arm}-n{experiment.data.n_train}-seed{experiment.seed}-{experiment.name}"


def _write_events(folder: Path, experiment: Resolved, found: Finished) -> None:
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    number = lambda value: math.nan if value is None else value
    result = found.result
    looks = [look for look in found.evaluations if look.candidate == result.candidate]
    scalars = [(name, getattr(look, name), look.update) for look in looks for name in CURVES]
    scalars += [(name, getattr(result, name), result.update or 0) for name in ("test_loss", "test_accuracy")]
    with SummaryWriter(str(folder)) as writer:
        for name, value, update in scalars:
            split, measure = name.split("_")
            writer.add_scalar(f"{measure}/{split}", number(value), update)
        for summary in hparams(_hyperparameters(experiment, found), {"accuracy/test": number(result.test_accuracy)}):
            # Not `add_hparams`, which makes another folder for them.
            writer.file_writer.add_summary(summary)  # pyright: ignore[reportOptionalMemberAccess]


def _hyperparameters(experiment: Resolved, found: Finished) -> dict[str, str | float]:
    """By which TensorBoard sorts and filters: the arm, and what tuning has chosen."""
    model, result = experiment.model, found.result
    values = {"cell": summaries.in_words(model.constraint), "delta": summaries.in_words(model.delta)}
    values |= {"readout": model.readout, "tile": model.tile, "rank": model.rank, "seed": experiment.seed}
    values |= {name: getattr(result, name) for name in ("learning_rate", "weight_decay", "penalty_strength")}
    values |= {"n_train": experiment.data.n_train, "intervention": experiment.data.intervention}
    values |= {"batch_size": experiment.training.batch_size}
    return {name: value for name, value in values.items() if value is not None}
