"""Records are kept and never lost, and are those of a claim as it is now."""

import dataclasses
import functools
import itertools
import json
import math
import operator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas
import pytest

from cnn_constraints.claims import records
from cnn_constraints.claims.claim import Criterion, curves_of
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.errors import InputError
from cnn_constraints.statistics import Interval

CLAIM = dataclasses.replace(CLAIMS["kernel_lattice"], criteria=(Criterion("q", low=1.0), Criterion("r", 0.0, 2.0)))
TERMS = records.terms(CLAIM, (1000, 1001), {"mnist": "mnist"})
CURVES = curves_of([("p", "none", 1.0, [0.1, 0.2]), ("p", "nan", 2.0, [np.nan, 0.3])], (1000, 1001))


def record(estimate: float = 2.5) -> records.Record:
    values = {"q": Interval(estimate, 0.1 + 0.2, np.inf, 5), "r": Interval(np.nan, -np.inf, np.inf, 5)}
    return records.judge(TERMS, values, 3.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert records.open_folder(tmp_path / "claims", "cpu", 7, {"command": "c"}) == {}
    return tmp_path / "claims"


def test_one_failure_fails_a_claim_and_one_doubt_leaves_it_undecided():
    good, bad, unclear = Interval(1.5, 1.2, 1.8, 3), Interval(-1.0, -2.0, -0.5, 3), Interval(1.0, -1.0, 3.0, 3)
    for q, r, verdict in ((good, good, "holds"), (good, unclear, "undecided"), (unclear, bad, "fails")):
        assert records.judge(TERMS, {"q": q, "r": r}, 1.0)["verdict"] == verdict


def test_records_are_kept_and_added_to_and_those_that_are_replaced_are_kept_too(folder):
    for name, estimate in (("first", 1.0), ("second", 4.0), ("first", 2.0), ("first", 3.0)):
        records.write(folder, name, record(estimate), CURVES)
    assert records.open_folder(folder, "cpu", 7, {}) == {"first": record(3.0), "second": record(4.0)}
    content = records.read(folder)
    assert content["superseded"] == {"first": [record(1.0), record(2.0)]}
    assert content["environment"] == {"command": "c"}


def test_commands_in_one_folder_lose_no_record(folder):
    def write_many(command: int) -> None:
        records.open_folder(folder, "cpu", 7, {})
        for number in range(5):
            records.write(folder, f"{command}-{number}", record(), CURVES)

    with ThreadPoolExecutor(4) as commands:
        list(commands.map(write_many, range(4)))
    assert len(records.open_folder(folder, "cpu", 7, {})) == 20


def test_what_is_not_a_folder_of_these_claims_is_refused_and_left_as_it_is(folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    cases = {
        (tmp_path / "file", "cpu", 7): "cannot be used",
        (tmp_path, "cpu", 7): "and no claims.json",
        (folder, "cpu", 8): "is of tier cpu and seed 7, not of cpu and 8",
        (folder, "gpu", 7): "is of tier cpu and seed 7, not of gpu and 7",
    }
    before = sorted(tmp_path.rglob("*"))
    for (place, tier, seed), sentence in cases.items():
        with pytest.raises(InputError, match=sentence):
            records.open_folder(place, tier, seed, {})
    assert sorted(tmp_path.rglob("*")) == before


ANYTHING = (None, 3, "text", [])
OF_CLAIM = {
    "statement": 7,
    "source": None,
    "frozen": [],
    "seeds": "many",
    "data_sets": 3,
    "verdict": "fails",
    "seconds": "long",
}
OF_ROW = {
    "quantity": 3,
    "published": None,
    "measured": "much",
    "low": -1.0,
    "high": [1],
    "lowest_allowed": 0.7,
    "seeds": None,
}
CLAIM_C, ROW = ("claims", "c"), ("claims", "c", "criteria", 1)
PLACES = [(), ("environment",), ("superseded",), ("claims",), CLAIM_C, (*CLAIM_C, "criteria"), ROW]


@pytest.mark.parametrize(
    ("place", "damage"),
    [
        *itertools.product(PLACES, ANYTHING),
        (CLAIM_C, {}),
        *(((*CLAIM_C, name), damage) for name, damage in OF_CLAIM.items()),
        *(((*ROW, name), damage) for name, damage in OF_ROW.items()),
    ],
)
def test_a_file_that_is_not_what_was_judged_is_told_by_its_name_and_left_as_it_is(folder, place, damage):
    values = {"q": Interval(2.5, 2.0, 3.0, 5), "r": Interval(1.0, 0.5, 1.5, 5)}
    records.write(folder, "c", records.judge(TERMS, values, 3.5), CURVES)
    path = folder / "claims.json"
    file = {"whole": json.loads(path.read_text())}
    *holders, entry = ("whole", *place)
    functools.reduce(operator.getitem, holders, file)[entry] = damage
    text = json.dumps(file["whole"])
    for damaged in (text, text[:-9], "", "[" * 100_000):
        path.write_text(damaged)
        with pytest.raises(InputError, match=f"^{path} is not what this version writes"):
            records.open_folder(folder, "cpu", 7, {})
        assert path.read_text() == damaged


def test_a_record_is_of_the_claim_as_it_is_now_of_its_seeds_and_of_its_images(folder):
    records.write(folder, "c", record(), CURVES)
    kept = records.open_folder(folder, "cpu", 7, {})["c"]
    assert records.changes(kept, TERMS) == []
    changed = (CLAIM.criteria[0], CLAIM.criteria[1]._replace(high=2.5))
    variants = [{"statement": "O."}, {"protocol": "O."}, {"frozen": "2026-01-01"}]
    variants += [{"criteria": criteria} for criteria in (CLAIM.criteria[:1], CLAIM.criteria[::-1], changed)]
    for variant in variants:
        now = records.terms(dataclasses.replace(CLAIM, **variant), (1000, 1001), {"mnist": "mnist"})
        assert records.changes(kept, now) == list(variant)
    assert records.changes(kept, records.terms(CLAIM, (1000, 1002), {"mnist": "my/digits"})) == ["seeds", "data_sets"]


def test_curves_come_back_as_they_were_and_what_is_damaged_is_told(folder):
    for curves in (CURVES, CURVES.assign(x=["images\nas they are", "images\nas they are", "", ""])):
        records.write(folder, "first", record(), curves)
        pandas.testing.assert_frame_equal(records.read_curves(folder, "first", TERMS), curves)
    records.write(folder, "first", record(), CURVES.assign(y=math.inf))
    assert records.read_curves(folder, "first", TERMS)["y"].isna().all()
    records.write(folder, "first", record(), CURVES)
    path = folder / "curves" / "first.csv"
    head, *rows = path.read_text().splitlines()
    cut = (head, "\n".join([head, *rows[:-1]]))
    for damage in (*cut, "", "a,b\n1,2\n", "panel,line,x,seed,y\np,l,1,0,much\np,l,1,1,2\n", None):
        path.write_text(damage) if damage is not None else path.unlink()
        with pytest.raises(InputError, match=r"first\.csv is lost or damaged"):
            records.read_curves(folder, "first", TERMS)
