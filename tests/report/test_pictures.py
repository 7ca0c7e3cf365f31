"""Pictures show what the constraints say."""

import numpy as np
import pytest

from cnn_constraints.constraints import ties
from cnn_constraints.constraints.geometry import Geometry
from cnn_constraints.executors.progress import Silent
from cnn_constraints.report import pictures


@pytest.fixture(scope="module")
def learned() -> pictures.Learned:
    return pictures.learn("digits", Silent(), seeds=(0, 1), updates=10)


def window(size: int, place: float) -> np.ndarray:
    return np.abs(np.arange(size) - int(place * size)) <= pictures.DELTA


def test_what_is_beyond_delta_is_no_part_of_a_field(learned):
    for cell, fields in learned.fields.items():
        for place, field in zip(pictures.PLACES, fields, strict=True):
            rows, columns = (window(size, place) for size in field.shape[1:])
            outside = field[:, ~(rows[:, None] & columns[None, :])]
            assert (outside == 0).all() if cell in ("local", "conv") else (outside != 0).any()


def test_the_field_of_a_tied_cell_moves_along_with_its_site(learned):
    size = learned.fields["conv"].shape[-1]
    step = int(0.75 * size) - int(0.5 * size)
    for cell, fields in learned.fields.items():
        first, second = fields[1][:, : size - step, : size - step], fields[2][:, step:, step:]
        assert np.array_equal(first, second) == (cell in ("shared", "conv"))


@pytest.mark.parametrize("cell", pictures.CELLS)
def test_a_colour_is_a_weight_and_white_is_none(cell):
    table = ties.tie_table(cell, Geometry(4, 4), 1 if ties.find(cell).local else None)
    found = pictures.colours(table)
    assert len(np.unique(found[table >= 0], axis=0)) == table.max() + 1
    assert (found[table < 0] == 1).all() and not (found[table >= 0] == 1).all(axis=-1).any()


def test_the_ladder_is_that_of_the_text():
    numbers = [pictures.ladder_weights(cell, Geometry(1000, 1000), 10) for cell in pictures.CELLS]
    assert numbers == [10**12, 1999**2, 436392100, 21**2]


@pytest.mark.parametrize("depth", pictures.DEPTHS)
def test_a_unit_feels_all_that_it_can_see_and_nothing_else(depth):
    side, middle = 13, 6
    near = np.abs(np.arange(side) - middle) <= depth
    field = pictures.felt(side, depth, seeds=3)
    assert ((field > 0) == (near[:, None] & near[None, :])).all()


def test_distances_are_shares(learned):
    distances = learned.violations.filter(like="violation").to_numpy(float)
    assert np.nanmin(distances) >= 0 and np.nanmax(distances) <= 1 + 1e-6


def test_every_picture_is_drawn(learned):
    for draw in pictures.PICTURES.values():
        assert draw(learned).axes
