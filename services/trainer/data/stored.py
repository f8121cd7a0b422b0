"""Data sets as files: what is missing, out of form or in a wrong split is told by file and place.

All raise InvalidInput, with the reason DATA_MISSING, DATA_MALFORMED or DATA_SPLIT.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from anygpt.errors import InvalidInput
from anygpt.whole import write_whole
from services.trainer.locking import lock_beside

STRICT = ConfigDict(extra="forbid")
"""For dataclasses of records: another key is an error."""


def records(path: Path, form: Any) -> Any:
    """What a JSON file holds, as an object of the type `form`, strictly."""
    try:
        return TypeAdapter(form).validate_json(_there(path).read_bytes(), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise malformed(path, f"{place}: {first['msg']}" if place else first["msg"]) from error


def write_records(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_whole(path, json.dumps(content))


def made_once(path: Path, form: Any, make: Callable[[], Any]) -> Any:
    """What a JSON file holds; where it is not there yet, what it is to hold is made first."""
    build_once(path, lambda: write_records(path, make()))
    return records(path, form)


def build_once(last: Path, build: Callable[[], None]) -> None:
    """Build what is whole when its last file is there; of several processes one does, and the others wait for it."""
    if not last.exists():
        with alone(last):
            if not last.exists():
                build()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time, of all that come for the same path."""
    with lock_beside(path) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def array(path: Path, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """An array of a `.npy` file, mapped into memory; its shape and type are checked."""
    try:
        found: NDArray[Any] = np.lib.format.open_memmap(_there(path), mode="r")
    except (ValueError, EOFError) as error:
        raise malformed(path, str(error)) from error
    return _formed(path, found, shape, dtype)


def waveform(path: Path, samples: int) -> NDArray[np.int16]:
    """The samples of a shard of speech; there have to be as many as its records say."""
    try:
        found: NDArray[np.int16] = load_file(_there(path))["waveform"]
    except (SafetensorError, KeyError) as error:
        raise malformed(path, str(error)) from error
    return _formed(path, found, (samples,), np.int16)


def floats(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Samples of 16 bits in [-1, 1]."""
    return samples.astype(np.float32) / 32768.0


def wrong_split(name: str, what: str) -> InvalidInput:
    """The error for an example that is in two splits, or in none."""
    return InvalidInput(f"{name}: {what}", reason="DATA_SPLIT", field=name)


def malformed(path: Path, what: str) -> InvalidInput:
    """The error for a file that is not what it should be."""
    return InvalidInput(f"{path.name}: {what}", reason="DATA_MALFORMED", field=path.name)


def _there(path: Path) -> Path:
    if not path.exists():
        raise InvalidInput(f"{path.name} is missing", reason="DATA_MISSING", field=path.name)
    return path


def _formed(path: Path, found: NDArray[Any], shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    if found.shape != shape or found.dtype != dtype:
        raise malformed(path, f"{found.dtype}{[*found.shape]}, not {np.dtype(dtype)}{[*shape]}")
    return found
