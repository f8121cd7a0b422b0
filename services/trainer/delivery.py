"""What a run on another machine brings home: the pack and the record of its runs, in few files of limited size."""

from __future__ import annotations

import io
import lzma
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from anygpt.errors import Exhausted, InvalidInput, Precondition
from anygpt.pack import MANIFEST

MOST_FILES, MOST_BYTES = 8, 16 * 1024 * 1024
PREFIX = "mini.tar."
RECORDS = (".csv", ".png", ".txt")
"""Of a run's folder; checkpoints stay behind."""


def deliver(pack: Path, runs: Path, out: Path) -> list[Path]:
    """Write a pack and the records of its runs as one archive, cut into files that may come back.

    Raises Exhausted when that takes too many of them.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:xz") as tar:
        tar.add(pack, arcname="pack")
        for path in sorted(runs.rglob("*")):
            if path.suffix in RECORDS:
                tar.add(path, arcname=f"runs/{path.relative_to(runs).as_posix()}")
    pieces = list(_pieces(archive.getvalue()))
    if len(pieces) > MOST_FILES:
        raise Exhausted(
            f"{len(pieces)} files of {MOST_BYTES >> 20} MiB, {MOST_FILES} can come back",
            reason="DELIVERY_TOO_BIG", field=pack.name,
        )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    for number, piece in enumerate(pieces):
        (out / f"{PREFIX}{number}").write_bytes(piece)
    return sorted(out.glob(f"{PREFIX}*"))


def receive(folder: Path, pack: Path, runs: Path) -> None:
    """Put a delivered pack in the place of the one that is there, as a whole, and its records beside those of `runs`.

    Raises InvalidInput when a file is missing or damaged, Precondition when the run did not finish a pack and one that
    is finished would be lost; either leaves everything as it was.
    """
    archive = _joined(folder)
    pack.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".received-", dir=pack.parent) as scratch:
        unpacked = Path(scratch)
        try:
            with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
                tar.extractall(unpacked, filter="data")
        except tarfile.TarError as error:
            raise _broken(error) from error
        if (pack / MANIFEST).exists() and not (unpacked / "pack" / MANIFEST).exists():
            raise Precondition(
                f"the run was stopped before it had a manifest, and {pack.name} has one: name another folder, "
                "or finish the run with --resume",
                reason="DELIVERY", field="--pack",
            )  # fmt: skip
        if (unpacked / "runs").exists():
            shutil.copytree(unpacked / "runs", runs, dirs_exist_ok=True)
        _put_in_place(unpacked / "pack", pack, unpacked / "replaced")


def _joined(folder: Path) -> bytes:
    """The archive that was cut up, uncompressed: its checksum tells what is damaged, which tar would not notice."""
    pieces = sorted(folder.glob(f"{PREFIX}*"))
    if [path.name for path in pieces] != [f"{PREFIX}{number}" for number in range(max(1, len(pieces)))]:
        raise InvalidInput(f"no whole delivery in {folder.name}", reason="DELIVERY", field="folder")
    try:
        return lzma.decompress(b"".join(path.read_bytes() for path in pieces))
    except lzma.LZMAError as error:
        raise _broken(error) from error


def _broken(error: Exception) -> InvalidInput:
    return InvalidInput(f"the delivery is broken: {error}", reason="DELIVERY", field="folder")


def _put_in_place(new: Path, place: Path, replaced: Path) -> None:
    """Give a folder the place of another, which is moved aside; an interrupt moves it back."""
    try:
        if place.exists():
            place.rename(replaced)
        new.rename(place)
    except BaseException:
        if replaced.exists() and not place.exists():
            replaced.rename(place)
        raise


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), MOST_BYTES):
        yield data[start : start + MOST_BYTES]
