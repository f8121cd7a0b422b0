"""What is in a picture: features for the LLM, and the classes they were learned from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anygpt_models.backdrop import focused
from anygpt_models.blocks import Attention, ConvBlock, positions
from anygpt_models.part import Part, configured

QUERIES = 4
FOCUS = 64


class ImageRecogniser(Part):
    """Pixels [B, 3, 128, 128] in -1..1 -> features [B, 4, 256], of which each classifier reads its own.

    The thing is cut out by its backdrop and looked at in 64x64, wherever it stands and however large it is.
    Feature 0 tells the kind of thing, 1 the background, 2 the emotion; 3 is read by the kind as well.
    """

    @configured
    def __init__(
        self, kinds: tuple[str, ...], colours: tuple[str, ...], emotions: tuple[str, ...],
        widths: tuple[int, int, int] = (64, 96, 128), feature_width: int = 256,
    ) -> None:  # fmt: skip
        super().__init__()
        fine, middle, coarse = widths
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(64, fine, 3, padding=1),
            ConvBlock(fine),
            nn.Conv2d(fine, middle, 4, stride=2, padding=1),
            ConvBlock(middle),
            nn.Conv2d(middle, coarse, 2, stride=2),
        )
        self.places = positions(16, coarse)
        self.backdrop = nn.Sequential(nn.Linear(3, 64), nn.GELU(), nn.Linear(64, coarse))
        self.readers = positions(QUERIES, coarse)
        self.read = Attention(coarse, coarse // 32)
        self.out = nn.Sequential(
            nn.LayerNorm(coarse),
            nn.Linear(coarse, feature_width),
            nn.LayerNorm(feature_width, elementwise_affine=False),
        )
        self.kind = nn.Linear(2 * feature_width, len(kinds))
        self.colour = nn.Linear(feature_width, len(colours))
        self.emotion = nn.Linear(feature_width, len(emotions))

    def features(self, pixels: Tensor) -> Tensor:
        """Pixels -> features [B, 4, 256], each vector of unit variance."""
        thing, backdrop = focused(pixels, FOCUS)
        x = self.trunk(thing).flatten(2).transpose(1, 2) + self.places
        readers = self.readers + self.backdrop(backdrop)[:, None]
        features: Tensor = self.out(readers + self.read(readers, x) + x.mean(1, keepdim=True))
        return features

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels -> logits of kind, colour and emotion."""
        return self.classes(self.features(pixels))

    def classes(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features -> logits of kind, colour and emotion."""
        return (
            self.kind(features[:, [0, 3]].flatten(1)),
            self.colour(features[:, 1]),
            self.emotion(features[:, 2]),
        )

    @torch.no_grad()
    def name(self, pixels: Tensor) -> list[tuple[str, str]]:
        """Pixels -> the likeliest (kind, colour) of each picture."""
        kind, colour, _ = self(pixels)
        kinds, colours = self.setting("kinds"), self.setting("colours")
        return [
            (kinds[i], colours[j])
            for i, j in zip(kind.argmax(1).tolist(), colour.argmax(1).tolist(), strict=True)
        ]
