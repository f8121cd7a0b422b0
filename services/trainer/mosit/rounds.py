"""The rounds that a dialogue can have: something new, something shown, or something said earlier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from services.trainer.data import ideas, world
from services.trainer.data.chat import Exchange
from services.trainer.data.ideas import Idea, Music, Sound
from services.trainer.data.messages import MEDIA, Part, announced, media, named, spoken
from services.trainer.data.split import is_held_out
from services.trainer.data.wording import VERBS, Wording
from services.trainer.data.world import Scene, with_article
from services.trainer.mosit.topics import Topic

NIGHT = "blue"
"""The background of a scene at night."""
_NIGHT = ("the same, but at night", "show it at night", "now at night, please")
_SONG = ("make a song of its mood", "a song that feels like it, please", "which music fits it?")
_FIRST = (
    "what was the first thing you made?",
    "what did you make at the very beginning?",
    "how did we start?",
)
_TOGETHER = ("what are these two?", "name both", "tell me what you see and what you hear")


class Round(NamedTuple):
    """A request, its answer, and the earlier round that it speaks of, or -1."""

    request: tuple[Part, ...]
    answer: tuple[Part, ...]
    reference: int = -1


@dataclass(frozen=True)
class Made:
    """What an earlier round made or, if its answer made nothing, showed."""

    round: int
    idea: Idea
    is_shown: bool = False


class Rounds(Wording):
    """Draws rounds about one topic; what came before is `made` and `said`."""

    def __init__(
        self, seed: int, topic: Topic, exchanges: Sequence[Exchange], sentences: Sequence[str]
    ) -> None:
        super().__init__(seed, topic.split == "held_out")
        self.topic = topic
        self.exchanges = exchanges
        self.sentences = sentences
        self.made: list[Made] = []
        self.said: list[tuple[int, str]] = []

    def scene(self, moving: bool = False, faces: float = 0.0) -> Scene:
        """A thing of the topic."""
        drawn = super().scene(moving, faces)
        return replace(drawn, kind=self.pick.choice(self.topic.kinds))

    def next(self, place: int) -> Round:
        """The round at a place of the dialogue; what it makes is remembered.

        A dialogue of training shows no combination that is held out.
        """
        found = self._drawn()
        while not self.held_out and _shows_held_out(found):
            found = self._drawn()
        if self.pick.random() < 0.22 and any(part.modality == "text" for part in found.request):
            found = _spoken(found)
        self._remember(place, found)
        return found

    def _drawn(self) -> Round:
        choices = [*_NEW, *_SHOWN]
        if self.made:
            choices += 2 * _ABOUT_SCENES if isinstance(self.made[-1].idea, Scene) else 2 * _ABOUT_SOUNDS
            choices += [] if self.made[0].round or self.made[0].is_shown else 2 * ["recall_first"]
        if self.said:
            choices += ["aloud"]
        found: Round = getattr(self, f"_{self.pick.choice(choices)}")()
        return found

    def _remember(self, place: int, found: Round) -> None:
        """`it` is the last thing of a round, of its answer before its request; `that` is what was last written."""
        made, shown = (
            [ideas.meaning(part.content) for part in parts if part.modality in MEDIA]
            for parts in (found.answer, found.request)
        )
        self.made += [Made(place, idea, is_shown=not made) for idea in made or shown]
        self.said = [(place, part.content) for part in found.answer if part.modality == "text"]

    # Something new

    def _draw(self) -> Round:
        scene = self.scene()
        return Round((self.say("image", x=self.words(scene)),), announced(scene))

    def _film(self) -> Round:
        scene = self.scene(moving=True)
        return Round((self.say("video", x=self.words(scene)),), announced(scene))

    def _play(self) -> Round:
        idea = self._heard()
        table = "music" if isinstance(idea, Music) else "sound"
        return Round((self.say(table, x=self.idea_words(idea)),), announced(idea))

    def _speak(self) -> Round:
        sentence = self.pick.choice(self.sentences)
        return Round((self.say("speak", s=sentence),), (Part("speech", sentence),))

    def _ask(self) -> Round:
        exchange = self.pick.choice(self.exchanges)
        return Round((Part("text", exchange.question),), (Part("text", exchange.answer),))

    def _ask_aloud(self) -> Round:
        exchange = self.pick.choice(self.exchanges)
        return Round((self.say("reply_aloud", s=exchange.question),), (spoken(exchange.answer),))

    def _several(self) -> Round:
        x, second, music = self.scene(), self.scene(), self._heard()
        table = self.pick.choice(("and_speak", "and_music", "and_video", "two_images"))
        y = self.words(second) if table == "two_images" else self.idea_words(music)
        answers = {
            "and_speak": (*announced(x), spoken(f"this is {ideas.caption(x)}")),
            "and_music": announced(x, music),
            "and_video": announced(x, ideas.as_moving(x)),
            "two_images": announced(x, second),
        }
        return Round((self.say(table, x=self.words(x), y=y),), answers[table])

    # Something shown

    def _name(self) -> Round:
        idea = self._any()
        shown = media(idea)
        return Round((shown, self.say(f"name_{shown.modality}")), (named(idea),))

    def _name_aloud(self) -> Round:
        idea = self._any()
        ask = self.say("name_aloud" if isinstance(idea, Scene) else "hear_aloud")
        return Round((media(idea), ask), (spoken(named(idea).content),))

    def _both(self) -> Round:
        scene, music = self.scene(), self._heard()
        answer = Part("text", f"This is {ideas.caption(scene)}, and this is {ideas.caption(music)}.")
        return Round((media(scene), media(music), self.typed(self.pick.choice(_TOGETHER))), (answer,))

    def _show_song(self) -> Round:
        scene = self.scene(moving=self.pick.random() < 0.4)
        if isinstance(ideas.as_audio(scene), Sound):
            return self._name()
        return Round((media(scene), self.say("to_music")), announced(ideas.as_audio(scene)))

    def _show_colour(self) -> Round:
        scene, colour = self.scene(), self.pick.choice(list(world.COLOURS))
        return Round((media(scene), self.say("recolour", c=colour)), announced(replace(scene, colour=colour)))

    def _show_moving(self) -> Round:
        scene = self.scene(moving=self.pick.random() < 0.5)
        motion = self.pick.choice(list(world.MOTIONS))
        return Round(
            (media(scene), self.say("move", x=VERBS[motion])), announced(ideas.as_moving(scene, motion))
        )

    def _show_still(self) -> Round:
        scene = self.scene(moving=True)
        return Round((media(scene), self.say("still")), announced(ideas.as_still(scene)))

    def _show_sound(self) -> Round:
        idea = self._heard()
        table, made = self.pick.choice(
            (
                ("draw_sound", ideas.as_still(idea)),
                ("film_sound", ideas.as_moving(idea)),
                ("sound_again", idea),
            )
        )
        return Round((media(idea), self.say(table)), announced(made))

    def _transcribe(self) -> Round:
        sentence = self.pick.choice(self.sentences)
        return Round((Part("speech", sentence), self.say("transcribe")), (Part("text", sentence),))

    def _repeat(self) -> Round:
        said = Part("speech", self.pick.choice(self.sentences))
        return Round((said, self.say("repeat")), (said,))

    # Something of an earlier round

    def _aloud(self) -> Round:
        place, words = self.said[-1]
        return Round((self.say("aloud"),), (spoken(words),), place)

    def _recall(self) -> Round:
        made = self.made[-1]
        table = "recall" if isinstance(made.idea, Scene) else "recall_audio"
        ask = self.say(table)
        while made.is_shown and " you " in ask.content:
            ask = self.say(table)
        return Round((ask,), (Part("text", f"It was {ideas.caption(made.idea)}."),), made.round)

    def _recall_first(self) -> Round:
        made = self.made[0]
        answer = Part("text", f"It was {ideas.caption(made.idea)}.")
        return Round((self.typed(self.pick.choice(_FIRST)),), (answer,), made.round)

    def _recolour(self) -> Round:
        made, scene = self._last_scene()
        if self.pick.random() < 0.3:
            return Round(
                (self.typed(self.pick.choice(_NIGHT)),), announced(replace(scene, colour=NIGHT)), made.round
            )
        colour = self.pick.choice(list(world.COLOURS))
        return Round((self.say("recolour", c=colour),), announced(replace(scene, colour=colour)), made.round)

    def _animate(self) -> Round:
        made, scene = self._last_scene()
        if scene.motion or self.pick.random() < 0.5:
            motion = self.pick.choice(list(world.MOTIONS))
            return Round(
                (self.say("move", x=VERBS[motion]),), announced(ideas.as_moving(scene, motion)), made.round
            )
        return Round((self.say("animate"),), announced(ideas.as_moving(scene)), made.round)

    def _song(self) -> Round:
        made, scene = self._last_scene()
        if isinstance(ideas.as_audio(scene), Sound):
            return self._recall()
        ask = self.say("to_music") if self.pick.random() < 0.5 else self.typed(self.pick.choice(_SONG))
        return Round((ask,), announced(ideas.as_audio(scene)), made.round)

    def _swap(self) -> Round:
        made, scene = self._last_scene()
        other = replace(scene, kind=self.scene().kind)
        return Round((self.say("swap", x=with_article(other.kind)),), announced(other), made.round)

    def _other_music(self) -> Round:
        made = self.made[-1]
        if not isinstance(made.idea, Music):
            return self._draw_heard()
        if self.pick.random() < 0.5:
            other = replace(made.idea, instrument=self.music().instrument)
            return Round(
                (self.say("other_player", x=f"the {other.instrument}"),), announced(other), made.round
            )
        other = replace(made.idea, mood=self.music().mood)
        return Round((self.say("other_mood", x=other.mood),), announced(other), made.round)

    def _draw_heard(self) -> Round:
        made = self.made[-1]
        return Round((self.say("draw_sound"),), announced(ideas.as_still(made.idea)), made.round)

    def _last_scene(self) -> tuple[Made, Scene]:
        made = self.made[-1]
        assert isinstance(made.idea, Scene)
        return made, made.idea

    def _heard(self) -> Idea:
        return self.music() if self.pick.random() < 0.7 else Sound(self.pick.choice(world.SOUNDS))

    def _any(self) -> Idea:
        return self.pick.choice((self.scene(), self.scene(moving=True), self._heard()))


def _shows_held_out(found: Round) -> bool:
    parts = (part for part in (*found.request, *found.answer) if part.modality in MEDIA)
    return any(is_held_out(ideas.meaning(part.content)) for part in parts)


def _spoken(found: Round) -> Round:
    """The same round asked aloud; who asks a plain question aloud hears the answer too, as in all other dialogues."""
    request = tuple(spoken(part.content) if part.modality == "text" else part for part in found.request)
    modalities = [part.modality for part in (*found.request, *found.answer)]
    is_plain = modalities == ["text", "text"] and found.reference < 0
    answer = (*found.answer, spoken(found.answer[0].content)) if is_plain else found.answer
    return found._replace(request=request, answer=answer)


_NEW = ["draw", "film", "play", "speak", "ask", "ask_aloud", "several"]
_SHOWN = [
    "name", "name_aloud", "both", "show_song", "show_colour", "show_moving", "show_still", "show_sound",
    "transcribe", "repeat",
]  # fmt: skip
_ABOUT_SCENES = ["recolour", "animate", "song", "swap", "recall"]
_ABOUT_SOUNDS = ["other_music", "draw_heard", "recall"]
