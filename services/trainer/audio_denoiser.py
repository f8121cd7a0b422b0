"""Recipe of what composes: caption -> condition -> codes of a clip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anygpt_models.audio_codec import PER_STEP, STEPS, AudioCodec
from anygpt_models.audio_pipeline import Styles
from anygpt_models.caption import CaptionEncoder
from anygpt_models.denoiser import CodeDenoiser
from services.trainer.data.audio import clips
from services.trainer.loop import train
from services.trainer.recipe import Recipe

CAPTION, DENOISER, STYLES = "audio_caption", "audio_denoiser", "audio_styles"
COUNT = 2
"""Variations of each caption that the pipeline knows."""
WIDTH, DEPTH, BATCH = 128, 3, 16
BLUR = 0.4
"""Most noise on a condition of unit variance: a projection never hits it exactly."""
APART = 0.5
"""Least distance of two conditions, root mean square of vectors of unit variance."""


def run_denoiser(recipe: Recipe) -> None:
    """Learn the codes of the first variations of every piece and sound from their captions."""
    caption, styles = recipe.build(CaptionEncoder, CAPTION), recipe.build(Styles, STYLES, count=COUNT)
    pieces = known_pieces(recipe, styles)
    denoiser = recipe.build(CodeDenoiser, DENOISER, length=STEPS * PER_STEP, width=WIDTH, depth=DEPTH)
    parts = nn.ModuleDict({CAPTION: caption, DENOISER: denoiser, STYLES: styles})

    def step(_: int) -> Tensor:
        chosen = torch.randint(len(pieces.codes), (recipe.many(BATCH),))
        told = [pieces.captions[row] for row in chosen.tolist()]
        condition = caption.encode(told)
        loss = denoiser.loss(pieces.codes[chosen], styles(condition, pieces.styles[chosen]), drop=0.05)
        return loss + crowding(condition.float(), told)

    train(recipe.run("audio_denoiser", learning_rate=3e-3, warmup=100), parts, step)
    for name, part in ((CAPTION, caption), (DENOISER, denoiser), (STYLES, styles)):
        recipe.keep(part, name)


def crowding(conditions: Tensor, captions: list[str]) -> Tensor:
    """How much nearer than `APART` the conditions [B, K, C] of different captions lie: two that meet sound the same."""
    flat = conditions.flatten(1)
    distances = (flat[:, None] - flat[None, :]).square().mean(dim=2).clamp(min=1e-6).sqrt()
    differ = torch.tensor([[one != other for other in captions] for one in captions])
    return torch.relu(APART - distances)[differ].sum() / len(captions)


def run_polish(recipe: Recipe) -> None:
    """Go on with the denoiser of the pack, from conditions that are a little off, as an output projection makes them.

    The captions' own conditions stay, so that a trained projection keeps fitting.
    """
    styles = recipe.part(Styles, STYLES).requires_grad_(True)
    pieces = known_pieces(recipe, styles)
    conditions = recipe.part(CaptionEncoder, CAPTION).encode(pieces.captions)
    denoiser = recipe.part(CodeDenoiser, DENOISER).requires_grad_(True)

    def step(_: int) -> Tensor:
        chosen = torch.randint(len(pieces.codes), (recipe.many(BATCH),))
        told = blurred(conditions[chosen])
        return denoiser.loss(pieces.codes[chosen], styles(told, pieces.styles[chosen]), drop=0.05)

    parts = nn.ModuleDict({DENOISER: denoiser, STYLES: styles})
    train(recipe.run("audio_polish", learning_rate=1.5e-3, warmup=100), parts, step)
    recipe.keep(denoiser, DENOISER)
    recipe.keep(styles, STYLES)


def blurred(conditions: Tensor) -> Tensor:
    """Conditions [B, K, C] with noise, each with as much as chance gives it."""
    return conditions + BLUR * torch.rand(len(conditions), 1, 1) * torch.randn_like(conditions)


@dataclass(frozen=True)
class Pieces:
    """What the pipeline can play: codes [N, 128], captions, and which variation each is [N]."""

    codes: Tensor
    captions: list[str]
    styles: Tensor


def known_pieces(recipe: Recipe, styles: Styles) -> Pieces:
    """The first variations of every piece and sound, as codes: as many as there are styles."""
    data, codec = clips(recipe.cache), recipe.part(AudioCodec, "audio_codec")
    count = styles.setting("count")
    rows = [row for row, clip in enumerate(data.index) if clip.variation < count and not clip.held_out]
    codes = codec.encode(torch.as_tensor(data.waveforms(rows)))
    known = [data.index[row] for row in rows]
    return Pieces(codes, [clip.caption for clip in known], torch.tensor([clip.variation for clip in known]))
