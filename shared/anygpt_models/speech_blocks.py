"""The layers that hearing and speaking share: attention for the far, depthwise convolution for the near."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from anygpt_models.blocks import Attention


class NearConv(nn.Module):
    """Gated depthwise convolution over time, as in Conformer (Gulati et al. 2020, section 2.2)."""

    def __init__(self, width: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 2 * width)
        padding = dilation * (kernel // 2)
        self.near = nn.Conv1d(width, width, kernel, padding=padding, dilation=dilation, groups=width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """[B, T, width] -> the same shape; `keep` float [B, T, 1] silences padding."""
        gated = functional.glu(self.gate(self.norm(x)), dim=-1)
        gated = gated if keep is None else gated * keep
        mixed = self.near(gated.transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.out(functional.silu(mixed))
        return out


def feed_forward(width: int, inner: int) -> nn.Sequential:
    """The pre-norm position-wise part of a block."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner), nn.SiLU(), nn.Linear(inner, width))


class SpeechBlock(nn.Module):
    """Attention without positions, near convolution (which knows order), feed-forward; pre-norm, no dropout."""

    def __init__(self, width: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.conv = NearConv(width, kernel)
        self.feed = feed_forward(width, 4 * width)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """[B, T, width] -> the same shape; `keep` float [B, T, 1] is 0 at padding."""
        mask = None if keep is None else keep.transpose(1, 2)[:, None] > 0
        x = x + self.attention(self.norm(x), mask=mask)
        x = self.conv(x, keep)
        out: Tensor = x + self.feed(x)
        return out
