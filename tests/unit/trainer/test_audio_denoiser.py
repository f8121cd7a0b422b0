from __future__ import annotations

import pytest
import torch

from anygpt_models.audio_codec import LENGTH, PER_STEP, AudioCodec
from anygpt_models.audio_pipeline import Styles
from anygpt_models.denoiser import CodeDenoiser
from services.trainer.alignment_reading import wanted_of
from services.trainer.audio_denoiser import BLUR, blurred, known_pieces
from services.trainer.data import ideas, world
from services.trainer.recipe import Recipe
from tests.unit.trainer.tiny_data import VARIATIONS, write_tiny_data

NAMES = [ideas.caption(idea) for idea in wanted_of("audio")]
"""Every piece and sound that no judge asks for."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("audio")
    recipe = Recipe(write_tiny_data(folder / "cache"), folder / "pack", folder / "runs")
    recipe.keep(AudioCodec(), "audio_codec")
    return recipe


@pytest.mark.parametrize("count", [1, VARIATIONS])
def test_each_style_is_a_variation_of_every_piece_that_no_judge_asks_for(recipe: Recipe, count: int) -> None:
    pieces = known_pieces(recipe, Styles(count))
    assert pieces.codes.shape == (len(NAMES), LENGTH)
    assert sorted(clip.caption for clip in pieces.index) == sorted(NAMES)
    assert pieces.styles.tolist() == [0] * len(NAMES)


def test_an_instrument_has_one_timbre_and_notes_one_content(recipe: Recipe) -> None:
    pieces = known_pieces(recipe, Styles(1))
    codes = {clip.caption: row for clip, row in zip(pieces.index, pieces.codes, strict=True)}
    happy_piano, sad_piano = (codes[world.music_caption("piano", mood)] for mood in ("happy", "sad"))
    sad_organ = codes[world.music_caption("organ", "sad")]
    assert torch.equal(happy_piano[:PER_STEP], sad_piano[:PER_STEP])
    assert torch.equal(sad_organ[PER_STEP:], sad_piano[PER_STEP:])


def test_lessons_tell_who_plays_and_what_is_played_apart(recipe: Recipe) -> None:
    pieces = known_pieces(recipe, Styles(1))
    codes = {clip.caption: row for clip, row in zip(pieces.index, pieces.codes, strict=True)}
    whole, who, what = pieces.lessons(64)
    for caption, found in zip(whole.captions, whole.codes, strict=True):
        assert torch.equal(found, codes[caption])
    for lesson, known, place in ((who, world.INSTRUMENTS, 1), (what, world.MOODS, 0)):
        for caption, found in zip(lesson.captions, lesson.codes, strict=True):
            said = caption.split()
            assert said[place] in known
            assert said[1 - place] not in (*world.INSTRUMENTS, *world.MOODS)
            same = [row for name, row in codes.items() if said[place] in name.split()]
            assert any(torch.equal(found[lesson.counted], row[lesson.counted]) for row in same)


def test_only_codes_that_count_have_to_be_found() -> None:
    denoiser, codes = CodeDenoiser(length=6, width=32, depth=1), torch.randint(4096, (64, 6))

    def loss(counted: slice) -> float:
        torch.manual_seed(0)  # the same masks
        return denoiser.loss(codes, torch.zeros(64, 1, 256), counted=counted).item()

    first, others, all_of_them = loss(slice(2)), loss(slice(2, None)), loss(slice(None))
    assert min(first, others) < all_of_them < max(first, others)
    assert loss(slice(0)) == 0.0


def test_conditions_are_blurred_each_by_its_own_share() -> None:
    torch.manual_seed(0)
    conditions = torch.randn(64, 8, 256)
    off = (blurred(conditions) - conditions).square().mean((1, 2)).sqrt()
    assert float(off.max()) < BLUR * 1.1
    assert float(off.max() - off.min()) > BLUR / 2
