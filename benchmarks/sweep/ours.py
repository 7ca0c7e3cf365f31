"""This project's engine on the benchmark's training: many candidates, one program, on the device from first to last
update.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.sweep.problem import DEVIATION, LEARNING_RATE, MEAN, Problem
from cnn_constraints.arrays import Split
from cnn_constraints.plan import to_device
from cnn_constraints.training import ensemble
from cnn_constraints.training.ensemble import Arrays
from cnn_constraints.training.loop import Hyperparameters, Standardisation

EVALUATED = 64
"""Images of the validation and of the test data, which peers do not have: as few as a batch."""


class Ours:
    """An experiment for each device, as a sweep over seeds has them; its candidates differ in learning rate, and the
    first has the peers' rate.
    """

    def __init__(self, problem: Problem, candidates: int) -> None:
        self._devices = jax.local_device_count()
        self.models = candidates * self._devices
        self._problem = problem
        test = Split(problem.raw.images[:EVALUATED], problem.raw.labels[:EVALUATED])
        self._splits = to_device(problem.raw), to_device(test)
        rates = LEARNING_RATE * 2.0 ** -np.arange(candidates)
        self._hyperparameters = Hyperparameters(jnp.asarray(rates, jnp.float32), *jnp.zeros((2, candidates)))
        self._programs: dict[int, ensemble.Program] = {}

    def train(self, updates: int) -> float:
        """So many updates from the start; the mean of the first candidate's losses."""
        problem = self._problem
        task = dataclasses.replace(problem.task, updates=updates)
        arrays = Arrays(
            problem.key,
            self._hyperparameters,
            jnp.asarray(problem.batches[:updates]),
            jnp.arange(EVALUATED),
            Standardisation(jnp.array([MEAN]), jnp.array([DEVIATION])),
        )
        stacked = ensemble.stack([arrays] * self._devices)
        if updates not in self._programs:
            self._programs[updates] = ensemble.compile_program(task, stacked, *self._splits, updates)
        (((segment, *_), _),) = ensemble.train(self._programs[updates], stacked, *self._splits)
        return float(segment.train.loss[0])
