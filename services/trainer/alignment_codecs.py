"""The codes of media that show a caption, and what codecs say of a code: for the language model that writes them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor
from torch.nn import functional

from anygpt.vocabulary import ModalityName
from anygpt_models.audio_codec import AudioCodec, levelled
from anygpt_models.fsq import FiniteScalarQuantiser
from anygpt_models.image_codec import ImageCodec, with_backdrop
from anygpt_models.spectrogram import log_mel
from anygpt_models.video_codec import MotionCodec, VideoCodec
from services.trainer.alignment_media import FACES
from services.trainer.data import audio, ideas, videos
from services.trainer.data.mixture import CANONICAL_COLOUR
from services.trainer.data.scenes import SLIGHT, Album, backgrounds
from services.trainer.data.split import is_held_out
from services.trainer.data.world import COLOURS, Scene
from services.trainer.recipe import Recipe

PIECES, RECORDINGS = 2, 1
"""Pieces of a mood, and recordings of a sound, that answers choose from: what is written has to be known by heart."""
VIEWS = 2
"""Media that show one caption when they are given."""
ENTRIES = (24, 8)
"""Numbers that tell an entry of the two books of audio, of the 64 that it has."""


@dataclass(frozen=True)
class Codecs:
    """The codecs of a pack."""

    image: ImageCodec
    motion: MotionCodec
    audio: AudioCodec

    @classmethod
    def open(cls, recipe: Recipe) -> Codecs:
        """Those that the pack of a recipe has."""
        return cls(
            recipe.part(ImageCodec, "image_codec"),
            recipe.part(MotionCodec, "motion_codec"),
            recipe.part(AudioCodec, "audio_codec"),
        )

    def image_digits(self) -> Tensor:
        """What a code of a picture or a motion says: its digits, [4096, 32], one of eight in each group is 1."""
        return _digits(self.image.tokeniser.quantiser)

    def audio_entries(self) -> Tensor:
        """What a code of audio says: the entry of either book, or the digits of a timbre, [4096, 64]."""
        entries = [book[:, :count] for book, count in zip(self.audio.books, ENTRIES, strict=True)]
        spread = [entry / entry.square().sum(1).mean().sqrt().clamp_min(1e-6) for entry in entries]
        return torch.cat([*spread, _digits(self.audio.timbre.quantiser)], dim=1)


def _digits(quantiser: FiniteScalarQuantiser) -> Tensor:
    digits = quantiser.digits(torch.arange(quantiser.size))
    return torch.cat(
        [functional.one_hot(digits[:, place], level) for place, level in enumerate(quantiser.levels)], dim=1
    ).float()


class CodesOfMedia:
    """Captions -> codes of media that show them: the plainest in an answer, any when they are given."""

    def __init__(self, codecs: Codecs, album: Album, clips: audio.Clips) -> None:
        self.codecs = codecs
        self.album = album
        self.video = VideoCodec(codecs.image, codecs.motion)
        self.clips = clips
        self.pick = random.Random(5)
        self._given: dict[tuple[ModalityName, str], list[list[int]]] = defaultdict(list)
        self._answered: dict[str, list[int]] = {}

    @classmethod
    def open(cls, recipe: Recipe, codecs: Codecs) -> CodesOfMedia:
        """With the pictures and recordings of a recipe."""
        return cls(codecs, Album.open(recipe.cache), audio.clips(recipe.cache))

    def __call__(self, modality: ModalityName, caption: str, answered: bool) -> Sequence[int]:
        """One medium's codes."""
        idea = ideas.meaning(caption)
        if isinstance(idea, ideas.Music | ideas.Sound):
            return self._composed(caption, idea) if answered else self._recorded(caption)
        assert isinstance(idea, Scene)
        return self._drawn(modality, idea) if answered else self._seen(modality, caption, idea)

    def _drawn(self, modality: ModalityName, scene: Scene) -> list[int]:
        """The thing before the colour that tells most of it, then the colour, then the motion."""
        if scene.kind not in self._answered:
            plain = self.album.render([Scene(scene.kind, CANONICAL_COLOUR)])
            self._answered[scene.kind] = self.codecs.image.encode(plain)[0].tolist()
        backdrop = backgrounds([scene.colour]) * 2 - 1
        codes: list[int] = with_backdrop(torch.tensor([self._answered[scene.kind]]), backdrop)[0].tolist()
        return codes + (self._moved(scene.motion) if modality == "video" else [])

    @cache  # noqa: B019  one of these lives as long as a run
    def _moved(self, motion: str) -> list[int]:
        maps = videos.relative_poses(videos.motion_poses(motion)[None])
        codes: list[int] = self.codecs.motion.encode_poses(maps)[0].tolist()
        return codes

    @torch.no_grad()
    def _seen(self, modality: ModalityName, caption: str, scene: Scene) -> list[int]:
        views = self._given[modality, caption]
        if len(views) < VIEWS:
            views.append(self._film(scene) if modality == "video" else self._picture(scene))
            return views[-1]
        return self.pick.choice(views)

    def _picture(self, scene: Scene) -> list[int]:
        codes: list[int] = self.codecs.image.encode(self.album.render([scene], SLIGHT, FACES))[0].tolist()
        return codes

    def _film(self, scene: Scene) -> list[int]:
        frames, _ = videos.render(self.album, [scene], 0.8 + 0.4 * torch.rand(1))
        codes: list[int] = self.video.encode(frames)[0].tolist()
        return codes

    def _recorded(self, caption: str) -> list[int]:
        return self.pick.choice(self.recordings[caption])

    @torch.no_grad()
    def viewed(self, views: int) -> tuple[list[Scene], Tensor]:
        """Scenes of every kind of thing and the codes of pictures of them [N, 32]: the plain one and some views."""
        scenes, codes = list[Scene](), list[Tensor]()
        for kind in self.album.rows:
            known = [scene for colour in COLOURS if not is_held_out(scene := Scene(kind, colour))]
            plain, seen = Scene(kind, CANONICAL_COLOUR), self.pick.choices(known, k=views)
            pictures = [self.album.render([plain]), self.album.render(seen, SLIGHT, FACES)]
            codes.append(self.codecs.image.encode(torch.cat(pictures)))
            scenes += [plain, *seen]
        return scenes, torch.cat(codes)

    @cached_property
    def recordings(self) -> Mapping[str, list[list[int]]]:
        """The codes of every recording that a pack may learn from."""
        found: dict[str, list[list[int]]] = defaultdict(list)
        for row, codes in _encoded(self.clips, self.clips.trained(), self.codecs.audio.encode):
            found[self.clips.index[row].caption].append(codes.tolist())
        return found

    def _composed(self, caption: str, idea: ideas.Music | ideas.Sound) -> list[int]:
        if isinstance(idea, ideas.Music):
            return self._timbres[idea.instrument] + self.pick.choice(self._pieces[idea.mood])
        return self.pick.choice(self.recordings[caption][:RECORDINGS])

    @cached_property
    def _timbres(self) -> Mapping[str, list[int]]:
        """The codes of who plays: the mean of what is heard of each instrument."""
        told: dict[str, list[Tensor]] = defaultdict(list)
        timbre = self.codecs.audio.timbre
        for row, heard in _encoded(self.clips, self._music, lambda waves: timbre(levelled(log_mel(waves)))):
            told[self.clips.index[row].instrument].append(heard)
        return {
            name: timbre.codes(torch.stack(heard).mean(0, keepdim=True))[0].tolist()
            for name, heard in told.items()
        }

    @cached_property
    def _pieces(self) -> Mapping[str, list[list[int]]]:
        """The codes of the first pieces of each mood: what all who play them have in common."""
        played: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
        codec = self.codecs.audio
        rows = [row for row in self._music if self.clips.index[row].variation < PIECES]
        for row, heard in _encoded(self.clips, rows, lambda waves: codec.content(levelled(log_mel(waves)))):
            played[self.clips.index[row].mood, self.clips.index[row].variation].append(heard)
        found: dict[str, list[list[int]]] = defaultdict(list)
        for (mood, _), all_heard in played.items():
            common = torch.stack(all_heard).mean(0, keepdim=True)
            found[mood].append(codec.content_codes(common)[0].tolist())
        return found

    @property
    def _music(self) -> list[int]:
        return [row for row in self.clips.trained() if self.clips.index[row].mood]


@torch.no_grad()
def _encoded(
    clips: audio.Clips, rows: Sequence[int], encode: Callable[[Tensor], Tensor]
) -> list[tuple[int, Tensor]]:
    """What is heard of each row."""
    found: list[tuple[int, Tensor]] = []
    for first in range(0, len(rows), 32):
        some = list(rows[first : first + 32])
        found += zip(some, encode(torch.as_tensor(clips.waveforms(some))), strict=True)
    return found
