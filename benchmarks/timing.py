"""Contenders measured side by side: one warm-up each, then rounds in which every contender runs once, in random order.

Machines are shared, and their clock changes: only what was measured in the same rounds may be compared.
"""

import importlib.util
import random
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SLOW_SECONDS = 20.0
"""A contender that has taken this long in all sits out further rounds once it was measured three times."""


class Timing(NamedTuple):
    """Seconds of each round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return float(np.median(self.seconds))

    @property
    def shortest(self) -> float:
        """Seconds."""
        return min(self.seconds)

    @property
    def longest(self) -> float:
        """Seconds."""
        return max(self.seconds)


def side_by_side(
    contenders: Mapping[str, Callable[[], object]], rounds: int, slow_seconds: float | None = None
) -> dict[str, Timing]:
    """Time every contender. Each must return only when its work is done. slow_seconds: by default SLOW_SECONDS."""
    slow_seconds = SLOW_SECONDS if slow_seconds is None else slow_seconds
    for run in contenders.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name in random.sample(list(contenders), len(contenders)):
            if len(seconds[name]) >= 3 and sum(seconds[name]) > slow_seconds:
                continue
            started = time.perf_counter()
            contenders[name]()
            seconds[name].append(time.perf_counter() - started)
    return {name: Timing(tuple(taken)) for name, taken in seconds.items()}


class Ceilings(NamedTuple):
    """What the default device can do at most: floating-point operations a second in float32 matrix products, and bytes
    read and written a second by an elementwise operation in place.
    """

    operations: float
    bytes: float

    def shortest_time(self, operations: float, moved: float) -> tuple[float, str]:
        """Seconds that so many operations and bytes take at the least, and which of the two sets them."""
        arithmetic, memory = operations / self.operations, moved / self.bytes
        return max(arithmetic, memory), "arithmetic" if arithmetic >= memory else "memory"


def measure_ceilings(rounds: int = 7) -> Ceilings:
    """The best of several rounds: a ceiling is what the machine can do, not what it mostly does."""
    side, length = 2048, 2**26
    matrix = jnp.ones((side, side), jnp.float32)
    vector = jnp.ones(length, jnp.float32)
    product = jax.jit(lambda a: a @ a)
    increment = jax.jit(lambda x: x + 1, donate_argnums=0)

    def add() -> None:
        nonlocal vector
        vector = increment(vector).block_until_ready()

    timings = side_by_side({"product": lambda: product(matrix).block_until_ready(), "add": add}, rounds)
    return Ceilings(2 * side**3 / timings["product"].shortest, 2 * 4 * length / timings["add"].shortest)


def torch_is_installed() -> bool:
    """Whether the peers of the extra `bench` can take part."""
    return importlib.util.find_spec("torch") is not None
