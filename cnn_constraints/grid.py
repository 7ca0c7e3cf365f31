"""An axis as it is written on a command line: `model.delta=0,1,None`."""

import ast
import itertools
from collections.abc import Iterable
from typing import Any

from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Axis, axis


def parse_axis(text: str) -> Axis:
    """The axis that is written as fields=values. Values are Python literals, bare names, which stand for themselves, and
    range(...); fields that change together have their values in parentheses. Raises InputError as `axis` does, and for
    what is not so written.

    >>> parse_axis("model.constraint=conv,local") == axis("model.constraint", ["conv", "local"])
    True
    >>> parse_axis("seed=range(3),7") == axis("seed", [0, 1, 2, 7])
    True
    >>> parse_axis("model.constraint,model.delta=(conv,2),(dense,None)")
    [{'model.constraint': 'conv', 'model.delta': 2}, {'model.constraint': 'dense', 'model.delta': None}]
    """
    written, equals, values = text.partition("=")
    if not equals:
        raise InputError(f"The axis {text!r} has no values: write fields=values, as in model.delta=0,1,None.")
    fields = [name.strip().replace("-", "_") for name in written.split(",")]
    return axis(fields[0] if len(fields) == 1 else fields, _parse_values(values))


def _parse_values(text: str) -> Iterable[Any]:
    try:
        # In brackets, so that one value in parentheses differs from several without.
        listed = ast.parse(f"[{text.strip()}]", mode="eval").body
        if not isinstance(listed, ast.List):
            raise ValueError
        return itertools.chain.from_iterable([_evaluate(node) for node in listed.elts])
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise InputError(
            f"The values {text!r} cannot be read: separate Python literals, names or range(n) by commas, and put any other "
            f"text in quotes."
        ) from None


def _evaluate(node: ast.expr) -> Iterable[Any]:
    """The value of a literal, and those of a range."""
    match node:
        case ast.Call(func=ast.Name(id="range"), args=bounds, keywords=[]):
            return range(*map(ast.literal_eval, bounds))
    return [ast.literal_eval(_NamesAsTexts().visit(node))]


class _NamesAsTexts(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.Constant:
        return ast.Constant(node.id)
