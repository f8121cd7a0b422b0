from __future__ import annotations

from pathlib import Path

import torch

from anygpt_models.audio_codec import PER_STEP, STEPS, AudioCodec
from anygpt_models.audio_pipeline import Styles
from services.trainer.audio_denoiser import BLUR, blurred, known_pieces
from services.trainer.data import world
from services.trainer.recipe import Recipe
from tests.unit.trainer.tiny_data import VARIATIONS, write_tiny_data

NAMES = len(world.INSTRUMENTS) * len(world.MOODS) + len(world.SOUNDS)


def test_there_is_a_variation_for_each_style_but_those_that_are_held_out(tmp_path: Path) -> None:
    recipe = Recipe(write_tiny_data(tmp_path / "cache"), tmp_path / "pack")
    recipe.keep(AudioCodec(), "audio_codec")
    for count in (1, VARIATIONS):
        pieces = known_pieces(recipe, Styles(count))
        assert pieces.codes.shape == (NAMES, STEPS * PER_STEP)
        assert len(set(pieces.captions)) == NAMES
        assert pieces.styles.tolist() == [0] * NAMES


def test_conditions_are_blurred_each_by_its_own_share() -> None:
    torch.manual_seed(0)
    conditions = torch.randn(64, 8, 256)
    off = (blurred(conditions) - conditions).square().mean((1, 2)).sqrt()
    assert float(off.max()) < BLUR * 1.1
    assert float(off.max() - off.min()) > BLUR / 2
