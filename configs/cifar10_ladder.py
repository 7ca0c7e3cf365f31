"""The ladder on CIFAR-10: four cells, two readouts, training sets of 300 to 10,000 images.

Source:  D2L 7.1.2 and 7.1.3
Command: python -m experiments.sweep configs/cifar10_ladder.py
Expect:  dense has 19 million weights here and sets the time: hours on 2 CPU cores, minutes on a GPU
"""

from collections.abc import Sequence

from cnn_constraints.experiment import Axis, Data, Experiment, Model, Training, axis


def get_config() -> Experiment:
    return Experiment(
        data=Data(source="cifar10", n_train=300, n_validation=1000),
        model=Model(delta=2, channels=(6, 16), pool_sizes=(4, 1), strides=(1, 1)),
        training=Training(updates=1000, evaluate_every=100, batch_size=32, learning_rates=(1e-3, 4e-3, 1.6e-2)),
    )


def get_sweep(base: Experiment) -> Sequence[Axis]:
    return [
        axis("model.readout", ["flatten", "global_average"]),
        axis("model.constraint", ["dense", "shared", "local", "conv"]),
        axis("data.n_train", [300, 1000, 3000, 10000]),
        axis("seed", [0, 1, 2]),
    ]
