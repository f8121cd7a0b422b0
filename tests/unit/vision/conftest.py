"""The parts of the mini pack that see and draw, opened once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_pipeline import ImagePipeline
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.video_codec import MotionCodec
from anygpt_models.video_pipeline import VideoPipeline
from anygpt_models.video_recogniser import MotionRecogniser
from services.trainer.data import world

PACK = Path(__file__).parents[3] / "shared" / "packs" / "mini"
PICTURES = Path(__file__).parent / "pictures"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def codec() -> ImageCodec:
    return ImageCodec.open(PACK / "image_codec")


@pytest.fixture(scope="session")
def motion_codec() -> MotionCodec:
    return MotionCodec.open(PACK / "motion_codec")


@pytest.fixture(scope="session")
def recogniser() -> ImageRecogniser:
    return ImageRecogniser.open(PACK / "image_recogniser")


@pytest.fixture(scope="session")
def motion_recogniser() -> MotionRecogniser:
    return MotionRecogniser.open(PACK / "motion_recogniser")


@pytest.fixture(scope="session")
def images() -> ImagePipeline:
    return ImagePipeline.assemble(PACK)


@pytest.fixture(scope="session")
def videos() -> VideoPipeline:
    return VideoPipeline.assemble(PACK)


@pytest.fixture(scope="session")
def clips(videos: VideoPipeline) -> dict[str, Tensor]:
    """An apple on white in each motion, frames [1, 24, 3, 128, 128] in -1..1."""
    asked = [f"an apple {words} on a white background" for words in world.MOTIONS.values()]
    seeds = [torch.Generator().manual_seed(seed) for seed in range(len(asked))]
    frames = videos(caption=asked, num_inference_steps=4, generator=seeds).frames
    drawn = torch.from_numpy(frames).movedim(-1, 2).float() / 127.5 - 1
    return dict(zip(world.MOTIONS, drawn.split(1), strict=True))


@pytest.fixture(scope="session")
def scenes() -> dict[str, Tensor]:
    """Composed scenes by caption, pixels [3, 128, 128] in -1..1."""
    return {path.stem.replace("_", " "): pixels(path) for path in sorted(PICTURES.glob("*.webp"))}


def pixels(path: Path) -> Tensor:
    array = np.asarray(Image.open(path).convert("RGB"))
    return torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 127.5 - 1
