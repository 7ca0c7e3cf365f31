"""Sites, offsets and windows say the same as counting pairs one by one."""

import itertools

import jax
import numpy as np
import pytest

from cnn_constraints.errors import InputError
from cnn_constraints.lattice import geometry as geometries
from cnn_constraints.lattice import projection
from cnn_constraints.lattice.geometry import Axis, Geometry

BOUNDARIES = pytest.mark.parametrize("boundary", geometries.BOUNDARIES)
EVERY_BOUNDARY_AND_STRIDE = pytest.mark.parametrize(
    ("boundary", "stride"), list(itertools.product(geometries.BOUNDARIES, (1, 2, 3)))
)

to_offsets = jax.jit(projection.to_offsets, static_argnames="geometry")
to_absolute = jax.jit(projection.to_absolute, static_argnames="geometry")


def nearest_offset(axis: Axis, i: int, k: int) -> int:
    """k - margin - stride * i; on a torus the residue nearest to zero, of two equally near ones the negative."""
    offset = k - axis.margin - axis.stride * i
    if axis.boundary == "zero":
        return offset
    laps = range(-axis.stride - 1, axis.stride + 2)
    return min((offset + lap * axis.size for lap in laps), key=lambda a: (abs(a), a))


def pairs_within(axis: Axis, delta: int | None) -> set[tuple[int, int]]:
    pairs = itertools.product(range(axis.outputs), range(axis.size))
    return {(i, k) for i, k in pairs if delta is None or abs(nearest_offset(axis, i, k)) <= delta}


def axes_and_deltas(boundary: str, stride: int) -> list[tuple[Axis, int | None]]:
    """All small axes, with every margin and delta that mean something to them, and more."""
    axes = [
        Axis(size, stride, boundary, margin)
        for size in range(1, 9)
        for margin in ([0] if boundary == "circular" else range(-2 if stride <= size else 0, (size + 1) // 2))
    ]
    return [(axis, delta) for axis in axes for delta in [None, *range(max(0, -axis.margin), axis.size + 4)]]


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
        k, l = (geometry.margin + stride * site + offset for site, offset in ((i, rows[a]), (j, columns[b])))  # noqa: E741
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
    k = geometry.margin + stride * np.arange(geometry.output_height)[:, None] + np.array(rows)
    l = geometry.margin + stride * np.arange(geometry.output_width)[:, None] + np.array(columns)  # noqa: E741
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
def test_outputs_are_centred_on_every_stride_th_pixel_as_far_from_either_end(boundary, draw):
    geometry = draw.geometry(boundary)
    margin, stride = geometry.margin, geometry.stride
    for axis, size in ((geometry.rows, geometry.height), (geometry.columns, geometry.width)):
        assert list(axis.centres) == list(range(margin, size - margin, stride))
    assert (geometry.output_height, geometry.output_width) == (geometry.rows.outputs, geometry.columns.outputs)


@pytest.mark.parametrize(("words", "padding"), {"same": (1, 1), "valid": (0, 0), "full": (2, 2)}.items())
def test_margins_are_the_paddings_of_libraries(words, padding, draw):
    """A window of 2 delta + 1 pixels, moved over an image that is padded on both sides by so many times delta."""
    size, stride, delta = draw.integer(5, 20), draw.integer(1, 3), draw.integer(0, 2)
    margin = {"same": 0, "valid": delta, "full": -delta}[words]
    padded = size + sum(padding) * delta
    assert Axis(size, stride, margin=margin).outputs == len(range(0, padded - 2 * delta, stride))


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


@pytest.mark.parametrize(("margin", "refused"), {-2: (1, 7), -1: (0, 6), 1: (-1, 4)}.items())
def test_delta_with_which_a_site_sees_nothing_or_no_more_is_refused(margin, refused):
    for delta in refused:
        with pytest.raises(InputError, match=rf"delta is {delta}\b.*3 x 5"):
            Geometry(3, 5, margin=margin).check_delta(delta)


def test_delta_is_allowed_where_every_site_sees_a_pixel_and_a_larger_one_changes_something(draw):
    geometry = draw.geometry("zero")

    def allowed(delta: int) -> bool:
        try:
            geometry.check_delta(delta)
        except InputError:
            return False
        return True

    def pairs(delta: int) -> int:
        return len(pairs_within(geometry.rows, delta)) * len(pairs_within(geometry.columns, delta))

    def all_see(delta: int) -> bool:
        axes = (geometry.rows, geometry.columns)
        return all({i for i, _ in pairs_within(axis, delta)} == set(range(axis.outputs)) for axis in axes)

    for delta in range(12):
        if allowed(delta):
            assert all_see(delta)
        elif delta > draw.whole(geometry):
            assert pairs(delta) == pairs(delta - 1) == pairs(99)
    geometry.check_delta(None)


def test_delta_up_to_the_whole_image_is_accepted(draw):
    geometry = draw.geometry()
    for delta in [*range(max(0, -geometry.margin), draw.whole(geometry) + 1), None]:
        geometry.check_delta(delta)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"margin": 2}, r"margin is 2: on an image of 4 x 9 it must be below 2, to leave a site"),
        ({"margin": 1, "boundary": "circular"}, "margin is 1: a circular boundary has no border, so it must be 0"),
        ({"margin": -1, "boundary": "circular"}, "margin is -1: a circular boundary has no border"),
        ({"margin": -1, "stride": 5}, "margin is -1: with stride 5 on an image of 4 x 9 it must be at least 0"),
    ],
)
def test_margin_that_leaves_no_site_or_skips_offsets_is_refused(settings, words):
    with pytest.raises(InputError, match=words):
        Geometry(4, 9, **settings)
