"""Both halves of the claim: digits that may stand anywhere in a larger frame, and the same pixels in a permuted order.

Source:  D2L 7.1: inductive biases that agree with reality buy sample efficiency; where they do not, the model struggles
Command: python -m experiments.sweep configs/quickstart.py
Expect:  with 100 images conv beats dense wherever digits stand; with 1,000 permuted ones dense beats conv (criteria of
         26 November 2026, before seeds 0 to 3 were run; p < 0.05, adjusted); 40 seconds on 2 CPU cores
"""

from collections.abc import Sequence

from cnn_constraints.experiment import Axis, Data, Experiment, Model, Training, axis


def get_config() -> Experiment:
    return Experiment(
        data=Data(source="digits", frame=12, n_train=100, n_validation=300),
        model=Model(
            delta=2,
            channels=(4, 16),
            pool_sizes=(2, 1),
            strides=(1, 1),
            activation="gelu",
            readout="global_average",
        ),
        training=Training(
            updates=240,
            evaluate_every=40,
            batch_size=32,
            learning_rates=(5e-3, 2e-2, 8e-2),
            schedule="cosine",
        ),
    )


def get_sweep(base: Experiment) -> Sequence[Axis]:
    return [
        axis("data.intervention", ["none", "permute_pixels"]),
        axis("model.constraint", ["dense", "shared", "local", "conv"]),
        axis("data.n_train", [100, 1000]),
        axis("seed", [0, 1, 2, 3]),
    ]
