"""The MNIST ladder with one fixed permutation of the pixels: the bias no longer agrees with reality.

Source:  D2L 7.1.3: "if those biases do not agree with reality, our models might struggle"
Command: python -m experiments.sweep configs/mnist_permuted.py
Expect:  dense as on the ladder, for it has no bias to lose; conv and local below it; under 15 minutes on 2 CPU cores
"""

from collections.abc import Sequence

from cnn_constraints.experiment import Axis, Experiment, replace
from configs import mnist_ladder


def get_config() -> Experiment:
    return replace(mnist_ladder.get_config(), {"data.intervention": "permute_pixels"})


def get_sweep(base: Experiment) -> Sequence[Axis]:
    return mnist_ladder.get_sweep(base)
