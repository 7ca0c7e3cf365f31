"""What the claims about trained networks have in common: the base network of each data set, and how results are read."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas
from jaxtyping import Float

from cnn_constraints.analysis import CELL, N_TRAIN, READOUT
from cnn_constraints.config import Data, Experiment, Model, Training

CELLS = ("dense", "shared", "local", "conv")
READOUTS = ("flatten", "global_average")

REDUCE = {"cpu": 2, "gpu": 1}
"""On CPU images are halved, to 14 x 14 and 16 x 16: a dense layer then has a sixteenth of its weights."""


def base(images: Data, tier: str) -> Experiment:
    """Two layers of delta 2 with pooling between; three learning rates, chosen on validation images."""
    reduce = REDUCE[tier]
    return Experiment(
        data=dataclasses.replace(images, n_train=1000, n_validation=500, reduce=reduce),
        model=Model(delta=2, channels=(4, 16), pool_sizes=(4 // reduce, 1), strides=(1, 1)),
        training=Training(updates=400, evaluate_every=50, batch_size=32, learning_rates=(1e-3, 4e-3, 1.6e-2)),
    )


def by_seed(
    results: pandas.DataFrame,
    seeds: Sequence[int],
    columns: str = N_TRAIN,
    value: str = "test_accuracy",
    **fields: object,
) -> Float[np.ndarray, "seeds columns"]:
    """The values of an arm, one row a seed and one column a training-set size (or another field).

    fields: cell, readout, source, intervention.
    """
    names = {"cell": CELL, "readout": READOUT, "source": "data.source", "intervention": "data.intervention"}
    rows = results
    for name, wanted in fields.items():
        rows = rows.loc[rows[names[name]] == wanted]
    return rows.pivot(index="seed", columns=columns, values=value).loc[list(seeds)].to_numpy(float)
