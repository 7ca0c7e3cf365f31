"""The chosen network of an experiment: a safetensors file that is named by its experiment and its content.

It holds the parameters in their canonical form (see `functional.kernel_shape`), `layer_0/kernel` and so on;
`statistics/batch_stats/normalisation_0/mean` and the like, where a network has any; `standardisation/mean` and
`standardisation/deviation` of the training images; and as metadata the experiment, the shape of its images and the names of
the classes.
"""

import json
import math
from collections.abc import Mapping
from functools import partial, reduce
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Array, Float, Int, UInt8

from cnn_constraints.architecture import build_network
from cnn_constraints.arrays import Dataset
from cnn_constraints.errors import InputError, nearest_name
from cnn_constraints.experiment import DEFAULTS, Experiment, flat, flatten, replace
from cnn_constraints.files import local_path
from cnn_constraints.network import AnyNetwork, Network, canonical_network
from cnn_constraints.resolve import resolve
from cnn_constraints.settings import own_settings
from cnn_constraints.store import parts
from cnn_constraints.store.folder import read_config
from cnn_constraints.store.tables import rows
from cnn_constraints.training.ensemble import EVALUATION_CHUNK
from cnn_constraints.training.loop import Standardisation

SCALES, STATISTICS = "standardisation", "statistics"


class Trained(NamedTuple):
    """The network of an experiment that was chosen, as a Flax module and its variables.

    experiment: what it was trained by. classes: their names. Images are standardised before the network sees them.
    """

    experiment: Experiment
    network: AnyNetwork
    variables: Mapping[str, Any]
    standardisation: Standardisation
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]


class Predictions(NamedTuple):
    """Of images: logits, and the number of the class with the largest one."""

    logits: Float[np.ndarray, "examples classes"]
    classes: Int[np.ndarray, " examples"]


def pack(
    experiment: Experiment,
    network: AnyNetwork,
    variables: Mapping[str, Any],
    standardisation: Standardisation,
    dataset: Dataset,
) -> bytes:
    """A file of the network with these variables, as the engine stores them."""
    own = jax.tree.map(jnp.asarray, dict(variables))
    tree = canonical_network(network, own.pop("params")) | {SCALES: standardisation._asdict(), STATISTICS: own}
    leaves = {"/".join(key.key for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    # A field to come has a default that does what is done now: it changes no file.
    fields = {name: value for name, value in flat(experiment).items() if value != DEFAULTS[name]}
    described = {
        "experiment": fields,
        "image_shape": dataset.train.images.shape[1:],
        "classes": dataset.classes,
    }
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in leaves.items()}
    # One entry: several come in any order, and equal networks are equal files.
    return safetensors.numpy.save(arrays, {"network": json.dumps(described, sort_keys=True)})


@own_settings()
def load(folder: str | Path, experiment: str | Experiment) -> Trained:
    """The network that an experiment of a run folder has chosen, by its name (the column `experiment` of `read`) or itself.

    Raises InputError where the run has no such experiment or has not kept its weights, and, naming the file, where that is
    missing, truncated or altered.
    """
    folder = local_path(folder)
    name = experiment if isinstance(experiment, str) else resolve([experiment])[0].name
    known = read_config(folder)["experiments"]
    if name not in known:
        near = nearest_name(name, known)
        raise InputError(f"{folder} has no experiment {name!r}{f': did you mean {near}?' if near else '.'}")
    table = rows(folder, [*known])
    kept = dict(zip(table["experiment"].to_pylist(), table["weights"].to_pylist(), strict=True))
    if not (found := kept.get(name)):
        raise InputError(
            f"{folder} has no weights of the experiment {name}: repeat the sweep with --keep weights, which trains it "
            f"again, or take another if it diverged."
        )
    path = folder / "weights" / found
    if parts.whole_content(path) is None:
        altered = "was truncated or altered, since its digest is not the one in its name"
        what = altered if path.exists() else "is missing"
        raise InputError(f"{path} {what}: restore it, or repeat the sweep with --keep weights, which trains it again.")
    return _read(path)


@own_settings()
def predict(
    trained: Trained,
    images: UInt8[np.ndarray, "examples height width channels"] | Float[np.ndarray, "examples height width channels"],
) -> Predictions:
    """What a network says of images as its data set holds them: intensities 0 to 255, or the numbers of a synthetic task.

    They are of the size and under the intervention that it was trained on. Raises InputError for another shape.
    """
    shape = np.shape(images)
    if len(shape) != 4 or shape[1:] != trained.image_shape:
        taken = " x ".join(map(str, trained.image_shape))
        raise InputError(f"The images have the shape {shape}: it must be that of any number of images of {taken}.")
    chunks = max(1, math.ceil(len(images) / EVALUATION_CHUNK))
    size = math.ceil(len(images) / chunks)
    logits = np.zeros((len(images), len(trained.classes)), np.float32)
    for first in range(0, len(images), max(1, size)):
        part = np.asarray(images[first : first + size], np.float32)
        filled = np.pad(part, [(0, size - len(part)), (0, 0), (0, 0), (0, 0)])
        found = _logits(trained.network, trained.variables, trained.standardisation, filled)
        logits[first : first + size] = found[: len(part)]
    return Predictions(logits, logits.argmax(axis=1))


@partial(jax.jit, static_argnums=0)
def _logits(network: AnyNetwork, variables: Any, scales: Standardisation, images: Array) -> Array:
    return jnp.asarray(network.apply(variables, (images - scales.mean) / scales.deviation))


def _read(path: Path) -> Trained:
    with safetensors.safe_open(path, "numpy") as file:
        described: dict[str, Any] = json.loads(file.metadata()["network"])
        leaves = {name: jnp.asarray(file.get_tensor(name)) for name in sorted(file.keys())}
    experiment = replace(Experiment(), flatten(described["experiment"]))
    shape, classes = tuple(described["image_shape"]), tuple(described["classes"])
    network = build_network(experiment.model, shape, len(classes))
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split("/")
        reduce(lambda inner, parent: inner.setdefault(parent, {}), parents, tree)[last] = leaf
    scales, statistics = Standardisation(**tree.pop(SCALES)), tree.pop(STATISTICS, {})
    canonical = network.clone(stored=False) if isinstance(network, Network) else network
    return Trained(experiment, canonical, {"params": tree, **statistics}, scales, classes, shape)
