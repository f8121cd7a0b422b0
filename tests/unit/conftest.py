"""What encoders and decoders are tested with: a pack with random weights, and a runtime around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch

from anygpt.main import Runtime, opened_runtime
from anygpt.settings import ServiceSettings
from tests.unit.media_pack import build_media_pack


@pytest.fixture(scope="session")
def media_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pack with every part and random weights."""
    torch.set_num_threads(1)
    return build_media_pack(tmp_path_factory.mktemp("pack") / "random")


@pytest.fixture
async def runtime(media_pack: Path, tmp_path: Path) -> AsyncIterator[Runtime]:
    """What the services of one process share, in this process."""
    async with opened_runtime(ServiceSettings(pack=str(media_pack), data=tmp_path)) as opened:
        yield opened
