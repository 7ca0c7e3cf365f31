"""Writes docs/bad_input.md: `PYTHONPATH=. python tests/experiments/write_bad_input_page.py`."""

import contextlib
import os
import tempfile
from pathlib import Path

from bad_input import catalogue


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CNN_CONSTRAINTS_CACHE"] = cache
        for chapter, given, entry in catalogue.kinds():
            with tempfile.TemporaryDirectory() as folder, contextlib.chdir(Path(folder).resolve()):
                said = catalogue.neutral(catalogue.give(entry).err)
                rows.append((chapter, catalogue.row(given, entry, said)))
    catalogue.PAGE.write_text(catalogue.page(rows))


if __name__ == "__main__":
    main()
