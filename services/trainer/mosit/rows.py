"""The rows of a file of dialogues; what is no record becomes the defect that stands in its place."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from anygpt.errors import InvalidInput
from services.trainer.mosit.record import Defect, OutOfForm
from services.trainer.mosit.tags import BrokenTag

Fields = Mapping[str, Any]
Given = TypeVar("Given")
Made = TypeVar("Made")
MOST_REASONS = 5
"""Reasons that are told of one record."""


def read_rows(path: Path) -> list[Fields | Defect]:
    """The rows of a JSON list or of JSONL. Raises InvalidInput for no file, or a list that is no JSON."""
    if not path.is_file():
        why = f"{path.name} is a folder" if path.is_dir() else f"there is no file {path.name}"
        raise InvalidInput(why, reason="DATA_MISSING", field="file")
    content = path.read_bytes().removeprefix(BOM_UTF8)
    if content.lstrip().startswith(b"["):
        return [tried(place, fields_of, value) for place, value in enumerate(_listed(path.name, content))]
    lines = [line for line in content.split(b"\n") if line.strip()]
    return [tried(place, _fields_of_line, line) for place, line in enumerate(lines)]


def fields_of(value: object) -> Fields:
    """A value of JSON as a record's fields. Raises ValueError for another one, or for text that has no encoding."""
    if not isinstance(value, dict):
        raise ValueError("a record is an object of JSON")
    # Half a surrogate pair is no text: encoding refuses it.
    json.dumps(value, ensure_ascii=False).encode()
    return value


def tried(place: int, step: Callable[[Given], Made], given: Given) -> Made | Defect:
    """What a step makes of a record, or the rule that hinders it."""
    try:
        return step(given)
    except ValidationError as error:
        return Defect(place, "form", _reasons(error))
    except (OutOfForm, BrokenTag) as error:
        return Defect(place, "tags", str(error))
    except json.JSONDecodeError as error:
        return Defect(place, "form", f"no JSON at column {error.colno}: {error.msg}")
    except (ValueError, RecursionError) as error:
        return Defect(place, "form", str(error))


def _listed(name: str, content: bytes) -> list[object]:
    try:
        return list(_loaded(content))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name} is no JSON: {error}", reason="DATA_MALFORMED", field="file") from error


def _fields_of_line(line: bytes) -> Fields:
    return fields_of(_loaded(line))


def _loaded(content: bytes) -> Any:
    return json.loads(content.decode(), object_pairs_hook=_object)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON; what has a key twice gets one that no form knows, lest the first value be lost unseen."""
    found: dict[str, object] = {}
    for key, value in pairs:
        found[f"{key} (twice)" if key in found else key] = value
    return found


def _reasons(error: ValidationError) -> str:
    """What a record has that its form has not, the first few."""
    found = [
        f"{'.'.join(map(str, one['loc']))}: {one['msg'].replace('tuple', 'list')}" for one in error.errors()
    ]
    more = [f"{len(found) - MOST_REASONS} more"] if len(found) > MOST_REASONS else []
    return "; ".join(found[:MOST_REASONS] + more)
