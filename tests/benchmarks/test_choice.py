"""The choice of a formulation follows recorded measurements; benchmarks/results/README.md tells how to renew them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.table import Row
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.ops import choose

RECORDED = Path(__file__).parents[2] / "benchmarks" / "results" / "layers_cpu.json"
TITLE = re.compile(r"(\w+) (\d+)x(\d+)x(\d+)->(\d+), delta (\d+|all), batch \d+, forward and backward")


def cases() -> Iterator[tuple[str, str, dict[str, float]]]:
    """Each recorded case of a training step: its title, the formulation that is chosen for it, and the medians of all."""
    rows = [Row(**one) for one in json.loads(RECORDED.read_text())]
    for title in dict.fromkeys(row.case for row in rows):
        if match := TITLE.fullmatch(title):
            cell, height, width, *channels, delta = match.groups()
            reach = None if delta == "all" else int(delta)
            chosen = choose.formulation_name(cell, Geometry(int(height), int(width)), reach, *map(int, channels), "cpu")
            own = (row for row in rows if row.case == title and row.contender.startswith("ours: "))
            yield title, chosen, {row.contender.removeprefix("ours: "): row.seconds_median for row in own}


def test_the_grid_was_recorded():
    recorded = {tuple(title.split(",")[:2]) for title, _, _ in cases()}
    assert {
        (f"{cell} 28x28x1->16", f" delta {delta}") for cell in ("conv", "local") for delta in (1, 2, 3, 5, 7)
    } <= recorded


@pytest.mark.parametrize(
    ("title", "chosen", "medians"), list(cases()), ids=lambda value: value if "," in str(value) else ""
)
def test_the_choice_is_never_worse_than_1_3_times_the_best(title, chosen, medians):
    assert medians[chosen] <= 1.3 * min(medians.values()), title
