"""Keys and values of all sequences, in pages."""

from __future__ import annotations

import numpy as np
import torch

from services.llm.model.weights import Sizes
from services.llm.pages import PAGE


class Cache:
    """Holds `pages` pages of positions, and one spare page that padding may overwrite."""

    def __init__(self, sizes: Sizes, pages: int, dtype: torch.dtype, device: torch.device) -> None:
        self.spare = pages
        shape = ((pages + 1) * PAGE, sizes.kv_heads, sizes.head_width)
        self._keys = [zeros(shape, dtype, device) for _ in range(sizes.layers)]
        self._values = [zeros(shape, dtype, device) for _ in range(sizes.layers)]
        self._offsets = torch.arange(PAGE, device=device)

    def write(self, layer: int, rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store keys and values [N, kv_heads, width] at the flat rows [N]."""
        self._keys[layer].index_copy_(0, rows, keys)
        self._values[layer].index_copy_(0, rows, values)

    def read(self, layer: int, pages: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the first `length` positions of pages [B, P], as [B, kv_heads, length, width]."""
        rows = (pages.unsqueeze(-1) * PAGE + self._offsets).flatten(1)[:, :length].flatten()
        keys, values = self._keys[layer][rows], self._values[layer][rows]
        shape = (len(pages), length, *keys.shape[1:])
        return keys.view(shape).transpose(1, 2), values.view(shape).transpose(1, 2)

    def copy(self, source: int, target: int) -> None:
        """Copy a whole page."""
        start, end = source * PAGE, target * PAGE
        for stored in (*self._keys, *self._values):
            stored[end : end + PAGE] = stored[start : start + PAGE]


def zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Memory that is taken from the system only as positions are written."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    size = int(np.prod(shape)) * dtype.itemsize
    return torch.from_numpy(np.zeros(size, dtype=np.uint8)).view(dtype).view(shape)
