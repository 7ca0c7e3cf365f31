"""What README shows is true: its constraint works as written, and its Python lines run."""

import itertools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from quickstart_run import write_quickstart

from cnn_constraints.lattice import constraints, counts, order
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.layer import ConstrainedLayer

README = (Path(__file__).parents[1] / "README.md").read_text()


def python_block(part: str) -> str:
    """The one that has this in it."""
    (block,) = (block for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if part in block)
    return block


@pytest.fixture
def mirrored(monkeypatch):
    monkeypatch.setattr(constraints, "CONSTRAINTS", constraints.CONSTRAINTS.copy())
    exec(python_block("def mirrored"), {})
    return "mirrored"


def test_the_constraint_of_readme_is_stronger_than_a_convolution(mirrored):
    geometry = Geometry(5, 6)
    table = constraints.ties(mirrored, geometry, 1)
    assert order.leq(table, constraints.ties("conv", geometry, 1))
    assert not order.leq(constraints.ties("conv", geometry, 1), table)
    assert counts.sizes(mirrored, geometry, 1).weights == 6


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("boundary", ["zero", "circular"])
def test_the_constraint_of_readme_is_weaker_with_a_larger_delta(mirrored, stride, boundary):
    geometry = Geometry(5, 6, stride, boundary)
    tables = [constraints.ties(mirrored, geometry, delta) for delta in (*range(6), None)]
    assert all(order.leq(small, large) for small, large in itertools.pairwise(tables))


def test_the_layer_of_readme_commutes_with_the_mirror(mirrored):
    layer = ConstrainedLayer(2, constraint=mirrored, delta=1)
    images = jax.random.normal(jax.random.key(0), (4, 5, 6, 3))
    output, _ = layer.init_with_output(jax.random.key(1), images)
    mirrored_output, _ = layer.init_with_output(jax.random.key(1), images[:, :, ::-1])
    assert jnp.allclose(output[:, :, ::-1], mirrored_output, atol=1e-5)


def test_the_lines_of_readme_embed_a_convolution():
    names = {}
    exec(python_block("cc.embed"), names)
    conv, local = (
        names[name].apply(names[of], names["images"]) for name, of in (("conv", "variables"), ("local", "free"))
    )
    assert jnp.allclose(conv, local, atol=1e-4)


def test_the_lines_of_readme_read(tmp_path, monkeypatch):
    write_quickstart(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(python_block("runs/quickstart"), names)
    assert len(names["results"]) == len(names["looks"]) == 36


def test_every_config_that_readme_names_exists():
    names = re.findall(r"configs/(\w+)\.py", README) + re.findall(r"`((?:mnist|cifar10)_\w+)`", README)
    assert names
    for name in names:
        assert (Path(__file__).parents[1] / "configs" / f"{name}.py").is_file(), name
