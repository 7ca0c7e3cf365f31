"""Sites, offsets and windows say the same as counting pairs one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from geometries import EVERY_CASE, cases

from cnn_constraints.errors import InputError
from cnn_constraints.lattice import projection
from cnn_constraints.lattice.geometry import BOUNDARIES, Axis, Geometry


def nearest_offset(axis: Axis, i: int, k: int) -> int:
    """k - margin - stride * i; on a torus the residue nearest to zero, of two equally near ones the negative."""
    offset = k - axis.margin - axis.stride * i
    laps = range(-axis.stride - 1, axis.stride + 2) if axis.boundary == "circular" else (0,)
    return min((offset + lap * axis.size for lap in laps), key=lambda a: (abs(a), a))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_an_axis_is_its_pairs(boundary, stride):
    """Of every small axis, every margin, and every delta that means something to them, and more."""
    for size in range(1, 9):
        margins = [0] if boundary == "circular" else range(-2 if stride <= size else 0, (size + 1) // 2)
        for axis in (Axis(size, stride, boundary, margin) for margin in margins):
            assert list(axis.centres) == list(range(axis.margin, size - axis.margin, stride))
            assert axis.outputs == len(axis.centres)
            offset = {(i, k): nearest_offset(axis, i, k) for i, k in np.ndindex(axis.outputs, size)}
            assert axis.offset_of_pair().ravel().tolist() == list(offset.values())
            for delta in [None, *range(max(0, -axis.margin), size + 4)]:
                pairs = {pair: a for pair, a in offset.items() if delta is None or abs(a) <= delta}
                assert list(axis.offsets(delta)) == sorted(set(pairs.values()))
                assert axis.connections(delta) == len(pairs)
                inputs, inside = axis.input_of_offset(delta)
                met = np.argwhere(inside).tolist()
                assert {(i, int(inputs[i, b])): axis.offsets(delta)[b] for i, b in met} == pairs
                assert len(met) == len(pairs)


@pytest.mark.usefixtures("float64")
@cases("stride 2", "torus, a stride that does not divide it", "inside", "outside")
def test_offset_form_is_absolute_form_renamed(case, draw):
    """V[i, j, a, b] = W[i, j, i + a, j + b], 0 where that is no pixel; and back, where what was no pixel is lost."""
    geometry = case.geometry
    to_offsets, to_absolute = (
        jax.jit(form, static_argnames="geometry") for form in (projection.to_offsets, projection.to_absolute)
    )
    absolute = draw.absolute(geometry, 2, 1)
    found, by_pair = np.asarray(to_offsets(absolute, geometry)), np.asarray(absolute)
    rows, columns = geometry.rows.offsets(None), geometry.columns.offsets(None)
    inside = np.zeros(found.shape[:4], bool)
    for i, j, a, b in np.ndindex(*inside.shape):
        row, column = geometry.rows.centres[i] + rows[a], geometry.columns.centres[j] + columns[b]
        if geometry.boundary == "circular":
            row, column = row % geometry.height, column % geometry.width
        inside[i, j, a, b] = 0 <= row < geometry.height and 0 <= column < geometry.width
        np.testing.assert_array_equal(found[i, j, a, b], by_pair[i, j, row, column] if inside[i, j, a, b] else 0)
    np.testing.assert_array_equal(to_absolute(jnp.asarray(found), geometry), absolute)
    offset = draw.normal(*found.shape)
    back = to_offsets(to_absolute(offset, geometry), geometry)
    np.testing.assert_array_equal(back, np.where(inside[..., None, None], offset, 0))


@EVERY_CASE
def test_delta_is_allowed_where_every_site_sees_a_pixel_and_one_more_changes_something(case):
    geometry = case.geometry
    axes = (geometry.rows, geometry.columns)
    all_see = [all(axis.input_of_offset(delta)[1].any(axis=1).all() for axis in axes) for delta in range(10)]
    pairs = [np.prod([axis.connections(delta) for axis in axes]) for delta in range(10)]
    geometry.check_delta(None)
    for delta in range(-1, 10):
        try:
            geometry.check_delta(delta)
        except InputError as error:
            assert f"delta is {delta}: on an image of {geometry.height} x {geometry.width} it must" in str(error)
            assert delta < 0 or not all_see[delta] or pairs[delta] == pairs[delta - 1] == pairs[-1]
        else:
            assert all_see[delta]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"height": 0}, "height is 0"),
        ({"stride": -1}, "stride is -1"),
        ({"boundary": "circulr"}, r"'circulr'.*circular, zero.*did you mean 'circular'"),
        ({"margin": 2}, r"margin is 2: on an image of 4 x 9 it must be below 2, to leave a site"),
        ({"margin": -1, "boundary": "circular"}, "a circular boundary has no border, so it must be 0"),
        ({"margin": -1, "stride": 5}, "margin is -1: with stride 5 on an image of 4 x 9 it must be at least 0"),
    ],
)
def test_a_geometry_that_is_none_is_refused(settings, words):
    with pytest.raises(InputError, match=words):
        Geometry(**{"height": 4, "width": 9} | settings)


@pytest.mark.usefixtures("without_shapes")
@pytest.mark.parametrize("delta", [1.5, "1"])
def test_a_delta_that_is_no_number_is_refused(delta):
    with pytest.raises(InputError, match=r"delta is .*whole number"):
        Geometry(4, 3).check_delta(delta)
