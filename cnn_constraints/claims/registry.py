"""All claims, in the order in which they are told: those of the text, then those of papers."""

from cnn_constraints.claims import (
    best_delta,
    bias_against_reality,
    constraints_make_convolution,
    convolution_in_dense_space,
    dynamic_signal,
    equivariance,
    kernel_lattice,
    locality_before_sharing,
    locality_exponent,
    parameter_ladder,
    quadratic_separation,
    reach,
    sample_efficiency,
    translation_and_noise,
)
from cnn_constraints.claims.claim import Claim

CLAIMS: dict[str, Claim] = {
    "parameter_ladder": parameter_ladder.CLAIM,
    "constraints_make_convolution": constraints_make_convolution.CLAIM,
    "equivariance": equivariance.CLAIM,
    "reach": reach.CLAIM,
    "sample_efficiency": sample_efficiency.CLAIM,
    "bias_against_reality": bias_against_reality.CLAIM,
    "best_delta": best_delta.CLAIM,
    "kernel_lattice": kernel_lattice.CLAIM,
    "dynamic_signal": dynamic_signal.CLAIM,
    "quadratic_separation": quadratic_separation.CLAIM,
    "locality_exponent": locality_exponent.CLAIM,
    "translation_and_noise": translation_and_noise.CLAIM,
    "locality_before_sharing": locality_before_sharing.CLAIM,
    "convolution_in_dense_space": convolution_in_dense_space.CLAIM,
}
