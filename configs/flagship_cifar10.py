"""The claim on CIFAR-10: four cells, two readouts, 1,000 to 20,000 images, as they are and with permuted pixels.

Source:  D2L 7.1: inductive biases that agree with reality buy sample efficiency; where they do not, the model struggles
Command: python -m experiments.sweep configs/flagship_cifar10.py
         On a GPU, with whole images: --data.reduce 1
Expect:  with the flatten readout conv beats dense at every size and local at 20,000 images, and on permuted pixels dense
         beats conv at every size (criteria of 27 November 2026, before seeds 1000 to 1004 were run; p < 0.05, adjusted).
         Those seeds left conv against local undecided, seeds 1005 to 1024 decided it: all hold (docs/results.md).
         Five minutes on an H200, hours on 2 CPU cores
"""

from collections.abc import Sequence

from cnn_constraints.experiment import Axis, Data, Experiment, Model, Training, axis


def get_config() -> Experiment:
    return Experiment(
        data=Data(source="cifar10", reduce=2, n_train=1000, n_validation=1000),
        model=Model(delta=2, channels=(16, 32, 32), pool_sizes=(2, 2, 1), strides=(1, 1, 1)),
        training=Training(
            updates=800, evaluate_every=100, batch_size=64, learning_rates=(1e-3, 3e-3), schedule="cosine"
        ),
    )


def get_sweep(base: Experiment) -> Sequence[Axis]:
    sizes = axis(
        ("data.n_train", "training.updates", "training.evaluate_every"),
        [(1000, 800, 100), (4000, 1600, 200), (20_000, 4000, 500)],
    )
    # Images of either size are 4 x 4 sites for the last layer.
    cells = axis(
        ("model.constraint", "model.pool_sizes"),
        [(cell, (4 // base.data.reduce, 2, 1)) for cell in ("dense", "shared", "local", "conv")],
    )
    # Three hidden layers of 52, 40 and 52 units, or 12, 80 and 52 on whole images: 5% within conv's 44,810
    # parameters with the flatten readout.
    narrow = {
        "model.constraint": "dense",
        "model.channels": (13, 10, 13) if base.data.reduce == 2 else (3, 20, 13),
        "model.strides": (16 // base.data.reduce, 1, 1),
        "model.pool_sizes": (1, 1, 1),
    }
    return [
        axis("data.intervention", ["none", "permute_pixels"]),
        axis("model.readout", ["flatten", "global_average"]),
        [cell | size for cell in cells for size in sizes] + [narrow | sizes[1]],
        axis("seed", range(1000, 1005)),
    ]
