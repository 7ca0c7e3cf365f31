"""A cache of their own for tests of the commands, and values as they come from a user."""

import sys
from collections.abc import Iterator

import jax
import jaxtyping
import pytest


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled programs of these tests go into a folder of their own, and JAX's settings come back."""
    settings = {
        name: getattr(jax.config, name)
        for name in ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNN_CONSTRAINTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(sys, "dont_write_bytecode", True)
        yield
    for name, value in settings.items():
        jax.config.update(name, value)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Values come as from a user: no check that is switched on for tests alone stands before the package's own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
