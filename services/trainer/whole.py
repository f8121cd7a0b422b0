"""Files and folders that are there whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def copied_whole(source: Path, folder: Path) -> None:
    """Copy a folder; one with the ending UNFINISHED is left by a kill, and begun anew."""
    unfinished = folder.with_suffix(UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(source, unfinished)
    unfinished.rename(folder)
