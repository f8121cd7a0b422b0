"""What a run on another machine brings home: the pack and the record of its runs, in few files of limited size."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from anygpt.errors import Exhausted, InvalidInput

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
    """Put what was delivered where a run at home would have left it. Raises InvalidInput when a file is missing."""
    pieces = sorted(folder.glob(f"{PREFIX}*"))
    if [path.name for path in pieces] != [f"{PREFIX}{number}" for number in range(max(1, len(pieces)))]:
        raise InvalidInput(f"no whole delivery in {folder.name}", reason="DELIVERY", field="folder")
    joined = io.BytesIO(b"".join(path.read_bytes() for path in pieces))
    try:
        with tarfile.open(fileobj=joined, mode="r:xz") as tar:
            for member in tar.getmembers():
                top, _, rest = member.name.partition("/")
                member.name = rest or "."
                tar.extract(member, {"pack": pack, "runs": runs}[top], filter="data")
    except (tarfile.TarError, EOFError, KeyError) as error:
        raise InvalidInput(f"the delivery is broken: {error}", reason="DELIVERY", field="folder") from error


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), MOST_BYTES):
        yield data[start : start + MOST_BYTES]
