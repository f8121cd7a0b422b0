"""Dialogues about scenes of several things: asked for in many words, answered in canonical ones."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from anygpt.pack import open_pack
from anygpt_models.layout import TINTS, Layout
from anygpt_models.projection import InputProjection
from anygpt_models.speech_units import SpeechUnits
from services.trainer.alignment_sequence import Sequencer
from services.trainer.alignment_setup import reading_layouts
from services.trainer.alignment_words import LENGTHS, WordTargets, length
from services.trainer.data import composed, dialogues, ideas, scene_words
from services.trainer.data.composed import Composition, Thing
from services.trainer.data.messages import Dialogue, Part
from services.trainer.data.split import shows_held_out
from services.trainer.data.talk import Talk
from services.trainer.pack import LAYOUT_LENGTH

FAMILIES = ("scene", "scene_named", "scene_asked", "scene_follow")
THREE = "a small red cat at the top left, a dog in the middle and a bell at the right on a blue background"


@pytest.fixture(scope="module")
def built(talk: Talk) -> list[Dialogue]:
    writer = dialogues.Writer(1, replace(talk, scenes=True), held_out=False)
    return [writer.of(family) for family in FAMILIES for _ in range(400)]


def scenes_of(dialogue: Dialogue) -> list[Composition]:
    parts = [part for turn in dialogue.turns for side in turn for part in side if part.modality == "image"]
    found = [ideas.meaning(part.content) for part in parts]
    assert all(isinstance(idea, Composition) for idea in found)
    return [idea for idea in found if isinstance(idea, Composition)]


def test_only_a_pack_that_sees_scenes_has_talk_of_them(talk: Talk) -> None:
    def families(talk: Talk) -> set[str]:
        return {dialogue.family for dialogue in dialogues.build(1500, 1, talk)}

    assert families(talk).isdisjoint(FAMILIES)
    assert families(replace(talk, scenes=True)).issuperset(FAMILIES)


def test_lessons_show_no_scene_that_is_held_out_and_scenes_of_every_count(built: list[Dialogue]) -> None:
    assert not any(shows_held_out(dialogue) for dialogue in built)
    counts = {len(scene.things) for dialogue in built for scene in scenes_of(dialogue)}
    assert counts == {1, 2, 3}


def test_what_is_drawn_is_announced_in_the_words_of_its_caption(built: list[Dialogue]) -> None:
    for dialogue in built:
        for turn in dialogue.turns:
            made = [part.content for part in turn.answer if part.modality == "image"]
            assert not made or turn.answer[0] == Part("text", f"Here is {made[0]}.")


def test_things_without_places_stand_side_by_side_in_the_order_in_which_they_are_named() -> None:
    pick = random.Random(0)
    drawn = [scene_words.drawn(pick, held_out=False) for _ in range(300)]
    usual = [scene for scene, places_open in drawn if places_open]
    assert len(usual) > 60
    for scene in usual:
        words = scene_words.request(pick, scene, places_open=True)
        assert tuple(thing.place for thing in scene.things) == scene_words.USUAL[len(scene.things)]
        named = [words.index(thing.kind) for thing in scene.things]
        assert (
            named == sorted(named)
            or len({thing.kind for thing in scene.things}) < len(named)
            or any(one.kind in other.kind for one in scene.things for other in scene.things if one != other)
        )
        assert not any(place in words for place in ("left", "right", "middle"))


def test_a_request_leaves_out_no_fact_but_a_white_backdrop() -> None:
    pick = random.Random(1)
    scene = Composition(
        (Thing("cat", "small", "at the top left", "red"), Thing("dog", "", "at the right")), "blue"
    )
    for _ in range(50):
        words = scene_words.request(pick, scene, places_open=False)
        assert all(word in words for word in ("red cat", "dog", "left", "right", "blue"))
        assert any(word in words for word in scene_words.SIZE_WORDS["small"])


def test_an_answer_about_a_place_names_what_stands_there_or_nothing() -> None:
    pick, scene = random.Random(2), ideas.meaning(THREE)
    assert isinstance(scene, Composition)
    answers = {scene_words.place_asked(pick, scene)[1] for _ in range(200)}
    assert answers == {"It is a small red cat.", "It is a dog.", "It is a bell.", "There is nothing."}


def test_the_later_turn_about_a_scene_changes_its_backdrop_alone(built: list[Dialogue]) -> None:
    follows = [dialogue for dialogue in built if dialogue.family == "scene_follow"]
    changed = [scenes for dialogue in follows if len(scenes := scenes_of(dialogue)) == 2]
    assert len(changed) > 50
    assert all(before.things == after.things for before, after in changed)


def test_a_scene_takes_embeddings_for_each_of_its_things(talk: Talk) -> None:
    pack = open_pack("mini")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(pack.part("tokenizer") / "tokenizer.json"))
    units = SpeechUnits.from_pretrained(pack.part("speech_units"))
    sequencer = Sequencer(pack.vocabulary, tokenizer, units, pack.manifest.prompt, length)
    each = LENGTHS["image"] + LAYOUT_LENGTH
    assert length("image", THREE) == 3 * each
    words = WordTargets(sequencer.tokens, torch.randn(len(tokenizer), 8))
    assert words("image", THREE).shape == (3 * each, 8)
    writer = dialogues.Writer(3, replace(talk, scenes=True), held_out=False)
    sequence = sequencer.sequence(writer.of("scene_named"))
    (slot,) = sequence.features
    assert slot.length == length("image", slot.caption)
    assert len({*sequence.ids[slot.start : slot.start + slot.length]}) == 1


def test_a_layout_begins_as_the_words_for_it() -> None:
    said = ("small", "medium", "large", "plain", *TINTS, "top", "bottom", "left", "right", "middle")
    tokens = {word: number for number, word in enumerate(said)}
    table = torch.randn(len(tokens), 8, generator=torch.Generator().manual_seed(0))
    words = WordTargets(lambda text: [tokens[word] for word in text.split()], table)
    projection = reading_layouts(InputProjection(256, 8, LENGTHS["image"], 16), words)
    scene = composed.numbered(
        [Thing("cat", "large", "at the bottom right", "pink"), Thing("dog", "", "at the top")]
    )
    read = projection.layout(scene.vectors()).unflatten(1, (LAYOUT_LENGTH, 8))
    wanted = [["large", "pink", "bottom", "right"], ["medium", "plain", "top", "top"]]
    assert torch.allclose(
        read, torch.stack([table[[tokens[word] for word in row]] for row in wanted]), atol=1e-3
    )
    assert Layout.of(scene.vectors()).there.all()
