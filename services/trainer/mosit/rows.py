"""The rows of a file of dialogues; what is no record becomes the defect that stands in its place."""

from __future__ import annotations

import json
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


def read_rows(path: Path) -> list[Fields | Defect]:
    """The rows of a JSON list or of JSONL. Raises InvalidInput for no file, or a list that is no JSON."""
    if not path.is_file():
        raise InvalidInput(f"there is no file {path.name}", reason="DATA_MISSING", field="file")
    content = path.read_bytes()
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
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"])
        return Defect(place, "form", f"{where}: {first['msg']}")
    except (OutOfForm, BrokenTag) as error:
        return Defect(place, "tags", str(error))
    except json.JSONDecodeError as error:
        return Defect(place, "form", f"no JSON at column {error.colno}: {error.msg}")
    except (ValueError, RecursionError) as error:
        return Defect(place, "form", str(error))


def _listed(name: str, content: bytes) -> list[object]:
    try:
        return list(json.loads(content.decode()))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name} is no JSON: {error}", reason="DATA_MALFORMED", field="file") from error


def _fields_of_line(line: bytes) -> Fields:
    return fields_of(json.loads(line.decode()))
