"""Imports go down: the house of DESIGN.md, read off the source."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cnn_constraints"

FLOORS = (
    ("errors", "arrays", "settings", "estimates", "experiment", "files"),
    ("constraints", "data"),
    ("ops",),
    ("model",),
    ("training",),
    ("config",),
    ("environment", "sweep", "trials", "matching"),
    ("executors", "store"),
    ("analysis",),
    ("claims",),
    ("report",),
)
"""From the ground to the top. A room may import its own floor and those below."""

FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def imported_rooms(path: Path) -> set[str]:
    parts = [module.split(".") for module in imported_modules(path)]
    rooms = {part[1] for part in parts if part[0] == "cnn_constraints" and len(part) > 1}
    return {name for name in rooms if any(name in floor for floor in FLOORS)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    if path == PACKAGE / "__init__.py":
        assert not imported_rooms(path)
        return
    assert max(map(floor, imported_rooms(path)), default=0) <= floor(room(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_flax_is_known_to_one_file(path):
    knows_flax = any(module.split(".")[0] == "flax" for module in imported_modules(path))
    assert knows_flax == (path == PACKAGE / "model.py")


def test_nothing_above_the_store_touches_jax():
    above = [path for path in FILES if room(path) in ("analysis", "report")]
    assert above
    assert not [path for path in above if any(module.split(".")[0] == "jax" for module in imported_modules(path))]


def test_every_room_has_a_floor():
    for path in FILES:
        if path != PACKAGE / "__init__.py":
            floor(room(path))


def test_files_stay_short():
    for path in [*FILES, *(PACKAGE.parent / "experiments").glob("*.py")]:
        assert len(path.read_text().splitlines()) <= 300, path
