"""The claim on MNIST, decided: four cells, two readouts, 300 to 10,000 images, as they are and with permuted pixels.

Source:  D2L 7.1: inductive biases that agree with reality buy sample efficiency; where they do not, the model struggles
Command: python -m experiments.sweep configs/flagship_mnist.py
Expect:  with the flatten readout conv beats each other cell at every size, and on permuted pixels dense beats conv at every
         size (criteria of 27 November 2026, before seeds 1000 to 1004 were run; p < 0.05, adjusted); all arms that can fit
         their training images. The criteria held (docs/results.md); three minutes on an H200, five hours on 2 CPU cores
"""

from collections.abc import Sequence

from cnn_constraints.experiment import Axis, Data, Experiment, Model, Training, axis


def get_config() -> Experiment:
    return Experiment(
        data=Data(source="mnist", n_train=300, n_validation=1000),
        model=Model(delta=2, channels=(8, 16), pool_sizes=(2, 2), strides=(1, 1)),
        training=Training(
            updates=400, evaluate_every=50, batch_size=64, learning_rates=(1e-3, 3e-3, 9e-3), schedule="cosine"
        ),
    )


def get_sweep(base: Experiment) -> Sequence[Axis]:
    sizes = axis(
        ("data.n_train", "training.updates", "training.evaluate_every"),
        [(300, 400, 50), (1000, 600, 75), (3000, 1000, 125), (10_000, 2000, 250)],
    )
    cells = axis("model.constraint", ["dense", "shared", "local", "conv"])
    # Two hidden layers, of 12 and 80 units or of 4 and 60, have as many parameters as conv has with each readout.
    narrow = {"model.constraint": "dense", "model.strides": (14, 1), "model.pool_sizes": (1, 1)}
    channels = {"flatten": (3, 20), "global_average": (1, 15)}
    arms = [
        {"model.readout": readout} | arm
        for readout in channels
        for arm in [
            *(cell | size for cell in cells for size in sizes),
            narrow | {"model.channels": channels[readout]} | sizes[2],
        ]
    ]
    return [axis("data.intervention", ["none", "permute_pixels"]), arms, axis("seed", range(1000, 1005))]
