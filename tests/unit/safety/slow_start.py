"""What a child takes long to load; nobody but a child imports it."""

from __future__ import annotations

import os
import time
from typing import Any

LOAD_S = 3.0
time.sleep(LOAD_S)


def hello(facts: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """Answer at once."""
    return {}, b"hello"


def crash(facts: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """Die."""
    os._exit(1)
