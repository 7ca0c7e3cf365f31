"""The page in a browser, without a network: it is filtered, asked and saved, and complains of nothing."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_records import write_random_run
from made_up_results import DELTA_SWEEP, LADDER

from cnn_constraints import store
from cnn_constraints.report.page.build import page, read_run
from cnn_constraints.statistics import mean_interval

pytest.importorskip("vl_convert", reason="needs the extra `report`")
pytestmark = pytest.mark.slow

INSIDE = ("file:", "data:", "blob:")
RUNS = {"ladder": LADDER, "delta_sweep": DELTA_SWEEP}

of_runs = pytest.mark.parametrize("path", RUNS, indirect=True)


@pytest.fixture(scope="module", params=[*RUNS, "claims"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / request.param
    if request.param == "claims":
        from experiments import claims

        claims.main(["parameter_ladder", "--output", str(folder)])
        return folder / "report.html"
    write_random_run(folder, RUNS[request.param], np.random.default_rng())
    (folder / "report.html").write_text(page([read_run(folder)]))
    return folder / "report.html"


@pytest.fixture
def opened(browser: Any, path: Path) -> Iterator[Any]:
    """The page, with a reader who has no network; at the end nothing was asked for, and nothing complained of."""
    complaints: list[str] = []
    scheme = str(np.random.default_rng().choice(["light", "dark"]))
    with browser.new_context(offline=True, color_scheme=scheme) as context:
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda sent: complaints.extend([] if sent.url.startswith(INSIDE) else [sent.url]))
        tab.goto(path.as_uri())
        for section in tab.query_selector_all(".figure"):
            tab.wait_for_selector(f"#{section.get_attribute('id')}[data-drawn]")
        yield tab
    assert complaints == []


def test_every_figure_is_drawn_and_saved(opened):
    for section in opened.query_selector_all(".figure"):
        assert section.query_selector("svg path")
        with opened.expect_download() as download:
            section.query_selector("[data-save=svg]").click()
        text = Path(download.value.path()).read_text()
        assert text.startswith("<svg") and "</svg>" in text
        with opened.expect_download() as download:
            section.query_selector("[data-save=png]").click()
        assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("path", ["ladder"], indirect=True)
def test_panels_stand_in_the_order_of_conditions_and_images(opened):
    headings = "() => [...document.querySelectorAll('#training text')].map((one) => one.textContent)"
    shown = re.findall(r"(\w+), ([\d,]+) images;", "".join(f"{text};" for text in opened.evaluate(headings)))
    keys = [(condition, int(images.replace(",", ""))) for condition, images in shown]
    assert len(keys) == 2 * 3 and keys == sorted(keys)


@of_runs
def test_a_filter_hides_arms_and_changes_no_number(opened, path):
    cells = (
        "[...document.querySelectorAll('#arms tbody tr')].map((row) => [...row.cells].map((one) => one.textContent))"
    )
    drawn = "views.get(document.querySelector('.figure').id).data('marks').length"
    whole, marks = opened.evaluate(cells), opened.evaluate(drawn)
    for field, value in opened.evaluate("content.filters.map(([field, , values]) => [field, values[0]])"):
        kept = [
            row["arm"] for row in opened.evaluate("content.rows.marks") if row["kind"] == "arm" and row[field] != value
        ]
        button = opened.locator(f'[data-filter="{field}"]', has_text=re.compile(f"^{value}$"))
        button.click()
        left = opened.evaluate(cells)
        assert [row[0] for row in left] == kept and all(row in whole for row in left)
        opened.wait_for_function(f"{drawn} < {marks}")
        button.click()
        opened.wait_for_function(f"{drawn} === {marks}")
    assert opened.evaluate(cells) == whole


@of_runs
def test_a_point_tells_the_mean_and_interval_of_its_arm(opened, path):
    results = store.read(path.parent)
    opened.evaluate("scrollTo(0, 0)")
    point = opened.query_selector_all(".figure .mark-symbol path[aria-roledescription=point]")[-1]
    point.hover(force=True)
    told = opened.wait_for_selector("#vg-tooltip-element.visible").inner_text()
    assert re.search(r"conv|local|shared|dense", told)
    shown = [float(value) for value in re.search(r"([\d.]+) \[(-?[\d.]+), ([\d.]+)\]", told).groups()]
    keys = ["model.constraint", "model.delta", "model.readout", "data.n_train"]
    intervals = [mean_interval(100 * (1 - arm["test_accuracy"])) for _, arm in results.groupby(keys, dropna=False)]
    assert any(shown == pytest.approx(found[:3], abs=0.006) for found in intervals)


@of_runs
def test_a_table_is_saved_with_all_its_rows(opened, path):
    with opened.expect_download() as download:
        opened.click("#experiments [data-save=csv]")
    assert len(Path(download.value.path()).read_text().splitlines()) == len(store.read(path.parent)) + 1


def test_dark_and_light_can_be_switched(opened):
    ground = "getComputedStyle(document.body).backgroundColor"
    before = opened.evaluate(ground)
    opened.click("#theme")
    assert opened.evaluate(ground) != before
