"""Two updates of an optimiser are its formula."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints.training.optimizer import OPTIMIZERS


@pytest.mark.parametrize(("name", "momentum"), [("sgd", 0.9), ("sgd_without_momentum", 0.0)])
def test_descent_remembers_what_its_momentum_says_and_weights_alone_decay(name, momentum, generator):
    rate, decay = generator.uniform(0.1, 0.5, 2)
    optimizer = OPTIMIZERS[name](rate, decay)
    parameters = {
        "kernel": jnp.asarray(generator.standard_normal(3)),
        "bias": jnp.asarray(generator.standard_normal(2)),
    }
    expected = {key: np.asarray(value) for key, value in parameters.items()}
    state, speed = optimizer.init(parameters), dict.fromkeys(parameters, 0.0)
    for _ in range(2):
        gradients = {key: generator.standard_normal(value.shape) for key, value in expected.items()}
        updates, state = optimizer.update({key: jnp.asarray(g) for key, g in gradients.items()}, state, parameters)
        parameters = {key: value + updates[key] for key, value in parameters.items()}
        for key, own_decay in (("kernel", decay), ("bias", 0.0)):
            speed[key] = momentum * speed[key] + gradients[key] + own_decay * expected[key]
            expected[key] = expected[key] - rate * speed[key]
    for key, value in expected.items():
        np.testing.assert_allclose(parameters[key], value, rtol=1e-5, atol=1e-6)
