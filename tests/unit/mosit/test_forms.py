"""Each form reads back what is written in it; what it cannot hold, or nobody can read, is refused by its record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from anygpt.errors import InvalidInput
from services.trainer.mosit import check as rules
from services.trainer.mosit import commands, files, mini
from services.trainer.mosit.commands import mosit
from services.trainer.mosit.record import ENDINGS, LETTERS, Defect, FormName, Message, Piece, Record, Sender

SAID = ("What is it?", "A cat.", "And now?", "A dog.", "Thanks.", "You are welcome.")
RAW: dict[str, Any] = {
    "conversation": [
        {"from": "gpt" if place % 2 else "human", "value": value} for place, value in enumerate(SAID)
    ]
}
TWO_ROUNDS: dict[str, Any] = {"conversation": RAW["conversation"][:4], "topic": "cats"}
IMAGE = "<soim>" + "".join(f"<\U0001f440{code}>" for code in range(32)) + "<eoim>"
MARKED = (
    "<image>", "</Video>", "<Image>dog</Image>", "</Image> and <Image>", "<soim>", "<eomu>", IMAGE,
    "<\u017fpeech>", "<v\u0131deo>", "mosit_i_0000000_00.jpg", "one\u2028two\u2029three\x85four", "</", "<image",
)  # fmt: skip

plain = st.text(max_size=12).map(lambda text: text.replace("<", "").strip()).filter(bool)
modalities = st.sampled_from(sorted(LETTERS))
captions = plain.filter(lambda text: not files.FILE_NAME.fullmatch(text))
captioned = st.tuples(modalities, captions).map(lambda told: Piece(*told))
named = st.builds(
    lambda modality, number: Piece(
        modality,
        f"{modality} {number}",
        f"mosit_{LETTERS[modality]}_{number:07}_00.{ENDINGS[modality]}",
    ),
    modalities,
    st.integers(0, 9),
)


def codes_below(count: int, fewest: int, most: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(0, count - 1), min_size=fewest, max_size=most).map(tuple)


frames = codes_below(2048, 4, 4).map(
    lambda codes: tuple(2048 * band + code for band, code in enumerate(codes))
)
coded = st.one_of(
    codes_below(8192, 32, 32).map(lambda codes: Piece("image", codes=codes)),
    codes_below(1024, 1, 5).map(lambda codes: Piece("speech", codes=codes)),
    frames.map(lambda codes: Piece("audio", codes=codes)),
)
MEDIA: dict[FormName, st.SearchStrategy[Piece]] = {
    "raw": captioned | named, "prepared": captioned | named, "anyinstruct": coded,
}  # fmt: skip


@st.composite
def dialogues(draw: st.DrawFn, form: FormName) -> Record:
    words, media = plain.map(lambda text: Piece("text", text)), MEDIA[form]
    said = st.one_of(
        st.tuples(words), st.tuples(media), st.tuples(words, media, words), st.tuples(media, media)
    )
    rounds = draw(st.integers(3, 7))
    senders: list[Sender] = ["human", "gpt"] * rounds
    messages = tuple(Message(sender, draw(said)) for sender in senders)
    if form == "raw":
        return Record(messages, draw(plain), "train", tuple(range(-1, rounds - 1)))
    return Record(messages, id=draw(st.integers()) if form == "anyinstruct" else None)


def again(record: Record, form: FormName) -> files.Contents:
    """Write a record and read it."""
    with TemporaryDirectory() as folder:
        files.write(Path(folder) / "file", [record], form)
        return files.read(Path(folder) / "file")


def refusal(record: Record, form: FormName) -> str:
    """Why a record cannot be written, or nothing."""
    try:
        again(record, form)
    except InvalidInput as refused:
        return refused.message
    return ""


def as_prepared(record: Record) -> Record:
    """What the prepared form keeps: of answers no names, and of requests the words alone."""
    messages = []
    for sender, pieces in record.messages:
        kept = tuple(Piece(piece.modality, piece.content) for piece in pieces)
        if sender == "human":
            text = " ".join(piece.content for piece in pieces if piece.modality in ("text", "speech"))
            kept = (Piece("text", text),) if text else ()
        messages.append(Message(sender, kept))
    return Record(tuple(messages))


def without_embeddings(record: Record) -> Record:
    messages = (m._replace(pieces=tuple(p._replace(embedding="") for p in m.pieces)) for m in record.messages)
    return replace(record, messages=tuple(messages))


def saved(folder: Path, content: str | bytes, name: str = "dialogues.json") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(*rows: Any) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def any_instruct(*messages: str, number: Any = 0) -> dict[str, Any]:
    roles = ("user", "assistant") * len(messages)
    said = [{"role": role, "message": message} for role, message in zip(roles, messages, strict=False)]
    return {"id": number, "conversation": [said]}


def told(*arguments: object) -> tuple[int, list[str]]:
    """How a command ends and what it says; anything but a named end is an error of the test."""
    result = CliRunner().invoke(mosit, [str(argument) for argument in arguments])
    if isinstance(result.exception, InvalidInput):
        return 1, [result.exception.message]
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output.splitlines()


@settings(deadline=None, max_examples=30)
@given(dialogues("raw"))
def test_a_raw_record_reads_back_the_same_and_breaks_no_rule(record: Record) -> None:
    read = again(record, "raw")
    assert (read.rows, read.form) == ([record], "raw")
    assert rules.check(read.rows, form=read.form) == []


@settings(deadline=None, max_examples=30)
@given(dialogues("prepared"))
def test_a_prepared_record_reads_back_as_what_that_form_keeps_and_breaks_no_rule(record: Record) -> None:
    read = again(record, "prepared")
    assert [without_embeddings(one) for one in read.records] == [as_prepared(record)]
    assert (read.defects, read.form) == ([], "prepared")
    assert rules.check(read.rows, form=read.form) == []
    assert again(read.records[0], "prepared").rows == read.rows


@settings(deadline=None, max_examples=30)
@given(dialogues("anyinstruct"))
def test_a_record_of_anyinstruct_reads_back_the_same_with_its_id_and_breaks_no_rule(record: Record) -> None:
    read = again(record, "anyinstruct")
    assert (read.rows, read.form) == ([record], "anyinstruct")
    assert rules.check(read.rows, form=read.form) == []


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(MARKED), st.sampled_from(MARKED), st.sampled_from(["raw", "prepared", "anyinstruct"]))
def test_text_that_looks_like_a_mark_reads_back_as_text_or_is_refused_by_its_record(
    text: str, caption: str, form: FormName
) -> None:
    media = () if form == "anyinstruct" else (Piece("image", caption),)
    record = Record((Message("gpt", (Piece("text", text), *media)),), id=5 if form == "anyinstruct" else None)
    refused = refusal(record, form)
    kept = [without_embeddings(one) for one in again(record, form).records] if not refused else []
    assert refused.startswith("record 0: tags: ") or kept == [record]


@pytest.mark.parametrize("form", ["raw", "prepared"])
@pytest.mark.parametrize("said", [("Draw.", IMAGE), (IMAGE, "A cat."), ("Type <image> here.", "Done.")])
def test_what_a_form_cannot_hold_is_refused_by_its_record_and_the_old_file_stays(
    tmp_path: Path, form: str, said: tuple[str, str]
) -> None:
    source = saved(tmp_path, lines(any_instruct("Hello.", "Hello."), any_instruct(*said, number=1)))
    out = saved(tmp_path, "old", "out.json")
    code, told_of = told("convert", source, out, "--form", form)
    assert code == 1
    assert told_of[0].startswith("record 1: tags: ")
    assert out.read_text() == "old"
    assert set(tmp_path.iterdir()) == {source, out}


@pytest.mark.parametrize("text", ["The mark is <soim>.", f"It is {IMAGE}."])
def test_text_that_would_become_tokens_is_refused_by_its_record(tmp_path: Path, text: str) -> None:
    changed = {"conversation": [*RAW["conversation"][:-1], {"from": "gpt", "value": text}]}
    code, told_of = told("convert", saved(tmp_path, lines(changed)), tmp_path / "x", "--form", "anyinstruct")
    assert (code, told_of[0].partition(" in ")[0]) == (1, "record 0: tags: <soim>")


def test_a_caption_becomes_a_tag_without_the_spaces_around_it(tmp_path: Path) -> None:
    record = Record((Message("gpt", (Piece("image", " a cat\u2028"),)),))
    files.write(tmp_path / "raw.json", [record], "raw")
    assert files.read(tmp_path / "raw.json").records[0].media == [Piece("image", "a cat")]
    assert "<Image>a cat</Image>" in (tmp_path / "raw.json").read_text()


def test_a_conversion_onto_a_folder_is_refused(tmp_path: Path) -> None:
    assert told("convert", saved(tmp_path, lines(RAW)), tmp_path) == (1, [f"{tmp_path.name} is no file"])


@pytest.mark.parametrize(
    "line",
    [
        b"{", b"5", b'"conversation"', b"\xff", b"[" * 100_000,
        b'{"id": ' + b"5" * 5000 + b"}",
        b'{"conversation": [{"from": "human", "value": "\\ud83d"}]}',
        b'{"conversation": [], "\\udc00": 1}',
        b'{"topic": "\xed\xa0\xbd", "conversation": []}',
    ],
)  # fmt: skip
def test_a_line_that_is_no_record_is_named_and_the_others_are_still_checked(
    tmp_path: Path, line: bytes
) -> None:
    path = saved(tmp_path, lines(RAW).encode() + line + b"\n" + lines(TWO_ROUNDS).encode())
    code, told_of = told("check", path)
    assert code == 1
    assert told_of[0].startswith("record 1: form: ")
    assert told_of[1:] == ["record 2: rounds: 2 rounds, 3 to 7 are due", "2 records read as raw, 2 defects"]
    alone = saved(tmp_path, line, "alone.json")
    assert told("check", alone)[0] == told("convert", alone, tmp_path / "out.json")[0] == 1
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("entry", [5, None, "text", [RAW], {"conversation": [], "topic": "\ud83d"}])
def test_an_entry_of_a_list_that_is_no_record_is_named(tmp_path: Path, entry: Any) -> None:
    code, told_of = told("check", saved(tmp_path, json.dumps([RAW, entry])))
    assert code == 1
    assert told_of[0].startswith("record 1: form: ")
    assert told_of[1] == "1 records read as raw, 1 defects"


def test_a_first_record_in_no_form_is_named_by_the_form_of_the_next(tmp_path: Path) -> None:
    _, told_of = told("check", saved(tmp_path, json.dumps([{"x": 1}, RAW])))
    assert told_of[0].startswith("record 0: form: ")


@pytest.mark.parametrize("bracket", [("<soim>", "\U0001f440"), ("<sosp>", "\U0001f5e3\ufe0f")])
@pytest.mark.parametrize("number", ["5" * 5000, "5" * 10, "\u0665"])
def test_a_token_with_no_number_of_a_code_is_named(
    tmp_path: Path, bracket: tuple[str, str], number: str
) -> None:
    begin, sign = bracket
    run = f"{begin}<{sign}{number}>{begin.replace('so', 'eo')}"
    code, told_of = told("check", saved(tmp_path, lines(any_instruct("Draw.", run))))
    assert (code, told_of[0].partition(" tokens ")[0].rpartition(": ")[0]) == (1, "record 0: tags")


def test_lines_end_at_line_feeds_alone_and_blank_ones_do_not_count(tmp_path: Path) -> None:
    row = lines(any_instruct("one\u2028two\u2029three", "four\x85five"))
    other = lines(any_instruct("Hello.", "Hello.", number=1))
    path = saved(tmp_path, f"\r\n{row[:-1]}\r\n \n\n{other}")
    assert told("check", path) == (0, ["2 records read as anyinstruct, 0 defects"])
    assert told("convert", path, tmp_path / "again", "--form", "anyinstruct")[0] == 0
    assert (tmp_path / "again").read_bytes().decode() == row + other


def test_mini_mosit_breaks_no_rule_in_the_prepared_form_either(tmp_path: Path) -> None:
    held_out, prepared = mini.build("held_out", 100), tmp_path / "prepared.json"
    assert any(all(p.modality != "text" for p in m.pieces) for r in held_out for m in r.messages[::2])
    files.write(tmp_path / "raw.json", held_out, "raw")
    assert told("convert", tmp_path / "raw.json", prepared, "--form", "prepared")[0] == 0
    assert told("check", prepared) == (0, ["100 records read as prepared, 0 defects"])


@pytest.mark.parametrize(
    ("key", "place", "count"), [("conversation", 0, 1), ("conversations", 1, 1), ("conversations", 0, 0)]
)
def test_only_a_prepared_request_may_be_empty(tmp_path: Path, key: str, place: int, count: int) -> None:
    said = [
        message | {"value": ""} if n == place else message for n, message in enumerate(RAW["conversation"])
    ]
    code, told_of = told("check", saved(tmp_path, lines({key: said})))
    assert code == count
    assert told_of[:-1] == [f"record 0: content: message {place} is empty"] * count


def test_anyinstruct_may_have_a_round_of_text_alone(tmp_path: Path) -> None:
    path = saved(tmp_path, lines(any_instruct("Hello.", "Hello.")))
    assert told("check", path) == (0, ["1 records read as anyinstruct, 0 defects"])


@pytest.mark.parametrize(
    "value",
    ["<image>a <image>dog</image>", "<image>a <video>dog</video></image>", "<Image>a </speech></Image>"],
)
def test_a_stray_tag_inside_a_medium_is_named(tmp_path: Path, value: str) -> None:
    changed = {"conversation": [*RAW["conversation"][:-1], {"from": "gpt", "value": value}]}
    code, told_of = told("check", saved(tmp_path, lines(changed)))
    assert code == 1
    assert told_of[0].startswith("record 0: tags: ")
    assert told_of[0].endswith(" has no partner")


def test_a_tag_in_letters_that_only_resemble_its_own_is_text(tmp_path: Path) -> None:
    value = "<\u017fpeech>hi</\u017fpeech> <v\u0131deo>a dog</v\u0131deo>"
    changed = {"conversation": [*RAW["conversation"][:-1], {"from": "gpt", "value": value}]}
    assert told("check", saved(tmp_path, lines(changed)))[0] == 0


def test_the_ids_of_anyinstruct_are_kept_and_one_of_two_records_is_named(tmp_path: Path) -> None:
    rows = lines(any_instruct("Hello.", "Hello.", number=7), any_instruct("Bye.", "Bye.", number=7))
    path = saved(tmp_path, rows)
    assert told("convert", path, tmp_path / "again", "--form", "anyinstruct")[0] == 0
    assert (tmp_path / "again").read_text() == rows
    assert told("check", path)[1][0] == "record 1: id: record 0 has the id 7 too"


@pytest.mark.parametrize(
    "row",
    [
        *(any_instruct("Hello.", "Hello.", number=number) for number in ("5", True, 5.0, None)),
        *(RAW | {"references": [number, 0, 1]} for number in ("-1", True, -1.0)),
    ],
)
def test_a_number_that_is_no_integer_of_json_is_named(tmp_path: Path, row: dict[str, Any]) -> None:
    code, told_of = told("check", saved(tmp_path, lines(row)))
    assert code == 1
    assert told_of[0].startswith("record 0: form: ")


def test_a_folder_or_a_link_to_nothing_is_no_media_file(tmp_path: Path) -> None:
    media = tmp_path / "media"
    names = [f"mosit_i_0000000_0{number}.jpg" for number in range(3)]
    (media / names[0]).mkdir(parents=True)
    (media / names[1]).symlink_to(tmp_path / "nothing")
    (media / names[2]).touch()
    value = " ".join(f"<Image>{name}</Image>" for name in names)
    row = {
        "image_list": [{"image_name": name, "caption": "a cat"} for name in names],
        "conversation": [*RAW["conversation"][:-1], {"from": "gpt", "value": value}],
    }
    missing = [f"record 0: file: {name} is missing" for name in names[:2]]
    assert told("check", saved(tmp_path, lines(row)), "--media", media)[1][:-1] == missing


def test_a_defect_is_one_line_of_text_whatever_it_quotes() -> None:
    line = str(Defect(0, "names", "caf\u00e9\n\x1b[2J\u2028\ud83d is no name"))
    assert line == r"record 0: names: café\n\x1b[2J\u2028\ud83d is no name"


PREPARED: dict[str, Any] = {
    "image_captions": ["a cat", "a dog"],
    "image_caption_embeddings": ["first.npy", "second.npy"],
    "conversations": [
        *RAW["conversation"][:-1], {"from": "gpt", "value": "<image> and <image>"},
    ],
}  # fmt: skip


def in_messages(*values: str) -> dict[str, Any]:
    """A raw record whose last messages are these."""
    said = RAW["conversation"][: -len(values)]
    last = [
        {"from": "gpt" if (6 - len(values) + n) % 2 else "human", "value": v} for n, v in enumerate(values)
    ]
    return {"conversation": [*said, *last]}


def test_the_names_of_embeddings_are_kept_in_the_prepared_form(tmp_path: Path) -> None:
    out = tmp_path / "again.json"
    assert told("convert", saved(tmp_path, lines(PREPARED)), out, "--form", "prepared")[0] == 0
    assert json.loads(out.read_text())[0]["image_caption_embeddings"] == ["first.npy", "second.npy"]


def test_a_new_name_of_an_embedding_is_that_of_no_other_medium(tmp_path: Path) -> None:
    name = "mosit_i_0000000_00.jpg"
    row = in_messages(f"<image>a dog</image> <Image>{name}</Image>")
    row["image_list"] = [{"image_name": name, "caption": "a cat"}]
    files.write(tmp_path / "prepared.json", files.read(saved(tmp_path, lines(row))).records, "prepared")
    names = json.loads((tmp_path / "prepared.json").read_text())[0]["image_caption_embeddings"]
    assert names == ["mosit_i_0000000_01.npy", "mosit_i_0000000_00.npy"]


@pytest.mark.parametrize(
    ("names", "defect"),
    [
        (["one.npy", "one.npy"], "record 0: names: one.npy is the name twice in this record"),
        (["../one.npy", "two.npy"], "record 0: names: ../one.npy is in another folder"),
        (["one.jpg", "two.npy"], "record 0: tags: one.jpg is no .npy"),
    ],
)
def test_an_embedding_of_two_captions_or_in_another_folder_is_named(
    tmp_path: Path, names: list[str], defect: str
) -> None:
    path = saved(tmp_path, lines(PREPARED | {"image_caption_embeddings": names}))
    assert told("check", path)[1][0] == defect


def test_a_medium_in_a_prepared_request_is_named(tmp_path: Path) -> None:
    said = [
        {"from": "human", "value": "<image>"},
        *RAW["conversation"][1:-1],
        {"from": "gpt", "value": "<image>"},
    ]
    path = saved(tmp_path, lines(PREPARED | {"conversations": said}))
    assert told("check", path)[1][0] == "record 0: content: message 0 is a request, and has media"


@pytest.mark.parametrize(
    "inside",
    [
        "mosit_i_000000_00.jpg", "mosit_i_0000000_00", "../../etc/cat.jpg", "/etc/cat", "cat.jpeg",
        "mosit_i_\u0660\u0660\u0660\u0660\u0660\u0660\u0660_00.jpg",
    ],
)  # fmt: skip
def test_a_name_that_is_in_no_list_is_not_taken_for_a_caption(tmp_path: Path, inside: str) -> None:
    path = saved(tmp_path, lines(in_messages(f"<Image>{inside}</Image>")))
    assert told("check", path)[1][0].endswith(
        f"{Defect(0, '', inside)} is named, and in no list".split(": : ")[1]
    )


@pytest.mark.parametrize("caption", ["\\", "/", "/x", "either/or", "a cat and/or a dog", "1/2 of a pie"])
def test_a_caption_with_a_slash_is_a_caption(caption: str) -> None:
    record = Record((Message("human", (Piece("text", "Draw."),)), Message("gpt", (Piece("image", caption),))))
    assert again(record, "raw").rows == [record]


def test_a_medium_in_the_list_of_another_modality_is_named(tmp_path: Path) -> None:
    name = "mosit_v_0000000_00.mp4"
    row = in_messages(f"<Image>{name}</Image>") | {"video_list": [{"video_name": name, "caption": "a cat"}]}
    assert told("check", saved(tmp_path, lines(row)))[1][0] == (
        f"record 0: tags: {name} is image in a message, and in the video_list"
    )


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(RAW)[:-1] + ', "conversation": []}',
        json.dumps(RAW).replace('"value": "A cat."', '"value": "A cat.", "value": ""'),
    ],
)
def test_a_key_that_is_there_twice_is_named(tmp_path: Path, line: str) -> None:
    for content in (line, f"[{line}]"):
        code, told_of = told("check", saved(tmp_path, content))
        assert code == 1
        assert "(twice): Extra inputs are not permitted" in told_of[0]


def test_every_reason_of_a_record_is_told_up_to_five(tmp_path: Path) -> None:
    row = {"conversation": [{"from": "robot", "value": 5}, {"from": "x"}], "topic": 3, "more": 1, "most": 2}
    line = told("check", saved(tmp_path, lines(row, RAW)))[1][0]
    assert line.count("; ") == 5
    assert line.endswith("; 2 more")


def test_the_form_is_what_most_records_have_whatever_the_first_one_is(tmp_path: Path) -> None:
    other = in_messages("Bye.")
    code, told_of = told("check", saved(tmp_path, lines(any_instruct("Hello.", "Hello."), RAW, other)))
    assert code == 1
    assert told_of[-1] == "2 records read as raw, 1 defects"


def test_a_mark_of_order_before_the_first_byte_does_not_count(tmp_path: Path) -> None:
    for content in (json.dumps([RAW]), lines(RAW)):
        path = saved(tmp_path, content.encode("utf-8-sig"))
        assert told("check", path) == (0, ["1 records read as raw, 0 defects"])


def test_a_token_outside_its_brackets_is_named(tmp_path: Path) -> None:
    code, told_of = told(
        "check", saved(tmp_path, lines(any_instruct("Draw.", "Here. <\U0001f4405><\U0001f4406>")))
    )
    assert (code, told_of[0]) == (
        1,
        "record 0: tags: <\U0001f4405> has no partner",
    )


def test_a_long_run_of_openings_is_refused_at_once(tmp_path: Path) -> None:
    path = saved(tmp_path, lines(any_instruct("Draw.", "<soim>" * 200_000)))
    assert told("check", path)[1][0] == "record 0: tags: <soim> has no partner"


def test_the_lists_of_anyinstruct_are_kept(tmp_path: Path) -> None:
    row = any_instruct("Hello.", "Hello.")
    path = saved(tmp_path, lines(row | {"conversation": row["conversation"] * 2}))
    assert told("convert", path, tmp_path / "again", "--form", "anyinstruct")[0] == 0
    assert (tmp_path / "again").read_text() == path.read_text()


def test_where_a_medium_is_from_is_kept_and_what_a_form_has_no_place_for_is_told(tmp_path: Path) -> None:
    name = "mosit_i_0000000_00.jpg"
    row = in_messages(f"Here. <Image>{name}</Image>")
    row |= {"image_list": [{"image_name": name, "data_source": "cc3m", "caption": "a cat"}], "topic": "cats"}
    path, out = saved(tmp_path, lines(row)), tmp_path / "out.json"
    assert told("convert", path, out) == (0, ["1 dialogues, read as raw, written as raw"])
    assert json.loads(out.read_text())[0]["image_list"][0]["data_source"] == "cc3m"
    assert told("convert", path, out, "--form", "prepared")[1][1:] == [
        "left out, which that form has no place for: 1 topic, 1 names of media"
    ]


def test_the_words_of_a_spoken_request_are_the_text_of_a_prepared_one(tmp_path: Path) -> None:
    row = in_messages("<Speech>draw a cat</Speech>", "Here. <Image>a cat</Image>")
    assert told("convert", saved(tmp_path, lines(row)), tmp_path / "out.json", "--form", "prepared")[0] == 0
    assert json.loads((tmp_path / "out.json").read_text())[0]["conversations"][-2]["value"] == "draw a cat"


def test_the_files_of_a_set_are_checked_together(tmp_path: Path) -> None:
    one, two = (
        RAW | {"topic": "cats", "split": "train"},
        in_messages("Bye.") | {"topic": "cats", "split": "held_out"},
    )
    train = saved(tmp_path, lines(one, two), "train.json")
    held_out = saved(tmp_path, lines(one, in_messages("No.") | {"topic": "cats"}), "held_out.json")
    assert told("check", train, held_out) == (
        1,
        [
            "train.json: record 1: split: the topic 'cats' is in train too",
            "train.json: record 1: split: it is of held_out",
            "held_out.json: record 0: repeat: the same as train.json: record 0",
            "held_out.json: record 0: split: it is of train",
            "held_out.json: record 1: split: the topic 'cats' is in train too",
            "4 records read as raw, 5 defects",
        ],
    )


@pytest.mark.parametrize(
    ("media", "row", "why"),
    [
        ("nothing", PREPARED, "there is no folder nothing"),
        (".", any_instruct("Hello.", "Hello."), "AnyInstruct names no files: its media are tokens"),
    ],
)
def test_a_folder_of_media_that_cannot_be_checked_is_refused(
    tmp_path: Path, media: str, row: dict[str, Any], why: str
) -> None:
    assert told("check", saved(tmp_path, lines(row)), "--media", tmp_path / media) == (1, [why])


def test_a_missing_embedding_is_named(tmp_path: Path) -> None:
    (tmp_path / "first.npy").touch()
    defects = told("check", saved(tmp_path, lines(PREPARED)), "--media", tmp_path)[1]
    assert defects[0] == "record 0: file: second.npy is missing"


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    assert told("check", tmp_path) == (1, [f"{tmp_path.name} is a folder"])


def test_records_of_another_split_are_named_in_a_file_that_comes_alone(tmp_path: Path) -> None:
    path = saved(tmp_path, lines(RAW | {"split": "held_out"}).encode(), "train.json")
    code, said = told("check", path)
    assert (code, said[0]) == (1, "record 0: split: it is of held_out")


def test_a_file_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, lines(RAW).encode())
    with pytest.raises(InvalidInput, match="given once"):
        commands.check([path, path], None)
