"""Where the test servers keep what they install."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder of installed servers: `$ANYGPT_CACHE/servers`, by default `~/.cache/anygpt/servers`."""
    cache = os.environ.get("ANYGPT_CACHE")
    root = Path(cache) if cache else Path.home() / ".cache" / "anygpt"
    return root / "servers"


def child_environment(**extra: str) -> dict[str, str]:
    """The environment that a server or a build is started in."""
    return {**os.environ, **extra}


def is_root() -> bool:
    """Whether system packages can be installed without asking."""
    return os.geteuid() == 0
