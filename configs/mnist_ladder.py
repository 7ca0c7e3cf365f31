"""The ladder on MNIST: four cells, two readouts, training sets of 100 to 3,000 images.

Source:  D2L 7.1.2 and 7.1.3: biases that agree with reality buy sample efficiency
Command: python -m experiments.sweep configs/mnist_ladder.py
Expect:  see docs/results.md; under 15 minutes on 2 CPU cores
"""

from collections.abc import Sequence

from cnn_constraints.experiment import Axis, Data, Experiment, Model, Training, axis


def get_config() -> Experiment:
    return Experiment(
        data=Data(source="mnist", n_train=100, n_validation=500),
        model=Model(delta=2, channels=(4, 16), pool_sizes=(4, 1), strides=(1, 1)),
        training=Training(updates=400, evaluate_every=50, batch_size=32, learning_rates=(1e-3, 4e-3, 1.6e-2)),
    )


def get_sweep(base: Experiment) -> Sequence[Axis]:
    return [
        axis("model.readout", ["flatten", "global_average"]),
        axis("model.constraint", ["dense", "shared", "local", "conv"]),
        axis("data.n_train", [100, 300, 1000, 3000]),
        axis("seed", [0, 1, 2]),
    ]
