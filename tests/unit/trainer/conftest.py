from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture
def own_sigterm() -> Iterator[None]:
    """For a command that answers SIGTERM in its own way: afterwards this process does as before."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
