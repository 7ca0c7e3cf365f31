"""All four cells on scikit-learn's 8 x 8 digits: the whole laboratory in a minute.

Source:  D2L 7.1.2, the four corners of tied or untied, local or not
Command: python -m experiments.sweep configs/quickstart.py
Expect:  all four near 90% at 100 images and 97% at 600: on 8 x 8 pixels the biases hardly matter; 1 minute on 2 CPU cores
"""

from collections.abc import Sequence

from cnn_constraints.experiment import Axis, Data, Experiment, Model, Training, axis


def get_config() -> Experiment:
    return Experiment(
        data=Data(source="digits", n_train=100, n_validation=300),
        model=Model(delta=1, channels=(8, 16), pool_sizes=(2, 1), strides=(1, 1)),
        training=Training(updates=300, evaluate_every=30, batch_size=32, learning_rates=(3e-3, 1e-2)),
    )


def get_sweep(base: Experiment) -> Sequence[Axis]:
    return [
        axis("model.constraint", ["dense", "shared", "local", "conv"]),
        axis("data.n_train", [100, 300, 600]),
        axis("seed", [0, 1, 2]),
    ]
