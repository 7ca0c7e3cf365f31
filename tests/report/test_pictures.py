"""Pictures show what the constraints say, and what has been learned."""

import numpy as np
import pandas
import pytest

from cnn_constraints.lattice import constraints, counts
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.report import pictures, trained_cells

TIED = ("shared", "conv")


@pytest.fixture(scope="module")
def learned() -> trained_cells.TrainedCells:
    seeds = np.random.SeedSequence().generate_state(3).tolist()
    print(f"seeds: {seeds}")
    return trained_cells.train_cells("digits", lambda _: None, seeds=seeds, updates=10)


def window(size: int, place: float) -> np.ndarray:
    return np.abs(np.arange(size) - int(place * size)) <= trained_cells.DELTA


def test_what_is_beyond_delta_is_no_part_of_a_field(learned):
    for cell, layer in learned.layers.items():
        fields = trained_cells.fields(layer, pictures.PLACES)
        for place, field in zip(pictures.PLACES, fields, strict=True):
            rows, columns = (window(size, place) for size in field.shape[1:])
            outside = field[:, ~(rows[:, None] & columns[None, :])]
            assert (outside == 0).all() if cell in ("local", "conv") else (outside != 0).any()


def test_the_field_of_a_tied_cell_moves_along_with_its_site(learned):
    for cell, layer in learned.layers.items():
        first, second = trained_cells.fields(layer, (0.5, 0.75))
        size = first.shape[-1]
        step = int(0.75 * size) - int(0.5 * size)
        same = np.array_equal(first[:, : size - step, : size - step], second[:, step:, step:])
        assert same == (cell in TIED)


@pytest.mark.parametrize("cell", TIED)
def test_a_kernel_has_every_free_weight_and_its_middle_is_the_site(learned, cell):
    layer = learned.layers[cell]
    kernel = trained_cells.kernel(layer)
    weights = layer[1]["layer_0"]["weights"][0]
    assert np.array_equal(np.sort(kernel.reshape(len(kernel), -1)), np.sort(weights.T))
    corner, middle = trained_cells.fields(layer, (0.0, 0.5))
    reach, size = kernel.shape[-1] // 2, middle.shape[-1]
    seen = min(reach + 1, size)
    assert np.array_equal(corner[:, :seen, :seen], kernel[:, reach : reach + seen, reach : reach + seen])
    assert np.array_equal(middle[:, size // 2, size // 2], kernel[:, reach, reach])


@pytest.mark.parametrize("cell", constraints.CONSTRAINTS)
def test_a_colour_is_a_weight_and_white_is_none(cell):
    table = constraints.ties(cell, Geometry(4, 4), 1 if constraints.find(cell).local else None)
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


def random_level(cell: str, stronger: str, geometry: Geometry) -> float:
    """The distance expected of independent weights with the variances of initial ones: of the weights of a class only the
    mean over its pairs remains.
    """
    delta = trained_cells.DELTA
    own, other = (constraints.ties(name, geometry, delta) for name in (cell, stronger))
    variances = counts.inverse_fan_in(cell, geometry, delta)
    pairs = pandas.DataFrame({"weight": own[other >= 0], "of": other[other >= 0]})
    uses = pairs.value_counts(["of", "weight"]).rename("pairs").reset_index()
    kept = sum(
        (rows["pairs"] ** 2 * variances[rows["weight"]]).sum() / rows["pairs"].sum() for _, rows in uses.groupby("of")
    )
    return float(np.sqrt(1 - kept / variances[own[own >= 0]].sum()))


@pytest.mark.parametrize(
    ("cell", "stronger"), [(cell, name) for cell, names in trained_cells.STRONGER.items() for name in names]
)
def test_initial_weights_are_as_far_from_a_constraint_as_independent_ones(learned, cell, stronger):
    rows = learned.distances.query("cell == @cell and stronger == @stronger and update == 0")
    [layer] = learned.layers[cell][0].layers
    # Three seeds of eight channels: kept shares of the norm's square scatter by a few percent at most.
    found, expected = rows["distance"] ** 2, random_level(cell, stronger, layer.geometry) ** 2
    assert set(rows["of"]) == {"weights"} and len(rows) == 3
    assert 1 - found.mean() == pytest.approx(1 - expected, rel=0.35)


def test_distances_are_shares_and_training_has_added_something(learned):
    assert learned.distances["distance"].between(0, 1 + 1e-6).all()
    assert set(learned.distances.query("update > 0")["of"]) == {"weights", "added by training"}


def test_every_picture_is_drawn(learned):
    for name in pictures.PICTURES:
        assert pictures.draw(name, learned).axes
