"""Records are kept and never lost, and are those of a claim as it is now."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas
import pytest

from cnn_constraints.claims import records
from cnn_constraints.claims.claim import CURVE_COLUMNS, Criterion, judge
from cnn_constraints.claims.claim import Measurement as Found
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.errors import InputError
from cnn_constraints.statistics import Interval

CLAIM = dataclasses.replace(CLAIMS["kernel_lattice"], criteria=(Criterion("q", low=1.0), Criterion("r", 0.0, 2.0)))
TERMS = records.terms(CLAIM, (1000, 1001), {"mnist": "mnist"})
CURVES = pandas.DataFrame([("p", "none", 1.0, 1000, 0.1), ("p", "nan", 2.0, 1000, np.nan)], columns=CURVE_COLUMNS)


def record(estimate: float = 2.5) -> records.Record:
    values = {"q": Interval(estimate, 0.1 + 0.2, np.inf, 5), "r": Interval(np.nan, -np.inf, np.inf, 5)}
    return records.describe(TERMS, judge(CLAIM, Found(values, CURVES)), 3.5)


def test_records_are_kept_and_added_to(tmp_path):
    folder = tmp_path / "claims"
    assert records.open_folder(folder, "cpu", 7, {"command": "c"}) == {}
    records.write(folder, "first", record(), CURVES)
    records.write(folder, "second", record(), CURVES)
    assert records.open_folder(folder, "cpu", 7, {}) == {"first": record(), "second": record()}
    assert json.loads((folder / "claims.json").read_text())["environment"] == {"command": "c"}


def test_a_record_that_is_replaced_is_kept(tmp_path):
    records.open_folder(tmp_path, "cpu", 7, {})
    for estimate in (1.0, 2.0, 3.0):
        records.write(tmp_path, "first", record(estimate), CURVES)
    assert records.open_folder(tmp_path, "cpu", 7, {}) == {"first": record(3.0)}
    superseded = json.loads((tmp_path / "claims.json").read_text())["superseded"]
    assert superseded == {"first": [record(1.0), record(2.0)]}


def test_commands_in_one_folder_lose_no_record(tmp_path):
    def write_many(command: int) -> None:
        records.open_folder(tmp_path, "cpu", 7, {})
        for number in range(10):
            records.write(tmp_path, f"{command}-{number}", record(), CURVES)

    with ThreadPoolExecutor(4) as commands:
        list(commands.map(write_many, range(4)))
    assert len(records.open_folder(tmp_path, "cpu", 7, {})) == 40


@pytest.mark.parametrize("part", ["curves", "figures", "runs"])
def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path, part):
    (tmp_path / part).write_text("in the way")
    with pytest.raises(InputError, match=rf"{part} is a file and must be a folder"):
        records.open_folder(tmp_path, "cpu", 7, {})
    assert [path.name for path in tmp_path.iterdir()] == [part]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "claims").write_text("in the way")
    for folder in (tmp_path / "claims", tmp_path / "claims" / "deeper"):
        with pytest.raises(InputError, match=r"choose another --output\.$"):
            records.open_folder(folder, "cpu", 7, {})


@pytest.mark.parametrize(("tier", "entropy"), [("cpu", 8), ("gpu", 7)])
def test_records_of_other_seeds_or_tiers_are_not_overwritten(tmp_path, tier, entropy):
    records.open_folder(tmp_path, "cpu", 7, {})
    with pytest.raises(InputError, match=f"is of tier cpu and seed 7, not of {tier} and {entropy}"):
        records.open_folder(tmp_path, tier, entropy, {})


def test_records_of_another_format_are_refused(tmp_path):
    (tmp_path / "claims.json").write_text('{"format": 1, "claims": {}}')
    with pytest.raises(InputError, match="is of format 1, and this version reads format 2"):
        records.open_folder(tmp_path, "cpu", 7, {})


def content(**changes: object) -> dict:
    whole = {"format": 2, "tier": "cpu", "entropy": 7, "environment": {}, "claims": {"c": record()}, "superseded": {}}
    return whole | changes


DAMAGED = {
    "empty": b"",
    "binary": b"\xff\x00",
    "truncated": json.dumps(content()).encode()[:-9],
    "a list": b"[]",
    "a text": b'"claims"',
    "null": b"null",
    "a number": b"3",
    "only its format": b'{"format": 2}',
    "format a text": content(format="2"),
    "entropy a text": content(entropy="7"),
    **{f"claims {wrong}": content(claims=wrong) for wrong in ([], "c", None, 3)},
    **{f"a record {wrong}": content(claims={"c": wrong}) for wrong in ([], "c", None, 3, {})},
    **{f"criteria {wrong}": content(claims={"c": record() | {"criteria": wrong}}) for wrong in ({}, None, [3], [{}])},
    **{f"verdict {wrong}": content(claims={"c": record() | {"verdict": wrong}}) for wrong in ("hold", None, 1)},
    "an estimate a word": content(
        claims={"c": record() | {"criteria": [record()["criteria"][0] | {"measured": "much"}]}}
    ),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_damaged_records_are_refused_by_name_and_left_as_they_are(tmp_path, damage):
    path = tmp_path / "claims.json"
    path.write_bytes(damage if isinstance(damage, bytes) else json.dumps(damage).encode())
    before = path.read_bytes()
    with pytest.raises(InputError, match=rf"^{path} is damaged: [^.]*\.$"):
        records.open_folder(tmp_path, "cpu", 7, {})
    assert path.read_bytes() == before


def test_what_is_written_is_what_is_read(tmp_path):
    (tmp_path / "claims.json").write_text(json.dumps(content()))
    assert records.open_folder(tmp_path, "cpu", 7, {}) == {"c": record()}


@pytest.mark.parametrize(
    "changed",
    [
        {"statement": "Otherwise."},
        {"protocol": "Otherwise."},
        {"frozen": CLAIM.frozen.replace(day=1)},
        {"criteria": CLAIM.criteria[:1]},
        {"criteria": CLAIM.criteria[::-1]},
        {"criteria": (CLAIM.criteria[0], CLAIM.criteria[1]._replace(high=2.5))},
    ],
)
def test_a_record_is_of_the_claim_as_it_is_now(changed):
    now = records.terms(dataclasses.replace(CLAIM, **changed), (1000, 1001), {"mnist": "mnist"})
    assert records.changes(record(), now) == list(changed)


def test_a_record_is_of_its_seeds_and_images():
    assert records.changes(record(), records.terms(CLAIM, (1000, 1002), {"mnist": "mnist"})) == ["seeds"]
    assert records.changes(record(), records.terms(CLAIM, (1000, 1001), {"mnist": "my/digits"})) == ["data_sets"]


def test_a_record_that_was_written_is_of_its_own_terms(tmp_path):
    records.open_folder(tmp_path, "cpu", 7, {})
    records.write(tmp_path, "first", record(), CURVES)
    assert records.changes(records.open_folder(tmp_path, "cpu", 7, {})["first"], TERMS) == []


def test_curves_come_back_as_they_were(tmp_path):
    for curves in (CURVES, CURVES.assign(x=["images\nas they are", ""])):
        records.open_folder(tmp_path, "cpu", 7, {})
        records.write(tmp_path, "first", record(), curves)
        pandas.testing.assert_frame_equal(records.read_curves(tmp_path, "first"), curves)


@pytest.mark.parametrize("damage", [None, "", "a,b\n1,2\n", "panel,line,x,seed,y\np,l,1,0,much\n"])
def test_lost_and_damaged_curves_are_told(tmp_path, damage):
    (tmp_path / "curves").mkdir()
    if damage is not None:
        (tmp_path / "curves" / "first.csv").write_text(damage)
    with pytest.raises(InputError, match=r"first\.csv is lost or damaged"):
        records.read_curves(tmp_path, "first")
