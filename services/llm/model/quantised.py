"""The model with its weights in 4 or 8 bits, run by the native step: one pass over the weights for all sequences."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch

from anygpt_models.lora import TARGETS
from services.llm.model.blocks import BLOCK, TILE, to_blocks
from services.llm.model.cache import zeros
from services.llm.model.native import structures as c
from services.llm.model.updates import Adapter, widths_of
from services.llm.model.weights import Sizes, Weights
from services.llm.pages import PAGE
from services.llm.step import Choice, Feed

MATRICES = ("qkv", "o", "gate_up", "down")
LANES = 8


@dataclass(frozen=True, slots=True)
class Packed:
    """Weights as the native step reads them."""

    sizes: Sizes
    tensors: Mapping[str, torch.Tensor]
    """Tiles by matrix, norms and biases in float32, `embedding` in float16."""
    bits: Mapping[str, int]


def fits(sizes: Sizes, inner: int) -> bool:
    """Whether the native step can run a model of these sizes."""
    columns = (sizes.hidden, inner, sizes.heads * sizes.head_width)
    return all(width % BLOCK == 0 for width in columns) and sizes.head_width % TILE == 0


def pack_weights(weights: Weights, bits: int) -> Packed:
    """Round all matrices to `bits`, or to 4 where that loses nothing; the head always has 8."""
    tensors: dict[str, torch.Tensor] = {
        "embedding": weights.tensors["embedding"].half(),
        "norm": weights.tensors["norm"].float().clone(),
        "frequencies": weights.tensors["frequencies"].clone(),
    }
    widths: dict[str, int] = {}

    def add(name: str, matrix: torch.Tensor, most: int) -> None:
        blocks = to_blocks(matrix, most)
        tensors[name], widths[name] = blocks.tiles(), blocks.bits

    add("head", weights.tensors["head"], 8)
    for index in range(weights.sizes.layers):
        prefix = f"layers.{index}."
        for name in MATRICES:
            matrix = weights.tensors[prefix + name]
            add(prefix + name, _interleaved(matrix) if name == "gate_up" else matrix, bits)
        for name in ("before_attention", "before_mlp", "qkv_bias"):
            if prefix + name in weights.tensors:
                tensors[prefix + name] = weights.tensors[prefix + name].float().clone()
    return Packed(weights.sizes, tensors, widths)


def _interleaved(gate_up: torch.Tensor) -> torch.Tensor:
    """Eight rows of gate, then the same eight of up, so that one tile has both."""
    return gate_up.view(2, -1, LANES, gate_up.shape[1]).transpose(0, 1).reshape(gate_up.shape)


class Quantised:
    """A network on the native step. A row's numbers depend, to the bit, on its own sequence and on what of it was read
    as a prompt."""

    def __init__(
        self, library: ctypes.CDLL, packed: Packed, adapters: Mapping[str, Adapter], pages: int
    ) -> None:
        self._library = library
        self._team = ctypes.c_void_p(library.team_open(torch.get_num_threads()))
        weakref.finalize(self, library.team_close, self._team)
        self._sizes = packed.sizes
        self._tensors = packed.tensors
        self._vocabulary = len(packed.tensors["embedding"])
        self._cache = self._new_cache(pages)
        self._rotation = _rotation(packed)
        self._model, self._layers = self._structures(packed)
        self._kept: list[torch.Tensor] = []
        self._adapters = {name: self._updates(adapter) for name, adapter in adapters.items()}
        self._tiles = lru_cache(maxsize=256)(_tiles)

    @property
    def shapes(self) -> list[int]:
        """Nothing depends on the shape of a step."""
        return [1]

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Input embeddings [N, hidden], float32."""
        return self._tensors["embedding"][torch.tensor(ids)].float()

    def forward(self, embeddings: torch.Tensor, feeds: Sequence[Feed]) -> torch.Tensor:
        """Final-norm hidden states [N, hidden] of all positions that are fed."""
        for feed in feeds:
            if feed.copy:
                source, target = feed.copy
                self._cache[:, :, target] = self._cache[:, :, source]
        rows = _rows(feeds)
        order = torch.tensor([row.place for row in rows])
        hidden = embeddings[order]
        width = max(len(feed.pages) for feed in feeds)
        positions = c.array([row.position for row in rows])
        sequences = c.array([row.feed for row in rows])
        tables = c.array([page for f in feeds for page in (*f.pages, *[0] * (width - len(f.pages)))])
        named = [self._adapter(feed.adapter) for feed in feeds]
        adapters = (ctypes.c_void_p * len(rows))(*(named[row.feed] for row in rows))
        step = c.Step(
            len(rows), sum(not row.is_read for row in rows), ctypes.addressof(positions),
            ctypes.addressof(sequences), ctypes.addressof(tables), width, ctypes.addressof(adapters),
        )  # fmt: skip
        done = self._library.forward(
            self._team, ctypes.byref(self._model), ctypes.byref(step), _address(hidden)
        )
        if not done:
            raise MemoryError
        return torch.empty_like(hidden).index_copy_(0, order, hidden)

    def logits(self, hidden: torch.Tensor, choices: Sequence[Choice]) -> torch.Tensor:
        """Float32 logits [n, vocabulary]; of those that no choice has, the content is anything."""
        tiles = self._tiles(frozenset(choices))
        out = torch.empty(len(hidden), self._model.head.rows)
        done = self._library.logits(
            self._team,
            ctypes.byref(self._model), _address(hidden.contiguous()), ctypes.c_int64(len(hidden)),
            _address(tiles), ctypes.c_int64(len(tiles)), _address(out),
        )  # fmt: skip
        if not done:
            raise MemoryError
        return out[:, : self._vocabulary]

    def _adapter(self, name: str) -> int | None:
        updates = self._adapters.get(name)
        return ctypes.addressof(updates) if updates is not None else None

    def _new_cache(self, pages: int) -> torch.Tensor:
        sizes = self._sizes
        shape = (sizes.layers, 2, pages, sizes.kv_heads, sizes.head_width, PAGE)
        return zeros(shape, torch.float16, torch.device("cpu"))

    def _structures(self, packed: Packed) -> tuple[c.Model, ctypes.Array[c.Layer]]:
        sizes, tensors = packed.sizes, packed.tensors

        def matrix(name: str, columns: int) -> c.Matrix:
            bits = packed.bits[name]
            block = TILE * BLOCK * bits // 8 + TILE * 4
            rows = tensors[name].numel() // (columns // BLOCK * block) * TILE
            return c.Matrix(c.pointer(tensors[name]), rows, columns, bits)

        layers = (c.Layer * sizes.layers)()
        inner = 0
        for index in range(sizes.layers):
            prefix = f"layers.{index}."
            gate_up = matrix(prefix + "gate_up", sizes.hidden)
            inner = gate_up.rows // 2
            layers[index] = c.Layer(
                c.pointer(tensors[prefix + "before_attention"]),
                c.pointer(tensors[prefix + "before_mlp"]),
                c.pointer(tensors.get(prefix + "qkv_bias")),
                matrix(prefix + "qkv", sizes.hidden),
                matrix(prefix + "o", sizes.heads * sizes.head_width),
                gate_up,
                matrix(prefix + "down", inner),
                c.pointer(self._cache[index, 0]),
                c.pointer(self._cache[index, 1]),
            )
        model = c.Model(
            sizes.hidden, inner, sizes.layers, sizes.heads, sizes.kv_heads, sizes.head_width, sizes.epsilon,
            c.pointer(tensors["norm"]), c.pointer(self._rotation[0]), c.pointer(self._rotation[1]), layers,
            matrix("head", sizes.hidden),
        )  # fmt: skip
        return model, layers

    def _updates(self, adapter: Adapter) -> ctypes.Array[c.Update]:
        """The updates of all layers, ranks filled up to whole lanes."""
        sizes = self._sizes
        queries, keys = sizes.heads * sizes.head_width, sizes.kv_heads * sizes.head_width
        first = {"q": 0, "k": queries, "v": queries + keys, "o": 0}
        updates = (c.Update * (c.UPDATES * sizes.layers))()
        for place in range(len(updates)):
            layer, target = divmod(place, c.UPDATES)
            pair = adapter.pair(layer, TARGETS[target])
            if pair is None:
                continue
            rank = -(-pair[0].shape[1] // LANES) * LANES
            a = torch.nn.functional.pad(pair[0], (0, rank - pair[0].shape[1])).contiguous()
            b = torch.nn.functional.pad(pair[1], (0, 0, 0, rank - len(pair[1]))).contiguous()
            self._kept += [a, b]
            wide, out = widths_of(sizes)[TARGETS[target]]
            updates[place] = c.Update(c.pointer(a), c.pointer(b), wide, rank, first[TARGETS[target]], out)
        return updates


class _Row(NamedTuple):
    """A position that is fed."""

    is_read: bool
    place: int
    """Among all that are fed."""
    feed: int
    position: int


def _rows(feeds: Sequence[Feed]) -> list[_Row]:
    """All rows of a step: what was written, then what is read."""
    rows = [
        (offset < feed.read, index, feed.start + offset)
        for index, feed in enumerate(feeds)
        for offset in range(len(feed.ids))
    ]
    return sorted(_Row(read, place, feed, position) for place, (read, feed, position) in enumerate(rows))


def _rotation(packed: Packed) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of all positions, [positions, width / 2] (RoPE, Su et al. 2021)."""
    sizes = packed.sizes
    angles = torch.outer(torch.arange(sizes.positions).float(), packed.tensors["frequencies"])
    return angles.cos() * sizes.rope_scale, angles.sin() * sizes.rope_scale


def _tiles(choices: frozenset[Choice]) -> torch.Tensor:
    """The tiles of the head that hold all ids of the choices."""
    tiles = {
        tile
        for choice in choices
        for ids in choice.ranges
        for tile in range(ids.start // TILE, (ids.stop - 1) // TILE + 1)
    }
    return torch.tensor(sorted(tiles), dtype=torch.int32)


def _address(tensor: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
