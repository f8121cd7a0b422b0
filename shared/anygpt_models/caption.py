"""Words of a canonical caption to the vectors that condition every decoder."""

from __future__ import annotations

import re
import zlib

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from anygpt_models.blocks import TransformerBlock, positions
from anygpt_models.part import Part, configured


class CaptionEncoder(Part, ModelMixin):  # type: ignore[misc]  # both can be saved
    """Caption -> condition [B, queries, width].

    A word is the sum of two hashed embeddings: no vocabulary file, and two words rarely share both. With `direct`,
    the queries start from the sum of the words.
    """

    @configured
    def __init__(  # noqa: PLR0913  the settings of its config.json
        self,
        width: int = 256,
        queries: int = 8,
        depth: int = 2,
        buckets: int = 1021,
        inner: int = 128,
        length: int = 16,
        direct: bool = False,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(2 * buckets + 1, inner // 2, padding_idx=0)
        self.lift = nn.Linear(inner // 2, inner)
        self.places = positions(length, inner)
        self.readers = positions(queries, inner)
        self.layers = nn.ModuleList([TransformerBlock(inner, 4) for _ in range(depth)])
        self.out = nn.Sequential(
            nn.LayerNorm(inner), nn.Linear(inner, width), nn.LayerNorm(width, elementwise_affine=False)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Hashed words int64 [B, length, 2] -> condition [B, queries, width], each vector of unit variance."""
        words, said = self.words(tokens).sum(2), tokens[..., 0] > 0
        queries = self.readers.expand(len(tokens), -1, -1)
        if self.setting("direct"):
            queries = queries + self.lift(words.sum(1, keepdim=True))
        seen = torch.cat([torch.ones(queries.shape[:2], dtype=torch.bool, device=tokens.device), said], dim=1)
        x = self.lift(words) + self.places
        x = torch.cat([queries.to(x.dtype), x], dim=1)
        for layer in self.layers:
            x = layer(x, mask=seen[:, None, None])
        condition: Tensor = self.out(x[:, : queries.shape[1]])
        return condition

    def encode(self, captions: list[str]) -> Tensor:
        """Captions -> condition [B, queries, width]."""
        condition: Tensor = self(self.tokens(captions).to(self.places.device))
        return condition

    def tokens(self, captions: list[str]) -> Tensor:
        """Captions -> hashed words int64 [B, length, 2], 0 where there is none; articles carry nothing."""
        length = self.setting("length")
        rows = [[self._hashed(word) for word in _words(caption)[:length]] for caption in captions]
        filled = [row + [(0, 0)] * (length - len(row)) for row in rows]
        return torch.tensor(filled, dtype=torch.int64).view(len(captions), length, 2)

    def _hashed(self, word: str) -> tuple[int, int]:
        buckets = self.setting("buckets")
        second, first = divmod(zlib.crc32(word.encode()), buckets)
        return 1 + first, 1 + buckets + second % buckets


def _words(caption: str) -> list[str]:
    return [word for word in re.findall(r"[a-z0-9']+", caption.lower()) if word not in {"a", "an", "the"}]
