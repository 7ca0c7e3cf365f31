"""The same training in PyTorch, three ways: eager, compiled, and vmapped over models."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.layers.torch_layers import fourier, unfold_and_bmm
from benchmarks.sweep.problem import CLASSES, LEARNING_RATE, POOL, SIZE, Problem, kernel

Parameters = dict[str, Tensor]
Loss = Callable[[Parameters, Tensor, Tensor], Tensor]


def loss_of(problem: Problem) -> Loss:
    """The mean cross-entropy of a batch, for one model."""
    reach = SIZE - 1 if problem.delta is None else problem.delta

    def layer(parameters: Parameters, x: Tensor) -> Tensor:
        weights, bias = parameters["weights"], parameters["bias"]
        if problem.cell == "dense":
            return (x.flatten(1) @ weights).reshape(len(x), -1, SIZE, SIZE) + bias
        if problem.cell == "local":
            return unfold_and_bmm(x, weights, (reach, reach)) + bias
        if problem.cell == "shared":
            return fourier(x, weights) + bias
        return functional.conv2d(x, weights, padding=reach) + bias

    def loss(parameters: Parameters, x: Tensor, labels: Tensor) -> Tensor:
        h = functional.avg_pool2d(functional.relu(layer(parameters, x)), POOL)
        logits = h.flatten(1) @ parameters["classifier"] + parameters["classifier_bias"]
        return functional.cross_entropy(logits, labels)

    return loss


def parameters_of(problem: Problem) -> Parameters:
    """Copies: training changes them in place."""
    weights, channels = kernel(problem), problem.network.layers[0].out_channels
    if problem.cell == "dense":
        weights = weights[:, 0].transpose(0, 2, 1).reshape(len(weights), -1)
    elif problem.cell == "local":
        weights = weights.transpose(0, 1, 4, 2, 3, 5).reshape(SIZE * SIZE, -1, channels)
    else:
        weights = weights.transpose(3, 2, 0, 1)
    classifier = problem.parameters["classifier"]
    arrays = {
        "weights": weights,
        "bias": problem.parameters["layer_0"]["bias"][..., 0],
        "classifier": classifier["kernel"].reshape(-1, CLASSES),
        "classifier_bias": classifier["bias"],
    }
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


class TorchLoop:
    """One model, or several by `torch.func.vmap`, each with its own parameters and all on the same batches."""

    def __init__(self, problem: Problem, way: str, models: int = 1) -> None:
        self.models = models
        self._problem, self._vmapped = problem, way == "vmap"
        self._images = torch.from_numpy(problem.images.transpose(0, 3, 1, 2).copy())
        self._labels = torch.from_numpy(problem.labels).long()
        loss = loss_of(problem)
        if self._vmapped:
            self._gradient = torch.func.vmap(torch.func.grad_and_value(loss), in_dims=(0, None, None))
        self._loss = torch.compile(loss) if way == "compile" else loss

    def train(self, updates: int) -> float:
        """So many updates from the start; the mean of their losses."""
        parameters = parameters_of(self._problem)
        if self._vmapped:
            parameters = {name: leaf.repeat(self.models, *[1] * leaf.ndim) for name, leaf in parameters.items()}
        else:
            parameters = {name: leaf.requires_grad_() for name, leaf in parameters.items()}
        optimizer = torch.optim.Adam(parameters.values(), lr=LEARNING_RATE, fused=True)
        losses = []
        for batch in self._problem.batches[:updates]:
            x, labels = self._images[batch], self._labels[batch]
            if self._vmapped:
                gradients, value = self._gradient(parameters, x, labels)
                for name, leaf in parameters.items():
                    leaf.grad = gradients[name]
                value = value[0]
            else:
                optimizer.zero_grad()
                value = self._loss(parameters, x, labels)
                value.backward()
            optimizer.step()
            losses.append(float(value.detach()))
        return float(np.mean(losses))
