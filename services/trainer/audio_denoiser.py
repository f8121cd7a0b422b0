"""Recipe of what composes: caption -> condition -> codes of a clip."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from anygpt_models.audio_codec import LENGTH, PER_STEP, AudioCodec
from anygpt_models.audio_pipeline import Styles
from anygpt_models.caption import CaptionEncoder
from anygpt_models.denoiser import CodeDenoiser, Sampling
from services.trainer import pack
from services.trainer.audio_codec import PART as CODEC
from services.trainer.audio_codec import SHOWN
from services.trainer.audio_playing import PLAYERS, Playing, by_parts
from services.trainer.data import world
from services.trainer.data.audio import Clip
from services.trainer.data.ideas import Music, caption
from services.trainer.data.mixture import pick
from services.trainer.data.split import is_held_out
from services.trainer.device import here
from services.trainer.loop import train
from services.trainer.processes import once
from services.trainer.recipe import Recipe
from services.trainer.sheet import Cell, Sample, Sheet

CAPTION, DENOISER, STYLES = "audio_caption", "audio_denoiser", "audio_styles"
COUNT = 3
"""Variations of each caption that the pipeline knows."""
WIDTH, DEPTH, BATCH = 128, 3, 24
BLUR = 0.4
"""Most noise on a condition of unit variance: a projection never hits it exactly."""
APART = 0.5
"""Least distance of two conditions, root mean square of vectors of unit variance."""


def run_denoiser(recipe: Recipe) -> None:
    """Learn the codes of the first variations of every piece and sound from their captions."""
    caption, styles = recipe.build(CaptionEncoder, CAPTION), recipe.build(Styles, STYLES, count=COUNT)
    pieces = known_pieces(recipe, styles)
    denoiser = recipe.build(CodeDenoiser, DENOISER, length=LENGTH, width=WIDTH, depth=DEPTH)
    parts = nn.ModuleDict({CAPTION: caption, DENOISER: denoiser, STYLES: styles})

    def step(_: int) -> Tensor:
        lessons = pieces.lessons(recipe.many(BATCH))
        told = [lesson.condition(caption) for lesson in lessons]
        return unlearned(denoiser, styles, lessons, told) + crowding(told[0].float(), lessons[0].captions)

    sample = composed(recipe, Composing(caption, denoiser, styles))
    train(recipe.run("audio_denoiser", learning_rate=3e-3, warmup=100), parts, step, sample)
    for name, part in ((CAPTION, caption), (DENOISER, denoiser), (STYLES, styles)):
        recipe.keep(part, name)
    once(lambda: pack.write_scheduler(recipe.pack))


def unlearned(denoiser: CodeDenoiser, styles: Styles, lessons: list[Lesson], told: list[Tensor]) -> Tensor:
    """The loss of all lessons, each under its conditions [B, K, C]."""
    return torch.stack([
        denoiser.loss(lesson.codes, styles(condition, lesson.styles), drop=0.05, counted=lesson.counted)
        for lesson, condition in zip(lessons, told, strict=True)
    ]).sum()  # fmt: skip


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
    pieces, caption = known_pieces(recipe, styles), recipe.part(CaptionEncoder, CAPTION)
    denoiser = recipe.part(CodeDenoiser, DENOISER).requires_grad_(True)

    def step(_: int) -> Tensor:
        lessons = pieces.lessons(recipe.many(BATCH))
        told = [blurred(lesson.condition(caption)) for lesson in lessons]
        return unlearned(denoiser, styles, lessons, told)

    parts = nn.ModuleDict({DENOISER: denoiser, STYLES: styles})
    sample = composed(recipe, Composing(caption, denoiser, styles))
    train(recipe.run("audio_polish", learning_rate=1.5e-3, warmup=100), parts, step, sample)
    recipe.keep(denoiser, DENOISER)
    recipe.keep(styles, STYLES)


@dataclass(frozen=True)
class Composing:
    """The parts that make codes of captions."""

    caption: CaptionEncoder
    denoiser: CodeDenoiser
    styles: Styles

    def codes(self, captions: list[str]) -> Tensor:
        """Codes [B, 130], each with a seed of its own."""
        seeds = [torch.Generator(here()).manual_seed(seed) for seed in range(len(captions))]
        told = self.caption.encode(captions)
        return self.denoiser.generate(
            self.styles(told, self.styles.draw(seeds)), seeds, Sampling(16, 1.0, 0.0)
        )


def composed(recipe: Recipe, composing: Composing) -> Sample:
    """What is composed of held-out captions and of sounds."""
    codec = recipe.part(AudioCodec, CODEC)
    pieces = [Music(instrument, mood) for instrument in world.INSTRUMENTS for mood in world.MOODS]
    captions = [caption(piece) for piece in pieces if is_held_out(piece)]
    captions = captions[: SHOWN - 4] + [world.sound_caption(sound) for sound in world.SOUNDS[:4]]

    def sample() -> Sheet:
        mels = codec.decode(composing.codes(captions))
        cells = [Cell(*pair) for pair in zip(mels, captions, strict=True)]
        return Sheet(f"{len(captions)} captions composed", cells, columns=3)

    return sample


def blurred(conditions: Tensor) -> Tensor:
    """Conditions [B, K, C] with noise, each with as much as chance gives it."""
    return conditions + BLUR * torch.rand(len(conditions), 1, 1) * torch.randn_like(conditions)


@dataclass(frozen=True)
class Lesson:
    """Codes [B, 130] that captions become, each in a style [B]; only those `counted` have to be found."""

    codes: Tensor
    captions: list[str]
    styles: Tensor
    counted: slice
    besides: tuple[list[str], list[str]] | None = None
    """Captions with and without a word: what it adds to a condition there is added here."""

    def condition(self, caption: CaptionEncoder) -> Tensor:
        """Condition [B, K, C] of the captions and of what comes besides."""
        told = caption.encode(self.captions)
        if self.besides is None:
            return told
        with_it, without_it = (caption.encode(captions) for captions in self.besides)
        return told + with_it - without_it


@dataclass(frozen=True)
class Pieces:
    """What the pipeline can play: codes [N, 130], what it is, and which variation each is [N]."""

    codes: Tensor
    index: list[Clip]
    styles: Tensor

    @cached_property
    def music(self) -> Tensor:
        """Rows of what an instrument plays."""
        return torch.tensor([row for row, clip in enumerate(self.index) if clip.mood])

    def lessons(self, count: int) -> list[Lesson]:
        """Half of `count` examples as they are, the others for who plays, and for what is played.

        There a word that means nothing stands for the other, which comes from another piece, with what it adds to the
        condition of that. So who plays and what is played do not tell each other, and any two can meet.
        """
        rows = torch.randint(len(self.index), (count // 2,))
        first, second, third, fourth = pick(self.music, 4 * (count // 4)).chunk(4)
        whole = Lesson(self.codes[rows], self._captions(rows), self.styles[rows], slice(None))
        return [whole, self._who(first, second), self._what(third, fourth)]

    def _who(self, players: Tensor, pieces: Tensor) -> Lesson:
        captions = [world.music_caption(self.index[row].instrument, nonsense()) for row in players]
        without = [world.music_caption(self.index[row].instrument, nonsense()) for row in pieces]
        return self._crossed(players, pieces, captions, (self._captions(pieces), without), slice(PER_STEP))

    def _what(self, players: Tensor, pieces: Tensor) -> Lesson:
        captions = [world.music_caption(nonsense(), self.index[row].mood) for row in pieces]
        without = [world.music_caption(nonsense(), self.index[row].mood) for row in players]
        return self._crossed(
            players, pieces, captions, (self._captions(players), without), slice(PER_STEP, None)
        )

    def _crossed(
        self, players: Tensor, pieces: Tensor, captions: list[str], besides: tuple[list[str], list[str]],
        counted: slice,
    ) -> Lesson:  # fmt: skip
        codes = torch.cat([self.codes[players, :PER_STEP], self.codes[pieces, PER_STEP:]], dim=1)
        return Lesson(codes, captions, self.styles[pieces], counted, besides)

    def _captions(self, rows: Tensor) -> list[str]:
        return [self.index[row].caption for row in rows]


def nonsense() -> str:
    """A word that means nothing, another each time."""
    return f"word{int(torch.randint(10**9, ()))}"


@torch.no_grad()
def known_pieces(recipe: Recipe, styles: Styles) -> Pieces:
    """The first variations of every piece and sound that is trained on, as codes: as many as there are styles.

    An instrument has the mean of its timbres, so that its pieces differ by their content alone.
    """
    playing, codec = Playing.pieces(recipe.cache), recipe.part(AudioCodec, CODEC)
    heard = by_parts(codec.timbre, playing.mels[0])
    means = torch.stack([heard[playing.players == who].mean(0) for who in range(len(PLAYERS))])
    timbres, contents = codec.timbre.codes(means), codec.content_codes(playing.contents[0])
    rows = [row for row, clip in enumerate(playing.index) if clip.variation < styles.setting("count")]
    codes = torch.cat([timbres[playing.players[rows]], contents[playing.rows[rows]]], dim=1)
    known = [playing.index[row] for row in rows]
    return Pieces(codes, known, torch.tensor([clip.variation for clip in known]))
