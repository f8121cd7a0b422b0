"""Train the audio parts of a pack: `python -m services.trainer.audio --stage data|vocoder|codec|...`, see STAGES."""

from __future__ import annotations

from services.trainer.audio_codec import run_codec
from services.trainer.audio_denoiser import run_denoiser, run_polish
from services.trainer.audio_judgement import run_judge
from services.trainer.audio_recogniser import run_recogniser
from services.trainer.data.audio import clips
from services.trainer.recipe import Recipe, main
from services.trainer.vocoder import run_vocoder


def run_data(recipe: Recipe) -> None:
    """Compose, render and synthesise the clips."""
    print(f"{len(clips(recipe.cache).index)} clips")


STAGES = {
    "data": run_data,
    "vocoder": run_vocoder,
    "codec": run_codec,
    "recogniser": run_recogniser,
    "denoiser": run_denoiser,
    "polish": run_polish,
    "judge": run_judge,
}
"""In this order; the vocoder also learns from speech that has been built before, and polishing can be repeated."""

if __name__ == "__main__":
    main(STAGES)
