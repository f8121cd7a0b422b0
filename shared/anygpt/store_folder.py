"""The twin of the real store: objects are files below one folder, written whole and durable or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

from anygpt.errors import InvalidInput, NotFound, Unavailable, Unserved
from anygpt.store import PIECE_BYTES, StoredObject, check_key, check_object_size

T = TypeVar("T")

THREADS = 4
STAGING = ".staging"
STALE_S = 3600.0
PUBLISH_ATTEMPTS = 100


class FolderStore:
    """An object's key is its path below the folder; the media type is not kept, the bytes tell it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._staging = folder / STAGING
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="store")

    async def open(self) -> FolderStore:
        """Make the folder and remove what interrupted writes left in it."""
        await self._run(self._sweep)
        return self

    async def put(self, key: str, source: bytes | Path, media_type: str, *, if_absent: bool = False) -> bool:
        """See Store. An acknowledged object is on the disk."""
        target = self._path(key)
        return await self._run(lambda: self._put(target, source, if_absent))

    async def get(self, key: str, limit_bytes: int) -> bytes:
        """See Store."""
        path = self._path(key)
        return await self._run(lambda: _get(path, limit_bytes))

    async def stream(self, key: str) -> AsyncGenerator[bytes]:
        """See Store."""
        path = self._path(key)
        file: BinaryIO = await self._run(lambda: path.open("rb"))
        try:
            while piece := await self._run(lambda: file.read(PIECE_BYTES)):
                yield piece
        finally:
            file.close()

    async def folders(self, prefix: str) -> list[str]:
        """See Store."""
        top = self._folder / check_key(prefix.removesuffix("/")) if prefix else self._folder
        return await self._run(lambda: sorted(_folders(top)))

    async def list(self, prefix: str) -> list[StoredObject]:
        """See Store."""
        return await self._run(lambda: sorted(self._list(prefix), key=lambda stored: stored.key))

    async def delete(self, key: str) -> None:
        """See Store."""
        path = self._path(key)
        await self._run(lambda: self._delete(path))

    async def presign(self, key: str, method: Literal["GET", "PUT"], expires_s: int) -> str:
        """See Store: no server, so no URL."""
        raise Unserved("a folder has no URLs: use the media service", reason="NO_PRESIGNED_URLS")

    async def close(self) -> None:
        """See Store."""
        await asyncio.to_thread(self._threads.shutdown)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFound("there is no such object") from None
        except OSError as error:
            raise Unavailable(f"the store's disk failed: {error.strerror}") from error

    def _path(self, key: str) -> Path:
        return self._folder / check_key(key)

    def _sweep(self) -> None:
        self._staging.mkdir(parents=True, exist_ok=True)
        for left in self._staging.iterdir():
            if time.time() - left.stat().st_mtime > STALE_S:
                left.unlink(missing_ok=True)

    def _put(self, target: Path, source: bytes | Path, if_absent: bool) -> bool:
        if if_absent and target.is_file():
            return False
        staged = self._staging / uuid.uuid4().hex
        try:
            _write(staged, source)
            return self._publish(staged, target, if_absent)
        except (IsADirectoryError, NotADirectoryError):
            raise InvalidInput("the key lies above or below another object", field="key") from None
        finally:
            staged.unlink(missing_ok=True)

    def _publish(self, staged: Path, target: Path, if_absent: bool) -> bool:
        """Give the staged file its name by one atomic step; meanwhile a delete may remove its folder."""
        for _ in range(PUBLISH_ATTEMPTS):
            try:
                changed = _make_folder(target.parent)
                if if_absent:
                    target.hardlink_to(staged)
                else:
                    staged.replace(target)
            except FileExistsError:
                return False
            except FileNotFoundError:
                continue
            for folder in changed:
                _sync(folder)
            return True
        raise Unavailable("the object's folder disappears while it is written")

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        parent = prefix.rpartition("/")[0]
        top = self._folder / check_key(parent) if parent else self._folder
        for folder, subfolders, names in os.walk(top):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            for name in names:
                path = Path(folder, name)
                key = path.relative_to(self._folder).as_posix()
                if key.startswith(prefix):
                    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                        status = path.stat()
                        yield StoredObject(key, status.st_size, status.st_mtime_ns // 1_000_000)

    def _delete(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
            path.unlink()
        with contextlib.suppress(OSError):
            for folder in itertools.takewhile(lambda parent: parent != self._folder, path.parents):
                folder.rmdir()


def _folders(top: Path) -> list[str]:
    if not top.is_dir():
        return []
    return [entry.name for entry in os.scandir(top) if entry.is_dir() and not entry.name.startswith(".")]


def _get(path: Path, limit_bytes: int) -> bytes:
    with path.open("rb") as file:
        check_object_size(os.fstat(file.fileno()).st_size, limit_bytes)
        return file.read()


def _write(staged: Path, source: bytes | Path) -> None:
    with staged.open("xb") as file:
        if isinstance(source, bytes):
            file.write(source)
        else:
            with source.open("rb") as original:
                shutil.copyfileobj(original, file, PIECE_BYTES)
        file.flush()
        os.fsync(file.fileno())


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns the folders whose entries an object in it changes."""
    missing = list(itertools.takewhile(lambda parent: not parent.exists(), (folder, *folder.parents)))
    for parent in reversed(missing):
        with contextlib.suppress(FileExistsError):
            parent.mkdir()
    return [folder, *(parent.parent for parent in missing)]


def _sync(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # what was put in it is deleted already
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
