"""Projections between encoders, language model and decoders (NExT-GPT, arXiv 2309.05519, sections 3 and 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anygpt_models.blocks import TransformerBlock
from anygpt_models.part import Part, configured


class InputProjection(Part):
    """An encoder's features -> embeddings that the language model reads as if they were words.

    With `hidden_width` 0 it is NExT-GPT's plain linear layer, one embedding for each feature vector; otherwise
    learned queries gather what the features say, as its grouping projector does. With `layout`, more features than
    queries are those of a scene's things, each followed by the vector of its layout, which becomes so many embeddings.
    """

    @configured
    def __init__(
        self,
        in_width: int,
        out_width: int,
        queries: int = 0,
        hidden_width: int = 0,
        heads: int = 4,
        layout: int = 0,
    ) -> None:
        super().__init__()
        self.into = nn.Linear(in_width, hidden_width or out_width)
        if hidden_width:
            self.learned_queries = nn.Parameter(torch.randn(1, queries, hidden_width) * 0.02)
            self.places = nn.Parameter(torch.randn(1, queries, hidden_width) * 0.02)
            self.gather = TransformerBlock(hidden_width, heads)
            self.out = nn.Linear(hidden_width, out_width)
        if layout:
            self.layout = nn.Linear(in_width, layout * out_width)

    def with_layout(self, layout: int) -> InputProjection:
        """The same projection, which reads layouts too, as yet untrained."""
        wider = InputProjection(**{**self.config, "layout": layout})
        wider.load_state_dict(self.state_dict(), strict=False)
        return wider

    def forward(self, features: Tensor) -> Tensor:
        """[B, n, in_width] -> [B, queries or n, out_width]; of k things [B, k (queries + layout), out_width].

        Raises ValueError for features that it cannot read.
        """
        queries, layout = self.setting("queries"), self.setting("layout")
        if layout and features.shape[1] > queries:
            if features.shape[1] % (queries + 1):
                raise ValueError(f"{features.shape[1]} feature vectors are not those of whole things")
            things = features.unflatten(1, (-1, queries + 1)).flatten(0, 1)
            where = self.layout(things[:, queries]).unflatten(1, (layout, -1))
            read = torch.cat([self._gathered(things[:, :queries]), where], dim=1)
            whole: Tensor = read.unflatten(0, (len(features), -1)).flatten(1, 2)
            return whole
        return self._gathered(features)

    def _gathered(self, features: Tensor) -> Tensor:
        x: Tensor = self.into(features)
        if self.config["hidden_width"]:
            if x.shape[1] > self.places.shape[1]:
                raise ValueError(f"{x.shape[1]} feature vectors, at most {self.places.shape[1]} can be read")
            queries = self.learned_queries.expand(len(x), -1, -1).to(x.dtype)
            gathered = self.gather(torch.cat([queries, x + self.places[:, : x.shape[1]]], dim=1))
            x = self.out(gathered[:, : queries.shape[1]])
        return x


class OutputProjection(Part):
    """Signals of the language model -> the condition of a decoder.

    A linear layer, a transformer encoder over the signals, and a decoder whose learned queries become the
    condition; NExT-GPT has width 512, 4 + 4 layers, 4 heads, 2,048 in the feed-forward.
    """

    @configured
    def __init__(
        self,
        in_width: int,
        out_width: int,
        queries: int,
        width: int = 512,
        layers: int = 4,
        feed_forward: int = 2048,
    ) -> None:
        super().__init__()
        self.into = nn.Linear(in_width, width)
        layer = nn.TransformerEncoderLayer(width, 4, feed_forward, 0.0, batch_first=True, norm_first=True)
        encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.transformer = nn.Transformer(
            width,
            4,
            layers,
            layers,
            feed_forward,
            0.0,
            custom_encoder=encoder,
            batch_first=True,
            norm_first=True,
        )
        self.learned_queries = nn.Parameter(torch.randn(1, queries, width))
        self.out = nn.Linear(width, out_width)

    def with_queries(self, queries: int) -> OutputProjection:
        """The same projection with more queries, of which the new ones begin near the old."""
        wider = OutputProjection(**{**self.config, "queries": queries})
        tensors, known = self.state_dict(), self.learned_queries.detach()
        repeated = known.repeat(1, -(-queries // known.shape[1]), 1)[:, :queries].clone()
        repeated[:, known.shape[1] :] += 0.3 * torch.randn_like(repeated[:, known.shape[1] :])
        wider.load_state_dict({**tensors, "learned_queries": repeated})
        return wider

    def forward(self, signals: Tensor) -> Tensor:
        """[B, n, in_width] -> [B, queries, out_width]."""
        x = self.into(signals)
        condition: Tensor = self.out(
            self.transformer(x, self.learned_queries.expand(len(x), -1, -1).to(x.dtype))
        )
        return condition
