"""What the speech recipes share: voices, amounts, and where the spoken data lie."""

from __future__ import annotations

from pathlib import Path

from services.trainer.recipe import Recipe

VOICES = ("hibari", "joe")
JOE_SENTENCES = 2000
HELD_OUT_SPOKEN = 100


def data_folder(recipe: Recipe) -> Path:
    """Spoken sentences and the word list."""
    return recipe.cache / "data" / "speech"
