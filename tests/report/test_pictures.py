"""Pictures show what the constraints say, and what has been learned."""

from typing import get_args

import jax.numpy as jnp
import numpy as np
import pytest

import cnn_constraints as cc
from cnn_constraints import report
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.experiment import Data, Experiment, Model, Training
from cnn_constraints.functional import Layer, kernel_shape
from cnn_constraints.lattice import constraints, projection
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.report import pictures, trained_cells
from experiments.pictures import Picture

LAYERS = {cell: Layer(cell, Geometry(6, 8), 1, 2, 1 if cell in ("local", "conv") else None) for cell in pictures.CELLS}


def test_every_picture_has_a_name() -> None:
    assert set(get_args(Picture)) == pictures.LEARNED.keys() | pictures.EXACT.keys() | {*pictures.OF_RUN}


@pytest.mark.parametrize("cell", pictures.CELLS)
@pytest.mark.parametrize("place", pictures.PLACES)
def test_a_field_is_what_its_site_multiplies_the_image_with(cell, place, seed):
    layer = LAYERS[cell]
    *shape, _, channels = kernel_shape(layer)
    kernel = np.random.default_rng(seed).standard_normal((*shape, channels), np.float32)
    absolute = projection.expand(jnp.asarray(kernel.reshape(1, -1, channels)), layer.ties, layer.geometry)
    found = trained_cells.field((layer, kernel), place)
    np.testing.assert_array_equal(found, np.moveaxis(absolute[int(place * 6), int(place * 8), :, :, 0], 2, 0))


@pytest.mark.parametrize("cell", constraints.CONSTRAINTS)
def test_a_colour_is_a_weight_and_white_is_none(cell):
    table = constraints.ties(cell, Geometry(4, 4), 1 if constraints.find(cell).local else None)
    found = pictures.colours(table)
    assert len(np.unique(found[table >= 0], axis=0)) == table.max() + 1
    assert (found[table < 0] == 1).all() and not (found[table >= 0] == 1).all(axis=-1).any()


@pytest.mark.slow
def test_a_unit_feels_all_that_it_can_see_and_nothing_else():
    near = np.abs(np.arange(13) - 6) <= 3
    assert ((pictures.felt(13, depth=3, seeds=3) > 0) == (near[:, None] & near[None, :])).all()


@pytest.mark.slow
def test_every_picture_is_drawn_and_distances_begin_where_independent_weights_are(seed):
    seeds = np.random.default_rng(seed).integers(2**31, size=3).tolist()
    learned = trained_cells.train_cells("digits", lambda _: None, seeds=seeds, updates=10)
    assert all(pictures.draw(name, learned).axes for name in [*pictures.LEARNED, *pictures.EXACT])
    distances = learned.distances
    assert distances["distance"].between(0, 1 + 1e-6).all()
    assert set(distances.query("update == 0")["of"]) == {"weights"}
    assert set(distances.query("update > 0")["of"]) == {"weights", "added by training"}
    start = distances.query("update == 0 and cell == 'dense' and stronger == 'local'")["distance"]
    beyond = (constraints.ties("local", Geometry(8, 8), trained_cells.DELTA) < 0).mean()
    assert len(start) == 3 and (start**2).mean() == pytest.approx(beyond, rel=0.05)


@pytest.mark.slow
def test_the_networks_of_a_run_are_drawn_with_what_they_get_wrong(tmp_path, seed):
    training = Training(updates=20, evaluate_every=10, learning_rates=(1e-2,))
    base = Experiment(Data(n_train=40, n_validation=40), Model(delta=1), training, seed)
    several = cc.product(base, cc.axis("model.constraint", ["conv", "dense", "low_rank_local"]))
    results = cc.run([*several, cc.replace(base, {"seed": seed // 2})], tmp_path, keep_weights=True).results
    layers = trained_cells.layers_of_run(tmp_path)
    assert list(layers) == ["conv delta 1, flatten", "dense, flatten"]
    both = [cc.load(tmp_path, name) for name in results["experiment"][[0, 3]]]
    trained = min(both, key=lambda one: one.experiment.seed)
    kernel = np.asarray(trained.variables["params"]["layer_0"]["kernel"])
    np.testing.assert_array_equal(layers["conv delta 1, flatten"][1], kernel[:, :, 0])
    assert all(pictures.of_run(name, tmp_path).axes or name == "mistakes" for name in pictures.OF_RUN)
    test = build_dataset(base.data).test
    counts, wrong = report.confusion(trained, test), report.wrong_images(trained, test)
    classes = cc.predict(trained, test.images).classes
    for (real, taken), count in np.ndenumerate(counts.to_numpy()):
        assert count == ((test.labels == real) & (classes == taken)).sum()
    assert sorted(wrong["image"]) == np.flatnonzero(classes != test.labels).tolist()
