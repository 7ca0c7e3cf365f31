"""The commands: flags change what they name, what is finished stays finished, bad input ends in one sentence."""

import contextlib
import io
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pandas
import pytest
from random_experiments import write_images

from cnn_constraints import settings, store, summaries
from cnn_constraints.config_file import load_config
from cnn_constraints.executors.local import LocalExecutor
from cnn_constraints.experiment import DEFAULTS, Axis, Experiment, axis, fields, get, product, replace, replace_axes
from cnn_constraints.resolve import resolve
from cnn_constraints.training.records import Finished
from experiments import count, report, sweep
from experiments.entry import entry_point

ROOT = Path(__file__).parents[2]

COMMANDS = ("sweep", "report", "claims", "count", "pictures", "benchmark")

pytestmark = pytest.mark.usefixtures("own_cache", "without_shapes")

CONFIG = """
from cnn_constraints.experiment import Data, Experiment, Model, Training, axis, product


def get_config():
    return Experiment(
        data=Data(source="digits", n_train=20, n_validation=20),
        model=Model(constraint="shared", delta=1, channels=(2,), pool_sizes=(2,), strides=(1,)),
        training=Training(updates=2, evaluate_every=1, batch_size=4, learning_rates=(0.01,)),
    )


def get_sweep(base):
    return [axis("model.constraint", ["shared", "conv"]), axis("seed", [0, 1])]
"""

A_LIST = (("return [axis", "return product(base, axis"), ("[0, 1])]", "[0, 1]))"))
"""Changes of CONFIG, which then returns Experiments and no axes."""


def other_value(hint: Any) -> Any:
    """A value of a field's type that no config here has."""
    if isinstance(hint, types.UnionType):
        *_, hint = (part for part in typing.get_args(hint) if part is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        return (other_value(typing.get_args(hint)[0]),) * 2
    return {int: 5, float: 0.5, str: "some where"}[hint]


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


def python(*arguments: str) -> Outcome:
    """The same of a process, whatever folder it works in."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
    return Outcome(done.returncode, done.stdout, done.stderr)


def refusal(outcome: Outcome) -> str:
    """The sentence of a command that refused its input."""
    assert (outcome.code, outcome.out) == (2, ""), outcome
    *size, line = outcome.err.splitlines()
    assert line.startswith("error: ") and all(re.match(r"[\d,]+ experiments?", told) for told in size)
    return line


def write_config(folder: Path, *changes: tuple[str, str], name: str = "config.py") -> None:
    text = CONFIG
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, empty but for config.py."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def first(own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
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


def parquet(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (place / "runs" / "config" / "metrics").iterdir()}


def results(place: Path) -> pandas.DataFrame:
    return store.read(place / "runs" / "config")


@pytest.mark.parametrize("field", DEFAULTS)
def test_every_config_field_is_a_flag(here, field):
    value = other_value(fields()[field][0])
    words = [str(item) for item in (value if isinstance(value, tuple) else (value,))]
    base = load_config(Path("config.py")).get_config()
    assert get(base, field) != value
    for flag in ("--" + field, "--" + field.replace("_", "-")):
        request = sweep.parse(["config.py", flag, *words])
        assert request.command.experiment == replace(base, {field: value}) and request.overrides == [field]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_soon_and_in_examples_that_are_taken(here, name, monkeypatch):
    module = import_module(f"experiments.{name}")
    outcome = call(module.main, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert os.listdir(here) == ["config.py"]
    own, flags = outcome.out.split("options ")[0].partition("\n")[2], set(re.findall(r"--[\w.-]+", outcome.out))
    examples = [shlex.split(line) for line in re.findall(rf"python -m experiments\.{name}([^\n>]*)", own)]
    assert examples and all({word for word in words if word.startswith("--")} <= flags for words in examples)
    if name == "sweep":
        assert {f"--{field.replace('_', '-')}" for field in DEFAULTS} <= flags
        monkeypatch.chdir(ROOT)
        assert all(sweep.build_sweep(sweep.parse(words)) for words in examples)


def test_what_only_parses_imports_nothing_heavy():
    """Or a typo would be told after seconds."""
    for name in COMMANDS:
        code = f"import experiments.{name}, sys; print(*({{'jax', 'flax', 'matplotlib', 'pandas'}} & set(sys.modules)))"
        assert python("-c", code) == (0, "\n", ""), name


def test_a_sweep_runs_every_experiment_and_reports_and_a_second_one_recomputes_nothing(first, finished):
    told = first[1]
    assert told.code == 0 and "4 experiments run, 0 already finished, 2 programs compiled" in told.err
    assert "Test accuracy" in told.out
    assert list((finished / "runs" / "config" / "figures").glob("*.png"))
    found, before = results(finished), parquet(finished)
    assert sorted(zip(found["model.constraint"], found["seed"], strict=True)) == [
        (constraint, seed) for constraint in ("conv", "shared") for seed in (0, 1)
    ]
    again = call(sweep.main, "config.py")
    assert (again.code, again.out) == (0, told.out) and parquet(finished) == before
    assert "0 experiments run, 4 already finished, 0 programs compiled" in again.err
    assert call(report.main, "runs/config")[:2] == (0, told.out)


@pytest.mark.parametrize("how", ["cut short", "missing"])
@pytest.mark.parametrize("which", ["parts.json", "metrics"])
def test_a_finished_run_that_was_damaged_is_mended_by_the_same_sweep(first, finished, how, which):
    run = finished / "runs" / "config"
    path = next((run / "metrics").glob("*.parquet")) if which == "metrics" else run / which
    os.truncate(path, 50) if how == "cut short" else path.unlink()
    assert f"{path.relative_to(finished)} " in refusal(call(report.main, "runs/config"))
    with pytest.warns(UserWarning, match="^runs/config/"):
        assert call(sweep.main, "config.py").code == 0
    pandas.testing.assert_frame_equal(results(finished), results(first[0]))
    assert "0 experiments run, 4 already finished" in call(sweep.main, "config.py").err


def test_a_longer_sweep_runs_only_what_is_new_and_another_reports_only_its_own(finished):
    before = parquet(finished)
    (finished / "runs" / "config" / "config.json").unlink()
    write_config(finished, *A_LIST, ("[0, 1]))", "[0, 1])) + product(base, axis('seed', [2]))"))
    assert "1 experiment run, 4 already finished, 1 program compiled" in call(sweep.main, "config.py").err
    assert before.items() <= parquet(finished).items() and len(results(finished)) == 5
    write_config(finished, ("[0, 1]", "[1]"), name="other.py")
    outcome = call(sweep.main, "other.py", "--output", "runs/config")
    assert "0 experiments run, 2 already finished" in outcome.err
    assert outcome.out != call(report.main, "runs/config").out


def test_a_stopped_sweep_goes_on_to_the_results_of_an_unstopped_one(here, first, monkeypatch):
    whole = LocalExecutor.run

    def stopped(self: LocalExecutor, groups: Iterable) -> Iterator[list[Finished]]:
        yield next(whole(self, groups))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "run", stopped)
        outcome = call(sweep.main, "config.py")
    assert outcome.code == 130 and outcome.err.endswith("stopped: run the same command again to go on.\n")
    done = len(store.finished(here / "runs" / "config"))
    assert 0 < done < 4
    assert f"{4 - done} experiments run, {done} already finished" in call(sweep.main, "config.py").err
    pandas.testing.assert_frame_equal(results(here), results(first[0]))


def test_a_dry_run_tells_the_plan_what_is_finished_and_writes_nothing(first, finished):
    write_config(finished, ("[0, 1]", "[0, 1, 2, 3, 4]"))
    kept = sorted(settings.cache_folder().glob("compiled/*")), sorted(finished.rglob("*"))
    outcome = call(sweep.main, "config.py", "--dry-run", "--json", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    plan = json.loads(outcome.out)
    assert (plan["programs"], plan["experiments"], plan["experiments_finished"]) == (2, 10, 4)
    for group in plan["groups"]:
        assert (group["experiments"], group["experiments_finished"], group["updates"]) == (5, 2, 10)
        of_parameters = 4 * 5 * group["side_by_side"] * group["parameters"]
        assert group["images_bytes"] == 1797 * 64
        assert group["least_memory_bytes"] == group["images_bytes"] + of_parameters
    assert "10 experiments of 2 programs" in call(sweep.main, "config.py", "--dry-run").out
    assert (sorted(settings.cache_folder().glob("compiled/*")), sorted(finished.rglob("*"))) == kept


BOTH = "model.constraint,model.delta"

AXES: dict[str, list[Axis]] = {
    "--grid model.delta=0,None": [axis("model.delta", [0, None])],
    "--grid seed=5,range(2,4) --grid training.learning_rates=(0.1,),(0.2,0.3)": [
        axis("seed", [5, 2, 3]),
        axis("training.learning_rates", [(0.1,), (0.2, 0.3)]),
    ],
    f"--grid {BOTH}=(conv,0),(dense,None)": [axis(BOTH.split(","), [("conv", 0), ("dense", None)])],
    "--seed 3 --grid model.tile=2": [axis("seed", [3]), axis("model.tile", [2])],
    "--model.constraint local --training.updates 4": [
        axis("model.constraint", ["local"]),
        axis("training.updates", [4]),
    ],
}


@pytest.mark.parametrize(("flags", "axes"), AXES.items(), ids=AXES)
def test_an_axis_or_a_flag_does_what_the_same_axis_does_in_python(here, flags, axes):
    module = load_config(Path("config.py"))
    base = module.get_config()
    experiments = product(base, *replace_axes(module.get_sweep(base), *axes))
    assert sweep.build_sweep(sweep.parse(["config.py", *shlex.split(flags)])) == resolve(experiments)
    if flags.startswith("--grid"):
        assert sweep.build_sweep(sweep.parse(shlex.split(flags))) == resolve(product(Experiment(), *axes))


def test_axes_multiply_a_list_of_experiments_but_for_fields_in_which_these_differ(here):
    whole = sweep.build_sweep(sweep.parse(["config.py"]))
    write_config(here, *A_LIST)
    longer = sweep.build_sweep(sweep.parse(["config.py", "--grid", "model.channels=(2,),(3,)"]))
    assert longer == resolve(each for one in whole for each in product(one, axis("model.channels", [(2,), (3,)])))
    for flags in ("--seed 3", "--grid seed=range(2)", "--model.constraint conv"):
        assert "let its get_sweep() return axes" in refusal(call(sweep.main, "config.py", *flags.split()))


def test_a_field_of_an_axis_of_several_is_given_with_the_others_or_not_at_all(here):
    write_config(here, ('"model.constraint", ["shared", "conv"]', '["model.constraint", "model.delta"], [("conv", 0)]'))
    told = "The sweep changes model.constraint, model.delta together"
    assert told in refusal(call(sweep.main, "config.py", "--model.delta", "1"))
    apart = ["--grid", "model.delta=0,1", "--grid", "model.constraint=conv,local"]
    together = ["--grid", f"{BOTH}=(conv,0),(conv,1),(local,0),(local,1)"]
    one, other = (sweep.build_sweep(sweep.parse(["config.py", *flags])) for flags in (apart, together))
    assert {each.name for each in one} == {each.name for each in other} and len(one) == 8


def test_what_a_sweep_is_made_of_is_told(here):
    flags = shlex.split("--grid model.delta=0,1,2 --model.constraint shared --dry-run")
    told = "2 experiments: model.delta (3) x seed (2), less 4 that repeat others\n"
    assert call(sweep.main, "config.py", *flags).err == told
    write_config(here, *A_LIST)
    told = "12 experiments: config.py (4) x training.updates (3)\n"
    assert call(sweep.main, "config.py", "--grid", "training.updates=1,2,3", "--dry-run").err == told


def test_a_run_folder_is_repeated_where_it_is_or_elsewhere(finished):
    (finished / "config.py").unlink()
    before = parquet(finished)
    again = call(sweep.main, "runs/config")
    assert again.code == 0 and "0 experiments run, 4 already finished" in again.err
    assert "4 experiments: runs/config (4)" in again.err and parquet(finished) == before
    assert call(sweep.main, "runs/config", "--output", "elsewhere").code == 0
    pandas.testing.assert_frame_equal(store.read("elsewhere"), results(finished))
    for flags in (["--seed", "3"], ["--grid", "model.delta=1"]):
        assert "runs/config is a run, which is repeated as it is" in refusal(call(sweep.main, "runs/config", *flags))


def test_a_run_is_repeated_with_its_images_in_another_place(here, generator):
    write_images(here / "one", generator)
    shutil.copytree("one", "other")
    flags = ["--data.source", "folder", "--data.n-train", "40", "--data.n-validation", "20", "--data.folder"]
    of_one = sweep.build_sweep(sweep.parse([*flags, "one", "--grid", "seed=1,2"]))
    store.open_run(here / "run", of_one, {}).close()
    shutil.rmtree("one")
    of_other = sweep.build_sweep(sweep.parse(["run", "--data.folder", "other"]))
    assert [one.name for one in of_other] == [one.name for one in of_one]
    assert {one.data.folder for one in of_other} == {"other"}


def test_what_a_program_gets_is_what_the_tables_say(finished):
    outcome = call(sweep.main, "config.py", "--quiet", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    told = json.loads(outcome.out)
    assert (told["run"], told["experiments"], told["experiments_run"]) == ("runs/config", 4, 0)
    summary = summaries.summarise(results(finished))
    for arm, row in zip(told["arms"], summary.to_dict("records"), strict=True):
        for name, value in row.items():
            missing = value is None or value is pandas.NA or (isinstance(value, float) and math.isnan(value))
            assert arm[str(name)] == (None if missing else value)
    assert call(sweep.main, "config.py", "--quiet") == (0, "", "")


def test_a_sweep_in_which_every_experiment_diverges_fails(here):
    changes = (("(0.01,)", "(1e30,)"), ("updates=2", "updates=6"), ("evaluate_every=1", "evaluate_every=3"))
    write_config(here, *changes, ('"shared", "conv"', '"conv"'), ("[0, 1]", "[0]"))
    outcome = call(sweep.main, "config.py", "--json")
    assert outcome.code == 1 and "every experiment diverged" in outcome.err
    assert {arm["test_accuracy"] for arm in json.loads(outcome.out)["arms"]} == {None}
    assert call(sweep.main, "config.py", "--quiet") == (1, "", "")


BAD_CONFIGS: dict[str, list[tuple[str, str]]] = {
    "must be a function": [("def get_sweep(base):", "get_sweep = 3\n\n\ndef other(base):")],
    "needs a function get_config()": [("def get_config", "def get_conf")],
    "An experiment is of the type dict": [("return Experiment(", "return dict(")],
    "data is of the type dict": [
        ('data=Data(source="digits", n_train=20, n_validation=20)', 'data={"source": "digits"}')
    ],
    "it needs a list of them": [("[0, 1]", "3")],
    "ZeroDivisionError": [("def get_config", "1 / 0\n\n\ndef get_config")],
    "SystemExit": [("    return [", "    raise SystemExit(3)\n    return [")],
    "Unknown config field 'sed'": [('axis("seed"', 'axis("sed"')],
    "did you mean 'shared'": [('"shared", "conv"', '"sharde", "conv"')],
    "'detla'": [("delta=1", "detla=1")],
    "must return axes or Experiments, not int": [("return [", "return 3\n    return [")],
    "An experiment is of the type int": [("return [", "return [3, ")],
    "An experiment is of the type list": [("return [", "return [base, ")],
    "returns more than 100,000": [("    return [", "    return iter(lambda: base, 3)\n    return [")],
    "has more than 100,000 values": [("[0, 1]", "iter(lambda: 0, 1)")],
    "The axes make 180,000 experiments": [("[0, 1]", "range(90_000)")],
    "has no values": [("[0, 1]", "[]")],
    "seed is given by two axes": [("return [", 'return [axis("seed", [3]), ')],
    "The sweep is empty": [("return [", "return []\n    return [")],
}


@pytest.mark.parametrize(("words", "edits"), BAD_CONFIGS.items(), ids=BAD_CONFIGS)
def test_a_bad_config_is_one_sentence_that_names_the_file(here, words, edits):
    write_config(here, *edits)
    sentence = refusal(call(sweep.main, "config.py"))
    assert "config.py" in sentence and words in sentence
    assert os.listdir(here) == ["config.py"]


BAD_COMMANDS = {
    "sweep confg.py": "There is no config file or run folder confg.py",
    "sweep .": "is not a run folder",
    "sweep": "name a config file or a run folder, or give an axis by --grid",
    "sweep --seed 3 config.py": "comes first",
    "sweep config.py --grid seed": "The axis 'seed' has no values: write fields=values",
    "sweep config.py --grid seed=range(0)": "The axis over seed has no values",
    "sweep config.py --grid seed=range(1000000000)": "The axis over seed has more than 100,000 values",
    "sweep config.py --grid seed=range(400) --grid data.n-train=range(1,400)": "The axes make 319,200 experiments",
    "sweep config.py --grid sed=1": "did you mean 'seed'?",
    "sweep config.py --grid seed=1.5": "seed is 1.5: it must be a whole number",
    "sweep config.py --grid model.channels=8": "model.channels is 8: it must be a tuple",
    "sweep config.py --grid model.constraint=cnv": "did you mean 'conv'?",
    "sweep config.py --grid model.delta,seed=1,2": "The axis over model.delta, seed has the entry 1: it needs 2 values",
    "sweep config.py --grid seed=1 --grid seed=2": "seed is given by two axes or flags",
    "sweep config.py --grid seed=1 --seed 2": "seed is given by two axes or flags",
    "sweep config.py --grid data.folder=/some/where": "put any other text in quotes",
    "sweep config.py --output config.py": "config.py",
    "sweep config.py --output /proc/none": "/proc/none",
    "sweep config.py --model.pooling men": "did you mean 'mean'?",
    "sweep config.py --data.n-train 2000": "the training split has",
    "sweep config.py --data.source mnist --data.folder nowhere": "'nowhere'",
    "report runs/none": "There is no run folder runs/none",
    **dict.fromkeys(
        (
            "sweep gs://bucket/config.py",
            "sweep config.py --output=gs://bucket/run",
            "sweep config.py --data.source arrays --data.file gs://bucket/x.npz",
            "sweep config.py --data.source folder --data.folder gs://bucket/x",
            "report gs://bucket/run",
            "report . gs://bucket/run",
            "report . --figures gs://bucket/run",
            "claims reach --output gs://bucket/run",
            "pictures tie_tables --output gs://bucket/run",
            "pictures mistakes --run gs://bucket/run",
            "benchmark layers --output gs://bucket/run",
        ),
        "is no path of this machine, and gs:// is neither read nor written",
    ),
    "report .": "is not a run folder",
    "claims reach locality_before_sharing": "locality_before_sharing is not measured in the tier quick: --tier cpu or gpu",
    "pictures mistakes": "mistakes can be drawn with --run alone",
    "pictures drift --run runs/none": "drift can be drawn without --run: choose from receptive_fields, mistakes",
    "sweep config.py --training.extend-grid 2": "it has no effect where learning_rates and weight_decays have one value",
    "count --height 5000": "--height is 5,000",
    "count --height 0": "height",
    "count --delta 1000": "delta is 1000",
}


@pytest.mark.parametrize(("line", "words"), BAD_COMMANDS.items(), ids=BAD_COMMANDS)
def test_bad_input_is_one_sentence_and_leaves_nothing(here, line, words):
    name, *arguments = shlex.split(line)
    sentence = refusal(call(import_module(f"experiments.{name}").main, *arguments))
    assert words in sentence and sentence[-1] in ".?"
    assert [path for path in os.listdir(here) if path not in ("config.py", "__pycache__")] == []


BAD_FLAGS = [
    *(f"{name} --nonsense 3" for name in COMMANDS),
    *("sweep config.py --training.updates", "sweep config.py --seed x", "sweep config.py --executor r"),
    *(
        "report",
        "count --boundary open",
        "claims --tier tpu",
        "claims reech",
        "benchmark",
        "pictures kernel",
        "pictures mistakes",
    ),
]


@pytest.mark.parametrize("line", BAD_FLAGS)
def test_a_bad_flag_is_told_by_tyro_and_leaves_nothing(here, line):
    name, *arguments = shlex.split(line)
    outcome = call(import_module(f"experiments.{name}").main, *arguments)
    assert (outcome.code, outcome.out) == (2, "") and outcome.err and "Traceback" not in outcome.err
    assert os.listdir(here) == ["config.py"]


BAD_ENVIRONMENTS = {
    ("JAX_PLATFORMS", "abacus"): "JAX_PLATFORMS is 'abacus'",
    ("JAX_NUM_CPU_DEVICES", "0"): "JAX_NUM_CPU_DEVICES is 0",
    ("JAX_NUM_CPU_DEVICES", "many"): "JAX refuses an environment variable",
    ("JAX_NUMPY_RANK_PROMOTION", "wrong"): "JAX refuses an environment variable",
    ("CNN_CONSTRAINTS_CACHE", "config.py/cache"): "The cache folder",
}


@pytest.mark.parametrize(("variable", "words"), BAD_ENVIRONMENTS.items(), ids=str)
def test_a_bad_environment_is_one_sentence(here, variable, words, monkeypatch):
    monkeypatch.setenv(*variable)
    assert words in refusal(python("-m", "experiments.sweep", "config.py"))


def test_a_reader_that_leaves_early_is_no_error(here):
    command = f"{shlex.quote(sys.executable)} -m experiments.count | head -n 1; echo ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert done.stderr == "" and done.stdout.endswith("\n0\n")


def test_a_config_finds_its_neighbours_from_anywhere(here):
    (here / "project" / "configs").mkdir(parents=True)
    write_config(here / "project" / "configs", name="base.py")
    (here / "project" / "configs" / "other.py").write_text("from configs.base import get_config, get_sweep")
    code = "from experiments import sweep; print(len(sweep.build_sweep(sweep.parse(['project/configs/other.py']))))"
    assert python("-c", code)[:2] == (0, "4\n")


def test_count_prints_the_megapixel_numbers():
    outcome = call(count.main)
    assert (outcome.code, outcome.err) == (0, "")
    lines = {line.split()[0]: line.split()[1:] for line in outcome.out.splitlines() if line.strip()}
    local = sum(min(999, i + 10) - max(0, i - 10) + 1 for i in range(1000)) ** 2
    assert lines["dense"][:2] == ["1,000,000,000,000", "1,000,000,000,000"]
    assert lines["shared"][:2] == ["3,996,001", "4,000,000"]
    assert (lines["local"][0], lines["conv"][:2]) == (f"{local:,}", ["441", "400"])
    # By default four kernels, and two with a weight each at every site.
    assert (lines["tiled"][0], lines["low_rank_local"][0]) == ("1,764", "2,000,882")
