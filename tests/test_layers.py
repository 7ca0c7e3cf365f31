"""Imports go down: the house of CONTRIBUTING.md, read off the source."""

import ast
import functools
import itertools
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cnn_constraints"

FLOORS = (
    ("errors", "files", "settings", "environment"),
    ("experiment", "config_file", "grid", "arrays", "lattice"),
    ("data",),
    ("ops",),
    ("functional",),
    ("layer",),
    ("network",),
    ("architecture",),
    ("variables",),
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

BESIDE = ("configs", "benchmarks", "experiments")
"""Packages that stand on the library, and on nothing else of this project when they are imported."""

LAZY = {"experiments/benchmark.py": {"benchmarks"}}
"""What a file may import inside of its functions: benchmarks may be missing where the library is installed."""

FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def modules_of(*nodes: ast.AST) -> set[str]:
    modules = set()
    for node in itertools.chain(*map(ast.walk, nodes)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


@functools.cache
def imported_modules(path: Path) -> set[str]:
    return modules_of(ast.parse(path.read_text()))


def imported_packages(path: Path) -> set[str]:
    return {module.split(".")[0] for module in imported_modules(path)}


def imported_rooms(path: Path) -> set[str]:
    parts = [module.split(".") for module in imported_modules(path)]
    return {part[1] for part in parts if part[0] == "cnn_constraints" and len(part) > 1} & {*itertools.chain(*FLOORS)}


def test_imports_go_down_and_of_two_rooms_on_one_floor_at_most_one_imports_the_other():
    assert {room(path) for path in FILES} == {*itertools.chain(*FLOORS)}
    imports = {(room(path), other) for path in FILES for other in imported_rooms(path)}
    assert [(one, other) for one, other in imports if floor(other) > floor(one)] == []
    assert [(one, other) for one, other in imports if one != other and (other, one) in imports] == []


def test_the_package_imports_nothing_until_it_is_asked():
    """Who only counts waits for no JAX: what stands in __init__.py is for type checkers."""
    for node in ast.parse((PACKAGE / "__init__.py").read_text()).body:
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            assert not [name for name in modules_of(node) if name.startswith("cnn_constraints")]


def test_what_stands_on_the_library_stands_on_nothing_beside_it():
    """Nothing imports the commands but the commands; commands import benchmarks only when one is asked for."""
    for path in (path for package in ("cnn_constraints", *BESIDE) for path in (ROOT / package).rglob("*.py")):
        name = path.relative_to(ROOT)
        lazy = LAZY.get(str(name), set())
        assert imported_packages(path) & set(BESIDE) <= {name.parts[0], *lazy}, path
        outside = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not {module.split(".")[0] for module in modules_of(*outside)} & lazy, path


def test_flax_is_known_to_the_files_of_modules_and_jax_to_what_trains():
    """What reads results touches no JAX, but for what is trained for a picture."""
    for path in FILES:
        assert ("flax" in imported_packages(path)) == (room(path) in ("layer", "network", "variables")), path
        if room(path) in ("statistics", "summaries", "report"):
            assert ("jax" in imported_packages(path)) == (path.name == "trained_cells.py"), path
