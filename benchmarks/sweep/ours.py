"""This project's engine on the benchmark's training: many lanes, one program, on the device from first to last update."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from benchmarks.sweep.problem import DEVIATION, LEARNING_RATE, MEAN, Problem
from cnn_constraints.arrays import Split
from cnn_constraints.training import ensemble
from cnn_constraints.training.ensemble import Trial
from cnn_constraints.training.run import Hyperparameters, Standardisation
from cnn_constraints.trials import to_device

EVALUATED = 64
"""Images of the validation and of the test data, which peers do not have: as few as a batch."""


class Ours:
    """Lanes of one trial, from one initialisation as in a sweep over learning rates; the first has the peers' rate."""

    def __init__(self, problem: Problem, lanes: int) -> None:
        self.models = lanes
        self._problem = problem
        test = Split(problem.raw.images[:EVALUATED], problem.raw.labels[:EVALUATED])
        self._splits = to_device(problem.raw), to_device(test)
        rates = LEARNING_RATE * 2.0 ** -np.arange(lanes)
        self._hyperparameters = Hyperparameters(jnp.asarray(rates, jnp.float32), jnp.zeros(lanes))
        self._programs: dict[int, ensemble.Program] = {}

    def train(self, updates: int) -> float:
        problem = self._problem
        task = dataclasses.replace(problem.task, updates=updates)
        trial = Trial(
            problem.key,
            self._hyperparameters,
            jnp.asarray(problem.batches[:updates]),
            jnp.arange(EVALUATED),
            Standardisation(jnp.array([MEAN]), jnp.array([DEVIATION])),
        )
        if updates not in self._programs:
            self._programs[updates] = ensemble.compile_program(task, trial, *self._splits, updates)
        (segment,) = ensemble.train(self._programs[updates], trial, *self._splits)
        return float(segment.train.loss[0])
