"""The image codec: pixels to codes and back, without randomness."""

from __future__ import annotations

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from anygpt_models.backdrop import border_colour, on_backdrop
from anygpt_models.composition import alone, pose_codes, poses_of, standing, tints_of, together
from anygpt_models.image_autoencoder import ImageAutoencoder, over
from anygpt_models.image_tokeniser import GRID, PER_CELL, ImageTokeniser
from anygpt_models.layout import MOST_THINGS, Layout, dyed
from anygpt_models.part import Part, configured

SHADES = 16
TOLD = 31
"""Codes that tell a thing alone."""


def _from_middle(cell: int) -> float:
    """Distance of a cell of the tokeniser's grid from its middle, squared."""
    row, column = divmod(cell, GRID)
    return (row - (GRID - 1) / 2) ** 2 + (column - (GRID - 1) / 2) ** 2


MIDDLE_FIRST = tuple(
    code
    for cell in sorted(range(GRID * GRID), key=lambda cell: (_from_middle(cell), -cell))
    for code in range(PER_CELL * cell, PER_CELL * (cell + 1))
    if code < TOLD
)
"""The order in which a language model writes what tells most before what follows from it."""


class ImageCodec(Part, ModelMixin):  # type: ignore[misc]  # both can be saved
    """Pixels [B, 3, 128, 128] in -1..1 <-> codes int64 [B, 32], each below 4,096.

    31 codes tell the thing, in an `order` of the tokeniser's own, which goes row by row; the last one tells the colour
    of the backdrop, 16 shades a channel, so that a thing keeps its codes when it is drawn before another backdrop.

    A scene has codes [B, 33 things + 1]: for each thing 31 codes as it looks alone, one of its place and one of its
    size (0: no thing) and tint, and one of the backdrop at the end.

    A codec with a `backdrop`, RGB in -1..1, looks at all things before it, and tells a thing before any other by nearly
    the same codes.
    """

    @configured
    def __init__(
        self,
        levels: tuple[int, ...] = (8, 8, 8, 8),
        autoencoder_widths: tuple[int, int] = (64, 128),
        tokeniser_widths: tuple[int, int] = (64, 128),
        depth: int = 3,
        order: tuple[int, ...] = tuple(range(TOLD)),
        backdrop: tuple[float, ...] = (),
    ) -> None:
        super().__init__()
        if sorted(order) != list(range(TOLD)):
            raise ValueError(f"an order has each of {TOLD} codes once")
        if len(backdrop) not in (0, 3):
            raise ValueError("a backdrop has three colours")
        self.order = [*order, TOLD]
        self.backdrop = tuple(backdrop)
        self.autoencoder = ImageAutoencoder(autoencoder_widths)
        self.tokeniser = ImageTokeniser(tuple(levels), widths=tokeniser_widths, depth=depth)

    @property
    def length(self) -> int:
        """Codes of a picture of one thing."""
        return TOLD + 1

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels -> codes of one thing; the backdrop is the median colour of the border."""
        return with_backdrop(self.told(pixels), border_colour(pixels))

    @torch.no_grad()
    def encode_scene(self, pixels: Tensor) -> Tensor:
        """Pixels -> codes [B, 100] of up to three things, dyed as they look."""
        poses = standing(pixels, MOST_THINGS)
        told = self.told(alone(pixels, poses))[:, :TOLD]
        told = told.unflatten(0, poses.shape[:2]) * (poses[..., 2:] > 0)
        return with_backdrop(_arranged(told, pose_codes(poses), told[:, 0, :1]), border_colour(pixels))

    @torch.no_grad()
    def told(self, pixels: Tensor) -> Tensor:
        """Pixels of one thing -> codes [B, 32], of which the last says nothing."""
        if self.backdrop:
            pixels = on_backdrop(pixels, pixels.new_tensor(self.backdrop))
        return self.tokeniser.encode(self.autoencoder.encode(pixels))[:, self.order]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes -> pixels in -1..1."""
        if codes.shape[1] == TOLD + 1:
            layers = self.layers(self.tokeniser.quantiser.lookup(codes))
            return over(layers, backdrop_of(codes)).clamp(-1, 1)
        things = codes[:, :-1].unflatten(1, (-1, TOLD + 2))
        # The tokeniser knows 32 places; what stands in the last one is ignored.
        layers = self.layers(self.tokeniser.quantiser.lookup(things[..., : TOLD + 1].flatten(0, 1)))
        where = things[..., TOLD:]
        return together(_dyed(layers, tints_of(where)), poses_of(where), backdrop_of(codes)).clamp(-1, 1)

    def layers(self, values: Tensor) -> Tensor:
        """Grid values [B, 32, D] -> layers [B, 4, 128, 128]; what the last code says of the tokeniser is ignored."""
        thing = torch.zeros_like(values)
        thing[:, self.order[:-1]] = values[:, :-1]
        return self.autoencoder.decode(self.tokeniser.synthesise(thing.to(self.tokeniser.places_out.dtype)))


def scene_codes(things: Tensor, layout: Layout) -> Tensor:
    """Codes [B, K, 32] of things alone, put where a layout [B, K] has them: codes [B, 33 K + 1].

    The backdrop is the first thing's.
    """
    told = things[..., :TOLD] * layout.there[..., None]
    where = pose_codes(layout.poses(), layout.tints * layout.there)
    return _arranged(told, where, things[:, 0, TOLD:])


def _arranged(told: Tensor, where: Tensor, backdrop: Tensor) -> Tensor:
    """Codes of looks [B, K, 31], of places and sizes [B, K, 2] and of the backdrop [B, 1] in a row."""
    return torch.cat([torch.cat([told, where], dim=2).flatten(1), backdrop], dim=1)


def _dyed(layers: Tensor, tints: Tensor) -> Tensor:
    """Layers [B K, 4, H, W] as a codec has them, in the colours of tints [B, K]."""
    premultiplied = torch.cat([(layers[:, :3] + 1) / 2, layers[:, 3:]], dim=1).clamp(0, 1)
    coloured = dyed(premultiplied, tints.flatten())
    return torch.cat([coloured[:, :3] * 2 - 1, coloured[:, 3:]], dim=1)


def with_backdrop(codes: Tensor, backdrop: Tensor) -> Tensor:
    """The same things before backdrops [B, 3] in -1..1."""
    shades = ((backdrop.float() + 1) / 2 * (SHADES - 1)).round().long().clamp(0, SHADES - 1)
    place = torch.tensor([1, SHADES, SHADES**2], device=codes.device)
    return torch.cat([codes[:, :-1], (shades * place).sum(1, keepdim=True)], dim=1)


def backdrop_of(codes: Tensor) -> Tensor:
    """The colours [B, 3] in -1..1 of the backdrops."""
    shades = torch.stack([codes[:, -1] // SHADES**power % SHADES for power in range(3)], dim=1)
    return shades.float() / (SHADES - 1) * 2 - 1
