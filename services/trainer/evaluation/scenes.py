"""Rows about scenes of several things: each in words with its place and its look, each drawn in its place."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

from torch import Tensor
from torch.nn import functional

from anygpt_models.backdrop import border_colour
from anygpt_models.layout import PLACES
from services.trainer.data import composed, scene_words, world
from services.trainer.data.composed import Composition, Thing
from services.trainer.data.wording import Wording
from services.trainer.evaluation.asking import Question, Turn
from services.trainer.evaluation.attributes import JUDGES, seed_of
from services.trainer.evaluation.files import read_picture
from services.trainer.evaluation.interval import Observation
from services.trainer.evaluation.judgement import Judges, Reply
from services.trainer.evaluation.judges import colour
from services.trainer.evaluation.task import Bench, Metric, Row

STANDS, ABSENT = 0.01, ""
"""Share of a cell that something covers which stands there."""
_SENTENCE = re.compile(r"(?:this is|it was|here is) (?P<caption>.+?)\.?", re.IGNORECASE)


class SceneWordsRow(Row):
    """A picture of one to three things is put into words."""

    name = "scene -> text"
    metrics = (
        Metric("scene -> text: things", JUDGES["text"], 0.8, chance=1 / len(world.kinds())),
        Metric("scene -> text: places of these", JUDGES["text"], 0.9, chance=1 / len(PLACES)),
        Metric("scene -> text: size and colour of these", JUDGES["text"], 0.8, chance=1 / 27),
    )

    def questions(self, bench: Bench, count: int) -> Iterator[Question]:
        """See Row."""
        pick, wording = random.Random(seed_of(self.name)), Wording(seed_of(self.name), held_out=True)
        for _ in range(count):
            scene = composed.draw(pick, held_out=True)
            words = wording.say("name_image").content
            shown = f"{words} [{composed.caption(scene)}]"
            yield Question((Turn((bench.material.scene(scene), words), ("text",)),), scene, shown)

    def observe(self, bench: Bench, question: Question, reply: Reply) -> Sequence[Observation | None]:
        """See Row."""
        return told(question.expected, read(reply.text))


class SceneDrawnRow(Row):
    """One to three things are asked for in words, their places in two of three requests."""

    name = "text -> scene"
    metrics = (
        Metric("text -> scene: things", JUDGES["kind"], 0.8, chance=1 / len(world.kinds())),
        Metric("text -> scene: places", "pixels of the nine cells", 0.9, chance=1 / 9),
        Metric("text -> scene: colour", JUDGES["colour"], 0.95, chance=1 / len(world.COLOURS)),
    )

    def questions(self, bench: Bench, count: int) -> Iterator[Question]:
        """See Row."""
        pick, wording = random.Random(seed_of(self.name)), Wording(seed_of(self.name), held_out=True)
        for _ in range(count):
            scene, places_open = scene_words.drawn(pick, held_out=True)
            words = wording.say("image", x=scene_words.request(pick, scene, places_open)).content
            yield Question((Turn((words,), ()),), scene, words)

    def observe(self, bench: Bench, question: Question, reply: Reply) -> Sequence[Observation | None]:
        """See Row."""
        return drawn(bench.judges, question.expected, reply.files.get("image"))


def read(text: str) -> tuple[Thing, ...]:
    """The things that a sentence tells; none where it is not about a scene."""
    said = _SENTENCE.fullmatch(text.strip())
    try:
        return composed.parse(said["caption"]).things if said else ()
    except ValueError:
        return ()


def told(scene: Composition, things: Sequence[Thing]) -> list[Observation | None]:
    """How many of a scene's things are told, and of these how many at their places and as they look."""
    pairs = _paired(scene.things, things)
    placed = sum(true.place == found.place for true, found in pairs)
    looks = sum((true.size, true.tint) == (found.size, found.tint) for true, found in pairs)
    of = max(len(scene.things), len(things))
    return [
        (float(len(pairs)), float(of)),
        (float(placed), float(len(pairs))) if pairs else None,
        (float(looks), float(len(pairs))) if pairs else None,
    ]


def _paired(true: Sequence[Thing], found: Sequence[Thing]) -> list[tuple[Thing, Thing]]:
    """True things and those that are told of the same kind, each once; those at the same place first."""
    left, open_, pairs = list(found), list(true), []
    for at_place in (True, False):
        for thing in [*open_]:
            like = [
                one for one in left if one.kind == thing.kind and (one.place == thing.place or not at_place)
            ]
            if like:
                pairs.append((thing, like[0]))
                left.remove(like[0])
                open_.remove(thing)
    return pairs


def drawn(judges: Judges, scene: Composition, data: bytes | None) -> list[Observation | None]:
    """How many of a scene's things stand where they should, whether nothing else does, and the backdrop."""
    count = float(len(scene.things))
    if data is None:
        return [(0.0, count), (0.0, 1.0), (0.0, 1.0)]
    pixels = read_picture(data)
    cells = cells_of(pixels)
    kinds = {place: judges.scene_objects.name(cell) for place, cell in cells.items()}
    right = sum(kinds.get(thing.place, ABSENT) == thing.kind for thing in scene.things)
    places = {thing.place for thing in scene.things}
    return [
        (float(right), count),
        (float(places == set(cells)), 1.0),
        (float(colour.colour(pixels) == scene.colour), 1.0),
    ]


def cells_of(pixels: Tensor) -> dict[str, Tensor]:
    """Place -> pixels [3, 128, 128] of its cell with some backdrop around, of the cells in which something stands."""
    side = pixels.shape[1] / 3
    backdrop = border_colour(pixels[None])[0, :, None, None]
    found = {}
    for place, (column, row) in PLACES.items():
        top, left = (round((place + 1) * side) for place in (row, column))
        cell = pixels[:, top : top + round(side), left : left + round(side)]
        if float(((cell - backdrop).abs().amax(0) > 0.25).float().mean()) > STANDS:
            framed = backdrop.expand(3, 64, 64).clone()
            inner = functional.interpolate(cell[None], (48, 48), mode="bilinear", antialias=True)[0]
            framed[:, 8:56, 8:56] = inner
            found[place] = functional.interpolate(framed[None], (128, 128), mode="bilinear")[0]
    return found
