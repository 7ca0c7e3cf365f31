"""The choice of a formulation follows recorded measurements; benchmarks/results/README.md tells how to renew them."""

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.sweep.problem import layers_of
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.ops import choose

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
TITLE = re.compile(r"(\w+) (\d+)x(\d+)x(\d+)->(\d+), delta (\d+|all), batch \d+, forward and backward")


def test_the_choice_is_never_worse_than_1_3_times_the_best():
    medians: dict[str, dict[str, float]] = defaultdict(dict)
    for row in json.loads((RESULTS / "layers_cpu.json").read_text()):
        if row["contender"].startswith("ours: "):
            medians[row["case"]][row["contender"].removeprefix("ours: ")] = row["seconds_median"]
    worse, recorded = {}, set()
    for title, of_case in medians.items():
        if match := TITLE.fullmatch(title):
            cell, height, width, *channels, delta = match.groups()
            reach = None if delta == "all" else int(delta)
            chosen = choose.formulation_name(cell, Geometry(int(height), int(width)), reach, *map(int, channels), "cpu")
            recorded.add((cell, *match.groups()[1:5], reach))
            if of_case[chosen] > 1.3 * min(of_case.values()):
                worse[title] = chosen, of_case
    assert not worse
    assert recorded >= {(cell, "28", "28", "1", "16", delta) for cell in ("conv", "local") for delta in (1, 2, 3, 5, 7)}


@pytest.mark.parametrize(("backend", "device"), [("cpu", "cpu"), ("gpu", "NVIDIA_H200")])
def test_the_choice_of_later_layers_is_the_best_in_whole_training(backend, device):
    medians: dict[str, dict[str, float]] = defaultdict(dict)
    for timing in json.loads((RESULTS / f"device_{device}.json").read_text()):
        if timing["layers"] == 2 and timing["precision"] == "float32" and timing["formulations"][-1]:
            medians[timing["cell"]][timing["formulations"][-1]] = timing["seconds_median"]
    assert {"conv", "local"} <= set(medians)
    for cell, of_cell in medians.items():
        (_, case), _ = layers_of(cell, 2)
        channels = case.in_channels, case.out_channels
        chosen = choose.formulation_name(cell, case.geometry, case.delta, *channels, backend)
        assert of_cell[chosen] <= 1.05 * min(of_cell.values()), (cell, chosen, of_cell)
