"""Instruction dialogues of the small world: any modality asked for in any modality, in words that people use.

The wording decides which modalities the answer has; `forced` dialogues teach what follows when a client has
already decided (`want`). Seeded: the same arguments give the same dialogues.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from anygpt.vocabulary import ModalityName
from services.trainer.data import ideas, world
from services.trainer.data.chat import Exchange, own_exchanges
from services.trainer.data.composed import Composition
from services.trainer.data.ideas import Idea, Music, Sound
from services.trainer.data.messages import (
    ANNOUNCED,
    MEDIA,
    Dialogue,
    Part,
    Turn,
    announced,
    meant,
    media,
    named,
    spoken,
)
from services.trainer.data.scene_dialogues import SceneWriter
from services.trainer.data.split import shows_held_out
from services.trainer.data.talk import Talk
from services.trainer.data.wording import VERBS
from services.trainer.data.world import Scene, with_article

IN_PLACE = 0.2
"""Share of the clips asked about in which the thing stays where it is."""
STAYS = "It stays in place."


def build(count: int, seed: int, talk: Talk, held_out: bool = False) -> list[Dialogue]:
    """Distinct dialogues in a random order; held-out ones use wordings that training never sees."""
    writer = Writer(seed * 2 + held_out, talk, held_out)
    found: dict[tuple[Turn, ...], Dialogue] = {}
    while len(found) < count:
        dialogue = writer.dialogue()
        found.setdefault(dialogue.turns, dialogue)
    return list(found.values())


class Writer(SceneWriter):
    """Draws dialogues, one family of requests after another."""

    def __init__(self, seed: int, talk: Talk, held_out: bool) -> None:
        super().__init__(seed, held_out)
        first = len(own_exchanges())
        kept_back = [
            exchange for place, exchange in enumerate(talk.chat) if place >= first and place % 8 == 7
        ]
        trained = [exchange for exchange in talk.chat if exchange not in kept_back]
        self.chat = (kept_back or trained) if held_out else trained
        self.short = [exchange for exchange in self.chat if exchange.is_short]
        self.talk = talk
        self.sentences = talk.sentences(held_out)
        self.weights = talk.families(_WEIGHTS, _SCENE_WEIGHTS)
        self.families: dict[str, Callable[[], Dialogue]] = {
            name: getattr(self, f"_{name}") for name in self.weights
        }

    def dialogue(self) -> Dialogue:
        """The next dialogue; one in five typed requests is spoken instead."""
        family = self.pick.choices(list(self.weights), list(self.weights.values()))[0]
        dialogue = self.of(family)
        if family in _SPEAKABLE and self.pick.random() < 0.22:
            dialogue = self._spoken(dialogue)
        return dialogue

    def of(self, family: str) -> Dialogue:
        """A dialogue of one family; one for training shows nothing that is kept for judging."""
        dialogue = self.families[family]()
        while not self.held_out and shows_held_out(dialogue):
            dialogue = self.families[family]()
        return dialogue

    def sentence(self) -> str:
        """Something to say: as often a row of any words as a sentence, so that none is copied by heart."""
        row = self.talk.row(self.pick)
        if self.held_out or row in self.talk.kept_back or self.pick.random() < 0.5:
            return self.pick.choice(self.sentences)
        return row

    # Requests in words

    def request(self, idea: Idea) -> Dialogue:
        """A request for one picture, clip, piece or sound; some as if the client had opened the span at once."""
        table, words = self._table(idea), self.idea_words(idea)
        if (
            table == "video"
            and idea == ideas.as_moving(idea, ideas.DEFAULT_MOTION)
            and self.pick.random() < 0.5
        ):
            words = self.words(ideas.as_still(idea))
        return self._made(table, (self.say(table, x=words),), *self._answer(idea))

    def _answer(self, wanted: Idea) -> tuple[tuple[Part, ...], bool]:
        """What is made, and whether the client has opened its span at once: never where that is announced too."""
        made = media(wanted)
        forced = made.modality not in ANNOUNCED and self.pick.random() < 0.3
        return (made,) if forced else announced(wanted), forced

    def _table(self, idea: Idea) -> str:
        match idea:
            case Scene() if idea.motion:
                return "video" if self.pick.random() < 0.6 else "moving"
            case Scene() | Composition():
                return "image"
            case Music():
                return "music"
            case Sound():
                return "sound"

    def _image(self) -> Dialogue:
        return self.request(self.scene())

    def _video(self) -> Dialogue:
        return self.request(self.scene(moving=True))

    def _music(self) -> Dialogue:
        return self.request(self.music())

    def _sound(self) -> Dialogue:
        return self.request(Sound(self.pick.choice(world.SOUNDS)))

    def _speak(self) -> Dialogue:
        sentence = self.sentence()
        return self._made("speak", (self.say("speak", s=sentence),), (Part("speech", sentence),))

    def _reply_aloud(self) -> Dialogue:
        exchange = self.pick.choice(self.short)
        return self._made(
            "reply_aloud", (self.say("reply_aloud", s=exchange.question),), (spoken(exchange.answer),)
        )

    def _chat(self) -> Dialogue:
        return self._answered(self.pick.choice(self.chat))

    def _spoken_question(self) -> Dialogue:
        exchange = self.pick.choice(self.short)
        answer = (Part("text", exchange.answer), spoken(exchange.answer))
        return self._made("spoken_question", (spoken(exchange.question),), answer)

    # Requests about media

    def _name(self) -> Dialogue:
        modality, idea, media = self.given(IN_PLACE)
        request = (media, self.say(f"name_{modality}")) if self.pick.random() < 0.8 else (media,)
        return self._made("name", self.mixed(request), (named(idea),))

    def _name_aloud(self) -> Dialogue:
        modality, idea, media = self.given(IN_PLACE)
        ask = self.say("hear_aloud" if modality == "audio" else "name_aloud")
        return self._made("name_aloud", self.mixed((media, ask)), (spoken(named(idea).content),))

    def _detail(self) -> Dialogue:
        modality, idea, media = self.given(IN_PLACE)
        stays = modality == "video" and isinstance(idea, Scene) and not idea.motion
        table, answer = ("motion", STAYS) if stays and self.pick.random() < 0.5 else self._fact(idea)
        return self._made("detail", self.mixed((media, self.say(table))), (Part("text", answer),))

    def _fact(self, idea: Idea) -> tuple[str, str]:
        match idea:
            case Scene() if idea.motion and self.pick.random() < 0.7:
                return "motion", f"It is {world.MOTIONS[idea.motion]}."
            case Scene() if world.emotion_of(idea.kind) and self.pick.random() < 0.7:
                return "feeling", f"This face looks {world.emotion_of(idea.kind)}."
            case Scene() | Composition():
                return "colour", f"The background is {idea.colour}."
            case Music() if self.pick.random() < 0.5:
                return "mood", f"This music is {idea.mood}."
            case Music():
                return "player", f"This is {with_article(idea.instrument)}."
            case Sound():
                return "name_audio", named(idea).content

    def _to_music(self) -> Dialogue:
        scene = self.scene(moving=self.pick.random() < 0.3, faces=0.7)
        return self._shown("to_music", scene, self.say("to_music"), ideas.as_audio(scene))

    def _to_image(self) -> Dialogue:
        modality, idea, _ = self.given()
        if isinstance(idea, Music) and self.pick.random() < 0.5:
            return self._shown("to_image", idea, self.say("draw_mood"), ideas.face_of(idea.mood))
        if modality != "image":
            table = "draw_sound" if modality == "audio" else "still"
            return self._shown("to_image", idea, self.say(table), ideas.as_still(idea))
        if self.pick.random() < 0.3:
            return self._shown("to_image", idea, self.say("again"), idea)
        colour = self.pick.choice(list(world.COLOURS))
        changed = replace(ideas.as_still(idea), colour=colour)
        return self._shown("to_image", idea, self.say("recolour", c=colour), changed)

    def _to_video(self) -> Dialogue:
        modality, idea, _ = self.given()
        if modality == "audio":
            return self._shown("to_video", idea, self.say("film_sound"), ideas.as_moving(idea))
        motion = self.pick.choice(list(world.MOTIONS))
        if modality == "image" and self.pick.random() < 0.4:
            return self._shown("to_video", idea, self.say("animate"), ideas.as_moving(idea))
        return self._shown("to_video", idea, self.say("move", x=VERBS[motion]), ideas.as_moving(idea, motion))

    def _to_other_music(self) -> Dialogue:
        music, other = self.music(), self.music()
        choice = self.pick.randrange(3)
        if choice == 0:
            changed, ask = music, self.say("sound_again")
        elif choice == 1:
            changed = replace(music, instrument=other.instrument)
            ask = self.say("other_player", x=f"the {other.instrument}")
        else:
            changed, ask = replace(music, mood=other.mood), self.say("other_mood", x=other.mood)
        return self._shown("to_other_music", music, ask, changed)

    def _transcribe(self) -> Dialogue:
        sentence = self.sentence()
        request = (Part("speech", sentence), self.say("transcribe"))
        return self._made("transcribe", self.mixed(request), (Part("text", sentence),))

    def _repeat(self) -> Dialogue:
        said = Part("speech", self.sentence())
        return self._made("repeat", self.mixed((said, self.say("repeat"))), (said,))

    # Several modalities in one answer

    def _mixed(self) -> Dialogue:
        table = self.pick.choice(_MIXES)
        x, second, s = self.scene(), self.scene(), self.sentence()
        music = self.music() if self.pick.random() < 0.7 else Sound(self.pick.choice(world.SOUNDS))
        moving = replace(x, motion=self.pick.choice(list(world.MOTIONS)))
        y = second if table == "two_images" else music
        shown = moving if table == "video_music" else x
        request = self.say(table, x=self.words(shown), y=self.idea_words(y), s=s)
        answers: dict[str, tuple[Part, ...]] = {
            "and_speak": (*announced(x), spoken(f"this is {ideas.caption(x)}")),
            "and_music": announced(x, music),
            "and_video": announced(x, ideas.as_moving(x)),
            "video_music": announced(moving, music),
            "speak_music": (Part("speech", s), *announced(music)),
            "music_speak": (*announced(music), spoken(f"this is {ideas.caption(music)}")),
            "two_images": announced(x, second),
        }
        return self._made("mixed", (request,), answers[table])

    def _described(self) -> Dialogue:
        _, idea, media = self.given(IN_PLACE)
        text = named(idea)
        return self._made(
            "described", self.mixed((media, self.say("describe_and"))), (text, spoken(text.content))
        )

    # Later turns

    def _follow(self) -> Dialogue:
        first = self._first()
        before = first.turns[-1]
        shown = (part.content for part in (*before.answer, *before.request) if part.modality in MEDIA)
        idea = ideas.by_caption().get(next(shown, ""))
        about_media = idea is not None and self.pick.random() < 2 / 3
        last = self._after_media(idea) if about_media else self._after_text(before)
        turns: tuple[Turn, ...] = (before, last)
        if self.pick.random() < 0.25:
            turns = (*self._chat().turns, *turns)
        return Dialogue("follow", turns)

    def _first(self) -> Dialogue:
        kinds = (self._image, self._video, self._music, self._name, self._reply_text)
        return self.pick.choices(kinds, (4, 2, 2, 3, 2))[0]()

    def _reply_text(self) -> Dialogue:
        return self._answered(self.pick.choice(self.short))

    def _after_text(self, before: Turn) -> Turn:
        said = next((part for part in before.answer if part.modality == "text"), None)
        if said is None:
            return Turn((self.say("thanks"),), (Part("text", "You are welcome!"),))
        return Turn((self.say("aloud"),), (spoken(said.content),))

    def _after_media(self, idea: Idea | None) -> Turn:
        if isinstance(idea, Scene):
            return self._after_scene(idea)
        assert isinstance(idea, Music | Sound)
        if isinstance(idea, Music) and self.pick.random() < 0.6:
            return self._to_other_music_of(idea)
        if self.pick.random() < 0.5:
            return Turn((self.say("recall_audio"),), (Part("text", f"It was {ideas.caption(idea)}."),))
        return Turn((self.say("draw_sound"),), announced(ideas.as_still(idea)))

    def _to_other_music_of(self, music: Music) -> Turn:
        other = self.music()
        if self.pick.random() < 0.5:
            changed = replace(music, instrument=other.instrument)
            ask = self.say("other_player", x=f"the {other.instrument}")
        else:
            ask, changed = self.say("other_mood", x=other.mood), replace(music, mood=other.mood)
        return Turn((ask,), announced(changed))

    def _after_scene(self, scene: Scene) -> Turn:
        choice = self.pick.randrange(6)
        if choice == 0:
            return Turn((self.say("recall"),), (Part("text", f"It was {ideas.caption(scene)}."),))
        if choice == 1:
            return Turn((self.say("to_music"),), announced(ideas.as_audio(scene)))
        if choice == 2:
            other = replace(scene, kind=self.scene().kind)
            return Turn((self.say("swap", x=with_article(other.kind)),), announced(other))
        if choice == 3 and not scene.motion:
            colour = self.pick.choice(list(world.COLOURS))
            return Turn((self.say("recolour", c=colour),), announced(replace(scene, colour=colour)))
        if choice == 4 and not scene.motion:
            return Turn((self.say("animate"),), announced(ideas.as_moving(scene)))
        motion = self.pick.choice(list(world.MOTIONS))
        return Turn((self.say("move", x=VERBS[motion]),), announced(ideas.as_moving(scene, motion)))

    # What a client has already decided

    def _bare(self) -> Dialogue:
        _, idea, media = self.given()
        outputs = self._outputs()
        return self._made("bare", (media,), meant(idea, outputs, "this is"), forced=True)

    def _mention(self) -> Dialogue:
        outputs = self._outputs()
        if self.pick.random() < 0.3:
            music = Music(ideas.DEFAULT_INSTRUMENT, self.pick.choice(list(world.MOODS)))
            idea: Idea = music if outputs[0] == "audio" else ideas.face_of(music.mood)
            request = self.say("feel", x=music.mood)
        else:
            idea = self.scene()
            request = self.say("mention", x=self.words(idea))
        dialogue = self._made("mention", (request,), meant(idea, outputs, "here is"), forced=True)
        return self._spoken(dialogue) if self.pick.random() < 0.4 else dialogue

    def _redirected(self) -> Dialogue:
        """A request in the words of one modality, answered in another that the client wants."""
        idea = self.pick.choice((self.scene(), self.scene(moving=True), self.music()))
        table = "music" if isinstance(idea, Music) else "video" if idea.motion else "image"
        request = self.say(table, x=self.idea_words(idea))
        dialogue = self._made("redirected", (request,), meant(idea, self._outputs(), "here is"), forced=True)
        return self._spoken(dialogue) if self.pick.random() < 0.4 else dialogue

    def _reply_forced(self) -> Dialogue:
        exchange = self.pick.choice(self.short)
        dialogue = self._made(
            "reply_forced", (self.typed(exchange.question),), (spoken(exchange.answer),), forced=True
        )
        return self._spoken(dialogue) if self.pick.random() < 0.5 else dialogue

    def _outputs(self) -> tuple[ModalityName, ...]:
        modalities: tuple[ModalityName, ...] = ("image", "video", "speech", "audio")
        return tuple(self.pick.sample(modalities, 2 if self.pick.random() < 0.2 else 1))

    # Dialogues of one turn

    def _shown(self, family: str, idea: Idea, ask: Part, wanted: Idea) -> Dialogue:
        return self._made(family, self.mixed((media(idea), ask)), *self._answer(wanted))

    def _made(
        self, family: str, request: tuple[Part, ...], answer: tuple[Part, ...], forced: bool = False
    ) -> Dialogue:
        return Dialogue(family, (Turn(request, answer),), forced)

    def _answered(self, exchange: Exchange) -> Dialogue:
        plain = exchange.question.lower() if self.pick.random() < 0.2 else exchange.question
        asked = self.say("ask", s=plain) if self.pick.random() < 0.6 else Part("text", plain)
        turn = Turn((asked,), (Part("text", exchange.answer),))
        return Dialogue("chat", (turn,), whole=exchange.whole)

    def _spoken(self, dialogue: Dialogue) -> Dialogue:
        request, answer = dialogue.turns[-1]
        said = tuple(spoken(part.content) if part.modality == "text" else part for part in request)
        return replace(dialogue, turns=(*dialogue.turns[:-1], Turn(said, answer)))


_WEIGHTS = {
    "image": 10, "video": 12, "music": 12, "sound": 6, "speak": 14, "reply_aloud": 9, "chat": 32, "spoken_question": 4,
    "name": 9, "name_aloud": 5, "detail": 5, "to_music": 8, "to_image": 7, "to_video": 5, "to_other_music": 4,
    "transcribe": 4, "repeat": 4, "mixed": 9, "described": 2, "follow": 12, "bare": 4, "mention": 3, "redirected": 3,
    "reply_forced": 2,
}  # fmt: skip
"""How often each family comes; plain chat and transcripts together are near a quarter."""

_SCENE_WEIGHTS = {"scene": 30, "scene_named": 12, "scene_asked": 8, "scene_follow": 10}
"""The same for composed scenes, of which there are too many to be learned as fast as single things."""

_SPEAKABLE = {
    "image", "video", "music", "sound", "name", "detail", "to_music", "to_image", "to_video", "mixed", "name_aloud",
    "reply_aloud", "scene",
}  # fmt: skip
_MIXES = ("and_speak", "and_music", "and_video", "video_music", "speak_music", "music_speak", "two_images")
