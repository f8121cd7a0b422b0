"""Animated things: the emoji of the world that move by themselves, from packages of npm, without a background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from services.trainer.data import world
from services.trainer.data.images import SIZE, premultiplied
from services.trainer.data.npm import Package, fetch, opened
from services.trainer.data.stored import array, build_once, records, write_records
from services.trainer.data.videos import FRAMES

PACKAGES = tuple(Package(f"@lobehub/fluent-emoji-anim-{number}", "1.0.0", "MIT") for number in range(1, 5))
"""730 MB in all. Most animations have 72 frames at 24 a second."""


@dataclass(frozen=True)
class Animations:
    """RGBA pixels uint8 [N, 24, 128, 128, 4], alpha not multiplied in; code point and package of each."""

    pixels: NDArray[np.uint8]
    code_points: list[str]
    packages: list[str]

    @cached_property
    def rows(self) -> dict[str, list[int]]:
        """Kind -> rows of its animations; a kind that has none is not here."""
        found: dict[str, list[int]] = {}
        for kind in world.kinds():
            rows = [self.code_points.index(p) for p in world.code_points(kind) if p in self.code_points]
            if rows:
                found[kind] = rows
        return found

    def played(self, rows: Sequence[int], first: Sequence[int]) -> Tensor:
        """Animations from a frame on, round and round, alpha multiplied in: float [B, 24, 4, 128, 128] in 0..1."""
        clips = [np.roll(self.pixels[row], -start, axis=0) for row, start in zip(rows, first, strict=True)]
        return premultiplied(torch.as_tensor(np.stack(clips)).movedim(-1, 2))


def animations(cache: Path) -> Animations:
    """All animations of things of the world, decoded at the first call. Raises Precondition where npm does not help."""
    path, names = cache / "data" / "animations.npy", cache / "data" / "animations.json"

    def decode() -> None:
        found = sorted(
            (
                (point, package.name, pixels)
                for package in PACKAGES
                for point, pixels in _decoded(cache, package)
            ),
            key=lambda entry: entry[0],
        )
        np.save(path, np.stack([pixels for *_, pixels in found]))
        write_records(names, [(point, package) for point, package, _ in found])

    build_once(names, decode)
    known: list[tuple[str, str]] = records(names, list[tuple[str, str]])
    pixels = array(path, (len(known), FRAMES, SIZE, SIZE, 4), np.uint8)
    return Animations(pixels, [point for point, _ in known], [package for _, package in known])


def are_there(cache: Path) -> bool:
    """Whether they have been decoded already."""
    return (cache / "data" / "animations.json").exists()


def _decoded(cache: Path, package: Package) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The animations of a package; a file of one frame is none."""
    wanted = {point for kind in world.kinds() for point in world.code_points(kind)}
    with opened(fetch(cache, package)) as tar:
        for member in tar:
            point = Path(member.name).stem.removesuffix("-fe0f")
            file = tar.extractfile(member) if point in wanted and member.name.endswith(".webp") else None
            if file:
                with Image.open(file) as image:
                    if getattr(image, "n_frames", 1) > 1:
                        yield point, _evenly(image)


def _evenly(image: Image.Image) -> NDArray[np.uint8]:
    """24 frames from all over an animation."""
    frames, count = [], image.n_frames  # type: ignore[attr-defined]
    for number in range(FRAMES):
        image.seek(number * count // FRAMES)
        frame = image.convert("RGBA").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        frames.append(np.asarray(frame))
    return np.stack(frames)
