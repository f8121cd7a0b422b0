"""Keys and values of all running sequences: one slot a sequence, one row a position."""

from __future__ import annotations

import numpy as np
import torch

from services.llm.model.weights import Sizes


class Cache:
    """Holds `slots` sequences of at most `context` positions, and one spare row that padding may overwrite."""

    def __init__(
        self, sizes: Sizes, slots: int, context: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.context = context
        self.spare = slots * context
        shape = (slots * context + 1, sizes.kv_heads, sizes.head_width)
        self._keys = [_zeros(shape, dtype, device) for _ in range(sizes.layers)]
        self._values = [_zeros(shape, dtype, device) for _ in range(sizes.layers)]
        self._slots = (slots, context, sizes.kv_heads, sizes.head_width)

    def write(self, layer: int, rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store keys and values [N, kv_heads, width] at the flat rows [N]."""
        self._keys[layer].index_copy_(0, rows, keys)
        self._values[layer].index_copy_(0, rows, values)

    def read(self, layer: int, slots: slice, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Views of keys and values, [slots, kv_heads, length, width]."""
        keys = self._keys[layer][: self.spare].view(self._slots)[slots, :length]
        values = self._values[layer][: self.spare].view(self._slots)[slots, :length]
        return keys.transpose(1, 2), values.transpose(1, 2)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # numpy leaves zeroed pages to the system, so that memory is taken only as positions are written.
    size = int(np.prod(shape)) * dtype.itemsize
    return torch.from_numpy(np.zeros(size, dtype=np.uint8)).view(dtype).view(shape)
