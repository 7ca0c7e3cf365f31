"""The run that README's first command leaves, from recorded numbers: training it anew takes a minute."""

from pathlib import Path

from made_up_results import write_run

from cnn_constraints.config_file import load_config
from cnn_constraints.experiment import Experiment, product
from cnn_constraints.resolve import resolve

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.py"
TEST_IMAGES = 400
CORRECT = {
    ("none", "dense", 100): (130, 121, 131, 140),
    ("none", "dense", 1000): (336, 337, 322, 333),
    ("none", "shared", 100): (239, 236, 237, 243),
    ("none", "shared", 1000): (360, 355, 351, 360),
    ("none", "local", 100): (121, 113, 125, 126),
    ("none", "local", 1000): (326, 328, 331, 323),
    ("none", "conv", 100): (249, 281, 282, 269),
    ("none", "conv", 1000): (332, 328, 333, 343),
    ("permute_pixels", "dense", 100): (126, 130, 145, 124),
    ("permute_pixels", "dense", 1000): (327, 334, 322, 328),
    ("permute_pixels", "shared", 100): (108, 107, 113, 104),
    ("permute_pixels", "shared", 1000): (224, 180, 202, 235),
    ("permute_pixels", "local", 100): (115, 112, 129, 115),
    ("permute_pixels", "local", 1000): (296, 295, 295, 307),
    ("permute_pixels", "conv", 100): (73, 76, 92, 90),
    ("permute_pixels", "conv", 1000): (103, 108, 104, 112),
}
"""Of the test images, by intervention, cell, n_train and seed."""


def accuracy(experiment: Experiment) -> float:
    arm = experiment.data.intervention, experiment.model.constraint, experiment.data.n_train
    return CORRECT[arm][experiment.seed] / TEST_IMAGES


def write_quickstart(folder: Path) -> None:
    """`runs/quickstart` in that folder."""
    quickstart = load_config(CONFIG)
    base = quickstart.get_config()
    (folder / "runs").mkdir()
    write_run(folder / "runs" / "quickstart", resolve(product(base, *quickstart.get_sweep(base))), accuracy)
