"""Recipe of what composes: caption -> condition -> codes of a clip."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anygpt_models.audio_codec import PER_STEP, STEPS, AudioCodec
from anygpt_models.audio_pipeline import AudioPipeline, Styles
from anygpt_models.caption import CaptionEncoder
from anygpt_models.denoiser import CodeDenoiser
from anygpt_models.vocoder import Vocoder
from services.trainer.data.audio import clips
from services.trainer.loop import train
from services.trainer.recipe import Recipe

CAPTION, DENOISER, STYLES = "audio_caption", "audio_denoiser", "audio_styles"
COUNT = 2
"""Variations of each caption that the pipeline knows."""
WIDTH, DEPTH = 128, 3


def run_denoiser(recipe: Recipe) -> None:
    """Learn the codes of the first variations of every piece and sound from their captions."""
    data, codec = clips(recipe.cache), recipe.part(AudioCodec, "audio_codec")
    rows = [row for row, clip in enumerate(data.index) if clip.variation < COUNT]
    codes = codec.encode(torch.from_numpy(data.waveforms(rows)))
    captions = [data.index[row].caption for row in rows]
    variations = torch.tensor([data.index[row].variation for row in rows])
    caption, styles = CaptionEncoder(), Styles(COUNT)
    denoiser = CodeDenoiser(length=STEPS * PER_STEP, width=WIDTH, depth=DEPTH)
    parts = nn.ModuleDict({CAPTION: caption, DENOISER: denoiser, STYLES: styles})

    def step(_: int) -> Tensor:
        chosen = torch.randint(len(rows), (16,))
        condition = caption.encode([captions[row] for row in chosen.tolist()])
        return denoiser.loss(codes[chosen], styles(condition, variations[chosen]))

    train(recipe.run("audio_denoiser", learning_rate=3e-3, warmup=100), parts, step)
    for name, part in ((CAPTION, caption), (DENOISER, denoiser), (STYLES, styles)):
        recipe.keep(part, name)


def pipeline(recipe: Recipe) -> AudioPipeline:
    """The pipeline of the parts in the pack."""
    return AudioPipeline(
        codec=recipe.part(AudioCodec, "audio_codec"),
        denoiser=recipe.part(CodeDenoiser, DENOISER),
        caption_encoder=recipe.part(CaptionEncoder, CAPTION),
        styles=recipe.part(Styles, STYLES),
        vocoder=recipe.part(Vocoder, "vocoder"),
    )
