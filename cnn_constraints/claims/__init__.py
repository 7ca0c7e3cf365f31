"""Claims of the text and of papers, one a file: what was said, how it is measured here, and whether it holds."""

from typing import Literal

Name = Literal[
    "equivariance",
    "reach",
    "parameter_ladder",
    "constraints_make_convolution",
    "best_delta",
    "sample_efficiency",
    "bias_against_reality",
    "kernel_lattice",
    "average_is_augmentation",
    "dynamic_signal",
    "quadratic_separation",
    "locality_exponent",
    "sparse_hierarchy",
    "parity",
    "invisible_at_infinite_width",
    "position_from_the_border",
    "receptive_fields_emerge",
    "pruning_finds_locality",
    "translation_and_noise",
    "locality_before_sharing",
    "convolution_in_dense_space",
]
"""In the order in which they are told, that of the text and then papers; each is the CLAIM of the module of that name."""

Tier = Literal["quick", "cpu", "gpu"]
"""quick: those of a minute or two on two cores, without photographs. cpu: all. gpu: all, by the protocols in full."""
