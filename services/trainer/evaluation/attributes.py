"""Rows that ask for one idea through one modality and look for its attributes in another: most of the table."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from anygpt.client import Piece
from anygpt.pack import Pack
from anygpt.topology import MODALITIES
from anygpt.vocabulary import ModalityName
from services.trainer.data import ideas, world
from services.trainer.data.ideas import Idea, Music
from services.trainer.data.wording import VERBS, Wording
from services.trainer.data.world import Scene
from services.trainer.evaluation.asking import Question, Turn
from services.trainer.evaluation.interval import Observation
from services.trainer.evaluation.judgement import CHANCES, Judges, Reply, truth
from services.trainer.evaluation.material import Material, Sampler
from services.trainer.evaluation.task import Bench, Metric, Row

Draw = Callable[[Sampler], Idea]
Ask = Callable[[Wording, Idea], tuple[str, Idea]]
"""A wording and an idea -> the words of the request, and the idea that the answer should show."""
Route = tuple[ModalityName, ModalityName]
"""Where an idea goes in, and where it should come out; a target of None is to beat chance."""
JUDGES = {
    "text": "the words of the world", "speech": "whisper-tiny, then the words of the world",
    "kind": "a classifier trained apart", "colour": "pixels of the border", "motion": "centroids of the frames",
    "emotion": "a classifier trained apart", "instrument": "spectral discriminants", "sound": "spectral discriminants",
    "mood": "tempo and mode by signal analysis", "tempo": "signal analysis", "mode": "signal analysis",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What is expected of an answer: an idea in a modality."""

    idea: Idea
    modality: ModalityName


class AttributeRow(Row):
    """Questions in held-out wordings about held-out combinations, with `want` given."""

    is_free = False
    """Whether the model has to choose the modality too."""

    def __init__(
        self, name: str, route: Route, draw: Draw, ask: Ask, targets: Mapping[str, float | None]
    ) -> None:
        self.name = name
        self.source, self.target = route
        self._draw = draw
        self._ask = ask
        self.attributes = tuple(targets)
        self.metrics = tuple(_metric(name, self.target, *entry) for entry in targets.items())

    def applies(self, pack: Pack) -> bool:
        """See Row: it takes the one modality in, and makes the other."""
        return MODALITIES[self.source] in pack.inputs and MODALITIES[self.target] in pack.outputs

    def questions(self, bench: Bench, count: int) -> Iterator[Question]:
        """See Row."""
        sampler, wording = Sampler(seed_of(self.name)), Wording(seed_of(self.name), held_out=True)
        return (self._question(bench.material, sampler, wording, place) for place in range(count))

    def observe(self, bench: Bench, question: Question, reply: Reply) -> Sequence[Observation | None]:
        """See Row."""
        return [_observed(bench.judges, reply, question.expected, attribute) for attribute in self.attributes]

    def truths(self, question: Question) -> Sequence[str]:
        """See Row."""
        return [truth(question.expected.idea, attribute) for attribute in self.attributes]

    def _question(self, material: Material, sampler: Sampler, wording: Wording, place: int) -> Question:
        idea = self._idea(material, sampler)
        words, meant = self._ask(wording, idea)
        pieces: tuple[Piece, ...] = (words,)
        if self.source == "speech":
            pieces = (material.said(words),)
        elif self.source != "text":
            seed = sampler.nth(idea) if self.source == "audio" else place
            pieces = (self._shown(material, idea, seed), words)
        shown = words if self.source in ("text", "speech") else f"{words} [{ideas.caption(idea)}]"
        want = () if self.is_free else (self.target,)
        return Question((Turn(pieces, want),), Asked(meant, self.target), shown)

    def _idea(self, material: Material, sampler: Sampler) -> Idea:
        return self._draw(sampler)

    def _shown(self, material: Material, idea: Idea, place: int) -> Piece:
        return material.shown(idea, place)


class AnimatedRow(AttributeRow):
    """Clips of things that move by themselves; half of these things stay where they are."""

    def __init__(self, name: str, ask: Ask, targets: Mapping[str, float | None]) -> None:
        super().__init__(name, ("video", "text"), moving, ask, targets)

    def _idea(self, material: Material, sampler: Sampler) -> Idea:
        kinds = [kind for kind in world.OBJECTS if kind in material.animations.rows]
        return sampler.scene(moving=sampler.pick.random() < 0.5, objects=kinds)

    def _shown(self, material: Material, idea: Idea, place: int) -> Piece:
        assert isinstance(idea, Scene)
        return material.animated(idea, place)


class FreeRow(AttributeRow):
    """The same as people ask: without `want`, so an answer in another modality counts as wrong."""

    is_free = True


def _metric(name: str, target: ModalityName, attribute: str, wanted: float | None) -> Metric:
    chance = 1 / CHANCES[attribute]
    judge = JUDGES.get(target, "") if target in ("text", "speech") else JUDGES[attribute]
    label = f"{name}: {attribute}"
    if wanted is None:
        return Metric(label, judge, chance=chance, must_beat_chance=True)
    return Metric(label, judge, wanted, chance=chance)


def _observed(judges: Judges, reply: Reply, asked: Asked, attribute: str) -> Observation | None:
    expected = truth(asked.idea, attribute)
    if not expected:
        return None
    return (float(judges.read(reply, asked.modality, attribute) == expected), 1.0)


def seed_of(name: str) -> int:
    """A seed of a row's own."""
    return random.Random(name).randrange(1 << 30)


def scene(sampler: Sampler) -> Idea:
    """A thing on a background."""
    return sampler.scene()


def face(sampler: Sampler) -> Idea:
    """A face with an emotion."""
    return sampler.scene(faces=True)


def moving(sampler: Sampler) -> Idea:
    """A thing that moves."""
    return sampler.scene(moving=True)


def mooded_face(sampler: Sampler) -> Idea:
    """A face, each mood of music that suits one as often as any other."""
    return _in_a_mood(sampler, moving=False)


def mooded_moving_face(sampler: Sampler) -> Idea:
    """Such a face that moves."""
    return _in_a_mood(sampler, moving=True)


def _in_a_mood(sampler: Sampler, *, moving: bool) -> Idea:
    mood = sampler.mood()
    while _mood_of(found := sampler.scene(faces=True, moving=moving)) != mood:
        continue
    return found


def _mood_of(face: Idea) -> str:
    suits = ideas.as_audio(face)
    return suits.mood if isinstance(suits, Music) else ""


def music(sampler: Sampler) -> Idea:
    """A piece for one instrument."""
    return sampler.music()


def pictured_music(sampler: Sampler) -> Idea:
    """A piece for an instrument that the world has a picture of."""
    while (found := sampler.music()).instrument not in world.OBJECTS:
        continue
    return found


def sound(sampler: Sampler) -> Idea:
    """A sound."""
    return sampler.sound()


def naming(table: str) -> Ask:
    """A question about what is shown, in one wording of a table."""
    return lambda wording, idea: (wording.say(table).content, idea)


def wanting(table: str) -> Ask:
    """A request in words that name the idea."""
    return lambda wording, idea: (wording.say(table, x=wording.idea_words(idea)).content, idea)


def telling(form: str) -> Ask:
    """A sentence with the canonical caption in it."""
    return lambda wording, idea: (form.format(ideas.caption(idea)), idea)


def turning(table: str, into: Callable[[Idea], Idea]) -> Ask:
    """A request to make something else of what is shown."""
    return lambda wording, idea: (wording.say(table).content, into(idea))


def recolouring(wording: Wording, idea: Idea) -> tuple[str, Idea]:
    """The same on another background."""
    colour = wording.pick.choice(list(world.COLOURS))
    return wording.say("recolour", c=colour).content, replace(ideas.as_still(idea), colour=colour)


def moving_on(wording: Wording, idea: Idea) -> tuple[str, Idea]:
    """The same in a motion that is named."""
    motion = wording.pick.choice(list(world.MOTIONS))
    return wording.say("move", x=VERBS[motion]).content, ideas.as_moving(idea, motion)


def other_mood(wording: Wording, idea: Idea) -> tuple[str, Idea]:
    """The same piece in another mood."""
    assert isinstance(idea, Music)
    mood = wording.pick.choice([mood for mood in world.MOODS if mood != idea.mood])
    return wording.say("other_mood", x=mood).content, replace(idea, mood=mood)
