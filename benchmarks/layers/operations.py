"""The least arithmetic of one pass through a layer, which its speed is held against."""

import math

from benchmarks.layers.contender import Case
from cnn_constraints.lattice import counts


def least_operations(case: Case) -> float:
    """Those of the definition, or where weights are tied of the Fourier transform, if that needs fewer."""
    count = counts.count(case.cell, case.geometry, case.delta, case.in_channels, case.out_channels)
    operations = 2.0 * case.batch * count.multiply_adds
    return min(operations, _fourier_operations(case)) if case.cell in ("shared", "conv") else operations


def _fourier_operations(case: Case) -> float:
    """2.5 n log2 n for every real transform of n padded sites, and half a spectrum of complex products, 8 each."""
    reach = max(case.geometry.height, case.geometry.width) - 1 if case.delta is None else case.delta
    padded = (case.geometry.height + reach) * (case.geometry.width + reach)
    pairs = case.in_channels * case.out_channels
    transforms = case.batch * (case.in_channels + case.out_channels) + pairs
    return transforms * 2.5 * padded * math.log2(padded) + 4 * padded * case.batch * pairs
