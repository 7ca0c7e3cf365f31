"""The layers of PyTorch, images [batch, channels, height, width]."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.layers.contender import Arrays, Case, Contender, Maker
from benchmarks.layers.definition import Products, kernel_of

Apply = Callable[[Tensor, Tensor], Tensor]


def unfold_and_bmm(x: Tensor, weights: Tensor, reach: tuple[int, int]) -> Tensor:
    """weights[site, c * a * b, d]: as PyTorch's users write a locally connected layer."""
    rows, columns = reach
    patches = functional.unfold(x, (2 * rows + 1, 2 * columns + 1), padding=reach).permute(2, 0, 1)
    h = torch.bmm(patches, weights)
    return h.permute(1, 2, 0).reshape(len(x), -1, *x.shape[2:])


def fourier(x: Tensor, weights: Tensor) -> Tensor:
    """weights[d, c, 2 h - 1, 2 w - 1]: the correlation theorem on a torus of that size."""
    height, width = x.shape[2:]
    size = weights.shape[2:]
    image = torch.fft.rfft2(x, s=size)
    spectrum = torch.conj(torch.fft.rfft2(torch.roll(weights, (1 - height, 1 - width), (2, 3))))
    product = torch.einsum("ncij,dcij->ndij", image, spectrum)
    return torch.fft.irfft2(product, s=size)[:, :, :height, :width]


def _contender(
    apply: Apply,
    x: np.ndarray,
    weights: np.ndarray,
    gradient: np.ndarray,
    common: Callable,
    layout: torch.memory_format = torch.contiguous_format,
) -> Contender:
    tensors = (torch.from_numpy(np.ascontiguousarray(array)) for array in (x, weights, gradient))
    images, kernel, back = (tensor.clone(memory_format=layout) for tensor in tensors)
    images.requires_grad_()
    kernel.requires_grad_()

    def forward() -> Tensor:
        with torch.no_grad():
            return apply(images, kernel)

    def both() -> tuple[Tensor, ...]:
        h = apply(images, kernel)
        return (h, *torch.autograd.grad(h, (images, kernel), back))

    return Contender(forward, both, lambda: common(*(array.detach().numpy() for array in both())))


def _convolution(apply: Callable[[Case], Apply], channels_last: bool = False, compiled: bool = False) -> Maker:
    def make(case: Case, arrays: Arrays) -> Contender:
        kernel = kernel_of(case.cell, arrays.weights, case.geometry, case.delta).transpose(3, 2, 0, 1)
        layer = torch.compile(apply(case)) if compiled else apply(case)
        layout = torch.channels_last if channels_last else torch.contiguous_format

        def common(h: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Products:
            return Products(h.transpose(0, 2, 3, 1), x.transpose(0, 2, 3, 1), weights.transpose(2, 3, 1, 0))

        images, gradient = (array.transpose(0, 3, 1, 2) for array in (arrays.images, arrays.gradient))
        return _contender(layer, images, kernel, gradient, common, layout)

    return make


def _reach(case: Case) -> tuple[int, int]:
    return -case.geometry.rows.offsets(case.delta)[0], -case.geometry.columns.offsets(case.delta)[0]


def _direct(case: Case) -> Apply:
    return lambda x, weights: functional.conv2d(x, weights, padding=_reach(case))


def _fourier(case: Case) -> Apply:
    return fourier


def _local(compiled: bool) -> Maker:
    def make(case: Case, arrays: Arrays) -> Contender:
        reach = _reach(case)
        kernel = kernel_of("local", arrays.weights, case.geometry, case.delta).transpose(0, 1, 4, 2, 3, 5)
        shape = kernel.shape

        def apply(x: Tensor, weights: Tensor) -> Tensor:
            return unfold_and_bmm(x, weights, reach)

        def common(h: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Products:
            by_offset = weights.reshape(shape).transpose(0, 1, 3, 4, 2, 5)
            return Products(h.transpose(0, 2, 3, 1), x.transpose(0, 2, 3, 1), by_offset)

        kernel = kernel.reshape(case.geometry.output_sites, -1, case.out_channels)
        images, gradient = (array.transpose(0, 3, 1, 2) for array in (arrays.images, arrays.gradient))
        return _contender(torch.compile(apply) if compiled else apply, images, kernel, gradient, common)

    return make


def _dense(case: Case, arrays: Arrays) -> Contender:
    kernel = kernel_of("dense", arrays.weights, case.geometry, None)

    def apply(x: Tensor, matrix: Tensor) -> Tensor:
        return x.flatten(1) @ matrix

    def common(h: np.ndarray, x: np.ndarray, matrix: np.ndarray) -> Products:
        return Products(h.reshape(arrays.gradient.shape), x, matrix.reshape(kernel.shape))

    matrix = kernel.reshape(arrays.images[0].size, -1)
    return _contender(apply, arrays.images, matrix, arrays.gradient.reshape(len(arrays.images), -1), common)


MAKERS: dict[str, dict[str, Maker]] = {
    "conv": {
        "torch conv2d": _convolution(_direct),
        "torch conv2d, channels last": _convolution(_direct, channels_last=True),
        "torch conv2d, compiled": _convolution(_direct, compiled=True),
    },
    "shared": {"torch conv2d": _convolution(_direct), "torch fft": _convolution(_fourier)},
    "local": {"torch unfold + bmm": _local(compiled=False), "torch unfold + bmm, compiled": _local(compiled=True)},
    "dense": {"torch matmul": _dense},
}
