"""Every kind of bad input is one sentence and exit code 2, leaves nothing, and comes to nothing expensive."""

import os
from pathlib import Path

import pytest
from bad_input import catalogue
from bad_input.catalogue import PAGE
from bad_input.entry import Entry
from commands import refusal

KINDS = list(catalogue.kinds())
NAMES = [f"{chapter}: {given or 'nothing'}" for chapter, given, _ in KINDS]

pytestmark = pytest.mark.usefixtures("own_cache", "unchecked")


def contents(folder: Path) -> list[str]:
    """Of a folder and all below; what is no folder is not opened."""
    return sorted(os.path.join(place, name) for place, *names in os.walk(folder) for part in names for name in part)


@pytest.mark.parametrize(("chapter", "given", "entry"), KINDS, ids=NAMES)
def test_bad_input_is_one_sentence_and_leaves_nothing(chapter, given, entry: Entry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before: list[str] = []
    prepare = entry.prepare or (lambda: None)

    def prepared() -> None:
        prepare()
        before.extend(contents(tmp_path))

    outcome = catalogue.give(catalogue.replace(entry, prepare=prepared))
    sentence = refusal(outcome)
    assert (entry.words in sentence and sentence[-1] in ".?)") or "as in: " in sentence
    assert contents(tmp_path) == before
    assert catalogue.row(given, entry, catalogue.neutral(sentence)) in PAGE.read_text()


def test_the_page_holds_every_kind_once_and_no_other():
    lines = [
        line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| given |")
    ]
    chapters = PAGE.read_text().split("\n## ")[1:]
    assert [chapter.splitlines()[0] for chapter in chapters] == list(catalogue.CATALOGUE)
    assert len(lines) == len(set(lines)) == len(KINDS)
    assert [line.split(" | ")[0] for line in lines] == [
        catalogue.row(given, e, "").split(" | ")[0] for _, given, e in KINDS
    ]
    assert f"{len(KINDS)} kinds" in PAGE.read_text()


def test_no_place_of_this_machine_is_on_the_page():
    text = PAGE.read_text()
    assert not [word for word in ("://", str(Path.home()), "/tmp/", str(catalogue.ROOT)) if word in text]
