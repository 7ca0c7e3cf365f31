"""Guards every JAX that is installed: training compiled with vmap and scan equals a plain Python loop in NumPy.

JAX 0.10.2 fails the like of it on CPU (jax-ml/jax#39103). Run on every backend: `python -m pytest tests/test_canary.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax


def numpy_step(weights: np.ndarray, momentum: np.ndarray, rate: float, x: np.ndarray, y: np.ndarray):
    """Gradient descent with momentum on 0.5 mean (tanh(x w) - y)^2, the gradient written by hand."""
    prediction = np.tanh(x @ weights)
    gradient = x.T @ ((prediction - y) * (1 - prediction**2)) / prediction.size
    momentum = 0.9 * momentum + gradient
    return weights - rate * momentum, momentum


def jax_training(weights, rates, batches, targets):
    def loss(w, x, y):
        return 0.5 * jnp.mean((jnp.tanh(x @ w) - y) ** 2)

    def train(w, rate):
        def step(state, batch):
            w, momentum = state
            momentum = 0.9 * momentum + jax.grad(loss)(w, *batch)
            return (w - rate * momentum, momentum), loss(w, *batch)

        return lax.scan(step, (w, jnp.zeros_like(w)), (batches, targets))[0][0]

    return jax.jit(jax.vmap(train))(weights, rates)


@pytest.mark.compiled_as_for_users
def test_compiled_training_is_the_plain_loop(seed):
    generator = np.random.default_rng(seed)
    candidates, steps, batch, inputs, outputs = 5, 200, 16, 12, 7
    weights = generator.normal(size=(candidates, inputs, outputs)).astype(np.float32)
    rates = np.geomspace(0.01, 0.3, candidates).astype(np.float32)
    batches = generator.normal(size=(steps, batch, inputs)).astype(np.float32)
    targets = np.sin(generator.normal(size=(steps, batch, outputs))).astype(np.float32)
    with jax.default_matmul_precision("highest"):
        compiled = np.asarray(jax_training(weights, rates, batches, targets))
    for candidate in range(candidates):
        plain, momentum = weights[candidate].astype(np.float64), np.zeros((inputs, outputs))
        for x, y in zip(batches.astype(np.float64), targets.astype(np.float64), strict=True):
            plain, momentum = numpy_step(plain, momentum, float(rates[candidate]), x, y)
        np.testing.assert_allclose(compiled[candidate], plain, atol=1e-4)
