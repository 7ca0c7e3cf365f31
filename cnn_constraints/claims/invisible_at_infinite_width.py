"""Novak et al.: without pooling, infinitely wide networks do not know whether they share weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import CELLS, READOUTS
from cnn_constraints.functional import Layer, initialisers, respond
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.network import ACTIVATIONS
from cnn_constraints.statistics import mean_interval

SITES, IN_CHANNELS, INPUTS, DEPTH, DELTA, NETWORKS = 16, 3, 12, 3, 1, 16
WIDTHS = {"dense": (16, 64), "shared": (16, 64, 256), "local": (16, 64, 256), "conv": (16, 64, 256)}
"""Channels. A dense network of 256 has 34 million weights, and is near its limit with 64."""

GAIN = ACTIVATIONS["relu"].gain

SHARED_TWIN = {"dense": "shared", "shared": "shared", "local": "conv", "conv": "conv"}

Features = Float[Array, "channels sites 1 inputs"]
Covariance = Float[Array, "sites sites inputs inputs"]
"""Of features at two sites on two inputs, the mean over channels of their product."""

Kernels = Float[Array, "readouts inputs inputs"]
"""Of a linear readout with random weights, by the READOUTS."""


def covariance(features: Features) -> Covariance:
    """Of the features of one network, or of an input."""
    return jnp.einsum("cpn,cqm->pqnm", *[features[:, :, 0]] * 2) / len(features)


def read_out(sites: Covariance) -> Kernels:
    """Flatten reads every site with weights of its own, a global average all with the same."""
    return jnp.stack([jnp.einsum("ppnm->nm", sites) / len(sites), sites.mean(axis=(0, 1))])


def exact_kernels(cell: str, inputs: Features) -> Kernels:
    """What the kernels of networks tend to as their channels grow.

    Layer by layer E[relu(u) relu(v)] (Cho & Saul 2009, the arc-cosine kernel of order 1) of Gaussians u and v, whose
    covariance is that of the layer before, averaged over what both see. Without sharing, two sites are independent.
    """
    offsets = range(-DELTA, DELTA + 1) if cell in ("local", "conv") else range(SITES)
    tied = np.ones((SITES, SITES)) if SHARED_TWIN[cell] == cell else np.eye(SITES)
    sites = np.asarray(covariance(inputs), float)
    for _ in range(DEPTH):
        seen = np.mean([np.roll(sites, (-offset, -offset), axis=(0, 1)) for offset in offsets], axis=0)
        before = GAIN * seen * tied[:, :, None, None]
        deviation = np.sqrt(np.einsum("ppnn->pn", before))
        scale = deviation[:, None, :, None] * deviation[None, :, None, :]
        cosine = np.clip(before / scale, -1, 1)
        sites = scale * (np.sqrt(1 - cosine**2) + (np.pi - np.arccos(cosine)) * cosine) / (2 * np.pi)
    return read_out(jnp.asarray(sites))


@partial(jax.jit, static_argnames=("cell", "width"))
def kernels(cell: str, width: int, inputs: Features, seed: Array) -> Kernels:
    """The mean over NETWORKS random networks of this many channels."""
    ring = Geometry(SITES, 1, boundary="circular")
    layers = [
        Layer(cell, ring, before, width, DELTA, bias=None, gain=GAIN)
        for before in (IN_CHANNELS, *(width,) * (DEPTH - 1))
    ]

    def of_network(key: Array) -> Kernels:
        x = inputs
        for layer, own in zip(layers, jax.random.split(key, DEPTH), strict=True):
            x = jax.nn.relu(respond(layer, x, [{name: draw(own) for name, draw in initialisers(layer).items()}]))
        return read_out(covariance(x))

    return lax.map(of_network, jax.random.split(jax.random.key(seed), NETWORKS)).mean(axis=0)


def distances(cell: str, seed: int) -> Float[np.ndarray, "readouts widths"]:
    """||K - K*|| / ||K*||: K of random networks, K* the exact kernel of those that share. Inputs are smooth noise."""
    noise = np.random.default_rng(seed).standard_normal((IN_CHANNELS, SITES, 1, INPUTS))
    inputs = jnp.asarray(sum(np.roll(noise, shift, axis=1) for shift in range(3)) / np.sqrt(3), jnp.float32)
    exact = exact_kernels(SHARED_TWIN[cell], inputs)
    found = [kernels(cell, width, inputs, seed) - exact for width in WIDTHS[cell]]
    norm = partial(jnp.linalg.norm, axis=(1, 2))
    return np.stack([np.asarray(norm(difference) / norm(exact)) for difference in found], axis=1)


def measure(laboratory: Laboratory) -> Measurement:
    """How far the kernels of each cell are from that of sharing, by readout and channels."""
    seeds = laboratory.seeds
    found = {cell: np.stack([distances(cell, seed) for seed in seeds]) for cell in CELLS}
    values = {
        quantity: mean_interval(found[cell][:, READOUTS.index(readout), -1])
        for (readout, cell), quantity in DISTANCE.items()
    }
    points = [
        (readout.replace("_", " "), cell, width, of_cell[:, number, place])
        for number, readout in enumerate(READOUTS)
        for cell, of_cell in found.items()
        for place, width in enumerate(WIDTHS[cell])
    ]
    return Measurement(values, curves_of(points, seeds))


FROM = "distance of {} with {} channels from the exact kernel of {}, {}"
DISTANCE = {
    (readout, cell): FROM.format(cell, WIDTHS[cell][-1], SHARED_TWIN[cell], readout.replace("_", " "))
    for readout in READOUTS
    for cell in CELLS
}

CLAIM = Claim(
    statement="Without pooling, sharing is invisible at infinite width: random networks that share and those that do not "
    "become the same Gaussian process. A global average tells them apart.",
    source="Novak et al. 2019, Bayesian deep convolutional networks with many channels are Gaussian processes, arXiv "
    "1810.05148 (local and conv; dense and shared are ours)",
    protocol=f"{DEPTH} layers with relu on a ring of {SITES} (delta {DELTA}), {INPUTS} inputs of {IN_CHANNELS} channels of "
    f"smoothed Gaussian noise; mean over {NETWORKS} random networks a seed of their kernels, against the exact kernel of "
    "the cell that shares; relative distance in the Frobenius norm.",
    criteria=(
        *(Criterion(DISTANCE["flatten", cell], high=0.1, published="0") for cell in CELLS),
        *(Criterion(DISTANCE["global_average", cell], low=0.3, published="not 0") for cell in ("dense", "local")),
        *(Criterion(DISTANCE["global_average", cell], high=0.1, published="0") for cell in ("shared", "conv")),
    ),
    frozen="2026-11-27",
    seeds={"quick": 5, "cpu": 10, "gpu": 10},
    measure=measure,
    picture=Picture("channels", "distance from the exact kernel"),
)
