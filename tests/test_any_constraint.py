"""Whatever a constraint of the user's own writes, the layer is its definition and sees the images, or it is refused."""

import jax
import numpy as np
import pytest
from any_input import MANY, refusal_of
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

import cnn_constraints as cc
from cnn_constraints.lattice.constraints import CONSTRAINTS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_shapes")]

SHAPE, CHANNELS = (3, 2), 2

PIXELS = SHAPE[0] * SHAPE[1]

ENTRIES = {
    "few": lambda generator, shape: generator.integers(-1, 4, shape),
    "large": lambda generator, shape: generator.choice([-1, 0, 2**31, 2**62], shape),
    "unsigned": lambda generator, shape: generator.integers(0, 2**64, shape, np.uint64),
    "bytes": lambda generator, shape: generator.integers(-1, 3, shape, np.int8),
    "below -1": lambda generator, shape: generator.integers(-3, 3, shape),
    "none": lambda generator, shape: np.full(shape, -1),
    "some sites see nothing": lambda generator, shape: np.where(
        generator.random((*shape[:1], *(1,) * (len(shape) - 1))) < 0.5, -1, generator.integers(0, 3, shape)
    ),
    "one": lambda generator, shape: np.zeros(shape, int),
    "fractions": lambda generator, shape: generator.random(shape),
    "whole fractions": lambda generator, shape: np.zeros(shape),
    "not finite": lambda generator, shape: np.full(shape, np.nan),
    "truths": lambda generator, shape: generator.random(shape) < 0.5,
    "texts": lambda generator, shape: np.full(shape, "a"),
    "objects": lambda generator, shape: np.full(shape, None),
    "lists": lambda generator, shape: generator.integers(-1, 4, shape).tolist(),
    "nothing": lambda generator, shape: None,
    "ragged": lambda generator, shape: [[0], [0, 1]],
}

LAWFUL = ["few", "large", "unsigned", "bytes", "some sites see nothing", "one", "lists"]
"""If they are of the right shape."""

SHAPES = [(PIXELS, PIXELS)] * 12 + [(PIXELS,), (PIXELS, PIXELS, 1), (PIXELS, 1), (1, PIXELS), SHAPE, (0, PIXELS), ()]


@example(entries="bytes", shape=(PIXELS, PIXELS), per_site=False, tied=True, seed=0)
@example(entries="ragged", shape=(), per_site=False, tied=False, seed=0)
@settings(max_examples=MANY)
@given(
    entries=st.sampled_from([*LAWFUL, *ENTRIES]),
    shape=st.sampled_from(SHAPES),
    per_site=st.booleans(),
    tied=st.integers(0, 3).map(lambda number: number == 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_table_of_a_users_constraint(entries, shape, per_site, tied, seed):
    generator = np.random.default_rng(seed)
    table = ENTRIES[entries](generator, shape)
    images = generator.standard_normal((2, *SHAPE, 1), np.float32)
    found = []
    own = cc.Constraint("own", lambda geometry, delta: table, tied=tied, bias_per_site=per_site)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONSTRAINTS, "own", own)
        layer = cc.ConstrainedLayer(CHANNELS, constraint="own", delta=1)
        if refusal_of(lambda: found.append(layer.init_with_output(jax.random.key(seed), images))):
            event("is refused")
            return
    event("is accepted")
    outputs, variables = found[0]
    names, given = np.asarray(table), np.asarray(table) >= 0
    numbered = np.zeros(names.shape, int)
    numbered[given] = np.unique(names[given], return_inverse=True)[1]
    kernel = np.asarray(variables["params"]["kernel"]).reshape(-1, CHANNELS)
    assert len(kernel) == numbered.max() + 1 and kernel.all()
    weights = np.where(given[..., None], kernel[numbered], 0)
    expected = np.einsum("pqd,nq->npd", weights, images.reshape(2, -1))
    np.testing.assert_allclose(outputs.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
