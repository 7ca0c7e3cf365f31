"""All claims by name, with all that they import."""

from collections.abc import Iterable
from importlib import import_module
from typing import get_args

from cnn_constraints.claims import Name, Tier
from cnn_constraints.claims.claim import Claim
from cnn_constraints.errors import InputError

CLAIMS: dict[str, Claim] = {name: import_module(f"cnn_constraints.claims.{name}").CLAIM for name in get_args(Name)}


def measured_in(tier: Tier, names: Iterable[str] = ()) -> list[str]:
    """Of claims: those that are named, or all that the tier measures. Raises InputError where it does not measure one."""
    chosen = list(dict.fromkeys(names)) or [name for name in CLAIMS if tier in CLAIMS[name].seeds]
    for name in chosen:
        if tier not in CLAIMS[name].seeds:
            raise InputError(f"{name} is not measured in the tier {tier}: --tier {' or '.join(CLAIMS[name].seeds)}.")
    return chosen
