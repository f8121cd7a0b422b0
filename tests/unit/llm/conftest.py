"""One tiny pack for all tests of the generator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch

from services.llm.settings import LlmSettings
from services.llm.stage import LlmStage
from tests.tiny_pack import build_tiny_pack
from tests.unit.llm.asking import opened


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Matrices this small are slower with more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pack that serves all modalities."""
    folder = tmp_path_factory.mktemp("llm")
    compiled = LlmSettings().cache.expanduser() / "native"
    compiled.mkdir(parents=True, exist_ok=True)
    (folder / "cache").mkdir()
    (folder / "cache" / "native").symlink_to(compiled)
    return build_tiny_pack(folder / "pack")


@pytest.fixture
async def stage(pack: Path) -> AsyncIterator[LlmStage]:
    """A generator that is ready."""
    async with opened(pack) as one:
        yield one


@pytest.fixture
async def exact(pack: Path) -> AsyncIterator[LlmStage]:
    """A generator in deterministic mode."""
    async with opened(pack, deterministic=True) as one:
        yield one
