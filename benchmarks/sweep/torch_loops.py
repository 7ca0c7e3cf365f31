"""The same training in PyTorch on the same device, three ways: eager, compiled, and vmapped over models."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.layers.torch_layers import LAYERS, compute_as_jax, finish, torch_kernel
from benchmarks.sweep.problem import CLASSES, LEARNING_RATE, Contender, Problem
from cnn_constraints.network import layer_name


def parameters_of(problem: Problem, device: str) -> dict[str, Tensor]:
    """Copies: training changes them in place."""
    classifier = problem.parameters["classifier"]
    arrays = {"classifier": classifier["kernel"].reshape(-1, CLASSES), "classifier_bias": classifier["bias"]}
    for number, case in enumerate(problem.cases):
        layer = problem.parameters[layer_name(number)]
        arrays |= {f"weights_{number}": torch_kernel(case, layer["weights"]), f"bias_{number}": layer["bias"][..., 0]}
    return {name: torch.from_numpy(np.array(array)).to(device) for name, array in arrays.items()}


def torch_loop(problem: Problem, way: str, models: int = 1) -> Contender:
    """One model, or several by `torch.func.vmap`, each with its own parameters and all on the same batches."""
    device = compute_as_jax()
    images = torch.from_numpy(problem.images.transpose(0, 3, 1, 2).copy()).to(device)
    all_labels = torch.from_numpy(problem.raw.labels).long().to(device)
    batches = torch.from_numpy(problem.batches).long().to(device)
    layers = [LAYERS[case.cell](case) for case in problem.cases]

    def loss(parameters: dict[str, Tensor], x: Tensor, labels: Tensor) -> Tensor:
        for number, (layer, pool) in enumerate(zip(layers, problem.pools, strict=True)):
            h = functional.relu(layer(x, parameters[f"weights_{number}"]) + parameters[f"bias_{number}"])
            x = functional.avg_pool2d(h, pool)
        logits = x.flatten(1) @ parameters["classifier"] + parameters["classifier_bias"]
        return functional.cross_entropy(logits, labels)

    gradients_of = torch.func.vmap(torch.func.grad_and_value(loss), in_dims=(0, None, None))
    loss_of = torch.compile(loss) if way == "compile" else loss

    def train(updates: int) -> float:
        parameters = parameters_of(problem, device)
        if way == "vmap":
            parameters = {name: leaf.repeat(models, *[1] * leaf.ndim) for name, leaf in parameters.items()}
        else:
            parameters = {name: leaf.requires_grad_() for name, leaf in parameters.items()}
        optimizer = torch.optim.Adam(parameters.values(), lr=LEARNING_RATE, fused=True)
        losses = []
        for batch in batches[:updates]:
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
            losses.append(value.detach())
        finish(device)
        return float(torch.stack(losses).mean())

    return Contender(models, train)
