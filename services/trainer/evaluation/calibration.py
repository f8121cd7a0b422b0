"""What the judges themselves are worth: their scores on real held-out media, and on the same with shuffled truths."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

from anygpt.client import Media, Piece
from anygpt.vocabulary import ModalityName
from services.trainer.data import composed, ideas
from services.trainer.data.ideas import Idea
from services.trainer.evaluation import attributes as a
from services.trainer.evaluation.interval import Figure, Observation, figure
from services.trainer.evaluation.judgement import Reply, truth
from services.trainer.evaluation.material import Sampler
from services.trainer.evaluation.scenes import SceneDrawnRow, drawn
from services.trainer.evaluation.task import Bench
from services.trainer.word_errors import edits

Value = TypeVar("Value")

SEED = 77
_JUDGED: tuple[tuple[str, ModalityName, Callable[[Sampler], Idea], tuple[str, ...]], ...] = (
    ("pictures", "image", a.scene, ("kind", "colour")),
    ("faces", "image", a.face, ("emotion",)),
    ("clips", "video", a.moving, ("kind", "motion")),
    ("music", "audio", a.music, ("instrument", "tempo", "mode", "mood")),
    ("sounds", "audio", a.sound, ("sound",)),
    ("captions", "text", a.scene, ("kind", "colour")),
)


@dataclass(frozen=True)
class Calibration:
    """One judge: its name, its score on real media, and on shuffled truths."""

    judge: str
    real: Figure
    shuffled: Figure
    lower_is_better: bool = False


def calibrations(bench: Bench, count: int) -> Iterator[Calibration]:
    """Every judge of the evaluation, one after the other."""
    for name, modality, draw, attributes in _JUDGED:
        sampler = Sampler(SEED)
        drawn = [draw(sampler) for _ in range(count)]
        replies = [_real(bench, modality, idea, place) for place, idea in enumerate(drawn)]
        for attribute in attributes:
            read = [bench.judges.read(reply, modality, attribute) for reply in replies]
            true = [truth(idea, attribute) for idea in drawn]
            judge = f"{attribute} of {name}: {_who(modality, attribute)}"
            yield Calibration(judge, _share(read, true), _share(read, _shuffled(true)))
    yield from _scenes(bench, count)
    yield _listener(bench, min(count, 100))


def _scenes(bench: Bench, count: int) -> Iterator[Calibration]:
    """Things of scenes, their places and the backdrop."""
    pick = random.Random(SEED)
    scenes = [composed.draw(pick, held_out=True) for _ in range(count)]
    files = [_file(bench.material.scene(scene)) for scene in scenes]
    real, others = (
        list(zip(*(drawn(bench.judges, *pair) for pair in zip(scenes, shown, strict=True)), strict=True))
        for shown in (files, _shuffled(files))
    )
    for metric, right, wrong in zip(SceneDrawnRow.metrics, real, others, strict=True):
        what = metric.name.removeprefix(f"{SceneDrawnRow.name}: ")
        yield Calibration(f"{what} of scenes: {metric.judge}", _figure(right), _figure(wrong))


def _real(bench: Bench, modality: ModalityName, idea: Idea, place: int) -> Reply:
    if modality == "text":
        return Reply(f"This is {ideas.caption(idea)}.")
    # Other seeds than the questions', so that no judged medium is one that was asked about.
    return Reply(files={modality: _file(bench.material.shown(idea, 10_000 + place, to_judges=True))})


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
        _errors(said, heard), _errors(said, _shuffled(heard)), lower_is_better=True,
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
