"""The laboratory for Dive into Deep Learning 7.1: a convolution is a fully connected layer under two constraints.

>>> import cnn_constraints as cc
>>> [cc.count(cell, cc.Geometry(1000, 1000), delta=10).weights for cell in ("dense", "shared", "local", "conv")]
[1000000000000, 3996001, 436392100, 441]
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn_constraints.architecture import NETWORKS as NETWORKS
    from cnn_constraints.errors import InputError as InputError
    from cnn_constraints.experiment import Data as Data
    from cnn_constraints.experiment import Experiment as Experiment
    from cnn_constraints.experiment import Model as Model
    from cnn_constraints.experiment import Training as Training
    from cnn_constraints.experiment import axis as axis
    from cnn_constraints.experiment import product as product
    from cnn_constraints.experiment import replace as replace
    from cnn_constraints.experiment import replace_axes as replace_axes
    from cnn_constraints.lattice.constraints import CONSTRAINTS as CONSTRAINTS
    from cnn_constraints.lattice.constraints import Constraint as Constraint
    from cnn_constraints.lattice.constraints import ties as ties
    from cnn_constraints.lattice.counts import count as count
    from cnn_constraints.lattice.geometry import Geometry as Geometry
    from cnn_constraints.lattice.order import join as join
    from cnn_constraints.lattice.order import leq as leq
    from cnn_constraints.lattice.order import meet as meet
    from cnn_constraints.layer import ConstrainedLayer as ConstrainedLayer
    from cnn_constraints.layer import Conv as Conv
    from cnn_constraints.layer import Dense as Dense
    from cnn_constraints.layer import Local as Local
    from cnn_constraints.layer import Shared as Shared
    from cnn_constraints.store import load as load
    from cnn_constraints.store import predict as predict
    from cnn_constraints.store import read as read
    from cnn_constraints.summaries import at_edge as at_edge
    from cnn_constraints.summaries import compare as compare
    from cnn_constraints.summaries import compare_differences as compare_differences
    from cnn_constraints.summaries import comparisons as comparisons
    from cnn_constraints.summaries import summarise as summarise
    from cnn_constraints.sweep import Observer as Observer
    from cnn_constraints.sweep import run as run
    from cnn_constraints.variables import embed as embed
    from cnn_constraints.variables import expand as expand
    from cnn_constraints.variables import project as project
    from cnn_constraints.variables import violation as violation

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
