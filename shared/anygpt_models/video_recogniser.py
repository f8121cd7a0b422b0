"""What happens in a clip: what its key frame shows, and how it moves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anygpt_models.blocks import Attention, positions
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.motion import KEY_FRAME, MotionEncoder
from anygpt_models.part import Part, configured

QUERIES = 4


class MotionRecogniser(Part):
    """Frames [B, 24, 3, H, W] in -1..1 -> features [B, 4, 256], from all of which the motion is read."""

    @configured
    def __init__(
        self, motions: tuple[str, ...], width: int = 96, depth: int = 1, feature_width: int = 256
    ) -> None:
        super().__init__()
        self.encoder = MotionEncoder(width, depth)
        self.readers = positions(QUERIES, width)
        self.read = Attention(width, width // 32)
        self.out = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, feature_width),
            nn.LayerNorm(feature_width, elementwise_affine=False),
        )
        self.motion = nn.Linear(QUERIES * feature_width, len(motions))

    def features(self, frames: Tensor) -> Tensor:
        """Frames -> features [B, 4, 256], each vector of unit variance."""
        x = self.encoder(frames)
        features: Tensor = self.out(
            self.readers + self.read(self.readers.expand(len(x), -1, -1).to(x.dtype), x)
        )
        return features

    def forward(self, frames: Tensor) -> Tensor:
        """Frames -> logits of the motion."""
        return self.classes(self.features(frames))

    def classes(self, features: Tensor) -> Tensor:
        """Features -> logits of the motion."""
        logits: Tensor = self.motion(features.flatten(1))
        return logits

    @torch.no_grad()
    def name(self, frames: Tensor) -> list[str]:
        """Frames -> the likeliest motion of each clip; the empty string is none."""
        return [self.setting("motions")[index] for index in self(frames).argmax(1).tolist()]


class VideoRecogniser(nn.Module):
    """Frames [B, 24, 3, 128, 128] -> features [B, 8, 256]: four of the key frame, four of the motion."""

    def __init__(self, image: ImageRecogniser, motion: MotionRecogniser) -> None:
        super().__init__()
        self.image = image
        self.motion = motion

    @torch.no_grad()
    def features(self, frames: Tensor) -> Tensor:
        """Frames -> features."""
        return torch.cat([self.image.features(frames[:, KEY_FRAME]), self.motion.features(frames)], dim=1)
