"""Instruction dialogues about scenes of several things: drawn, told, asked about, changed."""

from __future__ import annotations

from dataclasses import replace

from services.trainer.data import composed, ideas, scene_words, world
from services.trainer.data.composed import Composition
from services.trainer.data.messages import Dialogue, Part, Turn, announced, media, named, spoken
from services.trainer.data.wording import Wording

# The second and the third thing are what is hard to learn, and no other talk has them.
_COUNTS = {1: 1, 2: 2, 3: 3}


class SceneWriter(Wording):
    """Draws dialogues about composed scenes."""

    def composition(self) -> Composition:
        """A scene, mostly before white; training draws none that is kept for judging."""
        return self._composition()[0]

    def _composition(self) -> tuple[Composition, bool]:
        (count,) = self.pick.choices(list(_COUNTS), list(_COUNTS.values()))
        scene, places_open = scene_words.drawn(self.pick, self.held_out, count)
        white = replace(scene, colour=ideas.DEFAULT_COLOUR)
        fits = composed.is_held_out(white) == self.held_out and self.pick.random() < 0.4
        return (white if fits else scene), places_open

    def _scene(self) -> Dialogue:
        scene, places_open = self._composition()
        words = scene_words.request(self.pick, scene, places_open)
        return _told("scene", (self.say("image", x=words),), announced(scene))

    def _scene_named(self) -> Dialogue:
        scene = self.composition()
        ask = self.say("name_image")
        request = (media(scene), ask) if self.pick.random() < 0.85 else (media(scene),)
        if self.pick.random() < 0.15:
            return _told(
                "scene_named",
                self.mixed((media(scene), self.say("name_aloud"))),
                (spoken(named(scene).content),),
            )
        return _told("scene_named", self.mixed(request), (named(scene),))

    def _scene_asked(self) -> Dialogue:
        scene = self.composition()
        ask, answer = self._asked(scene)
        return _told("scene_asked", self.mixed((media(scene), ask)), (answer,))

    def _asked(self, scene: Composition) -> tuple[Part, Part]:
        choice = self.pick.random()
        if choice < 0.55:
            place, answer = scene_words.place_asked(self.pick, scene)
            return self.say("what_stands", x=place), Part("text", answer)
        if choice < 0.8:
            return self.say("how_many"), Part("text", scene_words.COUNTS[len(scene.things)])
        return self.say("colour"), Part("text", f"The background is {scene.colour}.")

    def _scene_follow(self) -> Dialogue:
        """A later turn about a scene that was drawn or shown."""
        first = (self._scene() if self.pick.random() < 0.6 else self._scene_named()).turns[0]
        parts = (*first.request, *first.answer)
        scene = ideas.meaning(next(part.content for part in parts if part.modality == "image"))
        assert isinstance(scene, Composition)
        return Dialogue("scene_follow", (first, self._after_composition(scene)))

    def _after_composition(self, scene: Composition) -> Turn:
        choice = self.pick.randrange(4)
        if choice == 0:
            return Turn((self.say("recall"),), (Part("text", f"It was {composed.caption(scene)}."),))
        if choice == 1:
            ask, answer = self._asked(scene)
            return Turn((ask,), (answer,))
        colours = [colour for colour in world.COLOURS if colour not in {thing.tint for thing in scene.things}]
        colour = self.pick.choice(colours)
        return Turn((self.say("recolour", c=colour),), announced(replace(scene, colour=colour)))


def _told(family: str, request: tuple[Part, ...], answer: tuple[Part, ...]) -> Dialogue:
    return Dialogue(family, (Turn(request, answer),))
