"""A run folder to be, and randomness for what is written to it."""

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
