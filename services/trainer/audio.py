"""The stages that train the audio parts of a pack."""

from __future__ import annotations

from services.trainer.audio_codec import run_content, run_timbre
from services.trainer.audio_denoiser import run_denoiser, run_polish
from services.trainer.audio_judgement import run_judge
from services.trainer.audio_recogniser import run_recogniser
from services.trainer.data.audio import clips, exercises
from services.trainer.recipe import Recipe
from services.trainer.vocoder import run_vocoder


def run_data(recipe: Recipe) -> None:
    """Compose, render and synthesise the clips."""
    print(f"{len(clips(recipe.cache).index)} clips, {len(exercises(recipe.cache).index)} exercises")


STAGES = {
    "data": run_data,
    "vocoder": run_vocoder,
    "content": run_content,
    "timbre": run_timbre,
    "recogniser": run_recogniser,
    "denoiser": run_denoiser,
    "polish": run_polish,
    "judge": run_judge,
}
"""In this order; the vocoder also learns from speech that has been built before, and polishing can be repeated."""
