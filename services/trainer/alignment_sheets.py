"""Samples of alignment: what projections say, what the model answers, and what decoders make of its signals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from anygpt.vocabulary import ModalityName
from anygpt_models.audio_pipeline import AudioPipeline
from anygpt_models.image_pipeline import ImagePipeline
from anygpt_models.part import is_kept
from anygpt_models.spectrogram import log_mel
from anygpt_models.video_pipeline import VideoPipeline
from services.trainer.alignment_answer import Answerer
from services.trainer.alignment_model import MediaVectors
from services.trainer.alignment_setup import Alignment
from services.trainer.data import dialogues
from services.trainer.data.messages import MEDIA, Part
from services.trainer.data.split import shows_held_out
from services.trainer.recipe import Recipe
from services.trainer.sheet import Cell, Sample, Sheet, strip

SHOWN = 12
DECODERS = {"image": "image_denoiser", "video": "video_denoiser", "audio": "audio_denoiser"}
"""What a pack must have for its signals to be seen or heard."""


Projected = Callable[[Tensor], Tensor]
"""Numbers of examples -> what a projection makes of them."""


def answered(alignment: Alignment, media: MediaVectors) -> Sample:
    """What the model answers to requests in wordings that it has never seen."""
    written = dialogues.build(8 * SHOWN, 5, alignment.talk, held_out=True)
    asked = [one for one in written if one.family != "chat" and not one.forced and not shows_held_out(one)][
        :SHOWN
    ]
    answerer = Answerer(alignment.model, alignment.sequencer, media)

    def sample() -> Sheet:
        answers = answerer.answer([alignment.sequencer.prompt(dialogue) for dialogue in asked])
        cells = [
            Cell(
                None, f"asked: {_told(dialogue.turns[-1].request)}\nanswered: {_told(answerer.parts(answer))}"
            )
            for dialogue, answer in zip(asked, answers, strict=True)
        ]
        return Sheet(f"{len(cells)} held-out requests answered", cells, columns=3)

    return sample


def _told(parts: Sequence[Part]) -> str:
    """Words of a message, its media in brackets."""
    return " ".join(
        f"[{part.modality} {part.content}]".replace(" ]", "]") if part.modality in MEDIA else part.content
        for part in parts
    )


def worded(projected: Projected, wanted: Tensor, captions: Sequence[str]) -> Sample:
    """Whose words embeddings are nearest to, out of some captions: `wanted` [N, n, width] are theirs."""
    rows = torch.randperm(len(captions))[: 4 * SHOWN]

    def sample() -> Sheet:
        found = torch.cdist(projected(rows).float().flatten(1), wanted[rows].flatten(1)).argmin(1)
        nearest = [captions[int(rows[place])] for place in found]
        told = [captions[int(row)] for row in rows]
        right = sum(one == other for one, other in zip(told, nearest, strict=True))
        pairs = zip(told, nearest, strict=True)
        cells = [Cell(None, f"{one}\n= {other}" if one != other else one) for one, other in pairs]
        return Sheet(f"{right} of {len(cells)} nearest to their own words", cells[:SHOWN], columns=3)

    return sample


def decoded(
    recipe: Recipe, modality: ModalityName, projected: Projected, captions: Sequence[str]
) -> Sample | None:
    """What the pack's decoder makes of projected signals; nothing where it has none."""
    if not is_kept(recipe.pack / DECODERS[modality]):
        return None
    rows = torch.randperm(len(captions))[:SHOWN]
    told = [captions[int(row)] for row in rows]

    def sample() -> Sheet:
        shown = _MADE[modality](recipe, projected(rows).float())
        cells = [Cell(*pair) for pair in zip(shown, told, strict=True)]
        return Sheet(f"{len(cells)} signals decoded", cells, columns=12 if modality == "image" else 2)

    return sample


def _pictures(recipe: Recipe, condition: Tensor) -> list[Tensor]:
    """One after the other, as a batch can not be of scenes and of single things."""
    pipe, chance = ImagePipeline.assemble(recipe.pack), torch.Generator().manual_seed(0)
    drawn = [pipe(condition=one, generator=chance).codes for one in condition.split(1)]
    return [pipe.image_codec.decode(codes)[0] for codes in drawn]


def _clips(recipe: Recipe, condition: Tensor) -> list[Tensor]:
    frames = VideoPipeline.assemble(recipe.pack)(condition=condition).frames
    return [strip(torch.as_tensor(clip).movedim(-1, 1).float() / 127.5 - 1) for clip in frames]


def _sounds(recipe: Recipe, condition: Tensor) -> list[Tensor]:
    return list(log_mel(torch.as_tensor(AudioPipeline.assemble(recipe.pack)(condition=condition).audios)))


_MADE: Mapping[ModalityName, Callable[[Recipe, Tensor], list[Tensor]]] = {
    "image": _pictures,
    "video": _clips,
    "audio": _sounds,
}
