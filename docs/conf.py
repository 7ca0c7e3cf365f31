"""The site of these pages: `pip install -e '.[docs]' && python -m sphinx -W --keep-going -n docs <folder>`."""

import dataclasses
import inspect
import re
from typing import Any

project = "cnn_constraints"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "contents"
html_theme = "furo"
html_title = "cnn_constraints"
html_show_copyright = False
html_copy_source = html_show_sourcelink = False
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# Types are shown as text: they are of other projects, and arrays of ours.
nitpick_ignore_regex = [("py:.*", ".*")]


def write_plainly(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text, with `code` and examples in it, and no reStructuredText."""
    example = False
    for number, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            parts = re.split(r"(`[^`]+`)", line)
            lines[number] = "".join(
                f"`{part}`" if part.startswith("`") else re.sub(r"([*|\\_])", r"\\\1", part) for part in parts
            )


def show_fields(app: Any, what: str, name: str, thing: Any, options: Any, signature: Any, returned: Any) -> Any:
    """Of a layer its options, where its `__new__` would be shown, which takes anything and refuses what is no option."""
    if what != "class" or not dataclasses.is_dataclass(thing) or thing.__new__ is object.__new__:
        return None
    parameters = inspect.signature(thing.__init__).parameters.values()
    shown = [one.replace(annotation=one.empty) for one in parameters if one.name not in ("self", "parent")]
    return str(inspect.Signature(shown)), None


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", write_plainly)
    app.connect("autodoc-process-signature", show_fields)
