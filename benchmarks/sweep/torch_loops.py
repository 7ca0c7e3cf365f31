"""The same training in PyTorch, three ways: eager, compiled, and vmapped over models."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.layers.torch_layers import LAYERS, torch_kernel
from benchmarks.sweep.problem import CLASSES, LEARNING_RATE, POOL, Contender, Problem


def parameters_of(problem: Problem) -> dict[str, Tensor]:
    """Copies: training changes them in place."""
    layer, classifier = problem.parameters["layer_0"], problem.parameters["classifier"]
    arrays = {"weights": torch_kernel(problem.case, layer["weights"]), "bias": layer["bias"][..., 0]}
    arrays |= {"classifier": classifier["kernel"].reshape(-1, CLASSES), "classifier_bias": classifier["bias"]}
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def torch_loop(problem: Problem, way: str, models: int = 1) -> Contender:
    """One model, or several by `torch.func.vmap`, each with its own parameters and all on the same batches."""
    images = torch.from_numpy(problem.images.transpose(0, 3, 1, 2).copy())
    all_labels = torch.from_numpy(problem.raw.labels).long()
    layer = LAYERS[problem.case.cell](problem.case)

    def loss(parameters: dict[str, Tensor], x: Tensor, labels: Tensor) -> Tensor:
        h = functional.relu(layer(x, parameters["weights"]) + parameters["bias"])
        features = functional.avg_pool2d(h, POOL).flatten(1)
        logits = features @ parameters["classifier"] + parameters["classifier_bias"]
        return functional.cross_entropy(logits, labels)

    gradients_of = torch.func.vmap(torch.func.grad_and_value(loss), in_dims=(0, None, None))
    loss_of = torch.compile(loss) if way == "compile" else loss

    def train(updates: int) -> float:
        parameters = parameters_of(problem)
        if way == "vmap":
            parameters = {name: leaf.repeat(models, *[1] * leaf.ndim) for name, leaf in parameters.items()}
        else:
            parameters = {name: leaf.requires_grad_() for name, leaf in parameters.items()}
        optimizer = torch.optim.Adam(parameters.values(), lr=LEARNING_RATE, fused=True)
        losses = []
        for batch in problem.batches[:updates]:
            x, labels = images[batch], all_labels[batch]
            if way == "vmap":
                gradients, (value, *_) = gradients_of(parameters, x, labels)
                for name, leaf in parameters.items():
                    leaf.grad = gradients[name]
            else:
                optimizer.zero_grad()
                value = loss_of(parameters, x, labels)
                value.backward()
            optimizer.step()
            losses.append(float(value.detach()))
        return float(np.mean(losses))

    return Contender(models, train)
