"""The sum over filter banks, weighted at every output site (Elsayed et al. 2020, equation 2)."""

from jaxtyping import Array, Float

from cnn_constraints.arrays import Outputs


def combine(
    responses: Float[Array, "bank_channels output_height output_width batch"],
    combining: Float[Array, "candidates rank output_height output_width"],
) -> Outputs:
    """H[d, i, j, n] = sum_r combining[r, i, j] responses[r, d, i, j, n], for several candidates side by side."""
    candidates, rank = combining.shape[:2]
    by_bank = responses.reshape(candidates, rank, -1, *responses.shape[1:])
    return (by_bank * combining[:, :, None, :, :, None]).sum(axis=1).reshape(-1, *responses.shape[1:])
