from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from anygpt.pack import open_pack
from anygpt.topology import MODALITY_NAMES
from anygpt_models.speech_text import spoken
from services.trainer.alignment import switching
from services.trainer.alignment_reading import shown_in, wanted_of
from services.trainer.data import chat, dialogues, ideas, world
from services.trainer.data.dialogues import STAYS
from services.trainer.data.messages import ANNOUNCED, MEDIA, Dialogue, Part, meant
from services.trainer.data.phrases import wordings
from services.trainer.data.split import is_held_out, shows_held_out
from services.trainer.data.talk import Talk


@pytest.fixture(scope="module")
def built(talk: Talk) -> list[Dialogue]:
    return dialogues.build(4000, 1, talk)


def test_the_same_seed_gives_the_same_dialogues(built: list[Dialogue], talk: Talk) -> None:
    assert dialogues.build(500, 1, talk) == built[:500]
    assert dialogues.build(500, 2, talk) != built[:500]


def test_no_two_dialogues_are_alike(built: list[Dialogue]) -> None:
    assert len({dialogue.turns for dialogue in built}) == len(built)


def test_all_25_ordered_pairs_of_modalities_occur(built: list[Dialogue]) -> None:
    names = MODALITY_NAMES.values()
    counted = {pair: sum(pair in dialogue.pairs for dialogue in built) for pair in product(names, names)}
    assert min(counted.values()) >= 20, counted


def test_some_answers_have_several_modalities_in_the_order_of_the_request(built: list[Dialogue]) -> None:
    orders = {tuple(part.modality for part in dialogue.turns[-1].answer) for dialogue in built}
    assert {("text", "image", "speech"), ("text", "image", "audio"), ("speech", "text", "audio")} <= orders


def test_every_medium_is_a_thing_of_the_world(built: list[Dialogue]) -> None:
    parts = [part for dialogue in built for turn in dialogue.turns for side in turn for part in side]
    for part in parts:
        assert part.content
        if part.modality in MEDIA:
            idea = ideas.meaning(part.content)
            if isinstance(idea, world.Scene):
                assert part.modality == ("video" if idea.motion else "image") or in_place(part)
            else:
                assert part.modality == "audio"


def test_clips_of_things_that_stay_are_asked_about_and_never_made(built: list[Dialogue]) -> None:
    turns = [turn for dialogue in built for turn in dialogue.turns]
    assert any(in_place(part) for turn in turns for part in turn.request)
    assert not any(in_place(part) for turn in turns for part in turn.answer)
    told = {turn.answer for turn in turns if any(in_place(part) for part in turn.request)}
    assert (Part("text", STAYS),) in told
    assert any(part.content.endswith("background.") for answer in told for part in answer)


def in_place(part: Part) -> bool:
    return part.modality == "video" and not getattr(ideas.meaning(part.content), "motion", "")


def test_pictures_and_clips_are_always_announced_as_they_are_in_service(built: list[Dialogue]) -> None:
    outputs = open_pack("mini").outputs
    assert {MODALITY_NAMES[m] for m, output in outputs.items() if output.announced} == set(ANNOUNCED)
    for dialogue in built:
        answer = dialogue.turns[-1].answer
        if {part.modality for part in answer} <= {"text", *ANNOUNCED} and dialogue.pairs:
            assert answer[0].modality == "text", dialogue


def test_what_a_client_decided_is_announced_only_where_nothing_else_is_missing() -> None:
    dog = world.Scene("dog", "blue")
    alone = meant(dog, ("image", "video"), "here is")
    assert [part.modality for part in alone] == ["text", "image", "text", "video"]
    assert alone[0].content == "Here is a dog on a blue background."
    assert [part.modality for part in meant(dog, ("image", "speech"), "here is")] == ["image", "speech"]


def test_rows_of_words_are_said_beside_sentences_but_none_that_is_kept_for_judging(
    built: list[Dialogue], talk: Talk
) -> None:
    said = {
        part.content for dialogue in built for part in dialogue.turns[-1].answer if dialogue.family == "speak"
    }
    assert said & set(talk.corpus.train)
    assert any(set(sentence.split()) <= set(talk.words) for sentence in said)
    assert not said & set(talk.corpus.held_out)


def test_some_dialogues_refer_back_to_an_earlier_turn(built: list[Dialogue]) -> None:
    lengths = [len(dialogue.turns) for dialogue in built]
    assert lengths.count(2) > 100
    assert lengths.count(3) > 30


def test_what_is_said_aloud_is_the_answer_before(built: list[Dialogue]) -> None:
    aloud = [d for d in built if len(d.turns) > 1 and d.turns[-1].answer[0].modality == "speech"]
    assert aloud
    for dialogue in aloud:
        before = [spoken(part.content) for part in dialogue.turns[-2].answer if part.modality == "text"]
        assert dialogue.turns[-1].answer[0].content in before


def test_held_out_wordings_are_never_trained_on(built: list[Dialogue], talk: Talk) -> None:
    assert not set(wordings("image", held_out=True)) & set(wordings("image", held_out=False))
    held_out = dialogues.build(300, 1, talk, held_out=True)
    worded = {
        dialogue.turns for dialogue in held_out if dialogue.family in {"image", "video", "music", "to_music"}
    }
    assert worded
    assert not worded & {dialogue.turns for dialogue in built}


def test_no_training_shows_a_combination_that_is_kept_for_judging(built: list[Dialogue], talk: Talk) -> None:
    assert not [dialogue for dialogue in (*built, *switching(60)) if shows_held_out(dialogue)]
    judged = dialogues.build(300, 1, talk, held_out=True)
    assert any(shows_held_out(dialogue) for dialogue in judged)
    for modality in ("image", "video", "audio"):
        assert not [idea for idea in shown_in(modality) if is_held_out(idea)]
    assert set(shown_in("video")) - set(wanted_of("video")) == set(wanted_of("image"))


def test_what_was_shown_in_the_turn_before_is_asked_about_in_the_next(built: list[Dialogue]) -> None:
    shown = [
        dialogue
        for dialogue in built
        if dialogue.family == "follow"
        and any(part.modality == "image" for part in dialogue.turns[-2].request)
    ]
    followed = {part.modality for dialogue in shown for part in dialogue.turns[-1].answer}
    assert {"image", "video", "audio", "speech"} <= followed


def test_plain_chat_is_a_part_of_the_mixture(talk: Talk) -> None:
    exchanges = [chat.Exchange(question, f"About {question}", whole=True) for question in chat.questions()]
    found = dialogues.build(1000, 1, replace(talk, chat=[*talk.chat, *exchanges]))
    text_only = sum(dialogue.pairs == {("text", "text")} for dialogue in found)
    assert 0.06 < text_only / len(found) < 0.25


@pytest.mark.parametrize(
    ("mood", "kind"), [("sad", "sad face"), ("tense", "scared face"), ("calm", "calm face")]
)
def test_a_face_and_its_music_find_each_other(mood: str, kind: str) -> None:
    face = ideas.face_of(mood)
    assert face.kind == kind
    music = ideas.as_audio(face)
    assert isinstance(music, ideas.Music)
    assert music.mood == mood
