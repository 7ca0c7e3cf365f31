"""Imports go down: the house of CONTRIBUTING.md, read off the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cnn_constraints"

FLOORS = (
    ("errors", "files", "settings", "environment"),
    ("experiment", "config_file", "arrays", "lattice"),
    ("data",),
    ("ops",),
    ("functional",),
    ("layer",),
    ("network",),
    ("variables", "receptive_fields"),
    ("training",),
    ("resolve",),
    ("plan",),
    ("store",),
    ("executors",),
    ("sweep",),
    ("summaries", "statistics", "matching"),
    ("claims",),
    ("report",),
)
"""From the ground to the top. A room may import its own floor and those below."""

ABOVE = {"cnn_constraints": (), "configs": (), "benchmarks": (), "experiments": ()}
"""Packages that stand on the library, and which others of these each may import when it is itself imported."""

LAZY = {"experiments/benchmark.py": ("benchmarks",)}
"""What a file may import inside of its functions: benchmarks may be missing where the library is installed."""

FILES = sorted(PACKAGE.rglob("*.py"))
ALL_FILES = [path for package in ABOVE for path in sorted((ROOT / package).rglob("*.py"))]


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def modules_of(nodes: ast.AST) -> set[str]:
    modules = set()
    for node in ast.walk(nodes):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def imported_modules(path: Path) -> set[str]:
    return modules_of(ast.parse(path.read_text()))


def imported_rooms(path: Path) -> set[str]:
    parts = [module.split(".") for module in imported_modules(path)]
    rooms = {part[1] for part in parts if part[0] == "cnn_constraints" and len(part) > 1}
    return {name for name in rooms if any(name in floor for floor in FLOORS)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return
    assert max(map(floor, imported_rooms(path)), default=0) <= floor(room(path))


def test_rooms_of_one_floor_go_in_no_circle() -> None:
    """Of two rooms at most one imports the other."""
    imports = {(room(path), other) for path in FILES for other in imported_rooms(path)}
    assert not [(one, other) for one, other in imports if one != other and (other, one) in imports]


def test_the_package_imports_nothing_until_it_is_asked() -> None:
    """Who only counts waits for no JAX: what stands in __init__.py is for type checkers."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    for node in tree.body:
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            assert not [name for name in modules_of(node) if name.startswith("cnn_constraints")]


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_stands_on_the_library_stands_on_nothing_beside_it(path: Path) -> None:
    """Nothing imports the commands but the commands; commands import benchmarks only when one is asked for."""
    name = str(path.relative_to(ROOT))
    own = name.split("/")[0]
    beside = {module.split(".")[0] for module in imported_modules(path)} & set(ABOVE) - {own, "cnn_constraints"}
    assert beside <= {*ABOVE[own], *LAZY.get(name, ())}
    if name in LAZY:
        outside = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not [module for node in outside for module in modules_of(node) if module.split(".")[0] in LAZY[name]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_flax_is_known_to_the_files_of_modules(path: Path) -> None:
    knows_flax = any(module.split(".")[0] == "flax" for module in imported_modules(path))
    assert knows_flax == (room(path) in ("layer", "network", "variables"))


def test_what_reads_results_touches_no_jax() -> None:
    """But for what is trained for a picture."""
    above = [path for path in FILES if room(path) in ("statistics", "summaries", "report")]
    touching = [path.name for path in above if any(module.split(".")[0] == "jax" for module in imported_modules(path))]
    assert touching == ["trained_cells.py"]


def test_every_room_has_a_floor() -> None:
    for path in FILES:
        if path != PACKAGE / "__init__.py":
            floor(room(path))
