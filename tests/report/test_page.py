"""The page holds every experiment and asks for nothing."""

import json
import re

import numpy as np
import pandas
import pytest
from made_up_records import write_random_run
from made_up_results import DELTA_SWEEP, LADDER, make_results

from cnn_constraints import store, summaries
from cnn_constraints.experiment import replace
from cnn_constraints.report.page import charts
from cnn_constraints.report.page.build import page, read_run
from cnn_constraints.report.page.experiments import describe, differences, sample_ratios, training_curves
from cnn_constraints.resolve import Resolved, resolve

vl_convert = pytest.importorskip("vl_convert", reason="needs the extra `report`")


def data_of(text: str) -> dict:
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[0])


@pytest.fixture
def folder(tmp_path, seed):
    write_random_run(tmp_path / "run", LADDER, np.random.default_rng(seed))
    return tmp_path / "run"


def rows_of(experiments: list[Resolved], scale: dict[str, float]) -> pandas.DataFrame:
    """What is drawn of errors that fall as the root of the training-set size, in units of a scale for each cell."""
    accuracy = lambda one: 1 - (one.data.n_train / scale.get(one.model.constraint, 1.0)) ** -0.5
    return describe(make_results(experiments, accuracy).assign(run="run"), {})


def test_every_experiment_is_on_the_page_with_its_numbers(folder):
    results = store.read(folder).set_index("experiment")
    rows = {row["experiment"]: row for row in data_of(page([read_run(folder)]))["experiments"]}
    assert set(rows) == set(results.index)
    for experiment, row in rows.items():
        assert row["accuracy"] == pytest.approx(100 * results.loc[experiment, "test_accuracy"], abs=1e-3)
        assert row["error"] + row["accuracy"] == pytest.approx(100, abs=1e-3)
        assert (row["seed"], row["n"]) == tuple(results.loc[experiment, ["seed", "data.n_train"]])
    some = list(rows)[:5]
    assert {row["experiment"] for row in data_of(page([read_run(folder, some)]))["experiments"]} == set(some)


def test_nothing_is_loaded_from_outside_and_a_name_cannot_break_out(folder):
    run, name = read_run(folder), '</script><script>alert("x")</script>'
    whole, wild = page([run]), page([run._replace(name=name)])
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", whole.split("<script", 1)[0])
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[^>]*//", whole)
    assert "default-src 'none'" in whole
    assert wild.count("<script") == whole.count("<script") and wild.count("</script>") == whole.count("</script>")
    assert {row["run"] for row in data_of(wild)["experiments"]} == {name}


def test_curves_are_those_of_the_chosen_candidate_and_differences_those_of_the_comparison(folder):
    results, looks = store.read(folder).assign(run="run"), store.read(folder, "evaluation")
    curves = training_curves(looks, results)
    for experiment, rows in looks.merge(results[["experiment", "candidate"]]).groupby("experiment"):
        assert curves[experiment][0] == rows["update"].tolist()
        assert curves[experiment][2] == pytest.approx((100 * (1 - rows["validation_accuracy"])).tolist(), abs=0.01)
    rows, pairs = differences(results), summaries.comparisons(results)
    assert [row["difference"] for row in rows] == pytest.approx((100 * pairs["difference"]).tolist(), abs=1e-3)
    assert [row["verdict"] for row in rows] == pairs["verdict"].tolist()


@pytest.mark.parametrize("experiments", [LADDER, DELTA_SWEEP], ids=["ladder", "delta_sweep"])
def test_only_means_and_experiments_have_marks(experiments):
    rows = rows_of(experiments, {"dense": 2.0})
    for name, chart in charts.specifications(rows, sample_ratios(rows), True).items():
        drawn = json.dumps(vl_convert.vegalite_to_vega(chart)).count('"style": ["point"]')
        assert drawn == json.dumps(chart).count('"type": "point"'), name


def test_a_line_of_the_delta_sweep_is_one_arm_at_each_delta():
    sizes = [{"model.channels": size} for size in ((2, 2), (4, 4))]
    rows = rows_of(resolve(replace(one, size) for one in DELTA_SWEEP for size in sizes), {})
    assert (rows.groupby(["line", "delta"])["arm"].nunique() == 1).all()
    assert (rows.groupby("line")["leading"].nunique() == 1).all() and rows["line"].nunique() == 4


def test_what_needs_twice_as_many_images_has_the_ratio_two():
    ratios = sample_ratios(rows_of(LADDER, {"dense": 2, "shared": 2, "local": 2}))
    assert {row["arm"] for row in ratios} == {"dense", "shared", "local"}
    assert {row["against"] for row in ratios} == {"conv"}
    assert [row["ratio"] for row in ratios] == pytest.approx([2.0] * len(ratios), rel=1e-3)


def test_what_diverged_has_no_error_and_where_all_did_there_are_tables_alone(folder):
    run = read_run(folder)
    results = run.results.assign(run="run", test_accuracy=run.results["test_accuracy"].where(run.results.index > 0))
    rows = describe(results, {})
    assert rows.loc[rows["error"].isna(), "experiment"].tolist() == [results["experiment"][0]]
    text = page([run._replace(results=run.results.assign(test_accuracy=np.nan))])
    assert data_of(text)["charts"] == {} and 'id="experiments"' in text and "diverged at every learning rate" in text
