"""The page holds every experiment, draws what statistics say, and asks for nothing."""

import json
import platform
import re
from dataclasses import replace as replace_run
from pathlib import Path

import jax
import numpy as np
import pandas
import pytest
from made_up_records import write_random_run
from made_up_results import DELTA_SWEEP, LADDER, experiments_of, make_results

from cnn_constraints import store, summaries
from cnn_constraints.environment import describe_environment
from cnn_constraints.experiment import axis, replace
from cnn_constraints.report import marks as marked
from cnn_constraints.report.page import build
from cnn_constraints.report.page.build import page, read_run
from cnn_constraints.resolve import Resolved, resolve

vl_convert = pytest.importorskip("vl_convert", reason="needs the extra `report`")
pytest.importorskip("altair", reason="needs the extra `report`")

NETWORKS = experiments_of(
    axis("model.constraint", ["dense", "local", "conv"]),
    axis("model.delta", [1, 2]),
    axis("model.channels", [(2, 2), (4, 4)]),
    axis("training.schedule", ["constant", "cosine"]),
    axis("seed", range(2)),
)
SWEEPS = pytest.mark.parametrize("experiments", [LADDER, DELTA_SWEEP, NETWORKS], ids=["ladder", "deltas", "networks"])


def data_of(text: str) -> dict:
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[0])


def marks_of(text: str, kind: str) -> list[dict]:
    return [row for row in data_of(text)["rows"]["marks"] if row["kind"] == kind]


@pytest.fixture
def folder(tmp_path, seed):
    write_random_run(tmp_path / "run", LADDER, np.random.default_rng(seed))
    return tmp_path / "run"


def falling(experiments: list[Resolved], scale: dict[str, float]) -> pandas.DataFrame:
    """Errors that fall as the root of the training-set size, in units of a scale for each cell."""
    return make_results(experiments, lambda one: 1 - (one.data.n_train / scale.get(one.model.constraint, 1.0)) ** -0.5)


def test_every_experiment_is_on_the_page_with_its_numbers_and_every_table_has_the_columns_that_it_names(folder):
    results, text = store.read(folder).set_index("experiment"), page([read_run(folder)])
    found = {row["experiment"]: row for row in marks_of(text, "experiment")}
    for name, (_, _, columns) in build.TABLES.items():
        table = data_of(text)["rows"].get(name) or marks_of(text, name.removesuffix("s"))
        assert set(columns.split()) <= set(table[0])
    assert set(found) == set(results.index)
    for experiment, row in found.items():
        assert row["accuracy"] == pytest.approx(100 * results.loc[experiment, "test_accuracy"], abs=1e-3)
        assert (row["seed"], row["n"]) == tuple(results.loc[experiment, ["seed", "data.n_train"]])
    some = list(found)[:5]
    assert {row["experiment"] for row in marks_of(page([read_run(folder, some)]), "experiment")} == set(some)
    made_here = replace_run(read_run(folder), attempts=[describe_environment([])])
    assert f"python {platform.python_version()}, jax {jax.__version__}" in page([made_here])


@SWEEPS
def test_arms_are_those_of_the_summary_each_with_a_name_of_its_own(experiments, generator):
    results = make_results(experiments, lambda one: float(generator.random()))
    marks, arms, table = marked.describe(results), summaries.summarise(results), summaries.prepare(results)
    marks = marks.loc[marks["kind"] == "arm"]
    assert all(summaries.varies(table, name) for name in marked.axes(table))
    assert len(marks[["arm", "panel_n"]].drop_duplicates()) == len(marks) == len(arms)
    for name, column in {"accuracy": "", "accuracy_low": "_low", "accuracy_high": "_high"}.items():
        assert sorted(marks[name]) == pytest.approx(sorted(100 * arms[f"test_accuracy{column}"]))


def test_curves_are_those_of_the_chosen_candidate_and_verdicts_those_of_the_comparison(folder):
    content = data_of(page([read_run(folder)]))["rows"]
    results, looks = store.read(folder), store.read(folder, "evaluation")
    chosen = looks.merge(results[["experiment", "candidate"]])
    keys = ["model.constraint", "model.readout", "data.n_train", "update"]
    expected = (100 * (1 - chosen.groupby(keys)["validation_accuracy"].mean())).tolist()
    drawn = [row["error"] for row in content["looks"] if row["images"] == "validation"]
    assert sorted(drawn) == pytest.approx(sorted(expected), abs=1e-3)
    pairs = summaries.comparisons(results)
    assert [row["verdict"] for row in content["comparisons"]] == pairs["verdict"].tolist()
    differences = [row["difference"] for row in content["comparisons"]]
    assert differences == pytest.approx((100 * pairs["difference"]).tolist(), abs=1e-3)


def test_nothing_is_loaded_from_outside_and_a_name_cannot_break_out(folder):
    run, name = read_run(folder), '</script><script>alert("x")</script>'
    whole, wild = page([run]), page([replace_run(run, folder=Path(name))])
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", whole.split("<script", 1)[0])
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[^>]*//", whole)
    assert "default-src 'none'" in whole
    assert wild.count("<script") == whole.count("<script") and wild.count("</script>") == whole.count("</script>")
    assert {row["run"] for row in marks_of(wild, "experiment")} == {name}


def test_runs_are_told_apart_only_where_one_experiment_lies_in_several(folder, tmp_path, seed):
    write_random_run(tmp_path / "same", LADDER, np.random.default_rng(seed))
    other = resolve(replace(one, {"data.intervention": "permute_pixels"}) for one in LADDER)
    write_random_run(tmp_path / "other \udce9", other, np.random.default_rng(seed))
    for name, apart in (("same", True), ("other \udce9", False)):
        content = data_of(page([read_run(folder), read_run(tmp_path / name)]))
        assert (summaries.RUN in [field for field, *_ in content["filters"]]) == apart
        assert len([row for row in content["rows"]["marks"] if row["kind"] == "experiment"]) == 2 * len(LADDER)


def test_the_library_is_made_once(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("CNN_CONSTRAINTS_CACHE", str(tmp_path / "cache"))
    whole = page([read_run(folder)])
    monkeypatch.setattr(vl_convert, "javascript_bundle", None)
    assert page([read_run(folder)]) == whole


@SWEEPS
def test_only_means_and_experiments_have_marks(experiments):
    from cnn_constraints.report.page.charts import charts

    results = falling(experiments, {"dense": 2.0})
    marks, pairs = marked.describe(results), summaries.untold_comparisons(results)
    looks = marks.loc[marks["kind"] == "arm"].assign(update=1, images="training")
    for name, chart in charts(marks, looks, marked.ratios(marks, pairs)).items():
        drawn = json.dumps(vl_convert.vegalite_to_vega(chart.to_dict())).count('"style": ["point"]')
        assert drawn == json.dumps(chart.to_dict()).count('"type": "point"'), name


def test_a_line_of_the_delta_sweep_is_one_arm_at_each_delta():
    sizes = [{"model.channels": size} for size in ((2, 2), (4, 4))]
    marks = marked.describe(make_results(resolve(replace(one, size) for one in DELTA_SWEEP for size in sizes)))
    assert (marks.groupby(["line", "delta"])["arm"].nunique() == 1).all() and marks["line"].nunique() == 4


def test_what_needs_twice_as_many_images_has_the_ratio_two():
    results = falling(LADDER, {"dense": 2, "shared": 2, "local": 2})
    ratios = marked.ratios(marked.describe(results), summaries.untold_comparisons(results))
    known = ratios.dropna(subset="ratio")
    assert set(known["cell"]) == {"dense", "shared", "local"} and set(ratios["against"]) == {"conv (delta 2)"}
    assert known["ratio"].tolist() == pytest.approx([2.0] * len(known), rel=1e-3)
    assert set(ratios.loc[ratios["ratio"].isna(), "told"]) == {"not with 1,000 images"}


def test_every_mark_of_a_logarithmic_axis_is_at_least_half_a_test_image_above_zero(tmp_path, generator):
    images = int(generator.integers(50, 20_000))
    wrong = iter([0, 1, 2, *generator.integers(0, images, len(LADDER))])
    results = make_results(LADDER, lambda one: 1 - next(wrong) / images)
    assert marked.floor(marked.describe(results)) == (pytest.approx(50 / images, abs=1e-6), True)
    assert marked.floor(marked.describe(make_results(LADDER, lambda one: 1.0)))[0] > 0
    write_random_run(tmp_path / "run", LADDER, generator)
    content = data_of(page([replace_run(read_run(tmp_path / "run"), results=results)]))["rows"]
    drawn = [
        row[name] for row in content["marks"] + content["looks"] for name in ("error", "low", "high") if row.get(name)
    ]
    assert min(drawn) == pytest.approx(50 / images, abs=1e-4)
    assert all(row["error"] > 0 for row in content["marks"] if row["accuracy"] == 100)


def test_what_diverged_has_no_error_and_where_all_did_there_are_tables_alone(folder):
    run = read_run(folder)
    marks = marked.describe(run.results.assign(test_accuracy=run.results["test_accuracy"].where(run.results.index > 0)))
    experiments = marks.loc[marks["kind"] == "experiment"]
    assert experiments.loc[experiments["error"].isna(), "experiment"].tolist() == [run.results["experiment"][0]]
    text = page([replace_run(run, results=run.results.assign(test_accuracy=np.nan))])
    assert data_of(text)["charts"] == {} and 'id="experiments"' in text and "diverged at every learning rate" in text
