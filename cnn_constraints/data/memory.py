"""The memory that images take: aligned, so that it is taken once, and refused before it is taken where it is not there."""

import math

import numpy as np

from cnn_constraints.environment import memory_left
from cnn_constraints.errors import InputError

ALIGNMENT = 64
"""Bytes that divide the address of whatever JAX does not copy."""


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Memory that every device of a CPU can read in place: else JAX copies it once for each."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def aligned(array: np.ndarray) -> np.ndarray:
    """The same numbers in such memory: the array itself where it lies there already."""
    if array.flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0:
        return array
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def require_memory(maker: str, shape: tuple[int, ...], itemsize: int) -> None:
    """Raises InputError where there is no room for images of that shape. maker: what its sentence begins with."""
    needed, available = math.prod(shape) * itemsize, memory_left()
    if needed > available:
        raise InputError(
            f"{maker} holds {shape[0]:,} images, which take {needed:,} bytes, and there are {available:,}: at most "
            f"{available * shape[0] // needed:,} of this size fit."
        )
