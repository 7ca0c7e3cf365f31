"""One image of a million pixels, the text's own example: which cells run on this machine, how fast, in how much memory."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.rows import OURS, Row, row
from benchmarks.timing import Ceilings, Timing
from cnn_constraints.constraints import counts
from cnn_constraints.constraints.geometry import Geometry
from cnn_constraints.environment import device_memory
from cnn_constraints.errors import InputError

ARRAYS_OF_A_STEP = 2
"""Weights and their gradient: the least that a forward and backward pass holds."""


def measure(
    cells: Sequence[str], deltas: Sequence[int], size: int, rounds: int, ceilings: Ceilings, seed: int
) -> Iterator[Row]:
    """Rows of the suite `megapixel`: one image of size x size, one channel in and out, a process for each.

    A cell whose weights do not fit into memory is left out, with a sentence that tells the bytes it would need.
    Raises InputError with that sentence where nothing is left, and for a delta beyond the image.
    """
    cases = [(cell, delta) for cell in cells for delta in (deltas if cell in ("local", "conv") else (None,))]
    for _, delta in cases:
        Geometry(size, size).check_delta(delta)
    refusals = {case: refusal(case[0], size, case[1]) for case in cases}
    if all(refusals.values()):
        raise InputError(str(refusals[cases[0]]))
    for cell, delta in cases:
        if sentence := refusals[cell, delta]:
            print(sentence, file=sys.stderr)
            continue
        for direction, passes in (("forward", 1), ("both", 3)):
            yield from _rows(cell, size, delta, direction, passes, rounds, ceilings, seed)


def refusal(cell: str, size: int, delta: int | None) -> str | None:
    """Why a cell cannot be measured here; None where it can."""
    weights = counts.count(cell, Geometry(size, size), delta, 1, 1).weights
    needed, available = 4 * ARRAYS_OF_A_STEP * weights, device_memory()
    if needed <= available:
        return None
    reach = "" if delta is None else f" with delta {delta}"
    return (
        f"{cell}{reach} at {size} x {size} is not run: its {weights:,} weights and their gradient take {needed:,} bytes, "
        f"and this machine has {available:,}."
    )


def _rows(
    cell: str,
    size: int,
    delta: int | None,
    direction: str,
    passes: int,
    rounds: int,
    ceilings: Ceilings,
    seed: int,
) -> Iterator[Row]:
    geometry = Geometry(size, size)
    count = counts.count(cell, geometry, delta, 1, 1)
    work = (2.0 * passes * count.multiply_adds, 4.0 * passes * (2 * geometry.input_sites + count.weights))
    reach = "all" if delta is None else str(delta)
    title = f"{cell} {size}x{size}x1->1, delta {reach}, batch 1, {'forward' if passes == 1 else 'forward and backward'}"
    for contender in (OURS, "lax conv") if cell == "conv" else (OURS,):
        request = {"cell": cell, "size": size, "delta": delta, "contender": contender}
        result = _in_a_process(request | {"direction": direction, "rounds": rounds, "seed": seed})
        timing = Timing(tuple(result["seconds"]))
        measured = row("megapixel", title, contender, timing, 1, work, ceilings)
        yield measured._replace(peak_bytes=result["peak_bytes"])


def _in_a_process(request: dict[str, Any]) -> dict[str, Any]:
    """Raises RuntimeError with what the process said where it failed or was killed for its memory."""
    command = [sys.executable, "-m", "benchmarks.megapixel.measure", json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{request} ended with code {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
