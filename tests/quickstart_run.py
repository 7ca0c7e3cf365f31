"""The run that README's first command leaves, from recorded numbers: training it anew takes a minute."""

from pathlib import Path

from made_up_results import write_run

from cnn_constraints.config_file import load_config
from cnn_constraints.experiment import Experiment, product
from cnn_constraints.resolve import resolve

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.py"
TEST_IMAGES = 400
CORRECT = {
    ("dense", 100): (349, 365, 368),
    ("dense", 300): (383, 385, 382),
    ("dense", 600): (392, 391, 387),
    ("shared", 100): (355, 370, 367),
    ("shared", 300): (385, 380, 383),
    ("shared", 600): (387, 390, 385),
    ("local", 100): (354, 372, 367),
    ("local", 300): (383, 382, 379),
    ("local", 600): (390, 390, 383),
    ("conv", 100): (354, 366, 372),
    ("conv", 300): (387, 382, 387),
    ("conv", 600): (391, 390, 390),
}
"""Of the test images, by cell, n_train and seed."""


def accuracy(experiment: Experiment) -> float:
    return CORRECT[experiment.model.constraint, experiment.data.n_train][experiment.seed] / TEST_IMAGES


def write_quickstart(folder: Path) -> None:
    """`runs/quickstart` in that folder."""
    quickstart = load_config(CONFIG)
    base = quickstart.get_config()
    (folder / "runs").mkdir()
    write_run(folder / "runs" / "quickstart", resolve(product(base, *quickstart.get_sweep(base))), accuracy)
