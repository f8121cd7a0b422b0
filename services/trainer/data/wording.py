"""Things of the world, and the words in which people ask for them."""

from __future__ import annotations

import random

from anygpt.vocabulary import ModalityName
from services.trainer.data import ideas, scene_words, world
from services.trainer.data.composed import Composition
from services.trainer.data.ideas import Idea, Music, Sound
from services.trainer.data.messages import MEDIA, Part
from services.trainer.data.phrases import wordings
from services.trainer.data.split import is_held_out
from services.trainer.data.world import Scene, with_article

MOVING = {
    "left": ("moving left", "moving left", "going left", "running to the left"),
    "right": ("moving right", "moving right", "going right", "running to the right"),
    "up": ("rising", "rising", "going up", "flying up"),
    "bounce": ("bouncing", "bouncing", "jumping", "that bounces"),
    "grow": ("growing", "growing", "getting bigger", "that grows"),
    "spin": ("spinning", "spinning", "turning round", "that spins"),
}
VERBS = {
    "left": "move left",
    "right": "move right",
    "up": "rise",
    "bounce": "bounce",
    "grow": "grow",
    "spin": "spin",
}


class Wording:
    """Draws things at random and names them; held-out wordings are never those of training."""

    def __init__(self, seed: int, held_out: bool) -> None:
        self.pick = random.Random(seed)
        self.held_out = held_out

    def say(self, table: str, **slots: str) -> Part:
        """A request in one wording of a table."""
        return self.typed(self.pick.choice(wordings(table, self.held_out)).format(**slots))

    def typed(self, text: str) -> Part:
        """A text as people type it: with or without a capital and a full stop."""
        if self.pick.random() < 0.6:
            text = text[0].upper() + text[1:]
        if text[-1].isalnum() and self.pick.random() < 0.4:
            text += "."
        return Part("text", text)

    def scene(self, moving: bool = False, faces: float = 0.12) -> Scene:
        """A thing on a background, white half of the time; training draws none that is kept for judging."""
        found = self._any_scene(moving, faces)
        while not self.held_out and is_held_out(found):
            found = self._any_scene(moving, faces)
        return found

    def _any_scene(self, moving: bool, faces: float) -> Scene:
        faced = self.pick.random() < faces
        kind = (
            f"{self.pick.choice(list(world.EMOTIONS))} face"
            if faced
            else self.pick.choice(list(world.OBJECTS))
        )
        colour = ideas.DEFAULT_COLOUR if self.pick.random() < 0.45 else self.pick.choice(list(world.COLOURS))
        return Scene(kind, colour, self.pick.choice(list(world.MOTIONS)) if moving else "")

    def music(self) -> Music:
        """An instrument in a mood; training draws no pair that is kept for judging."""
        while True:
            found = Music(self.pick.choice(list(world.INSTRUMENTS)), self.pick.choice(list(world.MOODS)))
            if self.held_out or not is_held_out(found):
                return found

    def given(self, in_place: float = 0.0) -> tuple[ModalityName, Idea, Part]:
        """A picture, a clip or a sound as a part of a request; in a share of the clips the thing stays where it is."""
        modality = self.pick.choices(MEDIA, (5, 3, 4))[0]
        if modality == "audio":
            idea: Idea = self.music() if self.pick.random() < 0.75 else Sound(self.pick.choice(world.SOUNDS))
        else:
            moving = modality == "video" and self.pick.random() >= in_place
            idea = self.scene(moving=moving, faces=0.25)
        return modality, idea, Part(modality, ideas.caption(idea))

    def idea_words(self, idea: Idea) -> str:
        """How people name an idea."""
        match idea:
            case Scene():
                return self.words(idea)
            case Composition():
                return scene_words.request(self.pick, idea, places_open=False)
            case Music():
                return self.music_words(idea)
            case Sound():
                return ideas.caption(idea)

    def words(self, scene: Scene) -> str:
        """How people name a scene; a white background goes without saying."""
        thing, colour = with_article(scene.kind), scene.colour
        if scene.motion:
            thing = f"{thing} {self.pick.choice(MOVING[scene.motion])}"
        if colour == ideas.DEFAULT_COLOUR and self.pick.random() < 0.8:
            return thing
        choices = [f"{thing} on {with_article(colour)} background"] * 2
        ground = with_article(colour)
        choices += [f"{thing} on {colour}", f"{thing} with {ground} background", f"{thing} on {ground} wall"]
        if not scene.motion and not thing.startswith(colour) and with_article(scene.kind) != scene.kind:
            choices.append(with_article(f"{colour} {scene.kind}"))
        return self.pick.choice(choices)

    def music_words(self, music: Music) -> str:
        """How people name a piece; a happy one, or one for the piano, may go without saying."""
        mood, instrument = music.mood, music.instrument
        choices = [
            ideas.caption(music),
            f"a {mood} song on the {instrument}",
            f"{mood} music on the {instrument}",
        ]
        choices += [f"a {mood} {instrument} piece", f"something {mood} on the {instrument}"]
        if instrument == ideas.DEFAULT_INSTRUMENT:
            choices += [f"something {mood}", f"{mood} music", f"a {mood} song"]
        if mood == ideas.DEFAULT_MOOD:
            choices += [f"the {instrument}", f"{instrument} music"]
        return self.pick.choice(choices)

    def mixed(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """Media before or after the words."""
        return parts if self.pick.random() < 0.65 else parts[::-1]
