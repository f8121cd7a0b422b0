"""Files that are there whole, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UNFINISHED = ".unfinished"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A file to write to, which takes the place of `path` when all went well and is gone when not.

    A kill leaves the last `path` as it was, and a file with the ending UNFINISHED beside it.
    """
    unfinished = path.with_suffix(UNFINISHED)
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def made_once(path: Path, make: Callable[[], Any]) -> Any:
    """What a JSON file holds; where it is not there yet, what it is to hold is made first."""
    if not path.exists():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as unfinished:
            unfinished.write_text(json.dumps(made), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))
