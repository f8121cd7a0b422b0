"""What is asked in an evaluation: ideas of held-out combinations, their media as files, and spoken words; seeded."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from anygpt.client import Media, Piece
from services.trainer.data import audio, composed, examples, videos, world
from services.trainer.data.animations import Animations, animations
from services.trainer.data.composed import Composition
from services.trainer.data.ideas import Idea, Music, Sound
from services.trainer.data.scenes import SLIGHT, Album
from services.trainer.data.sentences import build_sentences
from services.trainer.data.speech import HibariVoice, Phonemiser, Voice, common_words, utter
from services.trainer.data.split import is_chosen
from services.trainer.data.stored import floats
from services.trainer.data.world import Scene
from services.trainer.evaluation.files import Samples, clip_file, picture_file, sound_file

Drawn = TypeVar("Drawn", Music, Sound, str)
_MOODS = tuple(world.MOODS)
_SOUNDS = tuple(map(Sound, world.SOUNDS))
_PIECES = tuple(
    piece
    for instrument in world.INSTRUMENTS
    for mood in world.MOODS
    if is_chosen(piece := Music(instrument, mood))
)
FACES = 3
LONGEST_SENTENCE = 10


@dataclass(frozen=True)
class Material:
    """Pictures, recordings and sentences, opened when they are needed."""

    cache: Path

    @cached_property
    def album(self) -> Album:
        """The pictures of the world."""
        return Album.open(self.cache)

    @cached_property
    def animations(self) -> Animations:
        """Things of the world that move by themselves."""
        return animations(self.cache)

    @cached_property
    def recordings(self) -> audio.Clips:
        """Music and sounds that nothing learned from, no judge either."""
        return audio.asked(self.cache)

    @cached_property
    def _rows(self) -> Mapping[Idea, Sequence[int]]:
        rows = defaultdict[Idea, list[int]](list)
        for row, clip in enumerate(self.recordings.index):
            rows[Music(clip.instrument, clip.mood) if clip.instrument else Sound(clip.sound)].append(row)
        return rows

    @cached_property
    def sentences(self) -> Sequence[str]:
        """Sentences that no recogniser learned from."""
        corpus = build_sentences(common_words(self.cache / "data" / "speech"))
        return [sentence for sentence in corpus.held_out if len(sentence.split()) <= LONGEST_SENTENCE]

    @cached_property
    def english(self) -> Sequence[str]:
        """Plain English that nothing was trained on."""
        return examples.sentences(self.cache)

    @cached_property
    def _voice(self) -> tuple[Voice, Phonemiser]:
        return HibariVoice(), Phonemiser()

    def spoken(self, text: str) -> Samples:
        """Words as a person says them, samples [S] at 16 kHz."""
        found = utter(self._voice[0], text, self._voice[1], seed=0)
        assert found is not None
        return floats(found[1])

    def shown(self, idea: Idea, seed: int) -> Piece:
        """A picture, a clip or a recording of an idea, another for another seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if isinstance(idea, Scene) and not idea.motion:
                return Media(picture_file(self.album.render([idea], SLIGHT, FACES)[0]), "image")
            if isinstance(idea, Scene):
                frames, _ = videos.render(self.album, [idea], 0.8 + 0.4 * torch.rand(1))
                return Media(clip_file(frames[0], videos.FRAMES_PER_SECOND), "video")
        rows = self._rows[idea]
        return Media(sound_file(self.recordings.waveforms([rows[seed % len(rows)]])[0]), "audio")

    def scene(self, scene: Composition) -> Piece:
        """A picture of several things, as a file."""
        return Media(picture_file(composed.render(self.album, [scene])[0]), "image")

    def animated(self, scene: Scene, seed: int) -> Piece:
        """A clip of a thing that moves by itself, where it is or as the scene says."""
        rows = self.animations.rows[scene.kind]
        alive = self.animations.played([rows[seed % len(rows)]], [0])
        frames, _ = videos.moved(alive, [scene], torch.tensor([0.8 + 0.4 * random.Random(seed).random()]))
        return Media(clip_file(frames[0], videos.FRAMES_PER_SECOND), "video")

    def said(self, text: str) -> Piece:
        """Words as a spoken message."""
        return Media(sound_file(self.spoken(text)), "speech")


class Sampler:
    """Draws ideas of held-out combinations; of what there is little, each as often as any other."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self._decks: dict[tuple[object, ...], list[Any]] = {}
        self._drawn = Counter[Idea]()

    def scene(self, faces: bool = False, moving: bool = False, objects: Sequence[str] = ()) -> Scene:
        """A still or moving scene."""
        kinds = [f"{emotion} face" for emotion in world.EMOTIONS] if faces else objects or list(world.OBJECTS)
        while True:
            found = Scene(self.pick.choice(kinds), self.pick.choice(list(world.COLOURS)))
            if moving:
                found = replace(found, motion=self.pick.choice(list(world.MOTIONS)))
            if is_chosen(found):
                return found

    def music(self) -> Music:
        """A piece."""
        return self._dealt(_PIECES)

    def sound(self) -> Sound:
        """A sound."""
        return self._dealt(_SOUNDS)

    def mood(self) -> str:
        """A mood."""
        return self._dealt(_MOODS)

    def nth(self, idea: Idea) -> int:
        """How often the same was asked for before: the number of a recording that was not heard yet."""
        self._drawn[idea] += 1
        return self._drawn[idea] - 1

    def _dealt(self, among: tuple[Drawn, ...]) -> Drawn:
        deck: list[Drawn] = self._decks.setdefault(among, [])
        deck += [] if deck else self.pick.sample(among, len(among))
        return deck.pop()
