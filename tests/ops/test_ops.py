"""Every formulation of every constraint computes the definition, and the definition is the formula of the text."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exactly import close
from geometries import CASES, EVERY_CONSTRAINT, Case

from cnn_constraints.errors import InputError
from cnn_constraints.lattice import constraints, counts
from cnn_constraints.lattice.geometry import BOUNDARIES, Geometry
from cnn_constraints.ops import choose
from cnn_constraints.ops.choose import stored_ties

pytestmark = pytest.mark.usefixtures("float64")

QUICK = ("torus, a stride that does not divide it", "outside")


def definition(x, weights, geometry: Geometry, table) -> np.ndarray:
    """H[p, d] = sum over q and c of weights[c, table[p, q], d] X[q, c], in NumPy."""
    free = np.append(weights, np.zeros((len(x), 1, weights.shape[2])), axis=1)
    h = np.einsum("cpqd,cqn->dpn", free[:, table], np.asarray(x).reshape(len(x), -1, x.shape[3]))
    return h.reshape(-1, geometry.output_height, geometry.output_width, x.shape[3])


def require_the_definition(constraint: str, formulations, case: Case, draw) -> None:
    """Of values and of both gradients, those of several lanes of weights on the same images, as the ensemble has them."""
    geometry, delta, tile = case.geometry, case.delta_of(constraint), case.tile
    x = draw.normal(2, geometry.height, geometry.width, 2)
    table = stored_ties(constraint, geometry, delta, tile)
    lanes = jnp.stack([draw.weights(table, 2, 3) for _ in range(2)])
    cotangent = draw.normal(2, 3, geometry.output_height, geometry.output_width, 2)

    @jax.jit
    def values_and_gradients(x, lanes, cotangent):
        def of_lane(formulation):
            def vjp(weights, cotangent):
                apply = lambda x, w: choose.apply(constraint, x, w, geometry, delta, tile, formulation)
                h, pull = jax.vjp(apply, x, weights)
                return h, *pull(cotangent)

            return jax.vmap(vjp)(lanes, cotangent)

        return [of_lane(formulation) for formulation in ("expanded", *formulations)]

    expected, *found = values_and_gradients(x, lanes, cotangent)
    close(expected[0], [definition(x, weights, geometry, table) for weights in lanes])
    for one in found:
        jax.tree.map(close, one, expected)


@pytest.mark.parametrize("name", QUICK)
@EVERY_CONSTRAINT
def test_formulations_compute_the_definition_and_its_gradients(constraint, name, draw):
    require_the_definition(constraint, choose.FORMULATIONS.get(constraint, ()), CASES[name], draw)


@pytest.mark.slow
@EVERY_CONSTRAINT
def test_formulations_compute_the_definition_on_any_geometry(constraint, draw):
    drawn = [draw.geometry(boundary, largest=8) for boundary in BOUNDARIES]
    drawn = [Case(geometry, draw.reach(geometry), draw.integer(1, 4)) for geometry in drawn]
    fixed = draw.rng.permutation([name for name in CASES if name not in QUICK])[:4]
    for case in (*(CASES[name] for name in fixed), *drawn):
        require_the_definition(constraint, [None, *choose.FORMULATIONS.get(constraint, ())], case, draw)


@pytest.mark.parametrize("formulation", choose.FORMULATIONS["conv"])
def test_convolutions_have_forward_derivatives_too(formulation, draw):
    """Of a product: h(x, w)' = h(x', w) + h(x, w')."""
    geometry = CASES["image"].geometry
    (x, dx), (w, dw) = ([draw.normal(*shape) for _ in range(2)] for shape in ((2, 5, 4, 2), (2, 9, 3)))
    apply = jax.jit(lambda x, w: choose.apply("conv", x, w, geometry, 1, formulation=formulation))
    h, moved = jax.jvp(apply, (x, w), (dx, dw))
    close(h, apply(x, w))
    close(moved, apply(dx, w) + apply(x, dw))


@pytest.mark.parametrize("constraint", choose.FORMULATIONS)
def test_formulations_keep_shape_and_32_bits(constraint):
    for (geometry, delta, tile), formulation in itertools.product(CASES.values(), choose.FORMULATIONS[constraint]):
        delta = delta if constraints.find(constraint).local else None
        free = counts.sizes(constraint, geometry, delta, tile).weights
        apply = lambda x, w: choose.apply(constraint, x, w, geometry, delta, tile, formulation)  # noqa: B023
        shapes = ((2, geometry.height, geometry.width, 3), (2, free, 4))
        h = jax.eval_shape(apply, *(jax.ShapeDtypeStruct(shape, "float32") for shape in shapes))
        assert (h.shape, h.dtype) == ((4, geometry.output_height, geometry.output_width, 3), "float32")


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu", "one yet to come"])
@pytest.mark.parametrize("constraint", choose.FORMULATIONS)
def test_every_choice_exists_and_every_chosen_formulation_is_in_the_table(constraint, backend, draw):
    for boundary in 25 * BOUNDARIES:
        geometry, channels = draw.geometry(boundary, largest=50), [draw.integer(1, 64) for _ in range(2)]
        delta = draw.reach(geometry) if constraints.find(constraint).local else None
        chosen = choose.formulation_name(constraint, geometry, delta, *channels, backend)
        assert chosen in choose.FORMULATIONS[constraint]
    assert choose.formulation_name("mine", Geometry(3, 3), 1, 1, 1, backend) == "expanded"


@EVERY_CONSTRAINT
def test_nothing_is_chosen_that_changes_what_is_computed(constraint, draw):
    geometry, delta, tile = CASES["image"]
    x, weights = draw.normal(1, 5, 4, 2), draw.weights(stored_ties(constraint, geometry, delta, tile), 1, 2)
    compute = lambda x, w: [choose.apply(constraint, x, w, geometry, delta, tile, f) for f in (None, "expanded")]
    chosen, given = jax.jit(compute)(x, weights)
    close(chosen, given)
    with pytest.raises(InputError, match=rf"formulation of {constraint} 'expandd'.*did you mean 'expanded'"):
        choose.apply(constraint, x, weights, geometry, delta, tile, "expandd")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("boundary", "mode"), [("zero", "constant"), ("circular", "circular")])
def test_conv_is_the_convolution_of_torch(boundary, mode, stride, draw):
    """Those of Flax stand beside the layer."""
    torch = pytest.importorskip("torch", reason="torch is not installed: it is in the extra bench")
    geometry, kernel, images = Geometry(5, 6, stride, boundary), draw.normal(3, 3, 2, 3), draw.normal(2, 2, 5, 6)
    padded = torch.nn.functional.pad(torch.from_numpy(np.array(images)), (1,) * 4, mode=mode)
    theirs = torch.from_numpy(np.array(kernel.transpose(3, 2, 0, 1)))
    expected = torch.nn.functional.conv2d(padded, theirs, stride=stride).numpy()
    weights = kernel.reshape(9, 2, 3).swapaxes(0, 1)
    h = jax.jit(lambda x, w: choose.apply("conv", x, w, geometry, 1))(images.transpose(1, 2, 3, 0), weights)
    close(h.transpose(3, 0, 1, 2), expected)
