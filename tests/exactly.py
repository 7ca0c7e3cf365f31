"""Laws that hold to the last bits of 64."""

import numpy as np
import pytest

EXACTLY = pytest.mark.usefixtures("float64")


def close(actual, desired, relative: float = 0.0) -> None:
    np.testing.assert_allclose(actual, desired, rtol=relative, atol=1e-10)
