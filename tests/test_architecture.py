"""Networks of papers are configs."""

import pytest

from cnn_constraints.architecture import build_network, cost
from cnn_constraints.experiment import Experiment, Model, replace
from cnn_constraints.resolve import resolve

CIFAR, MNIST = (32, 32, 3), (28, 28, 1)


def parameters_of(model: Model, image_shape: tuple[int, int, int]) -> int:
    """As a config is resolved and counted."""
    [resolved] = resolve([replace(Experiment(), {f"model.{name}": value for name, value in vars(model).items()})])
    return cost(build_network(resolved.model, image_shape, 10), image_shape).parameters


def neyshabur(constraint: str, alpha: int, padding: str) -> Model:
    """Neyshabur 2020: 9 x 9 with stride 2 and alpha channels, fc(24 alpha), batch normalisation."""
    return Model(
        constraint=constraint,
        delta=4,
        channels=(alpha,),
        pool_sizes=(1,),
        strides=(2,),
        bias="channel",
        normalisation="batch",
        hidden=24 * alpha,
        padding=padding,
    )


@pytest.mark.parametrize(("padding", "sites"), [("same", 16 * 16), ("valid", 12 * 12)])
def test_the_shallow_networks_of_neyshabur_are_configs(padding, sites, draw):
    alpha = draw.integer(1, 8)
    head = sites * alpha * 24 * alpha + 240 * alpha + 10 + 2 * (alpha + 24 * alpha)
    weights = {"conv": 81 * 3 * alpha, "dense": 3072 * sites * alpha}
    # A window that no border cuts off has 81 pixels; of 16 that stand on every second pixel, two at each end are cut off.
    rows = {"same": sum(min(i, 4) + 1 + min(31 - i, 4) for i in range(0, 32, 2)), "valid": 9 * 12}[padding]
    weights["local"] = rows**2 * 3 * alpha
    for constraint, expected in weights.items():
        assert parameters_of(neyshabur(constraint, alpha, padding), CIFAR) == expected + head


def test_the_dense_network_of_neyshabur_has_the_millions_of_weights_that_are_told():
    assert round(parameters_of(neyshabur("dense", 150, "same"), CIFAR) / 1e6) == 256


@pytest.mark.parametrize(
    ("image_shape", "deltas", "channels", "sides"),
    [(CIFAR, (2, 2, 1), (64, 128, 256), (14, 5, 3)), (MNIST, (1, 1, 1), (32, 64, 128), (13, 6, 4))],
)
def test_the_networks_of_ott_are_configs(image_shape, deltas, channels, sides):
    """Ott et al. 2020, table A.2: without padding, strides 2, 2, 1, and a dense layer of 1024."""
    for constraint, tied in (("conv", True), ("local", False)):
        model = Model(constraint, deltas, channels, (1, 1, 1), (2, 2, 1), padding="valid", hidden=1024)
        of_layers = [
            (1 if tied else side**2) * ((2 * delta + 1) ** 2 * before + 1) * after
            for side, delta, before, after in zip(sides, deltas, (image_shape[2], *channels), channels, strict=False)
        ]
        head = (sides[-1] ** 2 * channels[-1] + 1) * 1024 + 1025 * 10
        assert parameters_of(model, image_shape) == sum(of_layers) + head
