"""What is in a picture of one thing or of several: the features of each, and where it stands."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anygpt_models.backdrop import border_colour, cover
from anygpt_models.composition import alone, apart, standing
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.layout import MOST_THINGS, SIZES, TINTS, Layout, cells
from anygpt_models.part import Part, configured

POSE, HUES = 3, 7
MIDDLE_HALF, SIZE_GAIN = 0.215, 100.0
"""Half sizes differ by a fifteenth: too little to be told beside 512 features of unit variance."""


class LayoutRecogniser(Part):
    """Features of a thing, its pose and its hues -> its size and its tint; its place is the nearest of nine.

    How large a thing looks in a size, and what colours it has undyed, depend on what it is.
    """

    @configured
    def __init__(self, feature_width: int = 256, width: int = 96) -> None:
        super().__init__()
        into = 2 * feature_width + POSE + HUES
        self.read = nn.Sequential(
            nn.Linear(into, width), nn.GELU(), nn.Linear(width, len(SIZES) + 1 + len(TINTS))
        )

    def forward(self, features: Tensor, windows: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Features [N, 4, 256], windows [N, 3, H, W] and poses [N, 3] of things -> logits of sizes and tints."""
        half = (poses[:, 2:] - MIDDLE_HALF) * SIZE_GAIN
        told = torch.cat([features[:, [0, 3]].flatten(1), poses[:, :2], half, hues(windows)], dim=1)
        sizes, tints = self.read(told).split([len(SIZES), 1 + len(TINTS)], dim=1)
        return sizes, tints

    def layout(self, features: Tensor, windows: Tensor, poses: Tensor) -> Layout:
        """Where things stand [N], all of which are there."""
        sizes, tints = self(features, windows, poses)
        places = torch.cdist(poses[:, :2], cells(poses.device)).argmin(1)
        return Layout(places, sizes.argmax(1), tints.argmax(1), torch.ones_like(places, dtype=torch.bool))


class SceneRecogniser(nn.Module):
    """Pixels -> features of a single thing [4, 256], or of the k things of a scene [5 k, 256].

    Those of a thing in a scene are its own four, as it looks alone, and the vector of its layout. Without a recogniser
    of layouts every picture is taken for a single thing.
    """

    def __init__(self, image: ImageRecogniser, layout: LayoutRecogniser | None) -> None:
        super().__init__()
        self.image = image
        self.layout = layout

    @torch.no_grad()
    def features(self, pixels: Tensor) -> list[Tensor]:
        """Features of each picture, of as many vectors as it takes."""
        if self.layout is None:
            return list(self.image.features(pixels))
        poses = standing(pixels, MOST_THINGS)
        scenes = apart(pixels) & (poses[..., 2] > 0).any(1)
        single = iter(self.image.features(pixels[~scenes]) if not scenes.all() else ())
        composed = iter(self.things(pixels[scenes], poses[scenes]) if scenes.any() else ())
        return [next(composed if is_scene else single) for is_scene in scenes.tolist()]

    @torch.no_grad()
    def things(self, pixels: Tensor, poses: Tensor) -> list[Tensor]:
        """Features of the things that stand in poses [B, K, 3] of pictures."""
        assert self.layout is not None
        there = poses[..., 2] > 0
        windows, poses = alone(pixels, poses)[there.flatten()], poses[there]
        features = self.image.features(windows)
        where = self.layout.layout(features, windows, poses).vectors()
        told = torch.cat([features, where[:, None]], dim=1)
        return [things.flatten(0, 1) for things in told.split(there.sum(1).tolist())]


def hues(windows: Tensor) -> Tensor:
    """Mean colour, and mean and spread of its shares of red and green, [N, 7], where something stands."""
    weight = cover(windows, border_colour(windows)) + 1e-4
    total = weight.sum((2, 3))
    colours = (windows + 1) / 2
    shares = colours[:, :2] / (colours.sum(1, keepdim=True) + 0.05)
    mean, share = ((weight * of).sum((2, 3)) / total for of in (colours, shares))
    spread = ((weight * (shares - share[:, :, None, None]).square()).sum((2, 3)) / total).sqrt()
    return torch.cat([mean, share, 10 * spread], dim=1)
