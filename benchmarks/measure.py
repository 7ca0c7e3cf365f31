"""Contenders measured side by side: one warm-up each, then rounds in which every contender runs once, in random order; and
the rows that come of it, the same as a table and as JSON.

Machines are shared, and their clock changes: only what was measured in the same rounds may be compared.
"""

import errno
import importlib
import importlib.util
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from rich import box
from rich.console import Console
from rich.table import Table

from cnn_constraints import files
from cnn_constraints.errors import input_error

OURS = "ours"

Name = TypeVar("Name", bound=Hashable)

SLOW_SECONDS = 20.0
"""A contender that has taken this long in all sits out further rounds once it was measured three times."""


def side_by_side(
    contenders: Mapping[Name, Callable], rounds: int, slow_seconds: float = SLOW_SECONDS, warm: bool = False
) -> dict[Name, list[float]]:
    """Seconds of each round of every contender, which must return only when its work is done. warm: whether all did run."""
    for run in contenders.values() if not warm else ():
        run()
    seconds: dict[Name, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name in random.sample(list(contenders), len(contenders)):
            if len(seconds[name]) < 3 or sum(seconds[name]) <= slow_seconds:
                started = time.perf_counter()
                contenders[name]()
                seconds[name].append(time.perf_counter() - started)
    return seconds


class Ceilings(NamedTuple):
    """The most of the default device a second: operations of float32 matrix products, as precise as those that are timed,
    and bytes of an elementwise operation.
    """

    operations: float
    bytes: float

    def shortest_time(self, operations: float, moved: float) -> tuple[float, str]:
        """Seconds that so many operations and bytes take at the least, and which of the two sets them."""
        arithmetic, memory = operations / self.operations, moved / self.bytes
        return max(arithmetic, memory), "arithmetic" if arithmetic >= memory else "memory"


def measure_ceilings(rounds: int = 7) -> Ceilings:
    """The best of several rounds: a ceiling is what the machine can do, not what it mostly does."""
    # So much work that on an accelerator the milliseconds of a product are not those of its dispatch.
    side, length = (2048, 2**26) if jax.default_backend() == "cpu" else (8192, 2**29)
    matrix, vector = jnp.ones((side, side), jnp.float32), jnp.ones(length, jnp.float32)
    product, increment = jax.jit(lambda a: a @ a), jax.jit(lambda x: x + 1, donate_argnums=0)

    def add() -> None:
        nonlocal vector
        vector = increment(vector).block_until_ready()

    seconds = side_by_side({"product": lambda: product(matrix).block_until_ready(), "add": add}, rounds)
    return Ceilings(2 * side**3 / min(seconds["product"]), 2 * 4 * length / min(seconds["add"]))


FLOAT32, TENSOR_FLOAT32, BFLOAT16 = 2.0**-23, 2.0**-10, 2.0**-7
"""How far the product of two numbers is off at most, relative to itself, when both are rounded to 23, 10 or 7 bits."""


def product_error() -> float:
    """That of JAX's float32 matrix products on this device, as `jax_default_matmul_precision` has them now."""
    precision, backend = jax.config.jax_default_matmul_precision, jax.default_backend()  # type: ignore[attr-defined]
    if backend == "cpu" or precision in ("highest", "float32", "F32_F32_F32"):
        return FLOAT32
    return TENSOR_FLOAT32 if backend == "gpu" else BFLOAT16


@lru_cache
def torch_device() -> str | None:
    """The device of PyTorch that is JAX's: "cpu" or "cuda". None, with a sentence where PyTorch is installed, if there is
    none: beside an accelerator, a contender on the CPU means nothing.
    """
    if importlib.util.find_spec("torch") is None:
        return None
    backend = jax.default_backend()
    if backend == "cpu":
        return "cpu"
    if backend == "gpu" and importlib.import_module("torch").cuda.is_available():
        return "cuda"
    print(f"PyTorch is left out: JAX computes on a {backend}, and PyTorch finds none here.", file=sys.stderr)
    return None


class Row(NamedTuple):
    """One contender at one case. fraction_of_ceiling: the least time that the machine's ceilings allow for the work of the
    case, over the median; bound: which of the two ceilings sets it.
    """

    suite: str
    case: str
    contender: str
    seconds_median: float
    seconds_min: float
    seconds_max: float
    fraction_of_ceiling: float
    bound: str


def row(
    name: tuple[str, str, str], seconds: list[float], units: int, work: tuple[float, float], ceilings: Ceilings
) -> Row:
    """name: suite, case and contender. Seconds of rounds, each of which did `units`; work: operations and bytes of one."""
    median, shortest, longest = (value / units for value in (statistics.median(seconds), min(seconds), max(seconds)))
    least, bound = ceilings.shortest_time(*work)
    return Row(*name, median, shortest, longest, least / median, bound)


def print_case(rows: Sequence[Row]) -> None:
    """One case as a table: milliseconds with their spread, and how many times as long as the first each takes."""
    table = Table(title=rows[0].case, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    over = f"over {rows[0].contender}"
    for heading in ("contender", "ms, median", "ms, range", over, "range", "of the ceiling", "bound"):
        table.add_column(heading, justify="left" if heading in ("contender", "bound") else "right", no_wrap=True)
    first = rows[0]
    for one in rows:
        median, shortest, longest = (f"{float(f'{1e3 * seconds:.3g}'):,g}" for seconds in one[3:6])
        ratio, lowest = one.seconds_median / first.seconds_median, one.seconds_min / first.seconds_max
        range_of_ratio = f"{lowest:.2f} to {one.seconds_max / first.seconds_min:.2f}"
        numbers = (median, f"{shortest} to {longest}", f"{ratio:.2f}", range_of_ratio, f"{one.fraction_of_ceiling:.0%}")
        table.add_row(one.contender, *numbers, one.bound)
    Console(highlight=False, width=max(160, Console().width)).print(table)


def check_writable(path: Path) -> None:
    """Raises InputError where `write_json` would, before hours went into what is to be written."""
    with input_error(f"{path} cannot be written", "name another file."):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        # Only the attempt tells, and this one leaves nothing.
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def write_json(rows: Sequence[Any], path: Path) -> None:
    """A list of named tuples as one of objects, whole or not at all. Raises InputError where the file system refuses."""
    with input_error(f"{path} cannot be written", "name another file."):
        files.write_json(path, [one._asdict() for one in rows])
