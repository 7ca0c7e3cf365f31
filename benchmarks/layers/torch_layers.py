"""The layers of PyTorch, images [batch, channels, height, width]."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import measure
from benchmarks.layers.case import Arrays, Case, Contender, Maker, kernel_of

Apply = Callable[[Tensor, Tensor], Tensor]


def conv2d(case: Case) -> Apply:
    """weights[d, c, a, b]."""
    reach = case.reach
    return lambda x, weights: functional.conv2d(x, weights, padding=reach)


def fourier(case: Case) -> Apply:
    """weights[d, c, 2 h - 1, 2 w - 1]: the correlation theorem on a torus of that size."""
    height, width = case.geometry.height, case.geometry.width
    size = case.kernel_size

    def apply(x: Tensor, weights: Tensor) -> Tensor:
        spectrum = torch.conj(torch.fft.rfft2(torch.roll(weights, (1 - height, 1 - width), (2, 3))))
        product = torch.einsum("ncij,dcij->ndij", torch.fft.rfft2(x, s=size), spectrum)
        return torch.fft.irfft2(product, s=size)[:, :, :height, :width]

    return apply


def unfold_and_bmm(case: Case) -> Apply:
    """weights[site, c * a * b, d]: as PyTorch's users write a locally connected layer."""
    size, reach = case.kernel_size, case.reach

    def apply(x: Tensor, weights: Tensor) -> Tensor:
        patches = functional.unfold(x, size, padding=reach).permute(2, 0, 1)
        return torch.bmm(patches, weights).permute(1, 2, 0).reshape(len(x), -1, *x.shape[2:])

    return apply


def matmul(case: Case) -> Apply:
    """weights[c * sites, d * sites]."""
    return lambda x, weights: (x.flatten(1) @ weights).reshape(len(x), -1, *x.shape[2:])


LAYERS = {"conv": conv2d, "shared": fourier, "local": unfold_and_bmm, "dense": matmul}


def torch_kernel(case: Case, weights: np.ndarray) -> np.ndarray:
    """Our free weights as the LAYERS take them."""
    kernel = kernel_of(case, weights)
    if case.cell == "dense":
        return kernel.transpose(1, 0, 3, 2).reshape(kernel.shape[0] * kernel.shape[1], -1)
    if case.cell == "local":
        return kernel.transpose(0, 1, 4, 2, 3, 5).reshape(case.geometry.output_sites, -1, case.out_channels)
    return kernel.transpose(3, 2, 0, 1)


def compute_as_jax() -> str:
    """The device that JAX computes on; PyTorch's products are from now on as precise as JAX's are."""
    exact = measure.product_error() == measure.FLOAT32
    torch.set_float32_matmul_precision("highest" if exact else "high")
    torch.backends.cudnn.allow_tf32 = not exact
    return measure.torch_device() or "cpu"


def finish(device: str) -> None:
    """Waits until all is computed."""
    if device == "cuda":
        torch.cuda.synchronize()


def maker(layer: Callable[[Case], Apply], compiled: bool = False, channels_last: bool = False) -> Maker:
    """A contender of a layer; channels_last: how PyTorch lays out images and kernels in memory."""
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def make(case: Case, arrays: Arrays) -> Contender:
        device = compute_as_jax()
        apply = torch.compile(layer(case)) if compiled else layer(case)
        x, gradient = (array.transpose(0, 3, 1, 2) for array in (arrays.images, arrays.outputs))
        stored = Arrays(x, torch_kernel(case, arrays.weights), gradient)
        tensors = (torch.from_numpy(np.array(array, np.float32, order="C")).to(device) for array in stored)
        images, weights, back = (tensor.clone(memory_format=layout) for tensor in tensors)
        images.requires_grad_()
        weights.requires_grad_()

        def forward() -> Tensor:
            with torch.no_grad():
                h = apply(images, weights)
            finish(device)
            return h

        def both() -> tuple[Tensor, ...]:
            h = apply(images, weights)
            gradients = torch.autograd.grad(h, (images, weights), back)
            finish(device)
            return (*gradients, h.detach())

        return Contender(forward, both, stored)

    return make


MAKERS: dict[str, dict[str, Maker]] = {
    "conv": {
        "torch conv2d": maker(conv2d),
        "torch conv2d, channels last": maker(conv2d, channels_last=True),
        "torch conv2d, compiled": maker(conv2d, compiled=True),
    },
    "shared": {"torch conv2d": maker(conv2d), "torch fft": maker(fourier)},
    "local": {
        "torch unfold + bmm": maker(unfold_and_bmm),
        "torch unfold + bmm, compiled": maker(unfold_and_bmm, compiled=True),
    },
    "dense": {"torch matmul": maker(matmul)},
}
