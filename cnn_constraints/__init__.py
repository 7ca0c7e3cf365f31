"""The laboratory for Dive into Deep Learning 7.1: a convolution is a fully connected layer under two constraints.

>>> import cnn_constraints as cc
>>> [cc.count(cell, cc.Geometry(1000, 1000), delta=10).weights for cell in ("dense", "shared", "local", "conv")]
[1000000000000, 3996001, 436392100, 441]
"""

# ruff: noqa: F401, what stands under TYPE_CHECKING is for who reads types

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn_constraints.architecture import NETWORKS
    from cnn_constraints.errors import InputError
    from cnn_constraints.experiment import Data, Experiment, Model, Training, axis, product, replace, replace_axes
    from cnn_constraints.lattice.constraints import CONSTRAINTS, Constraint, ties
    from cnn_constraints.lattice.counts import count
    from cnn_constraints.lattice.geometry import Geometry
    from cnn_constraints.lattice.order import join, leq, meet
    from cnn_constraints.layer import ConstrainedLayer, Conv, Dense, Local, Shared
    from cnn_constraints.store import load, predict, read
    from cnn_constraints.summaries import at_edge, compare, compare_differences, comparisons, summarise
    from cnn_constraints.sweep import Observer, run
    from cnn_constraints.variables import embed, expand, project, violation

_WHERE = {
    "architecture": ("NETWORKS",),
    "errors": ("InputError",),
    "experiment": ("Data", "Experiment", "Model", "Training", "axis", "product", "replace", "replace_axes"),
    "lattice.constraints": ("CONSTRAINTS", "Constraint", "ties"),
    "lattice.counts": ("count",),
    "lattice.geometry": ("Geometry",),
    "lattice.order": ("join", "leq", "meet"),
    "layer": ("ConstrainedLayer", "Conv", "Dense", "Local", "Shared"),
    "sweep": ("Observer", "run"),
    "store": ("load", "predict", "read"),
    "summaries": ("at_edge", "compare", "compare_differences", "comparisons", "summarise"),
    "variables": ("embed", "expand", "project", "violation"),
}
__all__ = sorted(name for names in _WHERE.values() for name in names)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Each name when it is asked for: who only counts waits for no JAX."""
    for module, names in _WHERE.items():
        if name in names:
            return getattr(importlib.import_module(f"cnn_constraints.{module}"), name)
    raise AttributeError(f"module 'cnn_constraints' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
