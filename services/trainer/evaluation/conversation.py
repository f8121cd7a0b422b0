"""Rows of dialogue: which modalities an answer takes by itself, and whether it means the right earlier turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from anygpt.client import Piece
from anygpt.vocabulary import ModalityName
from services.trainer.data import ideas, world
from services.trainer.data.ideas import Idea
from services.trainer.data.wording import Wording
from services.trainer.evaluation.asking import Question, Turn
from services.trainer.evaluation.attributes import seed_of
from services.trainer.evaluation.interval import Observation
from services.trainer.evaluation.judgement import Reply, truth
from services.trainer.evaluation.material import Material, Sampler
from services.trainer.evaluation.task import Bench, Metric, Row
from services.trainer.mosit import mini
from services.trainer.mosit.record import Message, Record


class SwitchingRow(Row):
    """Held-out mini-MosIT without `want`: exactly the modalities that the words ask for."""

    name = "modality switching"
    metrics = (Metric("modality switching: the modalities asked for", "equality", 0.95),)

    def questions(self, bench: Bench, count: int) -> Iterator[Question]:
        """The rounds of held-out dialogues that speak of no earlier one, asked alone, and first rounds."""
        return (_alone(bench.material, *round_) for round_ in islice(_rounds(), count))

    def observe(self, bench: Bench, question: Question, reply: Reply) -> Sequence[Observation]:
        """See Row."""
        return [(float(reply.modalities == question.expected), 1.0)]


def _rounds() -> Iterator[tuple[Record, int]]:
    return (
        (record, place)
        for record in mini.build("held_out", mini.HELD_OUT)
        for place, earlier in enumerate(record.references)
        if earlier < 0
    )


def answered() -> Iterator[tuple[ModalityName, ...]]:
    """The modalities of the answers that are asked for, in the order of the questions."""
    return (record.messages[2 * place + 1].modalities for record, place in _rounds())


def _alone(material: Material, record: Record, place: int) -> Question:
    request, answer = record.messages[2 * place : 2 * place + 2]
    pieces = _pieces(material, request)
    about = " ".join(
        f"[{p.modality}: {p.content}]" if p.modality != "text" else p.content for p in request.pieces
    )
    return Question((Turn(pieces),), answer.modalities, about)


def _pieces(material: Material, message: Message) -> tuple[Piece, ...]:
    found: list[Piece] = []
    for place, piece in enumerate(message.pieces):
        if piece.modality == "text":
            found.append(piece.content)
        elif piece.modality == "speech":
            found.append(material.said(piece.content))
        else:
            found.append(material.shown(ideas.meaning(piece.content), place))
    return tuple(found)


@dataclass(frozen=True)
class Meant:
    """What a follow-up should show: an idea's attributes in a modality."""

    modality: ModalityName
    idea: Idea
    attributes: tuple[str, ...]


class ReferenceRow(Row):
    """Two turns, the second of which can only be answered from the first."""

    name = "references to earlier turns"
    metrics = (Metric("references: the right thing, colour or word", "as above, by modality", 0.7),)

    def questions(self, bench: Bench, count: int) -> Iterator[Question]:
        """See Row."""
        sampler, wording = Sampler(seed_of(self.name)), Wording(seed_of(self.name), held_out=True)
        return (_follow_up(bench.material, sampler, wording, place) for place in range(count))

    def observe(self, bench: Bench, question: Question, reply: Reply) -> Sequence[Observation]:
        """See Row."""
        meant: Meant = question.expected
        right = all(
            bench.judges.read(reply, meant.modality, attribute) == truth(meant.idea, attribute)
            for attribute in meant.attributes
        )
        return [(float(right), 1.0)]


def _follow_up(material: Material, sampler: Sampler, wording: Wording, place: int) -> Question:
    scene = sampler.scene()
    shown: tuple[Piece, ...] = (material.shown(scene, place), wording.say("name_image").content)
    first = Turn(shown, ("text",))
    colour = sampler.pick.choice([name for name in world.COLOURS if name != scene.colour])
    on_colour = Meant("image", replace(scene, colour=colour), ("kind", "colour"))
    choices = (
        (wording.say("aloud").content, "speech", Meant("speech", scene, ("kind",))),
        (wording.say("recall").content, "text", Meant("text", scene, ("kind", "colour"))),
        (wording.say("recolour", c=colour).content, "image", on_colour),
        (wording.say("animate").content, "video", Meant("video", scene, ("kind",))),
    )
    words, want, meant = choices[place % len(choices)]
    about = f"[{ideas.caption(scene)}] What is this? ... {words}"
    return Question((first, Turn((words,), (want,))), meant, about)
