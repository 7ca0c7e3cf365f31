"""The commands: bad input is one sentence and exit code 2 before anything is written; what is finished stays finished."""

import contextlib
import io
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jaxtyping
import numpy as np
import pandas
import pytest
from PIL import Image

from cnn_constraints import config, store
from cnn_constraints.config import Experiment
from cnn_constraints.executors.local import Finished, LocalExecutor
from experiments import count, report, sweep
from experiments.entry import entry_point, load_config

ROOT = Path(__file__).parents[2]

CONFIG = """
from cnn_constraints.config import Data, Experiment, Model, Training
from cnn_constraints.sweep import axis, product


def get_config():
    return Experiment(
        data=Data(source="digits", n_train=20, n_validation=20),
        model=Model(constraint="shared", delta=1, channels=(2,), pool_sizes=(2,), strides=(1,)),
        training=Training(updates=2, evaluate_every=1, batch_size=4, learning_rates=(0.01,)),
    )


def get_sweep(base):
    return product(base, axis("model.constraint", ["shared", "conv"]), axis("seed", [0, 1]))
"""

OTHER_VALUES = {
    "data.source": "mnist",
    "data.folder": "somewhere",
    "data.size": 5,
    "data.reduce": 2,
    "data.intervention": "translate",
    "data.strength": 0.5,
    "data.n_train": 21,
    "data.n_validation": 21,
    "model.constraint": "local",
    "model.delta": 2,
    "model.tile": 3,
    "model.rank": 3,
    "model.channels": (3, 4),
    "model.pool_sizes": (1, 2),
    "model.strides": (2, 1),
    "model.pooling": "max",
    "model.activation": "tanh",
    "model.readout": "global_average",
    "model.bias": "none",
    "model.boundary": "circular",
    "model.precision": "bfloat16",
    "training.optimizer": "sgd",
    "training.learning_rates": (0.5, 0.25),
    "training.weight_decays": (0.125,),
    "training.schedule": "cosine",
    "training.batch_size": 5,
    "training.switch_from": "conv",
    "training.switch_at": 7,
    "training.penalty": "beta_lasso",
    "training.penalty_strengths": (0.25, 0.5),
    "training.penalty_threshold": 3.0,
    "training.violations": ("local", "conv"),
    "training.updates": 4,
    "training.evaluate_every": 2,
    "seed": 9,
}

BAD_FLAGS = [
    ("--training.update 4", "--training.update: did you mean --training.updates?"),
    ("--data.sources mnist", "--data.sources: did you mean --data.source?"),
    ("--outputs there", "--outputs: did you mean --output?"),
    ("--zzzz", "--zzzz"),
    ("-x", "-x"),
    ("another.py", "another.py"),
    ("--output", "--output"),
    ("--training.updates abc", "--training.updates is 'abc': it takes a whole number."),
    ("--training.updates 2.5", "--training.updates is '2.5'"),
    ("--training.learning-rates 0.1 fast", "fast': it takes a number, or several."),
    ("--training.updates 0", "training.updates is 0: it must be at least 1."),
    ("--training.batch-size 21", "training.batch_size is 21: it must not exceed data.n_train, 20."),
    (
        "--data.source digit",
        "'digit': allowed are cifar10, digits, fashion_mnist, folder, mnist, quadratic_labels",
    ),
    ("--data.source folder", "'folder' needs a folder"),
    ("--data.source folder --data.folder nowhere", "'nowhere'"),
    ("--model.readout=flat", "'flat'"),
    ("--model.delta 8", "delta is 8: on an image of 8 x 8"),
    (
        "--model.delta 2 --data.reduce 4",
        "or be None (all offsets); the images are 2 x 2 by data.reduce 4.",
    ),
    ("--model.delta 2 --data.source signal_patches --data.size 2", "; the images are 2 x 1 by data.size 2."),
    ("--data.folder .", "data.folder is '.': digits reads no folder"),
    ("--data.source quadratic_labels --data.size 100000", "and at most 2,147,483,648 are allowed"),
    ("--data.strength abc", "--data.strength is 'abc': it takes a number, or None."),
    ("--output=", "--output is empty: give it a value, or leave it out."),
    ("--model.channels 900000000", "takes at least"),
    ("--training.learning-rates 1e39", "at most 3.4e+38"),
    ("--model.pool-sizes 9", "(9,) leave no pixel of an image of 8 x 8"),
    ("--data.n-train 1378", "1378 + 20: the training split has 1397 images"),
    ("--data.n_train 20000", "20000 + 20: the training split has 1397 images"),
    ("--seed 1", "--seed has no effect: config.py sweeps over seed"),
    ("--model.constraint conv", "--model.constraint has no effect"),
]

BAD_CONFIGS = {
    "not Python": ("):", ")", "SyntaxError"),
    "unknown import": ("import axis,", "import axes,", "axes"),
    "unknown name": ("return product(", "return produce(", "'produce'"),
    "no get_config": ("def get_config", "def get_configuration", "lacks get_config()"),
    "get_config is a value": ("def get_config", "get_config = 3\n\n\ndef other", "lacks get_config()"),
    "misspelt source": ('source="digits"', 'source="digit"', "did you mean 'digits'?"),
    "misspelt constraint on an axis": ('["shared", "conv"]', '["shared", "convolution"]', "did you mean 'conv'?"),
    "misspelt axis": ('axis("seed"', 'axis("sead"', "did you mean 'seed'?"),
    "misspelt axis of a section": ("model.constraint", "model.constrain", "did you mean 'model.constraint'?"),
    "empty sweep": ("[0, 1]", "[]", "The sweep is empty"),
    "out of range": ("updates=2", "updates=0", "training.updates is 0: it must be at least 1."),
    "updates that do not divide": ("updates=2, evaluate_every=1", "updates=5, evaluate_every=2", "multiple of"),
    "lists that disagree": ("strides=(1,)", "strides=(1, 1)", "model.strides has 2 entries"),
    "delta larger than the image": ("delta=1", "delta=9", "delta is 9"),
    "delta larger than the image on an axis": (
        'axis("model.constraint", ["shared", "conv"])',
        'axis(("model.constraint", "model.delta"), [("conv", 1), ("local", 8)])',
        "delta is 8",
    ),
    "more images than there are": ("n_train=20,", "n_train=1400,", "1400 + 20"),
    "more images than there are on an axis": ('axis("seed", [0, 1])', 'axis("data.n_train", [20, 1400])', "1400 + 20"),
    "a zip of different lengths": ('axis("seed", [0, 1])', 'axis(("seed", "data.n_train"), [(0, 20), (1,)])', "(1,)"),
    "its own error": ("return Experiment(", "raise ValueError('one\\ntwo')\n    return Experiment(", "one two"),
    "a missing key": ("n_train=20,", "n_train={}['small'],", "'small'"),
    "a missing file": ("n_train=20,", "n_train=int(open('size.txt').read()),", "size.txt"),
    "a failed assertion": ("return Experiment(", "assert 1 > 2, 'too small'\n    return Experiment(", "too small"),
    "misspelt field": ("n_train=", "n_trian=", "Unknown field of Data 'n_trian'"),
    "misspelt field, its nearest": ("n_train=", "n_trian=", "did you mean 'n_train'?"),
    "misspelt section": ("model=Model", "modle=Model", "Unknown field of Experiment 'modle'"),
    "text for a number": ("updates=2", "updates='two'", "training.updates is 'two': it must be a whole number."),
    "text in a list": ("channels=(2,)", "channels=(2, '3')", "model.channels is (2, '3'): it must be a tuple"),
    "a number for a list": ("(0.01,)", "0.01", "training.learning_rates is 0.01: it must be a tuple"),
    "get_sweep without a return": ("return product(", "product(", "get_sweep() must return Experiments, not NoneType"),
    "a config that exits": ("return Experiment(", "raise SystemExit(3)\n    return Experiment(", "SystemExit: 3"),
    "out of range, with the file it stands in": ("updates=2", "updates=0", "config.py: training.updates is 0"),
    "no experiment": ("return Experiment", "Experiment", "must give Experiments, not NoneType"),
    "a section for an experiment": ("return product(", "return [base.data] + product(", "not Data"),
}


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def call(main: Callable[[list[str]], None], *arguments: str) -> Outcome:
    """What a command exits with and prints."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["command", *arguments])
        try:
            entry_point(main)()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else bool(exit_.code)
    return Outcome(code, out.getvalue(), err.getvalue())


def refusal(outcome: Outcome) -> str:
    """The sentence of a command that refused its input."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: ")
    return line


def write_config(folder: Path, *changes: tuple[str, str], name: str = "config.py") -> str:
    text = CONFIG
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text)
    return name


def parquet(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "metrics").iterdir()}


def measured(run: Path) -> pandas.DataFrame:
    """What a run has found."""
    return store.read(run)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled programs of these tests go into a folder of their own, and JAX's settings come back."""
    settings = {
        name: getattr(jax.config, name)
        for name in ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNN_CONSTRAINTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(sys, "dont_write_bytecode", True)
        yield
    for name, value in settings.items():
        jax.config.update(name, value)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Values come as from a user: no check that is switched on for tests alone stands before the package's own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, empty but for config.py."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The folder in which the config was run once, and what the command said."""
    folder = tmp_path_factory.mktemp("first")
    write_config(folder)
    with contextlib.chdir(folder):
        return folder, call(sweep.main, "config.py")


@pytest.fixture
def finished(first: tuple[Path, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in which the config was run once."""
    shutil.copytree(first[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("flags", "words"), BAD_FLAGS, ids=[flags for flags, _ in BAD_FLAGS])
def test_a_bad_flag_is_one_sentence_and_leaves_nothing(here, flags, words):
    line = refusal(call(sweep.main, "config.py", *flags.split()))
    assert words in line
    assert os.listdir(here) == ["config.py"]


@pytest.mark.parametrize(("old", "new", "words"), BAD_CONFIGS.values(), ids=BAD_CONFIGS)
@pytest.mark.usefixtures("unchecked")
def test_a_bad_config_is_one_sentence_and_leaves_nothing(here, old, new, words):
    write_config(here, (old, new))
    line = refusal(call(sweep.main, "config.py"))
    assert words in line
    assert os.listdir(here) == ["config.py"]


def test_the_module_is_a_command(here):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.sweep", "config.py", "--training.update", "4"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "did you mean --training.updates?" in refusal(Outcome(done.returncode, done.stdout, done.stderr))


@pytest.mark.parametrize("name", ["confog.py", "configs/nothing.py", "."])
def test_a_missing_config_is_one_sentence(here, name):
    assert name in refusal(call(sweep.main, name))
    assert os.listdir(here) == ["config.py"]


def test_a_misspelt_config_is_told_the_nearest(here):
    (here / "configs").mkdir()
    write_config(here / "configs", name="quickstart.py")
    assert "did you mean configs/quickstart.py?" in refusal(call(sweep.main, "configs/quikstart.py"))


def test_a_folder_is_no_config(here):
    (here / "configs").mkdir()
    assert "configs is a folder: name one of its config files." in refusal(call(sweep.main, "configs"))


def test_a_config_finds_its_neighbours_from_anywhere(here):
    (here / "project" / "configs").mkdir(parents=True)
    write_config(here / "project" / "configs", name="base.py")
    (here / "project" / "configs" / "other.py").write_text("from configs.base import get_config, get_sweep")
    code = "from experiments import sweep; print(len(sweep.build_sweep(sweep.parse(['project/configs/other.py']))))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "nowhere")},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "4\n", done.stderr


def test_a_config_that_is_no_python_file_is_refused(here):
    write_config(here, name="config.yaml")
    assert "config.yaml" in refusal(call(sweep.main, "config.yaml"))


@pytest.mark.parametrize("arguments", [[], ["--seed", "3"]])
def test_without_a_config_the_command_asks_for_one(here, arguments):
    assert "Name a config file" in refusal(call(sweep.main, *arguments))


@pytest.mark.parametrize("output", ["config.py", "config.py/run", "full"])
def test_an_output_that_cannot_hold_a_run_is_one_sentence(here, output):
    (here / "full").mkdir()
    (here / "full" / "thesis.tex").touch()
    assert output in refusal(call(sweep.main, "config.py", "--output", output))
    assert sorted(path.name for path in here.rglob("*")) == ["config.py", "full", "thesis.tex"]


@pytest.mark.parametrize("field", config.flat(Experiment()))
def test_every_config_field_is_a_flag(here, field):
    value = OTHER_VALUES[field]
    words = [str(item) for item in (value if isinstance(value, tuple) else (value,))]
    request = sweep.parse(["config.py", "--" + field.replace("_", "-"), *words])
    base = load_config(Path("config.py")).get_config()
    assert request.command.experiment == config.replace(base, {field: value})
    assert request.overrides == [field]


def test_a_flag_may_be_written_as_python_writes_its_field(here):
    written = [sweep.parse(["config.py", *flag]).command for flag in (["--data.n_train", "9"], ["--data.n-train=9"])]
    assert written[0] == written[1]
    assert written[0].experiment.data.n_train == 9


def test_a_flag_changes_every_trial_that_does_not_vary_it(here):
    trials = sweep.build_sweep(sweep.parse(["config.py", "--training.updates", "6"]))
    assert [trial.training.updates for trial in trials] == [6] * 4


def test_help_names_every_flag_and_needs_no_config(here):
    for arguments in (["--help"], ["config.py", "-h"]):
        outcome = call(sweep.main, *arguments)
        assert (outcome.code, outcome.err) == (0, "")
        assert all(f"--{name.replace('_', '-')} " in outcome.out for name in [*config.flat(Experiment()), "output"])
    assert os.listdir(here) == ["config.py"]


def test_a_sweep_runs_every_trial_and_reports(first):
    folder, outcome = first
    assert outcome.code == 0
    assert "4 trials run, 0 already finished, 2 programs compiled" in outcome.err
    assert "Test accuracy" in outcome.out
    results = store.read(folder / "runs" / "config")
    assert sorted(zip(results["model.constraint"], results["seed"], strict=True)) == [
        (constraint, seed) for constraint in ("conv", "shared") for seed in (0, 1)
    ]
    evaluations = store.read(folder / "runs" / "config", "evaluation")
    assert evaluations.groupby("trial")["update"].apply(list).tolist() == [[1, 2]] * 4


def test_a_finished_sweep_recomputes_nothing(first, finished):
    before = parquet(finished / "runs" / "config")
    outcome = call(sweep.main, "config.py")
    assert outcome.code == 0
    assert "0 trials run, 4 already finished, 0 programs compiled" in outcome.err
    assert outcome.out == first[1].out
    assert parquet(finished / "runs" / "config") == before


def test_a_report_repeats_the_tables_of_the_sweep(first, finished):
    outcome = call(report.main, "runs/config")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == first[1].out


def test_a_longer_sweep_runs_only_what_is_new(finished):
    before = parquet(finished / "runs" / "config")
    write_config(finished, ("[0, 1]", "[0, 1, 2]"))
    outcome = call(sweep.main, "config.py")
    assert "2 trials run, 4 already finished, 2 programs compiled" in outcome.err
    after = parquet(finished / "runs" / "config")
    assert len(after) == 4 and before.items() <= after.items()


def test_a_stopped_sweep_goes_on_to_the_results_of_an_unstopped_one(here, first, monkeypatch):
    whole = LocalExecutor.run

    def stopped(self: LocalExecutor, groups: Iterable) -> Iterator[Finished]:
        yield next(whole(self, groups))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "run", stopped)
        outcome = call(sweep.main, "config.py")
    assert outcome.code == 130 and "stopped" in outcome.err and "Traceback" not in outcome.err
    done = len(store.finished(here / "runs" / "config"))
    assert 0 < done < 4
    assert f"{4 - done} trials run, {done} already finished" in call(sweep.main, "config.py").err
    pandas.testing.assert_frame_equal(measured(here / "runs" / "config"), measured(first[0] / "runs" / "config"))


def test_a_run_that_lost_its_config_gets_it_back_with_all_its_results(first, finished):
    (finished / "runs" / "config" / "config.json").unlink()
    outcome = call(sweep.main, "config.py")
    assert "0 trials run, 4 already finished" in outcome.err
    assert len(store.read(finished / "runs" / "config")) == 4
    write_config(finished, ("[0, 1]", "[0, 1, 2]"))
    assert "2 trials run, 4 already finished" in call(sweep.main, "config.py").err
    assert len(store.read(finished / "runs" / "config")) == 6


def test_other_images_at_the_same_path_are_not_taken_for_those_that_were_trained_on(here):
    def write_images(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for split, label, number in itertools.product(("train", "test"), ("a", "b"), range(30)):
            path = here / "images" / split / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (4, 4), np.uint8)).save(path)

    flags = ["--data.source", "folder", "--data.folder", "images"]
    write_images(0)
    assert "4 trials run" in call(sweep.main, "config.py", *flags).err
    assert "0 trials run, 4 already finished" in call(sweep.main, "config.py", *flags).err
    write_images(1)
    line = refusal(call(sweep.main, "config.py", *flags))
    assert "The images in images are not those that runs/config was made from" in line
    assert "4 trials run" in call(sweep.main, "config.py", *flags, "--output", "runs/other").err


def test_another_sweep_in_the_same_folder_reports_only_its_own_trials(finished):
    write_config(finished, ("[0, 1]", "[1]"), name="other.py")
    outcome = call(sweep.main, "other.py", "--output", "runs/config")
    assert "0 trials run, 2 already finished" in outcome.err
    assert outcome.out != call(report.main, "runs/config").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "run folder"),
        (["nowhere"], "nowhere is not a run folder"),
        (["."], "not a run folder"),
        (["config.py"], "config.py is not a run folder"),
        (["nowhere", "--figure"], "--figure"),
        (["nowhere", "elsewhere"], "elsewhere"),
    ],
    ids=str,
)
def test_a_report_on_what_is_no_run_is_one_sentence(here, arguments, words):
    assert words in refusal(call(report.main, *arguments))
    assert os.listdir(here) == ["config.py"]


def test_a_report_on_a_run_without_results_is_one_sentence(here):
    store.open_run(here / "run", [config.resolve(Experiment())], {}).close()
    assert "no finished trial" in refusal(call(report.main, "run"))


def test_count_prints_the_megapixel_numbers():
    outcome = call(count.main)
    assert (outcome.code, outcome.err) == (0, "")
    lines = {line.split()[0]: line.split()[1:] for line in outcome.out.splitlines() if line.strip()}
    local = sum(min(999, i + 10) - max(0, i - 10) + 1 for i in range(1000)) ** 2
    assert lines["dense"][:2] == ["1,000,000,000,000", "1,000,000,000,000"]
    assert lines["shared"][:2] == ["3,996,001", "4,000,000"]
    assert lines["local"][0] == f"{local:,}"
    assert lines["conv"][:2] == ["441", "400"]
    # By default four kernels, and two with a weight each at every site.
    assert (lines["tiled"][0], lines["low_rank_local"][0]) == ("1,764", "2,000,882")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--heigth 5", "--heigth: did you mean --height?"),
        ("--height 0", "height is 0"),
        ("--height five", "'five'"),
        ("--delta 1000", "delta is 1000"),
        ("--in-channels 0", "in_channels is 0"),
        ("--stride 0", "stride is 0"),
        ("--tile 0", "tile is 0"),
        ("--rank 0", "rank is 0"),
        ("--dtype float", "'float'"),
        ("--boundary zeros", "did you mean 'zero'?"),
        ("5", "'5' is one argument too many"),
        ("--height 5 6", "'6' is one argument too many"),
        ("--height", "--height has no value"),
    ],
)
def test_a_bad_count_is_one_sentence(flags, words):
    assert words in refusal(call(count.main, *flags.split()))
