"""Where a kept network errs: how often each class is taken for each other, and which test images it gets wrong."""

import matplotlib
import numpy as np
import pandas
from matplotlib.figure import Figure
from scipy.special import softmax

from cnn_constraints.arrays import Split
from cnn_constraints.errors import InputError
from cnn_constraints.report.figures import RULES
from cnn_constraints.store import Trained, predict

SHOWN, COLUMNS = 24, 6
"""Wrong images that are drawn, and how many of them side by side."""


def confusion(trained: Trained, split: Split) -> pandas.DataFrame:
    """How many images of each class (a row) the network takes for each class (a column)."""
    counts = np.zeros((len(trained.classes), len(trained.classes)), int)
    np.add.at(counts, (split.labels, predict(trained, split.images).classes), 1)
    names = pandas.Index(trained.classes)
    return pandas.DataFrame(counts, names.rename("class"), names.rename("taken for"))


def wrong_images(trained: Trained, split: Split) -> pandas.DataFrame:
    """The images that the network gets wrong, the surest mistake first: `image`, its number; `class`; `taken for`; and
    `probability`, what the network gives for that.
    """
    logits, taken = predict(trained, split.images)
    wrong = np.flatnonzero(taken != split.labels)
    names = np.array(trained.classes)
    found = {"image": wrong, "class": names[split.labels[wrong]], "taken for": names[taken[wrong]]}
    table = pandas.DataFrame(found | {"probability": softmax(logits[wrong], axis=1).max(axis=1)})
    return table.sort_values("probability", ascending=False, ignore_index=True)


def plot_mistakes(trained: Trained, split: Split) -> Figure:
    """The confusion matrix, with the right answers left out, and the surest mistakes. Raises InputError where the images
    are not grey and not RGB.
    """
    if (channels := split.images.shape[-1]) not in (1, 3):
        raise InputError(f"The images have {channels} channels: only those of 1 or 3 can be drawn.")
    counts, wrong = confusion(trained, split), wrong_images(trained, split)
    with matplotlib.rc_context(RULES):
        figure = Figure(figsize=(13, 6), layout="constrained")
        left, right = figure.subfigures(1, 2, width_ratios=[1, 1.15])  # pyright: ignore[reportGeneralTypeIssues]
        figure.suptitle(f"{len(wrong):,} of {len(split.labels):,} test images are taken for another class", fontsize=12)
        axes = left.subplots()
        matrix = counts.to_numpy() * (1 - np.eye(len(counts), dtype=int))
        axes.imshow(matrix, cmap="Blues")
        axes.set(xlabel="taken for", ylabel="class", xticks=range(len(counts)), yticks=range(len(counts)))
        axes.set_xticklabels(trained.classes, rotation=90 if max(map(len, trained.classes)) > 2 else 0)
        axes.set_yticklabels(trained.classes)
        axes.grid(False)
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                color = "white" if count > matrix.max() / 2 else "black"
                axes.annotate(f"{count}", (column, row), ha="center", va="center", color=color, fontsize=8)
        for place, one in zip(right.subplots(SHOWN // COLUMNS, COLUMNS).flat, range(SHOWN), strict=True):
            place.set_axis_off()
            if one < len(wrong):
                mistake = wrong.iloc[one]
                place.imshow(split.images[mistake["image"]].squeeze(), cmap="gray_r")
                place.set_title(f"{mistake['class']} taken\nfor {mistake['taken for']}", fontsize=8)
    return figure
