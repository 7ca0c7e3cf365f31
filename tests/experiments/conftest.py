"""What commands keep for later goes into a folder of the tests."""

import sys
from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled programs of these tests go into a folder of their own, and JAX's settings come back."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNN_CONSTRAINTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(sys, "dont_write_bytecode", True)
        yield
    for name, value in before.items():
        jax.config.update(name, value)
