"""What settings of JAX mean: an experiment is what its name says under all of them; else it is recorded or refused."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from jax.experimental.compilation_cache import compilation_cache

import cnn_constraints as cc
from cnn_constraints import settings, store
from cnn_constraints.environment import describe_environment
from cnn_constraints.resolve import resolve
from cnn_constraints.settings import FIXED, fixed_settings, own_settings

ODD = {
    "enable_x64": True,
    "debug_nans": True,
    "debug_infs": True,
    "numpy_rank_promotion": "raise",
    "numpy_dtype_promotion": "strict",
    "default_prng_impl": "rbg",
    "threefry_partitionable": False,
    "disable_jit": True,
    "transfer_guard": "disallow",
}
"""Each of FIXED otherwise."""

HARMLESS = {
    "log_compiles": True,
    "explain_cache_misses": True,
    "traceback_filtering": "off",
    "check_tracer_leaks": True,
    "enable_checks": True,
    "legacy_prng_key": "error",
}
"""Settings that change no number, and are the user's."""

EXPERIMENT = cc.Experiment(
    data=cc.Data(source="digits", n_train=20, n_validation=20, augmentation=("translate",)),
    model=cc.Model(constraint="conv", delta=1, channels=(2,), pool_sizes=(2,), strides=(1,)),
    training=cc.Training(
        updates=2, evaluate_every=1, batch_size=4, learning_rates=(0.01, 1e30), schedule="cosine", weight_decays=(0.1,)
    ),
)

pytestmark = pytest.mark.usefixtures("settings_come_back", "without_shapes")


@pytest.fixture
def settings_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Those of JAX that are set here; and compiled programs go into a folder of the test."""
    settings.tell_once.cache_clear()
    monkeypatch.setenv(settings.CACHE_VARIABLE, str(tmp_path / "cache"))
    names = [*ODD, *HARMLESS, "default_matmul_precision", "random_seed_offset"]
    names += ["compilation_cache_dir", "persistent_cache_min_compile_time_secs"]
    before = {name: getattr(jax.config, f"jax_{name}") for name in names}
    yield
    change(before)
    compilation_cache.reset_cache()


def change(values: dict[str, Any]) -> None:
    for name, value in values.items():
        jax.config.update(f"jax_{name}", value)


def trained(folder: Path) -> tuple[pandas.DataFrame, np.ndarray]:
    """What a run finds, and what the network that it keeps says."""
    ran = cc.run(EXPERIMENT, folder, keep_weights=True)
    [name] = ran.results["experiment"]
    return ran.results, cc.predict(cc.load(folder, name), np.arange(64.0).reshape(1, 8, 8, 1)).logits


def require_same(one: tuple[pandas.DataFrame, np.ndarray], other: tuple[pandas.DataFrame, np.ndarray]) -> None:
    pandas.testing.assert_frame_equal(one[0], other[0], check_exact=True)
    np.testing.assert_array_equal(one[1], other[1])


def test_an_experiment_is_the_same_under_all_settings_that_are_not_followed_and_they_are_told(tmp_path):
    before = trained(tmp_path / "before")
    change(ODD)
    with pytest.warns(UserWarning, match="Experiments are computed as without") as told:
        require_same(before, trained(tmp_path / "odd"))
    assert all(f"jax_{name}={value}" in str(told[0].message) for name, value in ODD.items())


@pytest.mark.slow
def test_an_experiment_is_the_same_under_all_settings_that_are_followed(tmp_path, caplog):
    before = trained(tmp_path / "before")
    change(HARMLESS)
    with caplog.at_level(logging.CRITICAL):
        require_same(before, trained(tmp_path / "followed"))


@pytest.mark.parametrize("name", FIXED)
def test_each_fixed_setting_is_told_where_it_is_another_and_is_fixed_inside(name):
    def now() -> dict[str, Any]:
        return {each: getattr(jax.config, f"jax_{each}") for each in FIXED}

    with warnings.catch_warnings(), own_settings():  # nothing is told where nothing is set
        assert now() == FIXED
    with getattr(jax, name)(ODD[name]):
        with pytest.warns(UserWarning, match=f"without jax_{name}={ODD[name]}:"), own_settings():
            assert now() == FIXED
        with fixed_settings():
            assert now() == FIXED
        assert now()[name] == ODD[name]


@pytest.mark.parametrize("cell", ["dense", "shared", "local", "conv", "tiled", "low_rank_local"])
def test_a_layer_in_a_users_program_heeds_the_users_settings(cell):
    change({name: value for name, value in ODD.items() if name != "disable_jit"})
    layer = cc.ConstrainedLayer(2, constraint=cell, delta=None if cell in ("dense", "shared") else 1)
    images = jax.ShapeDtypeStruct((2, 4, 5, 3), "float32")
    variables = jax.eval_shape(lambda images: layer.init(jax.random.key(0), images), images)
    *both, found = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, "float64"), (variables, images, variables)
    )
    total = lambda variables, images: jnp.sum(jnp.asarray(layer.apply(variables, images)))
    assert jax.eval_shape(jax.grad(total), *both) == found


def test_what_changes_numbers_is_recorded_and_told_where_a_run_goes_on_under_another(tmp_path):
    def attempt() -> None:
        store.open_run(tmp_path / "run", resolve([EXPERIMENT]), describe_environment([])).close()

    attempt()
    with jax.default_matmul_precision("bfloat16"):
        with pytest.warns(UserWarning, match="jax_default_matmul_precision highest and goes on with bfloat16"):
            attempt()
        attempt()
    change({"random_seed_offset": 3})
    with pytest.warns(UserWarning) as told:
        attempt()
    assert len(told) == 2 and any("jax_random_seed_offset unset and goes on with 3" in str(one.message) for one in told)
    found = [one["settings"].get("jax_random_seed_offset") for one in store.read_attempts(tmp_path / "run")]
    assert found == [None, None, None, "3"]


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"\0" * 500)])
def test_a_damaged_program_is_compiled_once_more_and_kept(damage, generator):
    settings.keep_compiled_programs()
    change({"persistent_cache_min_compile_time_secs": 0})
    compilation_cache.reset_cache()
    factor = float(generator.random())
    compile_it = lambda: settings.compile_lowered(jax.jit(lambda x: factor * jnp.sin(x)).lower(1.0))
    compile_it()
    [path] = (settings.cache_folder() / "compiled").glob("*-cache")
    damage(path)
    with pytest.warns(UserWarning, match="are compiled anew, since one is damaged"):
        assert compile_it()(0.0) == 0
    whole = path.read_bytes()
    compile_it()
    assert path.read_bytes() == whole and len(whole) > 500
