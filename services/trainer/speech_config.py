"""What the speech recipes share: voices, amounts, and where the spoken data lie."""

from __future__ import annotations

from pathlib import Path

from services.trainer.recipe import Recipe

VOICES = ("hibari", "joe")
JOE_SENTENCES = 4400
WORD_ROUNDS = 2
"""How often every common word is read in rows that make no sense, so that none is known from a sentence alone."""
HELD_OUT_SPOKEN = 100


def data_folder(recipe: Recipe) -> Path:
    """Spoken sentences and the word list."""
    return recipe.cache / "data" / "speech"
