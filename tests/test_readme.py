"""What README shows is true: its constraint works as written, and its Python lines run."""

import itertools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from cnn_constraints.constraints import ties
from cnn_constraints.constraints.geometry import Geometry
from cnn_constraints.model import ConstrainedLayer

README = (Path(__file__).parents[1] / "README.md").read_text()


def python_block(start: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    return next(block for block in blocks if block.lstrip().startswith(start))


@pytest.fixture
def mirrored(monkeypatch):
    names = dict(vars(ties))
    monkeypatch.setattr(ties, "CONSTRAINTS", ties.CONSTRAINTS.copy())
    names["CONSTRAINTS"] = ties.CONSTRAINTS
    exec(python_block("def write_mirrored"), names)
    return "mirrored"


def test_the_constraint_of_readme_is_stronger_than_a_convolution(mirrored):
    geometry = Geometry(5, 6)
    table = ties.tie_table(mirrored, geometry, 1)
    assert ties.leq(table, ties.tie_table("conv", geometry, 1))
    assert not ties.leq(ties.tie_table("conv", geometry, 1), table)
    assert ties.sizes(mirrored, geometry, 1).weights == 6


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("boundary", ["zero", "circular"])
def test_the_constraint_of_readme_is_weaker_with_a_larger_delta(mirrored, stride, boundary):
    geometry = Geometry(5, 6, stride, boundary)
    tables = [ties.tie_table(mirrored, geometry, delta) for delta in (*range(6), None)]
    assert all(ties.leq(small, large) for small, large in itertools.pairwise(tables))


def test_the_layer_of_readme_commutes_with_the_mirror(mirrored):
    layer = ConstrainedLayer(mirrored, Geometry(5, 6), out_channels=2, delta=1)
    x = jax.random.normal(jax.random.key(0), (3, 5, 6, 4))
    output, _ = layer.init_with_output(jax.random.key(1), x)
    mirrored_output, _ = layer.init_with_output(jax.random.key(1), x[:, :, ::-1])
    assert jnp.allclose(output[:, :, ::-1], mirrored_output, atol=1e-5)


def test_every_config_that_readme_names_exists():
    names = re.findall(r"configs/(\w+)\.py", README) + re.findall(r"`((?:mnist|cifar10)_\w+)`", README)
    assert names
    for name in names:
        assert (Path(__file__).parents[1] / "configs" / f"{name}.py").is_file(), name
