"""One image of a million pixels, the text's own example: which cells run on this machine, how fast, in how much memory."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.layers.contender import Case
from benchmarks.layers.suite import DIRECTIONS, least_work, make_case
from benchmarks.table import OURS, Row, row
from benchmarks.timing import Ceilings, Timing
from cnn_constraints.environment import device_memory
from cnn_constraints.errors import InputError
from cnn_constraints.lattice import counts

ARRAYS_OF_A_STEP = 2
"""Weights and their gradient: the least that a forward and backward pass holds."""


def measure(
    cells: Sequence[str], deltas: Sequence[int], size: int, rounds: int, ceilings: Ceilings, seed: int
) -> Iterator[Row]:
    """Rows of the suite `megapixel`: one image of size x size, one channel in and out, a process for each.

    A cell whose weights do not fit into memory is left out, with a sentence that tells the bytes it would need.
    Raises InputError with that sentence where nothing is left, and for a delta beyond the image.
    """
    shape = f"{size}x{size}x1->1"
    reaches = [(cell, delta) for cell in cells for delta in (deltas if cell in ("local", "conv") else (None,))]
    cases = [make_case(shape, cell, delta, 1) for cell, delta in reaches]
    for case in cases:
        case.geometry.check_delta(case.delta)
    refusals = {case: refusal(case) for case in cases}
    if all(refusals.values()):
        raise InputError(str(refusals[cases[0]]))
    for case, sentence in refusals.items():
        if sentence:
            print(sentence, file=sys.stderr)
            continue
        for direction in DIRECTIONS:
            yield from _rows(case, direction, rounds, ceilings, seed)


def refusal(case: Case) -> str | None:
    """Why a layer cannot be measured here; None where it can."""
    weights = counts.count(case.cell, case.geometry, case.delta, case.in_channels, case.out_channels).weights
    needed, available = 4 * ARRAYS_OF_A_STEP * weights, device_memory()
    if needed <= available:
        return None
    reach = "" if case.delta is None else f" with delta {case.delta}"
    return (
        f"{case.cell}{reach} at {case.geometry.height} x {case.geometry.width} is not run: its {weights:,} weights and "
        f"their gradient take {needed:,} bytes, and this machine has {available:,}."
    )


def _rows(case: Case, direction: str, rounds: int, ceilings: Ceilings, seed: int) -> Iterator[Row]:
    for contender in (OURS, "lax conv") if case.cell == "conv" else (OURS,):
        request = {"shape": case.name, "cell": case.cell, "delta": case.delta, "contender": contender}
        result = _in_a_process(request | {"direction": direction, "rounds": rounds, "seed": seed})
        timing, title = Timing(tuple(result["seconds"])), case.title + DIRECTIONS[direction]
        measured = row("megapixel", title, contender, timing, 1, least_work(case, direction), ceilings)
        yield measured._replace(peak_bytes=result["peak_bytes"])


def _in_a_process(request: dict[str, Any]) -> dict[str, Any]:
    """Raises RuntimeError with what the process said where it failed or was killed for its memory."""
    command = [sys.executable, "-m", "benchmarks.megapixel.measure", json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{request} ended with code {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
