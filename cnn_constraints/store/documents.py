"""JSON files of a run folder that carry their own checksum, so that one that was altered is not taken for true."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cnn_constraints.errors import InputError, input_error, nearest_name
from cnn_constraints.files import digest, write_json, write_with_room

T = TypeVar("T")

Document = dict[str, Any]

FORMAT = 3
"""Of a run folder. Format 1 had no checksums; format 2 tables of mixed rows, and other names."""

REMEDY = "restore it, or move it away and repeat the sweep, which keeps all results and writes it anew."

SHOWN = 8
"""Run folders that are named."""

ROOM = "finished experiments are kept; make room, then run the same command again."


class OtherFormat(InputError):
    """A document of an older or a newer version: never read, and never written over."""


def write(path: Path, content: Mapping[str, Any], make_room: Callable[[], bool] = lambda: False) -> None:
    """Whole or not at all, with its format and checksum. make_room: on a full disk, whether there is more now. Raises
    InputError where the file system refuses.
    """
    described = {"format": FORMAT, **content}
    whole = described | {"checksum": _checksum(described)}
    with input_error(f"{path} cannot be written", ROOM):
        write_with_room(lambda: write_json(path, whole), make_room)


def read(path: Path, remedy: str = REMEDY) -> Document:
    """The content of a document. Raises InputError where it is missing, damaged or altered, and OtherFormat."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise _no_run_folder(path) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): mend that, then try again.") from None
    except ValueError:
        raise InputError(f"{path} is damaged, since it is not JSON: {remedy}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged, since it does not hold an object: {remedy}")
    # The format first: another one may have other entries.
    if entry(path, content, "format", int, remedy) != FORMAT:
        raise OtherFormat(
            f"{path.parent} has format {content['format']}, and this version reads format {FORMAT}: read it with the "
            f"version that made it, or choose another folder."
        )
    checksum = content.pop("checksum", None)
    if checksum != _checksum(content):
        raise InputError(f"{path} was altered, since its checksum is not that of its content: {remedy}")
    return content


def _no_run_folder(document: Path) -> InputError:
    folder, place = document.parent, document.parent.parent
    runs_in = lambda place: sorted(found.parent.name for found in place.glob(f"*/{document.name}"))
    if folder.is_dir():
        inside = runs_in(folder)
        hint = f", but {', '.join(inside[:SHOWN])} in it are" if inside else ""
        return InputError(f"{folder} is not a run folder: it has no {document.name}{hint}.")
    near = nearest_name(folder.name, runs_in(place))
    return InputError(f"There is no run folder {folder}{f': did you mean {place / near}?' if near else '.'}")


def entry(path: Path, content: Mapping[str, Any], name: str, kind: type[T], remedy: str = REMEDY) -> T:
    """An entry of the document at `path`. Raises InputError where it is missing or of another type."""
    value = content.get(name)
    if not isinstance(value, kind):
        raise InputError(f"{path} is damaged, since its entry {name!r} is missing or of another type: {remedy}")
    return value


def _checksum(content: Mapping[str, Any]) -> str:
    return digest(json.dumps(content, sort_keys=True).encode())
