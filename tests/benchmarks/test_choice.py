"""The choice of a formulation follows recorded measurements; benchmarks/results/README.md tells how to renew them."""

import json
import re
from collections import defaultdict
from pathlib import Path

from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.ops import choose

RECORDED = Path(__file__).parents[2] / "benchmarks" / "results" / "layers_cpu.json"
TITLE = re.compile(r"(\w+) (\d+)x(\d+)x(\d+)->(\d+), delta (\d+|all), batch \d+, forward and backward")


def test_the_choice_is_never_worse_than_1_3_times_the_best():
    medians: dict[str, dict[str, float]] = defaultdict(dict)
    for row in json.loads(RECORDED.read_text()):
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
