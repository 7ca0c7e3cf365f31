"""The page holds every experiment and asks for nothing."""

import json
import re

import made_up_runs
import numpy as np
import pandas
import pytest

from cnn_constraints import store, summaries
from cnn_constraints.experiment import replace
from cnn_constraints.report.page import charts, page, read_run
from cnn_constraints.report.page.experiments import describe, differences, sample_ratios, training_curves
from cnn_constraints.resolve import resolve

vl_convert = pytest.importorskip("vl_convert", reason="needs the extra `report`")


def data_of(text: str) -> dict:
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[0])


@pytest.fixture
def folder(tmp_path, seed):
    return made_up_runs.write(tmp_path / "run", made_up_runs.ladder(), np.random.default_rng(seed))


def test_every_experiment_is_on_the_page_with_its_numbers(folder):
    results = store.read(folder).set_index("experiment")
    rows = {row["experiment"]: row for row in data_of(page([read_run(folder)]))["experiments"]}
    assert set(rows) == set(results.index)
    for experiment, row in rows.items():
        assert row["accuracy"] == pytest.approx(100 * results.loc[experiment, "test_accuracy"], abs=1e-3)
        assert row["error"] + row["accuracy"] == pytest.approx(100, abs=1e-3)
        assert (row["seed"], row["n"]) == tuple(results.loc[experiment, ["seed", "data.n_train"]])


def test_only_named_experiments_count(folder):
    names = list(store.read(folder)["experiment"])[:5]
    assert {row["experiment"] for row in data_of(page([read_run(folder)], names))["experiments"]} == set(names)


def test_nothing_is_loaded_from_outside(folder):
    text = page([read_run(folder)])
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", text.split("<script", 1)[0])
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[^>]*//", text)
    assert "default-src 'none'" in text


def test_a_name_cannot_break_out(folder):
    name = '</script><script>alert("x")</script>'
    whole, wild = page([read_run(folder)]), page([read_run(folder)._replace(name=name)])
    assert wild.count("<script") == whole.count("<script") and wild.count("</script>") == whole.count("</script>")
    assert {row["run"] for row in data_of(wild)["experiments"]} == {name}


def test_curves_are_those_of_the_chosen_candidate(folder):
    evaluations = store.read(folder, "evaluation")
    curves = training_curves(evaluations, store.read(folder))
    for experiment, rows in evaluations[evaluations["candidate"] == 1].groupby("experiment"):
        updates, _, validation = curves[experiment]
        assert updates == rows["update"].tolist()
        assert validation == pytest.approx((100 * (1 - rows["validation_accuracy"])).tolist(), abs=0.01)


def described(folder, experiments, seed) -> pandas.DataFrame:
    written = made_up_runs.write(folder, resolve(experiments), np.random.default_rng(seed))
    return describe(store.read(written).assign(run="run"), {})


@pytest.mark.parametrize(
    "experiments", [made_up_runs.ladder(), made_up_runs.delta_sweep()], ids=["ladder", "delta_sweep"]
)
def test_only_means_and_experiments_have_marks(experiments, tmp_path, seed):
    rows = described(tmp_path / "run", experiments, seed)
    for name, chart in charts.specifications(rows, sample_ratios(rows), True).items():
        drawn = json.dumps(vl_convert.vegalite_to_vega(chart)).count('"style": ["point"]')
        meant = json.dumps(chart).count('"type": "point"')
        assert drawn == meant, name


def test_a_line_of_the_delta_sweep_is_one_arm_at_each_delta(tmp_path, seed):
    experiments = [
        replace(experiment, {"model.channels": size})
        for experiment in made_up_runs.delta_sweep()
        for size in ((2, 2), (4, 4))
    ]
    rows = described(tmp_path / "run", experiments, seed)
    assert (rows.groupby(["line", "delta"])["arm"].nunique() == 1).all()
    assert (rows.groupby("line")["leading"].nunique() == 1).all() and rows["line"].nunique() == 4


def test_differences_are_those_of_the_comparison(folder):
    results = store.read(folder).assign(run="run")
    rows = [row for row in differences(results) if row["cell"] == "dense"]
    pairs = summaries.compare(results, "conv", "dense")
    assert [row["difference"] for row in rows] == pytest.approx((100 * pairs["difference"]).tolist(), abs=1e-3)
    assert [row["verdict"] for row in rows] == pairs["verdict"].tolist()


def test_where_every_experiment_diverged_there_are_tables_alone(folder):
    run = read_run(folder)
    wild = run._replace(results=run.results.assign(test_accuracy=np.nan, validation_accuracy=np.nan))
    text = page([wild])
    assert data_of(text)["charts"] == {} and 'id="experiments"' in text and "diverged at every learning rate" in text


def test_what_needs_twice_as_many_images_has_the_ratio_two(folder):
    results = store.read(folder).assign(run="run")
    twice = np.where(results["model.constraint"] == "conv", 1, 2)
    results["test_accuracy"] = 1 - (results["data.n_train"] / twice) ** -0.5
    ratios = sample_ratios(describe(results, {}))
    assert {row["arm"] for row in ratios} == {"dense", "shared", "local"} and {row["against"] for row in ratios} == {
        "conv"
    }
    assert [row["ratio"] for row in ratios] == pytest.approx([2.0] * len(ratios), rel=1e-3)


def test_an_experiment_that_diverged_has_no_error(folder):
    results = store.read(folder).assign(run="run")
    results.loc[0, ["test_accuracy", "validation_accuracy"]] = np.nan
    rows = describe(results, {})
    assert (
        rows.loc[rows["experiment"] == results["experiment"][0], "error"].isna().all()
        and rows["error"].isna().sum() == 1
    )
