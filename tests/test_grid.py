"""An axis that is written down is read as the same axis."""

import keyword
from typing import Any

import numpy as np
import pytest
from any_input import MANY
from hypothesis import given, settings
from hypothesis import strategies as st
from random_experiments import IN_ORDER, PAIRS

from cnn_constraints.errors import InputError
from cnn_constraints.experiment import DEFAULTS, axis
from cnn_constraints.grid import parse_axis


def written(value: Any) -> str:
    """As a user writes it: names without quotes."""
    if isinstance(value, tuple):
        return f"({', '.join(map(written, value))}{',' * (len(value) == 1)})"
    bare = isinstance(value, str) and value.isidentifier() and not keyword.iskeyword(value)
    return str(value) if bare else repr(value)


@settings(max_examples=MANY)
@given(st.data())
def test_what_is_written_is_what_is_read(data: st.DataObject):
    fields = data.draw(st.lists(st.sampled_from(sorted(PAIRS)), min_size=1, max_size=3, unique=True))
    entries = data.draw(st.lists(st.tuples(*(IN_ORDER[field] for field in fields)), min_size=1))
    together = f"{','.join(fields)}={','.join(map(written, entries))}"
    assert parse_axis(together) == axis(fields if len(fields) > 1 else fields[0], entries)
    for field, *values in zip(fields, *entries, strict=True):
        assert parse_axis(f" {field.replace('_', '-')} = {', '.join(map(written, values))} ") == axis(field, values)


def test_a_range_is_pythons_and_stands_among_other_values(generator: np.random.Generator):
    first, last, step = (int(generator.integers(-9, 9)), int(generator.integers(10, 40)), int(generator.integers(1, 5)))
    found = parse_axis(f"seed=range({last}),7,range({first},{last}),range({last},{first},-{step})")
    assert found == axis("seed", [*range(last), 7, *range(first, last), *range(last, first, -step)])


UNREADABLE = [
    *("1,,2", "1],[2", "(1", "range()", "range(x)", "range(1,2,0)", "(1,range(2))", "exit()", "set()", "a.b", "1+1"),
    *("*a", "a=1", "[x for x in a]", "lambda: 0", "f'{seed}'", "/some/where", "two words", "(" * 10_000, "9" * 5000),
]


@pytest.mark.parametrize("values", UNREADABLE, ids=lambda text: text[:20])
def test_nothing_is_evaluated(values):
    with pytest.raises(InputError, match="cannot be read"):
        parse_axis(f"seed={values}")


PIECES = ["seed", "model.delta", "conv", "None", "range(", "3", *"-=,()[]{'\\* "]


@given(st.text() | st.lists(st.sampled_from(PIECES)).map(lambda pieces: "seed=" + "".join(pieces)))
def test_any_text_is_an_axis_or_refused_in_a_sentence(text):
    try:
        assert all(set(change) <= set(DEFAULTS) for change in parse_axis(text))
    except InputError as refusal:
        assert str(refusal)[-1] in ".?"
