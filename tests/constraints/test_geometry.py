"""Sites, offsets and windows say the same as counting pairs one by one."""

import itertools

import jax
import numpy as np
import pytest

from cnn_constraints.constraints import geometry as geometries
from cnn_constraints.constraints.geometry import Axis, Geometry
from cnn_constraints.errors import InputError

BOUNDARIES = pytest.mark.parametrize("boundary", geometries.BOUNDARIES)
EVERY_BOUNDARY_AND_STRIDE = pytest.mark.parametrize(
    ("boundary", "stride"), list(itertools.product(geometries.BOUNDARIES, (1, 2, 3)))
)

to_offsets = jax.jit(geometries.to_offsets, static_argnames="geometry")
to_absolute = jax.jit(geometries.to_absolute, static_argnames="geometry")


def nearest_offset(axis: Axis, i: int, k: int) -> int:
    """k - stride * i; on a torus the residue nearest to zero, of two equally near ones the negative."""
    offset = k - axis.stride * i
    if axis.boundary == "zero":
        return offset
    laps = range(-axis.stride - 1, axis.stride + 2)
    return min((offset + lap * axis.size for lap in laps), key=lambda a: (abs(a), a))


def pairs_within(axis: Axis, delta: int | None) -> set[tuple[int, int]]:
    pairs = itertools.product(range(axis.outputs), range(axis.size))
    return {(i, k) for i, k in pairs if delta is None or abs(nearest_offset(axis, i, k)) <= delta}


def axes_and_deltas(boundary: str, stride: int) -> list[tuple[Axis, int | None]]:
    """All small axes, with every delta that means something to them, and more."""
    sizes = range(1, 9)
    return [(Axis(size, stride, boundary), delta) for size in sizes for delta in [None, *range(size + 2)]]


@EVERY_BOUNDARY_AND_STRIDE
def test_offset_of_pair_is_the_way_from_output_to_input(boundary, stride):
    for axis, _ in axes_and_deltas(boundary, stride):
        expected = [[nearest_offset(axis, i, k) for k in range(axis.size)] for i in range(axis.outputs)]
        np.testing.assert_array_equal(axis.offset_of_pair(), expected)


@EVERY_BOUNDARY_AND_STRIDE
def test_offsets_are_those_that_some_pair_has(boundary, stride):
    for axis, delta in axes_and_deltas(boundary, stride):
        met = {nearest_offset(axis, i, k) for i, k in pairs_within(axis, delta)}
        assert list(axis.offsets(delta)) == sorted(met)


def test_text_offsets_run_over_both_signs(draw):
    size = draw.integer(1, 50)
    assert list(Axis(size).offsets(None)) == list(range(-(size - 1), size))


@EVERY_BOUNDARY_AND_STRIDE
def test_connections_count_the_pairs_within_delta(boundary, stride):
    for axis, delta in axes_and_deltas(boundary, stride):
        assert axis.connections(delta) == len(pairs_within(axis, delta))


@EVERY_BOUNDARY_AND_STRIDE
def test_every_connected_pair_is_met_at_one_offset(boundary, stride):
    for axis, delta in axes_and_deltas(boundary, stride):
        inputs, inside = axis.input_of_offset(delta)
        met = [(i, int(inputs[i, place])) for i, place in np.argwhere(inside).tolist()]
        assert sorted(met) == sorted(pairs_within(axis, delta))
        for i, place in np.argwhere(inside).tolist():
            assert nearest_offset(axis, i, int(inputs[i, place])) == axis.offsets(delta)[place]


@pytest.mark.usefixtures("float64")
@EVERY_BOUNDARY_AND_STRIDE
def test_offset_form_is_absolute_form_renamed(boundary, stride, draw):
    """V[i, j, a, b] = W[i, j, i + a, j + b], 0 where that is no pixel."""
    geometry = draw.geometry(boundary, stride, largest=4)
    absolute = draw.absolute(geometry, 2, 1)
    offset = np.asarray(to_offsets(absolute, geometry))
    absolute = np.asarray(absolute)
    rows, columns = geometry.rows.offsets(None), geometry.columns.offsets(None)
    for i, j, a, b in np.ndindex(*offset.shape[:4]):
        k, l = stride * i + rows[a], stride * j + columns[b]  # noqa: E741
        if boundary == "circular":
            k, l = k % geometry.height, l % geometry.width  # noqa: E741
        inside = 0 <= k < geometry.height and 0 <= l < geometry.width
        np.testing.assert_array_equal(offset[i, j, a, b], absolute[i, j, k, l] if inside else 0)


@pytest.mark.usefixtures("float64")
@EVERY_BOUNDARY_AND_STRIDE
def test_absolute_to_offset_and_back_is_the_identity(boundary, stride, draw):
    geometry = draw.geometry(boundary, stride)
    absolute = draw.absolute(geometry, 1, 2)
    there_and_back = to_absolute(to_offsets(absolute, geometry), geometry)
    np.testing.assert_array_equal(there_and_back, absolute)


@pytest.mark.usefixtures("float64")
@EVERY_BOUNDARY_AND_STRIDE
def test_offset_to_absolute_and_back_keeps_what_lies_in_the_image(boundary, stride, draw):
    geometry = draw.geometry(boundary, stride)
    rows, columns = geometry.rows.offsets(None), geometry.columns.offsets(None)
    offset = draw.normal(geometry.output_height, geometry.output_width, len(rows), len(columns), 1, 1)
    there_and_back = to_offsets(to_absolute(offset, geometry), geometry)
    k = stride * np.arange(geometry.output_height)[:, None] + np.array(rows)
    l = stride * np.arange(geometry.output_width)[:, None] + np.array(columns)  # noqa: E741
    row_inside = (k >= 0) & (k < geometry.height) | (boundary == "circular")
    column_inside = (l >= 0) & (l < geometry.width) | (boundary == "circular")
    inside = row_inside[:, None, :, None] & column_inside[None, :, None, :]
    np.testing.assert_array_equal(there_and_back, np.where(inside[..., None, None], offset, 0))


@pytest.mark.usefixtures("float64")
def test_on_a_torus_the_two_forms_hold_the_same_numbers(draw):
    geometry = draw.geometry("circular")
    absolute = draw.absolute(geometry, 1, 1)
    offset = to_offsets(absolute, geometry)
    np.testing.assert_array_equal(np.sort(np.ravel(offset)), np.sort(np.ravel(absolute)))


@BOUNDARIES
def test_outputs_are_centred_on_every_stride_th_pixel(boundary, draw):
    geometry = draw.geometry(boundary)
    assert geometry.output_height == len(range(0, geometry.height, geometry.stride))
    assert geometry.output_width == len(range(0, geometry.width, geometry.stride))


@pytest.mark.parametrize("field", ["height", "width", "stride"])
def test_size_below_one_is_refused(field, draw):
    given = -draw.integer(0, 9)
    with pytest.raises(InputError, match=rf"{field} is {given}\b"):
        Geometry(**{"height": 3, "width": 3, "stride": 1, field: given})


def test_misspelt_boundary_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r"'circulr'.*circular, zero.*did you mean 'circular'"):
        Geometry(3, 3, boundary="circulr")


@pytest.mark.parametrize("beyond", [-1, 5, 6])
def test_delta_outside_the_image_is_refused(beyond):
    with pytest.raises(InputError, match=rf"delta is {beyond}\b.*3 x 5.*\b4\b"):
        Geometry(3, 5).check_delta(beyond)


def test_delta_up_to_the_whole_image_is_accepted(draw):
    geometry = draw.geometry()
    for delta in [*range(max(geometry.height, geometry.width)), None]:
        geometry.check_delta(delta)
