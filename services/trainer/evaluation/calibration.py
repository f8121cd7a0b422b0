"""What the judges themselves are worth: their scores on real held-out media, and on the same with shuffled truths."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch

from anygpt.client import Media, Piece
from anygpt.vocabulary import ModalityName
from services.trainer.data import composed, ideas
from services.trainer.data.composed import Composition
from services.trainer.data.ideas import Idea
from services.trainer.evaluation import attributes as a
from services.trainer.evaluation.codec import decibels
from services.trainer.evaluation.conversation import answered
from services.trainer.evaluation.files import picture_file, read_picture
from services.trainer.evaluation.interval import Figure, Observation, figure
from services.trainer.evaluation.judgement import Reply, truth
from services.trainer.evaluation.material import Sampler
from services.trainer.evaluation.scenes import SceneDrawnRow, SceneWordsRow, drawn, read, told
from services.trainer.evaluation.task import Bench, Row, Unit
from services.trainer.word_errors import edits

Value = TypeVar("Value")

SEED = 77
HEARD = 100
"""Utterances that whisper-tiny hears: it takes longer than all other judges together."""
_MUSIC = ("instrument", "tempo", "mode", "mood")
_JUDGED: tuple[tuple[str, ModalityName, Callable[[Sampler], Idea], tuple[str, ...]], ...] = (
    ("pictures", "image", a.scene, ("kind", "colour")),
    ("faces", "image", a.face, ("emotion",)),
    ("clips", "video", a.moving, ("kind", "motion")),
    ("music", "audio", a.music, _MUSIC),
    ("sounds", "audio", a.sound, ("sound",)),
    ("captions", "text", a.scene, ("kind", "colour")),
    ("captions of faces", "text", a.face, ("emotion",)),
    ("captions of clips", "text", a.moving, ("motion",)),
    ("captions of music", "text", a.music, _MUSIC),
    ("captions of sounds", "text", a.sound, ("sound",)),
    ("captions that are said", "speech", a.scene, ("kind",)),
    ("captions of music that are said", "speech", a.music, ("instrument",)),
)


@dataclass(frozen=True)
class Calibration:
    """One judge: its name, its score on real media, and on shuffled truths."""

    judge: str
    real: Figure
    shuffled: Figure
    unit: Unit = "share"


def calibrations(bench: Bench, count: int) -> Iterator[Calibration]:
    """Every judge of the evaluation, one after the other."""
    for name, modality, draw, attributes in _JUDGED:
        sampler = Sampler(SEED)
        asked = [draw(sampler) for _ in range(min(count, HEARD) if modality == "speech" else count)]
        replies = [_real(bench, modality, idea, sampler.nth(idea)) for idea in asked]
        for attribute in attributes:
            found = [bench.judges.read(reply, modality, attribute) for reply in replies]
            true = [truth(idea, attribute) for idea in asked]
            judge = f"{attribute} of {name}: {_who(modality, attribute)}"
            yield Calibration(judge, _share(found, true), _share(found, _shuffled(true)))
    yield from _scenes(bench, count)
    yield _decibels(bench, count)
    yield _modalities(count)
    yield _listener(bench, min(count, HEARD))


def _scenes(bench: Bench, count: int) -> Iterator[Calibration]:
    """Things of scenes, their places, their looks and the backdrop, in pictures and in words."""
    pick = random.Random(SEED)
    scenes = [composed.draw(pick, held_out=True) for _ in range(count)]
    pictures = [_file(bench.material.scene(scene)) for scene in scenes]
    captions = [read(f"This is {composed.caption(scene)}.") for scene in scenes]
    yield from _by_metric(
        SceneDrawnRow, "scenes", scenes, pictures, lambda scene, picture: drawn(bench.judges, scene, picture)
    )
    yield from _by_metric(SceneWordsRow, "captions of scenes", scenes, captions, told)


def _by_metric(
    row: type[Row],
    what: str,
    scenes: list[Composition],
    shown: list[Value],
    observe: Callable[[Composition, Value], list[Observation | None]],
) -> Iterator[Calibration]:
    real, others = (list(zip(*map(observe, scenes, some), strict=True)) for some in (shown, _shuffled(shown)))
    for metric, right, wrong in zip(row.metrics, real, others, strict=True):
        which = metric.name.removeprefix(f"{row.name}: ")
        yield Calibration(f"{which}, {what}: {metric.judge}", _figure(right), _figure(wrong))


def _decibels(bench: Bench, count: int) -> Calibration:
    """Pictures against their files, and against those of others."""
    sampler = Sampler(SEED)
    pictures = [bench.material.album.render([sampler.scene()])[0] for _ in range(count)]
    files = [read_picture(picture_file(picture)) for picture in pictures]
    real, others = (
        figure([(decibels(one, other), 1.0) for one, other in zip(pictures, some, strict=True)])
        for some in (files, _shuffled(files))
    )
    return Calibration("PSNR of pictures: arithmetic", real, others, "decibels")


def _modalities(count: int) -> Calibration:
    """What the answers of held-out dialogues consist of."""
    found = [" ".join(modalities) for modalities in islice(answered(), count)]
    return Calibration(
        "modalities of answers: equality", _share(found, found), _share(found, _shuffled(found))
    )


def _real(bench: Bench, modality: ModalityName, idea: Idea, nth: int) -> Reply:
    caption = ideas.caption(idea)
    if modality == "text":
        return Reply(f"This is {caption}.")
    if modality == "speech":
        return Reply(files={modality: _file(bench.material.said(f"this is {caption}"))})
    # Other pictures than the questions'; recordings are numbered from the first.
    seed = nth if modality == "audio" else 10_000 + nth
    return Reply(files={modality: _file(bench.material.shown(idea, seed))})


def _file(shown: Piece) -> bytes:
    assert isinstance(shown, Media)
    assert isinstance(shown.source, bytes)
    return shown.source


def _figure(observed: Iterable[Observation | None]) -> Figure:
    return figure([one for one in observed if one])


def _listener(bench: Bench, count: int) -> Calibration:
    """Whisper-tiny on the reference voice."""
    said = list(bench.material.sentences[:count])
    heard = [bench.judges.listener.hear(bench.material.spoken(text)) for text in said]
    return Calibration(
        "words of speech: whisper-tiny (word errors)",
        _errors(said, heard), _errors(said, _shuffled(heard)), "ratio",
    )  # fmt: skip


def _share(read: list[str], true: list[str]) -> Figure:
    return figure([(float(one == other), 1.0) for one, other in zip(read, true, strict=True)])


def _errors(said: list[str], heard: list[str]) -> Figure:
    pairs = [(one.split(), other.split()) for one, other in zip(said, heard, strict=True)]
    return figure([(edits(one, other), len(one)) for one, other in pairs])


def _shuffled(values: list[Value]) -> list[Value]:
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(SEED)).tolist()
    return [values[place] for place in order]


def _who(modality: ModalityName, attribute: str) -> str:
    return a.JUDGES["text"] if modality == "text" else a.JUDGES[attribute]
