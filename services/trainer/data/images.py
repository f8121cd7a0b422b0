"""Pictures of things, from a package of npm: fetched once, decoded once, read as memory maps."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from services.trainer.data.npm import Package, fetch, opened
from services.trainer.data.stored import array, build_once, records, write_records

SIZE = 128
STILLS = Package("@lobehub/fluent-emoji-3d", "1.1.0", "MIT")


@dataclass(frozen=True)
class Pictures:
    """RGBA pixels uint8 [N, 128, 128, 4], alpha not multiplied in, and the code point of each."""

    pixels: NDArray[np.uint8]
    code_points: list[str]

    def index(self, code_point: str) -> int:
        """Row of a code point; KeyError when there is no such picture."""
        for spelling in (code_point, f"{code_point}-fe0f"):
            if spelling in self.code_points:
                return self.code_points.index(spelling)
        raise KeyError(code_point)


def pictures(cache: Path) -> Pictures:
    """All 3,391 stills, decoded at the first call."""
    path, names = cache / "data" / "stills.npy", cache / "data" / "stills.json"

    def decode() -> None:
        found = _decoded(fetch(cache, STILLS))
        np.save(path, np.stack([pixels for _, pixels in found]))
        write_records(names, [name for name, _ in found])

    build_once(names, decode)
    points: list[str] = records(names, list[str])
    return Pictures(array(path, (len(points), SIZE, SIZE, 4), np.uint8), points)


def premultiplied(rgba: Tensor) -> Tensor:
    """Pixels uint8 [..., 4, H, W] -> float in 0..1 with alpha multiplied in."""
    picture = rgba.float() / 255
    return torch.cat([picture[..., :3, :, :] * picture[..., 3:, :, :], picture[..., 3:, :, :]], dim=-3)


def _decoded(archive: Path) -> list[tuple[str, NDArray[np.uint8]]]:
    found = []
    with opened(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name.endswith(".webp") else None
            if file:
                image = Image.open(io.BytesIO(file.read())).convert("RGBA")
                pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.LANCZOS))
                found.append((Path(member.name).stem, pixels))
    return sorted(found, key=lambda entry: entry[0])
