"""Codes from noise: masked (absorbing-state) diffusion over the codes of a codec.

MaskGIT (Chang et al. 2022, arXiv:2202.04200) for the schedule, VQ-Diffusion for the view as diffusion. A code is
split into digits, so that a codec with thousands of codes needs a head of only a few dozen logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from anygpt_models.blocks import TransformerBlock, positions
from anygpt_models.code_memory import CodeMemory
from anygpt_models.fsq import FiniteScalarQuantiser
from anygpt_models.mask_scheduler import MaskScheduler
from anygpt_models.part import Part, configured


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn: steps, guidance (1 = none), temperature of the digits (0 = the likeliest), schedule."""

    steps: int = 8
    guidance: float = 1.5
    temperature: float = 0.5
    scheduler: MaskScheduler = field(default_factory=MaskScheduler)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"drawing takes at least one step, not {self.steps}")
        if not math.isfinite(self.guidance):
            raise ValueError(f"guidance is a finite number, not {self.guidance}")
        if not isinstance(self.scheduler, MaskScheduler):
            kind = type(self.scheduler).__name__
            raise TypeError(f"codes are uncovered by a MaskScheduler, which {kind} is not")


class CodeDenoiser(Part, ModelMixin):  # type: ignore[misc]  # both can be saved
    """Bidirectional transformer over `length` codes: masked codes and a condition in, logits of every digit out.

    With `direct`, each code also gets the mean of the condition, which teaches sooner where the condition names the
    answer; with `slots`, it has a memory of whole sequences.
    """

    @configured
    def __init__(  # noqa: PLR0913  the settings of its config.json
        self,
        length: int = 32,
        levels: tuple[int, ...] = (8, 8, 8, 8),
        width: int = 192,
        depth: int = 4,
        condition_width: int = 256,
        direct: bool = False,
        slots: int = 0,
    ) -> None:
        super().__init__()
        self.quantiser = FiniteScalarQuantiser(tuple(levels))
        self.digits = nn.ModuleList([nn.Embedding(level + 1, width) for level in levels])
        self.places = positions(length, width)
        self.condition = nn.Linear(condition_width, width)
        self.null = nn.Parameter(torch.randn(1, 1, condition_width) * 0.02)
        if direct:
            nn.init.normal_(self.places, std=0.5)
            for table in self.digits:
                nn.init.normal_(table.get_parameter("weight"), std=0.25)
        self.layers = nn.ModuleList([TransformerBlock(width, width // 32) for _ in range(depth)])
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sum(levels)))
        self.memory = CodeMemory(slots, length, tuple(levels), width) if slots else None

    def forward(self, codes: Tensor, masked: Tensor, condition: Tensor) -> list[Tensor]:
        """Codes int64 [B, length], masked bool [B, length], condition -> per digit, logits [B, L, level]."""
        digits = self.quantiser.digits(codes)
        x = self.places + sum(
            table(torch.where(masked, level, digits[..., index]))
            for index, (table, level) in enumerate(zip(self.digits, self.quantiser.levels, strict=True))
        )
        told = self.condition(condition)
        if self.setting("direct"):
            x = x + told.mean(1, keepdim=True)
        x = torch.cat([told, x], dim=1)
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.out(x[:, condition.shape[1] :])
        if self.memory is not None:
            logits = logits + self.memory(digits, masked, told.mean(1))
        return list(logits.split(self.quantiser.levels, dim=-1))

    def loss(
        self, codes: Tensor, condition: Tensor, drop: float = 0.1, counted: slice = slice(None)
    ) -> Tensor:
        """Cross-entropy of the digits under a random share of masks; the condition is dropped at a rate of `drop`.

        Of codes that are not `counted` none has to be found, though they are seen where no mask is.
        """
        batch, length = codes.shape
        share = torch.cos(torch.rand(batch, 1, device=codes.device) * math.pi / 2)
        masked = torch.rand(batch, length, device=codes.device) < share.clamp(min=1 / length)
        dropped = torch.rand(batch, 1, 1, device=codes.device) < drop
        condition = torch.where(dropped, self.null.to(condition.dtype), condition)
        due = torch.zeros_like(masked)
        due[:, counted] = masked[:, counted]
        logits, digits = self(codes, masked, condition), self.quantiser.digits(codes)[due]
        return torch.stack([
            functional.cross_entropy(part[due].float(), digits[:, index], reduction="sum")
            for index, part in enumerate(logits)
        ]).sum() / max(1, len(digits))  # fmt: skip

    @torch.no_grad()
    def generate(
        self,
        condition: Tensor,
        generators: list[torch.Generator],
        sampling: Sampling = Sampling(),
        on_step: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Condition [B, K, C] -> codes [B, length]; sample i draws only from generators[i]; on_step may raise.

        Each step keeps the digits that the model is surest of; the order loses its noise, and the digits their
        temperature, towards the end.
        """
        batch, length = len(condition), self.setting("length")
        codes = torch.zeros(batch, length, dtype=torch.int64, device=condition.device)
        masked = torch.ones_like(codes, dtype=torch.bool)
        for step in range(sampling.steps):
            heat = sampling.temperature * (1 - step / max(1, sampling.steps - 1))
            drawn, score = self._draw(
                self._guided(codes, masked, condition, sampling.guidance), generators, heat
            )
            codes = torch.where(masked, drawn, codes)
            score = torch.where(masked, score, math.inf)
            keep = sampling.scheduler.masked(length, step, sampling.steps)
            order = score.argsort(dim=1, stable=True)
            masked = torch.zeros_like(masked).scatter(1, order[:, :keep], True) & masked
            if on_step:
                on_step(step + 1, sampling.steps)
        return codes

    def _guided(self, codes: Tensor, masked: Tensor, condition: Tensor, guidance: float) -> list[Tensor]:
        """Log-probabilities [B, length, level] per digit, moved away from the unconditional ones."""
        told = self(codes, masked, condition)
        if guidance == 1.0:
            return [part.float().log_softmax(-1) for part in told]
        untold = self(codes, masked, self.null.expand(condition.shape))
        return [(b + guidance * (a - b)).float().log_softmax(-1) for a, b in zip(told, untold, strict=True)]

    def _draw(
        self, logits: list[Tensor], generators: list[torch.Generator], heat: float
    ) -> tuple[Tensor, Tensor]:
        """Codes [B, length] by the Gumbel-max trick, and a score [B, length] of how sure each is."""
        noise = _gumbel((*logits[0].shape[1:2], sum(self.quantiser.levels) + 1), generators).to(
            logits[0].device
        )
        *parts, order = noise.split([*self.quantiser.levels, 1], dim=-1)
        chosen = [(part + heat * gumbel).argmax(-1) for part, gumbel in zip(logits, parts, strict=True)]
        sure = torch.stack(
            [part.gather(-1, pick[..., None])[..., 0] for part, pick in zip(logits, chosen, strict=True)]
        )
        return self.quantiser.from_digits(torch.stack(chosen, dim=-1)), sure.sum(0) + heat * order[..., 0]


def _gumbel(shape: tuple[int, ...], generators: list[torch.Generator]) -> Tensor:
    """One draw per generator, so that a sample does not depend on its batch."""
    uniform = torch.stack([torch.rand(shape, generator=each, device=each.device) for each in generators])
    return -torch.log(-torch.log(uniform.clamp(1e-9, 1 - 1e-7)))
