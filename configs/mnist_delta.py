"""How far should a layer see? Tied and untied weights from a single pixel to the whole image, two readouts.

Source:  D2L 7.1.2.2, "typically, delta < 10"
Command: python -m experiments.sweep configs/mnist_delta.py
Expect:  both sweeps are best at a small delta and end in shared and dense; about 15 minutes on 2 CPU cores
"""

from collections.abc import Sequence

from cnn_constraints.experiment import Axis, Experiment, axis, replace
from configs import mnist_ladder


def get_config() -> Experiment:
    return replace(mnist_ladder.get_config(), {"data.n_train": 1000})


def get_sweep(base: Experiment) -> Sequence[Axis]:
    return [
        axis("model.readout", ["flatten", "global_average"]),
        axis("model.constraint", ["conv", "local"]),
        axis("model.delta", [0, 1, 2, 3, 5, 7, 14, None]),
        axis("seed", [0, 1, 2]),
    ]
