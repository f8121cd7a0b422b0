"""Draws one token from one row of logits."""

from __future__ import annotations

import hashlib
import math

import torch

from services.llm.step import Choice, Draw

HEAD = 256
"""Candidates that are looked at first: a nucleus that fits in them needs no sort of the whole vocabulary."""
COLDEST = 1e-6
"""Below it the likeliest is drawn: an accelerator multiplies by the inverse, which can be too large for a float32."""


class Sampler:
    """Restricts logits to the grammar's choice, then applies penalty, temperature, top-k, min-p and top-p."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ids: dict[Choice, torch.Tensor] = {}

    def draw(self, logits: torch.Tensor, draw: Draw) -> int | None:
        """One id of `draw.choice` from float32 logits [vocabulary]; None where these are not finite."""
        ids = self._candidates(draw.choice)
        scores = _part(_penalise(logits, draw), draw.choice)
        best = _best(scores)
        if not math.isfinite(scores[best]):
            return None
        if draw.temperature < COLDEST or draw.top_k == 1:
            return int(ids[best])
        # Below zero before it is divided: a tiny temperature then gives minus infinity, never NaN.
        weights, order = _nucleus((scores - scores[best]) / draw.temperature, draw)
        if order is not None:
            ids = ids[order]
        total = weights.double().cumsum(0)
        place = torch.searchsorted(total, total[-1] * uniform(draw.seed, draw.position), right=True)
        return int(ids[min(int(place), len(ids) - 1)])

    def _candidates(self, choice: Choice) -> torch.Tensor:
        ids = self._ids.get(choice)
        if ids is None:
            parts = [torch.arange(part.start, part.stop) for part in choice.ranges]
            ids = self._ids[choice] = torch.cat(parts).to(self._device)
        return ids


def _best(scores: torch.Tensor) -> int:
    """Place of the largest one, or of one that is no number; on a CPU without waking torch's threads for it."""
    return int(scores.numpy().argmax() if scores.device.type == "cpu" else scores.argmax())


def _part(logits: torch.Tensor, choice: Choice) -> torch.Tensor:
    """The logits of all ids of a choice, in their order: far cheaper from ranges than from single ids."""
    parts = [logits[ids.start : ids.stop] for ids in choice.ranges]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1), the same for the same seed and position everywhere."""
    digest = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


def _penalise(logits: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Make seen ids less likely (CTRL, Keskar et al. 2019)."""
    if draw.repetition_penalty == 1 or not draw.seen:
        return logits
    seen = torch.tensor(sorted(set(draw.seen)), device=logits.device)
    scores = logits[seen]
    scores = torch.where(scores > 0, scores / draw.repetition_penalty, scores * draw.repetition_penalty)
    return logits.index_copy(0, seen, scores)


def _nucleus(scores: torch.Tensor, draw: Draw) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Probabilities that remain, and their candidates' order; None: all candidates in their own order."""
    probabilities = scores.softmax(0)
    if draw.top_p == 1 and draw.top_k == 0:
        return torch.where(probabilities >= draw.min_p * probabilities.max(), probabilities, 0.0), None
    count = min(draw.top_k or len(scores), len(scores))
    weights, order = probabilities.topk(min(count, HEAD))
    if len(weights) < count and float(weights.sum()) < draw.top_p:
        weights, order = probabilities.sort(descending=True)
        weights, order = weights[:count], order[:count]
    if draw.top_k:
        weights = weights / weights.sum()
    before = weights.cumsum(0) - weights
    keep = (before < draw.top_p) & (weights >= draw.min_p * weights[0])
    return weights[keep], order[keep]
