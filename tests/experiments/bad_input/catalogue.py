"""All kinds of bad input, what the commands say to each, and the page that tells it."""

import contextlib
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace as replace
from pathlib import Path
from typing import Any

import pytest
from bad_input import of_combinations, of_commands, of_configs, of_flags, of_images, of_places
from bad_input.entry import Entries, Entry
from commands import CONFIG, Outcome, call, write_config

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "bad_input.md"

CATALOGUE: dict[str, Entries] = {
    "Flags of a sweep": of_flags.ENTRIES,
    "A config that is none": of_configs.FILES,
    "A config that fails": of_configs.FAILURES,
    "What a config returns": of_configs.RETURNS,
    "Impossible together": of_combinations.ENTRIES,
    "The user's own images": of_images.IMAGES,
    "Original archives": of_images.ORIGINALS,
    "Folders and disks": of_places.PLACES,
    "The environment": of_places.ENVIRONMENT,
    "Reports": of_places.RUNS,
    "Count": of_commands.COUNT,
    "Claims": of_commands.CLAIMS,
    "Pictures": of_commands.PICTURES,
    "Benchmarks": of_commands.BENCHMARK,
}

EXPENSIVE = (
    "cnn_constraints.training.ensemble.compile_program",
    "experiments.claims.measure",
    "experiments.pictures.train_cells",
    "benchmarks.timing.measure_ceilings",
)
"""What no bad input may come to."""

SHOWN = 300
"""Characters of a sentence in the page."""


def kinds() -> Iterator[tuple[str, str, Entry]]:
    """Chapter, what was given in words, and the entry."""
    for chapter, entries in CATALOGUE.items():
        for given, entry in entries.items():
            yield chapter, given, entry


def give(entry: Entry) -> Outcome:
    """What the command says, in the working directory, which is filled first as the entry wants it."""
    write_config(Path(), *entry.changes)
    if entry.prepare:
        entry.prepare()
    return _apart(entry) if entry.apart else _here(entry)


def _here(entry: Entry) -> Outcome:
    name, *arguments = shlex.split(entry.command)
    command: Any = importlib.import_module(f"experiments.{name}")

    def too_late(*_: Any, **__: Any) -> None:
        raise AssertionError("It came to what is expensive.")

    with pytest.MonkeyPatch.context() as patch:
        for variable, value in entry.environment.items():
            patch.setenv(variable, value)
        for name in EXPENSIVE:
            patch.setattr(name, too_late)
        if entry.patch:
            entry.patch(patch)
        return call(command.main, *arguments)


def _apart(entry: Entry) -> Outcome:
    name, *arguments = shlex.split(entry.command)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **entry.environment}
    command = [sys.executable, "-m", f"experiments.{name}", *arguments]
    with open(entry.output, "w") if entry.output else contextlib.nullcontext(subprocess.PIPE) as out:
        done = subprocess.run(command, env=environment, stdout=out, stderr=subprocess.PIPE, text=True)
    return Outcome(done.returncode, done.stdout or "", done.stderr)


def neutral(sentence: str) -> str:
    """Without what belongs to one machine or version of another's software."""
    for pattern, instead in (
        (re.escape(str(Path.cwd())), "<here>"),
        (re.escape(str(ROOT)), "<checkout>"),
        (r"https?://\S+?(?=[,.:]?(?:\s|$))", "<its address>"),
        (r"SHA-256 [0-9a-f]+", "SHA-256 <sum>"),
        (r"\b[0-9a-f]{64}\b", "<sum>"),
        (r"group-[0-9a-f]{16}", "group-<digest>"),
        (r"(has|this machine has) [\d,]+(?= bytes and|;|: make)", r"\1 <so many>"),
        (r"(SyntaxError|ImportError|JAX refuses an environment variable) ?[:(].*", r"\1 ..."),
    ):
        sentence = re.sub(pattern, instead, sentence)
    return sentence.removeprefix("error: ").strip()


def row(given: str, entry: Entry, sentence: str) -> str:
    """A line of the page's table. It begins with what was given, in words, or as the command where that says it all."""
    cells = (given, _written(entry), sentence if len(sentence) <= SHOWN else f"{sentence[:SHOWN]} ...")
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for cell in cells) + " |"


def _written(entry: Entry) -> str:
    """The command, variables before it and changes of the config after it, and in brackets what the file system is made to
    say.
    """
    command = entry.shown or " ".join([*(f"{key}={value}" for key, value in entry.environment.items()), entry.command])
    written = f"`{command}`".replace("sweep config.py", "sweep").replace(" `", "`")
    for old, new in entry.changes:
        written += f" with `{' '.join((new if new.strip() else old).split())}`"
    return written


def page(rows: Iterable[tuple[str, str]]) -> str:
    """The page from chapters and lines of their tables."""
    told = list(rows)
    lines = [f"# Bad input\n\n{INTRODUCTION.format(number=len(told))}"]
    for chapter in CATALOGUE:
        lines.append(f"\n## {chapter}\n\n| given | as | what it said |\n|---|---|---|")
        lines += [line for one, line in told if one == chapter]
    return "\n".join(lines) + "\n"


INTRODUCTION = (
    """\
{number} kinds of bad input, and the one sentence that each gets: on standard error, behind `error: `, with exit code 2,
with nothing on standard output, nothing left behind, and before anything is compiled, trained or measured. Written by
`PYTHONPATH=. python tests/experiments/write_bad_input_page.py` from the catalogue in `tests/experiments/bad_input/`;
`tests/experiments/test_bad_input.py` gives each to its command and holds this page to what is said.

`sweep` stands for `python -m experiments.sweep config.py` with this config file, and so do the other commands:

```python
"""
    + CONFIG.strip().replace("{", "{{").replace("}", "}}")
    + "\n```\n"
)
