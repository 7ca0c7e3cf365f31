"""TensorBoard's own reader finds in the event files what the tables say; nothing is written twice; no table changes."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from cnn_constraints import store
from cnn_constraints.receptive_fields import PLACES
from cnn_constraints.report.tensorboard import CURVES, draw_fields, name_of
from experiments import sweep

CONFIG = """
from cnn_constraints.experiment import Data, Experiment, Model, Training
from cnn_constraints.experiment import axis, product


def get_config():
    return Experiment(
        data=Data(source="digits", n_train=20, n_validation=20),
        model=Model(constraint="shared", delta=1, channels=(2,), pool_sizes=(2,), strides=(1,)),
        training=Training(updates=4, evaluate_every=1, batch_size=4, learning_rates=(0.01, 1e30)),
    )


def get_sweep(base):
    return product(base, axis("model.constraint", ["shared", "low_rank_local"]), axis("seed", [0, 1, 2]))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With two runs of one sweep: one with event files, one without."""
    folder = tmp_path_factory.mktemp("events")
    (folder / "config.py").write_text(CONFIG)
    for name, flags in (("with", ["--tensorboard"]), ("without", [])):
        sweep.main([str(folder / "config.py"), "--output", str(folder / name), "--quiet", *flags])
    return folder


@pytest.fixture
def run(place, tmp_path) -> Path:
    """A copy of the run with event files."""
    return shutil.copytree(place / "with", tmp_path / "run")


def read_events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


def folders(run: Path) -> dict[str, Path]:
    """By the experiment's name, with which that of its folder ends."""
    return {path.name.rpartition("-")[2]: path for path in (run / "tensorboard").iterdir()}


def state(run: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (run / "tensorboard").rglob("*")}


def experiments(place: Path) -> list:
    return sweep.build_sweep(sweep.parse([str(place / "config.py")]))


def test_scalars_are_those_of_the_tables(place):
    results, looks = store.read(place / "with"), store.read(place / "with", "evaluation")
    assert set(folders(place / "with")) == set(results["experiment"])
    for result in results.to_dict("records"):
        events = read_events(folders(place / "with")[result["experiment"]])
        chosen = looks.loc[(looks["experiment"] == result["experiment"]) & (looks["candidate"] == result["candidate"])]
        for name in CURVES:
            split, measure = name.split("_")
            found = events.Scalars(f"{measure}/{split}")
            assert [event.step for event in found] == chosen["update"].tolist()
            np.testing.assert_allclose([event.value for event in found], chosen[name], rtol=1e-6)
        (test,) = events.Scalars("accuracy/test")
        assert (test.step, test.value) == (result["update"], pytest.approx(result["test_accuracy"]))


def test_hyper_parameters_are_those_of_the_chosen_candidate(place):
    for result in store.read(place / "with").to_dict("records"):
        events = read_events(folders(place / "with")[result["experiment"]])
        content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        given = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
        assert given["cell"].string_value == result["model.constraint"]
        assert given["learning_rate"].number_value == pytest.approx(result["learning_rate"])
        assert given["penalty_strength"].number_value == pytest.approx(result["penalty_strength"])
        assert given["seed"].number_value == result["seed"]
        assert given["intervention"].string_value == result["data.intervention"]
        assert ("rank" in given) == (result["model.constraint"] == "low_rank_local")


def test_every_experiment_that_was_trained_with_it_has_a_picture(place):
    for folder in folders(place / "with").values():
        (image,) = read_events(folder).Images("first_layer/fields")
        pixels = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
        height, width, colours = pixels.shape
        assert colours == 3 and height * 2 == width * len(PLACES)


def test_a_picture_has_one_scale_for_all_its_fields(draw):
    fields = np.array(draw.normal(3, 2, 4, 4))
    fields[1] = 0
    picture = draw_fields(fields)
    side = len(picture) // 3
    assert (picture[side + side // 2, side // 2] >= 245).all()
    np.testing.assert_array_equal(picture[:side, :, 0], draw_fields(2 * fields)[:side, :, 0])


def test_what_has_diverged_is_drawn_without_a_word(draw):
    fields = np.array(draw.normal(3, 2, 4, 4))
    fields[draw.integer(0, 2), draw.integer(0, 1)] = draw.rng.choice(
        [np.nan, np.inf, -np.inf, np.finfo(np.float32).max]
    )
    assert draw_fields(fields).shape == draw_fields(np.zeros_like(fields)).shape
    assert (draw_fields(fields) == 255).sum() < draw_fields(fields).size
    assert draw_fields(np.full_like(fields, np.nan)).max() == 0


def test_tables_are_the_same_with_and_without(place):
    for event in ("result", "evaluation"):
        assert store.read(place / "with", event).equals(store.read(place / "without", event))
    assert not (place / "without" / "tensorboard").exists()


def test_what_is_there_is_not_written_again_and_what_is_not_is(place, run):
    arguments = [str(place / "config.py"), "--output", str(run), "--quiet", "--tensorboard"]
    lost = folders(run)[experiments(place)[-1].name]
    shutil.rmtree(lost)
    # What a process leaves that is killed while it writes.
    lost.with_name(f"{lost.name}.partial").mkdir()
    before = state(run)
    sweep.main(arguments)
    after = state(run)
    assert {path: time for path, time in after.items() if path in before} == {
        path: time for path, time in before.items() if not path.name.endswith(".partial")
    }
    assert {path for path in after if path not in before} == {lost, *lost.iterdir()}
    assert read_events(lost).Scalars("accuracy/test")
    sweep.main(arguments)
    assert state(run) == after


def test_a_name_tells_the_experiment(place):
    names = [name_of(experiment) for experiment in experiments(place)]
    assert len(set(names)) == len(names)
    assert any(name.startswith("low_rank_local-delta1-rank2-flatten-n20-seed2-") for name in names)
