"""Training in 64 bits, in which two programs that do the same agree to a dozen digits."""

import jax
import pytest
from random_variables import widened

from cnn_constraints.training import loop


@pytest.fixture
def trained_in_64_bits(in_64_bits, monkeypatch) -> None:
    """Weights drawn in 64 bits too, or two programs would start from two roundings of them; `small_runs` widens the rest.

    In 32 bits rounding decides which way Adam moves a weight whose gradient is all but zero, and it moves it a whole step;
    and on which side of a threshold a number falls.
    """
    draw, start = jax.random.normal, loop.start
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype=float: draw(key, shape, float))
    monkeypatch.setattr(loop, "start", lambda *given: widened(start(*given)))
