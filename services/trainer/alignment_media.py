"""Features of media that show a caption, and the conditions that decoders take for it.

What a pack does not have yet is stood in for: features by the words they should become, conditions by an
untrained caption encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from anygpt.vocabulary import ModalityName
from anygpt_models.audio_recogniser import AudioRecogniser
from anygpt_models.caption import CaptionEncoder
from anygpt_models.composition import apart, standing
from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.layout import MOST_THINGS
from anygpt_models.part import is_kept
from anygpt_models.scene_recogniser import LayoutRecogniser, SceneRecogniser
from anygpt_models.video_recogniser import MotionRecogniser, VideoRecogniser
from services.trainer.alignment_words import WordTargets
from services.trainer.data import audio, composed, ideas, videos
from services.trainer.data.composed import Composition
from services.trainer.data.scenes import SLIGHT, Album
from services.trainer.data.world import Scene
from services.trainer.device import full_precision, untouched_randomness
from services.trainer.image_recogniser import softened
from services.trainer.pack import SCENES
from services.trainer.recipe import Recipe

CAPTION_PARTS: Mapping[ModalityName, str] = {
    "image": "image_caption",
    "video": "image_caption",
    "audio": "audio_caption",
}
FACES = 3
"""Pictures that a face is drawn from."""

Source = Callable[[Sequence[str]], Tensor]
"""Captions -> features [captions, n, width] of media that show them, other media at every call."""


class Features:
    """Features from the pack's own recognisers; words, a little off, where it has none."""

    def __init__(self, sources: Mapping[ModalityName, Source], words: WordTargets) -> None:
        self.sources = sources
        self.words = words

    @torch.no_grad()
    def __call__(self, modality: ModalityName, captions: Sequence[str]) -> Tensor:
        """[captions, n, width of features, or of the language model]."""
        source = self.sources.get(modality)
        if source is None:
            return self._near(torch.stack([self.words(modality, caption) for caption in captions]))
        with full_precision():
            return source(captions)

    def _near(self, vectors: Tensor) -> Tensor:
        """What an imperfect projection makes of the words: noise, and a share of another caption's."""
        share = 0.25 * torch.rand(len(vectors), 1, 1)
        mixed = (1 - share) * vectors + share * vectors[torch.randperm(len(vectors))]
        return mixed + 0.5 * vectors.std() * torch.randn_like(mixed)


def sources(recipe: Recipe, held_out: bool = False) -> dict[ModalityName, Source]:
    """A source for each modality whose recogniser the pack has."""
    found: dict[ModalityName, Source] = {}
    if not _has(recipe, "image_recogniser"):
        album = None
    else:
        album = Album.open(recipe.cache)
        found["image"] = _pictures(recipe, album)
    if album and _has(recipe, "motion_recogniser"):
        found["video"] = _clips(recipe, album)
    if _has(recipe, "audio_recogniser"):
        found["audio"] = _recordings(recipe, held_out)
    return found


def _has(recipe: Recipe, part: str) -> bool:
    return is_kept(recipe.pack / part)


def _pictures(recipe: Recipe, album: Album) -> Source:
    """Pictures as they are drawn, a third of them as the codec gives them back."""
    recogniser = recipe.part(ImageRecogniser, "image_recogniser")
    codec = recipe.part(ImageCodec, "image_codec")
    layout = recipe.part(LayoutRecogniser, SCENES) if _has(recipe, SCENES) else None

    def see(captions: Sequence[str]) -> Tensor:
        shown = [ideas.meaning(caption) for caption in captions]
        scenes = [idea for idea in shown if isinstance(idea, Composition)]
        if scenes:
            return torch.stack(_scenes(SceneRecogniser(recogniser, layout), album, scenes))
        pixels = album.render([_scene(caption) for caption in captions], SLIGHT, FACES)
        coded = torch.rand(len(pixels)) < 1 / 3
        if coded.any():
            pixels[coded] = codec.decode(codec.encode(pixels[coded]))
        return recogniser.features(pixels)

    return see


def _scenes(recogniser: SceneRecogniser, album: Album, scenes: Sequence[Composition]) -> list[Tensor]:
    """Features of scenes whose things are found where they stand; where one is not found, as if it were."""
    pixels = softened(composed.render(album, list(scenes)))
    poses = standing(pixels, MOST_THINGS)
    counts = ((poses[..., 2] > 0).sum(1) * apart(pixels)).tolist()
    for row, scene in enumerate(scenes):
        if counts[row] != len(scene.things):
            poses[row] = 0
            poses[row, : len(scene.things)] = composed.numbered(scene.things).poses()
    return recogniser.things(pixels, poses)


def _clips(recipe: Recipe, album: Album) -> Source:
    image = recipe.part(ImageRecogniser, "image_recogniser")
    recogniser = VideoRecogniser(image, recipe.part(MotionRecogniser, "motion_recogniser"))

    def watch(captions: Sequence[str]) -> Tensor:
        scenes = [_scene(caption) for caption in captions]
        strengths = 0.7 + 0.4 * torch.rand(len(scenes))
        moving = recogniser.motion.features(videos.render(album, scenes, strengths, size=32)[0])
        still = recogniser.image.features(
            album.render([replace(scene, motion="") for scene in scenes], SLIGHT, FACES)
        )
        return torch.cat([still, moving], dim=1)

    return watch


def _recordings(recipe: Recipe, held_out: bool) -> Source:
    data = audio.clips(recipe.cache)
    recogniser = recipe.part(AudioRecogniser, "audio_recogniser")
    rows: dict[str, list[int]] = {}
    chosen = data.rows(held_out)
    for place, row in enumerate(chosen):
        rows.setdefault(data.index[row].caption, []).append(place)
    heard = torch.cat(
        [
            recogniser.listen(torch.as_tensor(data.waveforms(chosen[i : i + 32])))
            for i in range(0, len(chosen), 32)
        ]
    )

    def listen(captions: Sequence[str]) -> Tensor:
        places = [rows[caption] for caption in captions]
        return heard[[found[int(torch.randint(len(found), ()))] for found in places]]

    return listen


def _scene(caption: str) -> Scene:
    idea = ideas.meaning(caption)
    assert isinstance(idea, Scene)
    return idea


class Conditions:
    """Captions -> conditions [captions, queries, width], each computed once."""

    def __init__(self, encoders: Mapping[ModalityName, CaptionEncoder]) -> None:
        self.encoders = encoders
        self._known: dict[tuple[ModalityName, str], Tensor] = {}

    @classmethod
    def of_pack(cls, pack: Path) -> Conditions:
        """The caption encoders that a pack has; an untrained one for each that it lacks."""
        loaded = {name: _caption_encoder(pack / name) for name in sorted(set(CAPTION_PARTS.values()))}
        return cls({modality: loaded[name] for modality, name in CAPTION_PARTS.items()})

    @torch.no_grad()
    def __call__(self, modality: ModalityName, captions: Sequence[str]) -> Tensor:
        """Conditions in single precision."""
        missing = sorted({caption for caption in captions if (modality, caption) not in self._known})
        if missing:
            with full_precision():
                encoded = self.encoders[modality].encode(missing)
            self._known |= {(modality, caption): row for caption, row in zip(missing, encoded, strict=True)}
        return torch.stack([self._known[modality, caption] for caption in captions])


def _caption_encoder(part: Path) -> CaptionEncoder:
    if is_kept(part):
        return CaptionEncoder.open(part)
    with untouched_randomness():
        torch.manual_seed(0)
        return CaptionEncoder().eval().requires_grad_(False)
