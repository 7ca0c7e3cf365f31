"""One image's whole way, on real MNIST: archive, subset, training, store, table."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_variables import widened

from cnn_constraints import store
from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.config_file import load_config
from cnn_constraints.data.datasets import Datasets
from cnn_constraints.data.interventions import permutation, permute_pixels
from cnn_constraints.data.sources import load
from cnn_constraints.experiment import Data, Experiment, Model, Training, product
from cnn_constraints.plan import build_arrays, build_task, plan, to_device
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.training import loop
from experiments import sweep


@pytest.fixture(scope="module")
def mnist(archives):
    return load("mnist", archives)


CONFIG = """
from cnn_constraints.experiment import Data, Experiment, Model, Training, axis


def get_config():
    return Experiment(
        data=Data(source="mnist", n_train=300, n_validation=500),
        model=Model(delta=2, channels=(4,), pool_sizes=(4,), strides=(1,)),
        training=Training(updates=60, evaluate_every=60, batch_size=32, learning_rates=(3e-3, 1e-2)),
    )


def get_sweep(base):
    return [axis("seed", [0, 1])]
"""


def test_a_sweep_on_real_images_learns_and_is_not_repeated(mnist, tmp_path, capsys):
    path, folder = tmp_path / "small.py", tmp_path / "run"
    path.write_text(CONFIG)
    sweep.main([str(path), "--output", str(folder)])
    results = store.read(folder)
    assert len(results) == 2
    assert (results["test_accuracy"] > 0.6).all(), results["test_accuracy"]
    (part,) = (folder / "metrics").iterdir()
    assert part.suffix == ".parquet" and list((folder / "figures").glob("*.png"))
    before = part.stat().st_mtime_ns
    capsys.readouterr()
    sweep.main([str(path), "--output", str(folder)])
    assert "0 experiments run, 2 already finished, 0 programs compiled" in capsys.readouterr().err
    assert before == part.stat().st_mtime_ns


def test_a_dense_net_on_permuted_pixels_with_permuted_weights_follows_the_same_trajectory(mnist, seed):
    """The permutation identity: what `mnist_permuted` takes from the others it cannot take from dense."""
    dense = Experiment(
        data=Data(source="mnist", n_train=100, n_validation=100),
        model=Model(constraint="dense", channels=(2,), pool_sizes=(1,), strides=(1,), delta=None),
        training=Training(optimizer="sgd", updates=20, evaluate_every=10, batch_size=20, learning_rates=(0.01,)),
        seed=seed % 1000,
    )
    (experiment,) = resolve([dense])
    few = mnist._replace(train=Split(*(array[:1000] for array in mnist.train)))
    permuted = permute_pixels(few)
    with jax.enable_x64(True):
        plain = trajectory(experiment, few, follow=False)
        np.testing.assert_allclose(plain, trajectory(experiment, permuted, follow=True), rtol=1e-5)
        assert not np.allclose(plain, trajectory(experiment, permuted, follow=False), rtol=1e-3)


def trajectory(experiment: Resolved, dataset: Dataset, follow: bool) -> list[float]:
    """Losses of the first 20 batches in 64 bits; the first layer's weights may follow the permuted pixels.

    In 32 bits twenty updates amplify the rounding of two orders of summation beyond any fixed tolerance.
    """
    task, arrays = build_task(experiment, dataset), build_arrays(experiment, dataset)
    split = to_device(dataset.train)
    candidate = widened(loop.start(task, jax.random.key(experiment.seed)))
    if follow:
        candidate = candidate._replace(parameters=follow_pixels(candidate.parameters))
    hyperparameters = widened(jax.tree.map(lambda leaf: leaf[0], arrays.hyperparameters))
    losses = []
    for batch in arrays.batches:
        prepared = loop.prepare(split, batch, arrays.standardisation)
        candidate, metrics = loop._jitted_update(task, candidate, *prepared, hyperparameters)
        losses.append(float(metrics.loss))
    return losses


def follow_pixels(parameters: dict) -> dict:
    weights = parameters["layer_0"]["weights"]
    by_pixel = weights.reshape(1, 784, 784, -1)[:, permutation(784)]
    return parameters | {"layer_0": parameters["layer_0"] | {"weights": jnp.reshape(by_pixel, weights.shape)}}


DATASETS = Datasets()

ARCHIVES = {"mnist": (28, 1), "fashion_mnist": (28, 1), "cifar10": (32, 3)}
"""Side and channels of their images."""


def stand_in(data: Data) -> Dataset:
    """Black images in the shape and number of an archive, of which not every machine has each; other images as they are."""
    if data.source not in ARCHIVES:
        return DATASETS(data)
    side, channels = ARCHIVES[data.source]
    shape = (50_000, side // data.reduce, side // data.reduce, channels)
    split = Split(np.broadcast_to(np.uint8(0), shape), np.arange(shape[0], dtype=np.int32) % 10)
    return Dataset(data.source, split, split, tuple("0123456789"))


def test_configs_are_valid_and_plan_one_program_for_every_arm():
    for path in sorted((Path(__file__).parents[1] / "configs").glob("[a-z]*.py")):
        module = load_config(path)
        base = module.get_config()
        resolved = resolve(product(base, *module.get_sweep(base)))
        arms = {(one.model, one.training) for one in resolved}
        assert len(plan(resolved, stand_in)) == len(arms), path
