"""Whole training: our engine against ordinary Flax layers, in a loop and side by side, and three ways to train in PyTorch,
per update and model.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import jax

from benchmarks.measure import FLOAT32, OURS, Ceilings, Row, product_error, row, side_by_side, torch_device
from benchmarks.sweep.jax_loops import flax_loop, flax_vmap, ours
from benchmarks.sweep.problem import Contender, Problem, definition, layers_of, least_work, make_problem

CHECKED_UPDATES, TOLERANCE = 4, 5e-5
"""Of the mean loss over the first updates, relative to that by definition, where products are in 32 bits."""

LONGEST_ROUND = 20.0
"""Seconds. A contender for which a round would take longer makes fewer updates in it."""


def measure(
    cells: Sequence[str],
    layers: Sequence[int],
    candidates: Sequence[int],
    rounds: int,
    ceilings: Ceilings,
    seed: int,
) -> Iterator[Row]:
    """A row a cell, number of layers, and contender. Raises RuntimeError for a contender that trains something else."""
    for cell in cells:
        for count in layers:
            problem = make_problem(*layers_of(cell, count), updates_of_round(), seed)
            title = f"{cell}, {count} layer{'s'[: count - 1]}, {candidates[0]} candidates"
            contenders = checked_contenders(title, problem, candidates)
            updates = {name: updates_of(contender) for name, contender in contenders.items()}
            runs = {name: partial(contender.train, updates[name]) for name, contender in contenders.items()}
            for run in (run for name, run in runs.items() if updates[name] != CHECKED_UPDATES):
                run()
            for name, seconds in side_by_side(runs, rounds, warm=True).items():
                units = updates[name] * contenders[name].models
                yield row(("sweep", title, name), seconds, units, least_work(problem), ceilings)


def updates_of_round() -> int:
    """So many that what a sweep does once in hundreds of updates, such as drawing initial weights, does not count."""
    return 64 if jax.default_backend() == "cpu" else 256


def updates_of(contender: Contender) -> int:
    """As many, halved until a round takes no longer than it may, by the time of those that were checked."""
    started = time.perf_counter()
    contender.train(CHECKED_UPDATES)
    seconds, updates = time.perf_counter() - started, updates_of_round()
    while updates > CHECKED_UPDATES and updates * seconds > CHECKED_UPDATES * LONGEST_ROUND:
        updates //= 2
    return updates


def contenders_of(problem: Problem, candidates: Sequence[int]) -> dict[str, Contender]:
    """By name, ours first. Models side by side are as many as our first has candidates."""
    contenders = {OURS: ours(problem, candidates[0])}
    contenders |= {f"ours, {count} candidates": ours(problem, count) for count in candidates[1:]}
    contenders |= {"flax loop": flax_loop(problem), "flax vmap": flax_vmap(problem, candidates[0])}
    if torch_device():
        from benchmarks.sweep.torch_loops import torch_loop

        for way, models in (("eager", 1), ("compile", 1), ("vmap", candidates[0])):
            contenders[f"torch {way}"] = torch_loop(problem, way, models)
    return contenders


def checked_contenders(title: str, problem: Problem, candidates: Sequence[int]) -> dict[str, Contender]:
    """Those to be timed. All follow the definition: with products in 32 bits, and as precisely as they are timed.

    A logit is the end of as many products in a row as there are layers and the classifier. As rounding is random, each adds
    about its error relative to the logits, which are of the loss's size; cross-entropy changes by at most twice as much.
    """
    expected = definition(problem, CHECKED_UPDATES)
    if product_error() > FLOAT32:
        with jax.default_matmul_precision("highest"):
            check(title, contenders_of(problem, candidates), expected, TOLERANCE)
    contenders = contenders_of(problem, candidates)
    check(title, contenders, expected, max(TOLERANCE, 2 * (len(problem.cases) + 1) * product_error()))
    return contenders


def check(title: str, contenders: Mapping[str, Contender], expected: float, tolerance: float) -> None:
    """Raises RuntimeError where a contender's loss is not the expected one."""
    for name, contender in contenders.items():
        loss = contender.train(CHECKED_UPDATES)
        if not abs(loss / expected - 1) < tolerance:
            raise RuntimeError(f"{name} does not follow the losses of {title}: {loss:.6f} instead of {expected:.6f}")
