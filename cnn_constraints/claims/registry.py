"""All claims by name, with all that they import."""

from importlib import import_module
from typing import get_args

from cnn_constraints.claims import Name
from cnn_constraints.claims.claim import Claim

CLAIMS: dict[str, Claim] = {name: import_module(f"cnn_constraints.claims.{name}").CLAIM for name in get_args(Name)}
