"""Weights that are kept are those of the network that was tested; where they are wanted, nothing is finished without."""

import re
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet
import pytest
from made_up_records import EXPERIMENTS, NAMES, assert_holds, damage, finished, parts, write_run

import cnn_constraints as cc
from cnn_constraints import store
from cnn_constraints.data.datasets import Datasets
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data, Experiment, Model, Training, axis, product, replace
from cnn_constraints.plan import build_arrays, build_task, cost_of
from cnn_constraints.resolve import resolve
from cnn_constraints.store import folder as run_folders
from cnn_constraints.store import weights as packed
from cnn_constraints.training.loop import Standardisation

LOAD = Datasets()
BASE = Experiment(
    Data(n_train=60, n_validation=60),
    Model(delta=1, channels=(3, 4), pool_sizes=(2, 1), strides=(1, 1)),
    Training(updates=20, evaluate_every=5, batch_size=16),
)


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "weights").iterdir())


NORMALISED = {"constraint": ("local", "conv"), "normalisation": "batch", "hidden": 5, "readout": "global_max"}
OTHERS = [{"constraint": name} for name in ("dense", "tiled", "low_rank_local")]
RESIDUAL = {"network": "residual", "channels": (3, 3)}


@pytest.mark.slow
@pytest.mark.parametrize("model", [NORMALISED, *OTHERS, RESIDUAL])
def test_the_accuracy_of_loaded_weights_is_the_recorded_one_and_asking_for_them_changes_no_number(
    model, tmp_path, seed
):
    changes = {f"model.{field}": value for field, value in model.items()}
    experiments = product(replace(BASE, changes), axis("seed", [seed, seed // 2]))
    without = cc.run(experiments, tmp_path).results
    found = cc.run(experiments, tmp_path, keep_weights=True)
    assert (found.run, cc.run(experiments, tmp_path, keep_weights=True).run) == (2, 0)
    assert cc.run(experiments, tmp_path).run == 0
    assert found.results.equals(without)
    for experiment, row in zip(resolve(experiments), found.results.itertuples(), strict=True):
        trained, test = cc.load(tmp_path, row.experiment), LOAD(experiment.data).test
        assert trained.experiment == Experiment(experiment.data, experiment.model, experiment.training, experiment.seed)
        assert trained.classes == LOAD(experiment.data).classes
        logits, classes = cc.predict(trained, test.images)
        assert (classes == test.labels).sum() == round(row.test_accuracy * len(test.labels))
        losses = -jax.nn.log_softmax(logits)[np.arange(len(test.labels)), test.labels]
        assert float(losses.mean()) == pytest.approx(row.test_loss, rel=1e-5)
        np.testing.assert_array_equal(cc.predict(trained, test.images[:7]).classes, classes[:7])
    # What the plan says, statistics and a page about the network.
    size = 4 * cost_of(experiments[0], LOAD(BASE.data)).parameters
    assert all(size < path.stat().st_size < size + 4096 for path in kept(tmp_path))


@pytest.mark.usefixtures("without_shapes")
def test_what_is_packed_is_unpacked_and_equal_networks_are_equal_files(folder, seed, generator):
    experiment = resolve([replace(BASE, {"model.constraint": "low_rank_local", "seed": seed})])[0]
    dataset = LOAD(experiment.data)
    network = build_task(experiment, dataset).network
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    stored = jax.tree.map(lambda leaf: generator.normal(size=leaf.shape).astype(np.float32), shapes)
    scales = build_arrays(experiment, dataset).standardisation
    files = {packed.pack(experiment, network, stored, Standardisation(*scales), dataset) for _ in range(3)}
    [content] = files
    write_run(folder, [finished(generator, experiment.name)._replace(weights=content)], [experiment])
    trained = cc.load(folder, experiment)
    images = dataset.test.images[:20]
    prepared = (images - trained.standardisation.mean) / trained.standardisation.deviation
    expected = network.apply(stored, prepared)
    np.testing.assert_allclose(cc.predict(trained, images).logits, expected, rtol=1e-4, atol=1e-4)
    assert trained.variables["params"]["layer_0"]["kernel"].shape[0] == 2
    for wrong in (images[0], images[:, :7], images.repeat(3, axis=3)):
        with pytest.raises(InputError, match="it must be that of any number of images of 8 x 8 x 1"):
            cc.predict(trained, wrong)


@pytest.mark.parametrize("how", ["truncated", "altered", "missing"])
def test_weights_that_are_not_what_was_written_are_named_and_computed_again(folder, generator, how):
    contents = [generator.bytes(100) for _ in NAMES]
    found = [finished(generator, name) for name in NAMES]
    with_weights = [one._replace(weights=content) for one, content in zip(found, contents, strict=True)]
    write_run(folder, with_weights)
    assert_holds(folder, found)
    assert store.finished(folder, with_weights=True) == set(NAMES)
    path = kept(folder)[int(generator.integers(len(NAMES)))]
    content = path.read_bytes()
    path.unlink() if how == "missing" else path.write_bytes(damage(content, how, generator))
    name = path.name.partition("-")[0]
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))} (was truncated or altered|is missing).*\.$"):
        cc.load(folder, name)
    assert_holds(folder, found)
    with warnings.catch_warnings():
        # Who asks for no weights hears nothing of them.
        warnings.simplefilter("error")
        assert store.finished(folder) == set(NAMES)
        store.open_run(folder, EXPERIMENTS, {}).close()
    told = [] if how == "missing" else [f"{path} was damaged or altered: its experiment is computed again."]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run = store.open_run(folder, EXPERIMENTS, {}, with_weights=True)
    assert [str(one.message) for one in warned] == told
    with run:
        assert run.finished() == set(NAMES) - {name}
        # Another version, or another device, may pack other bytes.
        other = content + b"more"
        run.commit("a", [one._replace(weights=other) for one in with_weights if one.experiment == name])
        assert run.finished() == set(NAMES)
    [kept_again] = (row["weights"] for row in store.tables.rows(folder, NAMES).to_pylist() if row["experiment"] == name)
    assert (folder / "weights" / kept_again).read_bytes() == other


def test_what_has_no_weights_is_told_and_what_diverged_needs_none(folder, generator):
    found = [finished(generator, NAMES[0]), finished(generator, NAMES[1], diverged=True)]
    write_run(folder, found)
    assert store.finished(folder) == set(NAMES[:2]) and store.finished(folder, with_weights=True) == {NAMES[1]}
    for name, sentence in ((NAMES[0], "has no weights"), ("conv", "has no experiment 'conv'")):
        with pytest.raises(InputError, match=sentence):
            cc.load(folder, name)
    content = generator.bytes(10)
    write_run(folder, [found[0]._replace(weights=content)])
    assert store.finished(folder, with_weights=True) == set(NAMES[:2])
    assert [path.read_bytes() for path in kept(folder)] == [content]


def test_a_run_from_before_weights_were_kept_is_read_and_goes_on(folder, generator):
    found = [finished(generator, name) for name in NAMES[:2]]
    write_run(folder, found)
    [path] = parts(folder)
    older = folder / "older.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop_columns("weights"), older)
    path.unlink()
    older.rename(path.with_name(store.parts.name_of("a", older.read_bytes(), ".parquet")))
    with pytest.warns(UserWarning, match="is missing"):
        store.open_run(folder, EXPERIMENTS, {}).close()
    assert_holds(folder, found)
    late = finished(generator, NAMES[2])
    write_run(folder, [late._replace(weights=b"something")])
    assert_holds(folder, [*found, late])
    assert run_folders.finished(folder, with_weights=True) == {NAMES[2]}
