"""The video codec: a key frame in image codes and one motion code a frame, without randomness."""

from __future__ import annotations

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from anygpt_models.fsq import FiniteScalarQuantiser
from anygpt_models.image_codec import ImageCodec
from anygpt_models.motion import FRAMES, KEY_FRAME, MotionDecoder, MotionEncoder, PoseEncoder, warp
from anygpt_models.part import Part, configured


class MotionCodec(Part, ModelMixin):  # type: ignore[misc]  # both can be saved
    """Frames [B, 24, 3, H, W] in -1..1 at 8 frames a second <-> motion codes int64 [B, 24] against the key frame."""

    @configured
    def __init__(self, levels: tuple[int, ...] = (8, 8, 8, 8), width: int = 96, depth: int = 2) -> None:
        super().__init__()
        self.quantiser = FiniteScalarQuantiser(tuple(levels))
        self.encoder = MotionEncoder(width, depth)
        self.to_levels = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(levels)))
        self.poses = PoseEncoder(len(levels))
        self.decoder = MotionDecoder(len(levels), width, depth)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames -> motion vectors [B, 24, D] before quantisation."""
        vectors: Tensor = self.to_levels(self.encoder(frames))
        return vectors

    def moved(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Motion vectors -> affine maps and fields, through the codes; gradients pass."""
        affine, field = self.decoder(self.quantiser(vectors))
        return affine, field

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Frames -> motion codes."""
        return self.quantiser.codes(self(frames).float())

    @torch.no_grad()
    def encode_poses(self, maps: Tensor) -> Tensor:
        """Known affine maps [B, 24, 2, 3] of the key frame -> motion codes; exact where frames must be guessed from."""
        return self.quantiser.codes(self.poses(maps).float())

    @torch.no_grad()
    def decode(self, key: Tensor, codes: Tensor) -> Tensor:
        """Key frame [B, 3, H, W] and motion codes -> frames [B, 24, 3, H, W]."""
        values = self.quantiser.lookup(codes).to(self.decoder.places.dtype)
        return warp(key, *self.decoder(values)).clamp(-1, 1)


class VideoCodec(nn.Module):
    """Frames [B, 24, 3, 128, 128] in -1..1 <-> codes: those of the key frame (32), then 24 of the motion."""

    def __init__(self, image: ImageCodec, motion: MotionCodec) -> None:
        super().__init__()
        self.image = image
        self.motion = motion

    def encode(self, frames: Tensor) -> Tensor:
        """Frames -> codes; ValueError when there are not 24 of them."""
        if frames.shape[1] != FRAMES:
            raise ValueError(f"a clip has {FRAMES} frames, got {frames.shape[1]}")
        return torch.cat([self.image.encode(frames[:, KEY_FRAME]), self.motion.encode(frames)], dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes -> frames."""
        still = self.image.length
        return self.motion.decode(self.image.decode(codes[:, :still]), codes[:, still:])
