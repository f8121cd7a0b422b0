from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from anygpt.errors import InvalidInput
from anygpt.topology import MODALITIES
from services.trainer.data import ideas
from services.trainer.data.chat import own_exchanges
from services.trainer.data.messages import spoken
from services.trainer.data.split import is_held_out
from services.trainer.mosit import check as rules
from services.trainer.mosit import files, mini
from services.trainer.mosit.commands import mosit
from services.trainer.mosit.record import Message, Piece, Record
from services.trainer.mosit.topics import topics

RAW: dict[str, Any] = {
    "image_list": [{"image_name": "mosit_i_0000000_00.jpg", "data_source": "mosit", "caption": "a cat"}],
    "video_list": [],
    "audio_list": [{"audio_name": "mosit_a_0000000_00.wav", "data_source": "mosit", "caption": "rain"}],
    "conversation": [
        {"from": "human", "value": "What is this? <Image>mosit_i_0000000_00.jpg</Image>"},
        {"from": "gpt", "value": "A cat."},
        {"from": "human", "value": "Let it rain."},
        {"from": "gpt", "value": "Here it is. <Audio>mosit_a_0000000_00.wav</Audio>"},
        {"from": "human", "value": "And now <image>a dog</image>?"},
        {"from": "gpt", "value": "A dog."},
    ],
}


FIRST = {
    "what was the first thing you made?",
    "what did you make at the very beginning?",
    "how did we start?",
}


@pytest.fixture(scope="module")
def trained() -> list[Record]:
    return mini.build("train", 600)


@pytest.fixture(scope="module")
def held_out() -> list[Record]:
    return mini.build("held_out", 100)


def saved(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "mosit.json"
    path.write_text(json.dumps(rows))
    return path


def found(folder: Path, *rows: dict[str, Any], media: Path | None = None) -> list[str]:
    read = files.read(saved(folder, *rows))
    return [str(defect) for defect in rules.check(read.rows, media, read.form)]


def test_a_raw_record_is_read_with_its_media_on_either_side(tmp_path: Path) -> None:
    records = files.read(saved(tmp_path, RAW)).records
    assert records[0].messages[0].pieces == (
        Piece("text", "What is this?"),
        Piece("image", "a cat", "mosit_i_0000000_00.jpg"),
    )
    assert records[0].messages[3].pieces[1] == Piece("audio", "rain", "mosit_a_0000000_00.wav")
    assert records[0].messages[4].pieces[1] == Piece("image", "a dog")
    assert rules.check(records) == []


def test_the_prepared_form_keeps_the_media_of_answers_only(tmp_path: Path) -> None:
    files.write(tmp_path / "prepared.json", files.read(saved(tmp_path, RAW)).records, "prepared")
    row = json.loads((tmp_path / "prepared.json").read_text())[0]
    assert row["audio_captions"] == ["rain"]
    assert row["audio_caption_embeddings"] == ["mosit_a_0000000_00.npy"]
    assert row["image_captions"] == []
    assert row["conversations"][0]["value"] == "What is this?"
    assert row["conversations"][3]["value"] == "Here it is. <audio>"


def test_the_dialogues_of_anyinstruct_are_read_and_written_with_their_tokens(tmp_path: Path) -> None:
    image = "<soim>" + "".join(f"<\U0001f440{code}>" for code in range(32)) + "<eoim>"
    lines = [{"role": "user", "message": "Draw."}, {"role": "assistant", "message": f"Here. {image}"}]
    path = tmp_path / "anyinstruct.jsonl"
    path.write_text(json.dumps({"id": 0, "conversation": [lines]}, ensure_ascii=False) + "\n")
    records = files.read(path).records
    assert records[0].messages[1].pieces[1].codes == tuple(range(32))
    assert rules.check(records, form="anyinstruct") == []
    files.write(tmp_path / "again.jsonl", records, "anyinstruct")
    assert (tmp_path / "again.jsonl").read_text() == path.read_text()


def test_a_run_of_tokens_that_breaks_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "anyinstruct.jsonl"
    row = {"id": 0, "conversation": [[{"role": "user", "message": "<soim><\U0001f4400>"}]]}
    path.write_text(json.dumps(row, ensure_ascii=False))
    assert [str(defect) for defect in files.read(path).defects] == ["record 0: tags: <soim> has no partner"]


def test_media_without_codes_cannot_become_tokens(tmp_path: Path, held_out: list[Record]) -> None:
    with pytest.raises(InvalidInput, match="without codes cannot be written as tokens"):
        files.write(tmp_path / "x.jsonl", held_out, "anyinstruct")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conversation": RAW["conversation"][1:]}, "record 0: tags: mosit_i_0000000_00.jpg is listed, and in no"),
        ({"conversation": RAW["conversation"][:2], "audio_list": []}, "record 0: rounds: 1 rounds, 2 to 7 are due"),
        ({"conversation": RAW["conversation"][:4], "topic": "cats"}, "record 0: rounds: 2 rounds, 3 to 7 are due"),
        ({"conversation": [*RAW["conversation"], RAW["conversation"][0]]}, "record 0: order: a dialogue ends with gpt"),
        ({"topics": "cats"}, "record 0: form: topics: Extra inputs are not permitted"),
        ({"conversation": [{"from": "robot", "value": "x"}]}, "record 0: form: conversation.0.from"),
        ({"split": "test"}, "record 0: split: 'test' is neither train nor held_out"),
        ({"references": [-1, 1, 0]}, "record 0: references: a round can only speak of one before it"),
        ({"image_list": [{"image_name": "cat.jpg", "caption": "a cat"}, *RAW["image_list"]]}, "record 0: tags: cat"),
        ({"image_list": []}, "record 0: tags: mosit_i_0000000_00.jpg is named, and in no list"),
        (
            {"image_list": [*RAW["image_list"], RAW["image_list"][0] | {"caption": "a dog"}]},
            "record 0: tags: mosit_i_0000000_00.jpg is listed with two captions",
        ),
        ({"references": [0.5, 1, 2]}, "record 0: form: references.0"),
        ({"conversation": "hello"}, "record 0: form: conversation"),
    ],
)  # fmt: skip
def test_each_defect_names_its_record_and_its_rule(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    assert any(defect.startswith(message) for defect in found(tmp_path, RAW | change))


def test_a_tag_without_its_partner_is_named(tmp_path: Path) -> None:
    broken = [{"from": "human", "value": "Look: <Image>x.jpg"}, *RAW["conversation"][1:]]
    assert found(tmp_path, RAW | {"image_list": [], "conversation": broken}) == [
        "record 0: tags: <Image> has no partner"
    ]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    (media / "mosit_a_0000000_00.wav").touch()
    assert found(tmp_path, RAW, media=media) == ["record 0: file: mosit_i_0000000_00.jpg is missing"]


def test_two_records_that_say_the_same_are_named(tmp_path: Path) -> None:
    assert found(tmp_path, RAW, RAW) == ["record 1: repeat: the same as record 0"]


def test_a_topic_in_two_splits_is_named(tmp_path: Path) -> None:
    other = RAW | {"conversation": [*RAW["conversation"][:-1], {"from": "gpt", "value": "Yes."}]}
    rows = (RAW | {"topic": "cats", "split": "train"}, other | {"topic": "cats", "split": "held_out"})
    assert found(tmp_path, *rows) == ["record 1: split: the topic 'cats' is in train too"]


def test_a_file_that_shows_something_else_in_a_later_record_is_named(tmp_path: Path) -> None:
    other = json.loads(json.dumps(RAW).replace("a cat", "a cow"))
    assert found(tmp_path, RAW, other) == [
        "record 1: names: mosit_i_0000000_00.jpg is the name of something else in record 0"
    ]


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"{", b'[{"x": 1}]', b"[NaN]", b"\xff\xfe["])
def test_a_file_that_holds_no_dialogues_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InvalidInput):
        files.read(tmp_path / "x.json")


def test_mini_mosit_has_at_least_a_hundred_topics_and_holds_some_of_them_out() -> None:
    assert len(topics("train")) >= 100
    assert len(topics("held_out")) >= 10
    assert not {topic.name for topic in topics("train")} & {topic.name for topic in topics("held_out")}


def test_mini_mosit_breaks_no_rule(trained: list[Record], held_out: list[Record]) -> None:
    assert rules.check([*trained, *held_out]) == []


def test_mini_mosit_trains_on_no_combination_that_is_held_out(trained: list[Record]) -> None:
    media = [piece for record in trained for piece in record.media if piece.modality != "speech"]
    assert not any(is_held_out(ideas.meaning(piece.content)) for piece in media)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mini_mosit_as_a_whole_has_5000_dialogues_and_500_of_other_topics_and_none_twice() -> None:
    trained, held_out = (mini.build(split, count) for split, count in (("train", 5000), ("held_out", 500)))
    assert rules.check([*trained, *held_out]) == []
    assert (len(trained), len(held_out)) == (5000, 500)
    assert not {record.topic for record in trained} & {record.topic for record in held_out}
    assert len({record.topic for record in trained}) >= 100
    for records in (trained, held_out):
        assert {record.rounds for record in records} == {3, 4, 5, 6, 7}
        counts = Counter(pair for record in records for pair in mini.pairs(record))
        assert set(counts) == set(product(MODALITIES, MODALITIES))
        assert min(counts.values()) >= 20


def test_who_asks_mini_mosit_a_plain_question_aloud_hears_the_answer_too(trained: list[Record]) -> None:
    asked = {(("speech", spoken(exchange.question).content),) for exchange in own_exchanges()}
    messages = pairwise(message for record in trained for message in record.messages)
    answers = [
        answer.pieces
        for request, answer in messages
        if request.sender == "human" and tuple(piece[:2] for piece in request.pieces) in asked
    ]
    assert answers
    for text, speech in answers:
        assert (text.modality, speech.modality) == ("text", "speech")
        assert speech.content == spoken(text.content).content


def test_mini_mosit_goes_through_every_ordered_pair_of_modalities(trained: list[Record]) -> None:
    counts = Counter(pair for record in trained for pair in mini.pairs(record))
    assert set(counts) == set(product(MODALITIES, MODALITIES))


def test_mini_mosit_mixes_modalities_on_both_sides_and_speaks_of_earlier_rounds(
    trained: list[Record],
) -> None:
    messages = [message for record in trained for message in record.messages]
    for sender in ("human", "gpt"):
        assert any(len(set(m.modalities) - {"text"}) > 1 for m in messages if m.sender == sender)
    assert any(m.modalities == ("speech",) for m in messages if m.sender == "human")
    later = sum(any(place >= 0 for place in record.references) for record in trained)
    assert later > len(trained) / 2


def test_the_same_seed_gives_the_same_dialogues(held_out: list[Record]) -> None:
    assert mini.build("held_out", 100) == held_out
    assert mini.build("held_out", 100, seed=1) != held_out


def test_a_record_becomes_one_training_dialogue_for_each_round(held_out: list[Record]) -> None:
    learned = list(mini.dialogues(held_out[0]))
    assert [len(dialogue.turns) for dialogue in learned] == list(range(1, held_out[0].rounds + 1))


def test_the_commands_build_check_and_convert(tmp_path: Path, held_out: list[Record]) -> None:
    files.write(tmp_path / "raw.json", held_out, "raw")
    prepared = str(tmp_path / "prepared.json")
    converted = CliRunner().invoke(
        mosit, ["convert", str(tmp_path / "raw.json"), prepared, "--form", "prepared"]
    )
    assert converted.exit_code == 0, converted.output
    checked = CliRunner().invoke(mosit, ["check", str(tmp_path / "raw.json")])
    assert checked.output.endswith("100 records read as raw, 0 defects\n")
    broken = Record((Message("gpt", (Piece("text", "Hello."),)),))
    files.write(tmp_path / "broken.json", [broken], "raw")
    refused = CliRunner().invoke(mosit, ["check", str(tmp_path / "broken.json")])
    assert refused.exit_code == 1
    assert "record 0: order: a dialogue begins with a human" in refused.output


def test_a_follow_up_speaks_of_what_came_last_whether_it_was_made_or_shown(trained: list[Record]) -> None:
    seen = 0
    for record in trained:
        last = -1
        for place, reference in enumerate(record.references):
            request, answer = record.messages[2 * place : 2 * place + 2]
            words = " ".join(piece.content for piece in request.pieces).lower()
            is_aloud = answer.modalities == ("speech",)
            if reference >= 0 and not is_aloud and not any(first.rstrip("?") in words for first in FIRST):
                seen += 1
                assert reference == last, words
            if any(
                piece.modality in ("image", "video", "audio") for piece in (*request.pieces, *answer.pieces)
            ):
                last = place
    assert seen > 300


def test_who_is_asked_to_say_that_aloud_says_the_words_of_the_last_answer(trained: list[Record]) -> None:
    for record in trained:
        for place, reference in enumerate(record.references):
            answer = record.messages[2 * place + 1]
            if reference >= 0 and answer.modalities == ("speech",):
                said = record.messages[2 * reference + 1].pieces
                assert reference == place - 1
                assert answer.pieces[0].content in {
                    spoken(p.content).content for p in said if p.modality == "text"
                }


def test_who_asks_what_was_made_first_is_not_told_of_what_was_only_shown(trained: list[Record]) -> None:
    asked = [
        (record, reference)
        for record in trained
        for request, reference in zip(record.messages[::2], record.references, strict=True)
        if FIRST & {piece.content for piece in request.pieces}
    ]
    assert asked
    for record, reference in asked:
        assert reference == 0
        assert set(record.messages[1].modalities) & {"image", "video", "audio"}
