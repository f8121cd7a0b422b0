"""Reading and writing the three published forms: raw MosIT, prepared MosIT, AnyInstruct's dialogues."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

from anygpt.errors import InvalidInput
from anygpt.vocabulary import ModalityName
from anygpt.whole import write_whole
from services.trainer.mosit.form import AnyInstructRecord, PreparedRecord, RawRecord, Said
from services.trainer.mosit.record import LETTERS, SPLITS, Defect, FormName, Message, OutOfForm, Piece, Record
from services.trainer.mosit.rows import Fields, fields_of, read_rows, tried
from services.trainer.mosit.tags import (
    BrokenTag,
    read_placeholders,
    read_tags,
    read_tokens,
    write_placeholders,
    write_tags,
    write_tokens,
)

FILE_NAME = re.compile(
    r"mosit_[ivas]_\S*|[^\s/\\]*(?:[/\\][a-z0-9_.-]{2,}){2,}"
    r"|\S+\.(?:jpe?g|png|gif|webp|mp4|webm|avi|mov|wav|mp3|flac|ogg|npy)",
    re.IGNORECASE,
)
"""What is meant for the name of a file, and no caption."""


class Contents(NamedTuple):
    """A file's form, and in the place of each of its records that record or why it cannot be read."""

    rows: list[Record | Defect]
    form: FormName
    split: str = ""
    """Of which split its records are, where its name says so."""

    @property
    def records(self) -> list[Record]:
        """Those that can be read."""
        return [row for row in self.rows if isinstance(row, Record)]

    @property
    def defects(self) -> list[Defect]:
        """Why the others cannot."""
        return [row for row in self.rows if isinstance(row, Defect)]


def read(path: Path) -> Contents:
    """Every record that can be read, and why the others cannot. Raises InvalidInput for a file without any form."""
    rows = read_rows(path)
    form = form_of(rows)
    found = [
        row if isinstance(row, Defect) else tried(place, READERS[form], row) for place, row in enumerate(rows)
    ]
    return Contents(found, form, path.stem if path.stem in SPLITS else "")


def write(path: Path, records: Sequence[Record], form: FormName) -> list[Record]:
    """Write records in a form, whole or not at all, and say what is there then: no form has a place for everything.

    Raises InvalidInput naming the record that the form cannot hold.
    """
    if path.exists() and not path.is_file():
        raise InvalidInput(f"{path.name} is no file", reason="NO_FILE", field="out")
    if form == "prepared":
        records = _with_embeddings(records)
    written = [_written(place, record, form) for place, record in enumerate(records)]
    lines = [json.dumps(row, ensure_ascii=False) for row, _ in written]
    text = "\n".join(lines) if form == "anyinstruct" else "[\n" + ",\n".join(lines) + "\n]"
    path.parent.mkdir(parents=True, exist_ok=True)
    # A link stays one: what it leads to is replaced.
    write_whole(path.resolve(), text + "\n")
    return [record for _, record in written]


def left_out(records: Sequence[Record], written: Sequence[Record]) -> list[str]:
    """What records had that the file of them has not."""

    def named(records: Sequence[Record]) -> dict[str, int]:
        media = [piece for record in records for piece in record.media]
        facts = ("topic", "split", "references", "id", "parts")
        counts = {
            fact: sum(getattr(record, fact) not in ("", (), None) for record in records) for fact in facts
        }
        names = {name: sum(bool(getattr(piece, name)) for piece in media) for name in ("name", "embedding")}
        return (
            counts | {"media": len(media)} | {f"{name}s of media": number for name, number in names.items()}
        )

    before, after = named(records), named(written)
    return [f"{before[fact] - after[fact]} {fact}" for fact in before if before[fact] > after[fact]]


def form_of(rows: Sequence[Fields | Defect]) -> FormName:
    """The form that most records of a file have. Raises InvalidInput for none."""
    forms = Counter(form for row in rows if not isinstance(row, Defect) and (form := _form_of(row)))
    if not forms:
        why = next((f"; {row}" for row in rows if isinstance(row, Defect)), "")
        raise InvalidInput(
            f"no dialogues in one of the three published forms{why}", reason="FORM", field="file"
        )
    return forms.most_common(1)[0][0]


def _form_of(row: Fields) -> FormName | None:
    """By its messages: AnyInstruct has lists of them."""
    if "conversations" in row:
        return "prepared"
    if "conversation" not in row:
        return None
    said = row["conversation"]
    return "anyinstruct" if isinstance(said, list) and said and isinstance(said[0], list) else "raw"


def _with_embeddings(records: Sequence[Record]) -> list[Record]:
    """Every medium of an answer with the file of its caption's condition: its own, its medium's, or one that is new."""
    media = [piece for record in records for piece in record.media]
    taken = {piece.embedding for piece in media} | {_embedding(piece.name) for piece in media if piece.name}

    def named(place: int, piece: Piece) -> Piece:
        if piece.modality == "text":
            return piece
        known = piece.embedding or (_embedding(piece.name) if piece.name else "")
        names = (f"mosit_{LETTERS[piece.modality]}_{place:07}_{number:02}.npy" for number in count())
        name = known or next(name for name in names if name not in taken)
        taken.add(name)
        return piece._replace(embedding=name)

    return [
        replace(record, messages=tuple(
            message._replace(pieces=tuple(named(place, piece) for piece in message.pieces))
            if message.sender == "gpt" else message
            for message in record.messages
        ))
        for place, record in enumerate(records)
    ]  # fmt: skip


def _embedding(name: str) -> str:
    return f"{name.rpartition('.')[0] or name}.npy"


def _written(place: int, record: Record, form: FormName) -> tuple[Fields, Record]:
    """A record's row, and what that is when it is read: what could not be read again is not written."""

    def written(record: Record) -> tuple[Fields, Record]:
        row = WRITERS[form](place, record)
        return row, READERS[form](fields_of(row))

    found = tried(place, written, record)
    if isinstance(found, Defect):
        raise InvalidInput(str(found), reason="FORM", field=f"records[{place}]")
    return found


def _read_raw(row: Fields) -> Record:
    raw = RawRecord.model_validate(row)
    listed: dict[str, Piece] = {}
    for piece in _listed(raw):
        if listed.setdefault(piece.name, piece) != piece:
            raise OutOfForm(f"{piece.name} is listed with two captions")
    used: set[str] = set()

    def medium(modality: ModalityName, inside: str) -> Piece:
        used.add(inside)
        known = listed.get(inside)
        if known is None and FILE_NAME.fullmatch(inside):
            raise OutOfForm(f"{inside} is named, and in no list")
        if known and known.modality != modality:
            raise OutOfForm(f"{inside} is {modality} in a message, and in the {known.modality}_list")
        return known or Piece(modality, inside)

    messages = tuple(Message(said.sender, read_tags(said.value, medium)) for said in raw.conversation)
    unused = sorted(set(listed) - used)
    if unused:
        raise OutOfForm(f"{unused[0]} is listed, and in no message")
    return Record(messages, raw.topic, raw.split, raw.references)


def _listed(raw: RawRecord) -> Iterator[Piece]:
    for modality in LETTERS:
        for one in getattr(raw, f"{modality}_list"):
            yield Piece(modality, one.caption, getattr(one, f"{modality}_name"), source=one.data_source)


def _write_raw(_: int, record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {f"{modality}_list": [] for modality in LETTERS}
    for piece in dict.fromkeys(piece for piece in record.media if piece.name):
        entry = {f"{piece.modality}_name": piece.name, "data_source": piece.source, "caption": piece.content}
        row[f"{piece.modality}_list"].append(entry)
    if not row["speech_list"]:
        del row["speech_list"]
    row["conversation"] = _said(record, write_tags)
    facts = {"topic": record.topic, "split": record.split, "references": list(record.references)}
    return row | {name: fact for name, fact in facts.items() if fact}


def _read_prepared(row: Fields) -> Record:
    prepared = PreparedRecord.model_validate(row)
    waiting = {modality: iter(_conditions(prepared, modality)) for modality in LETTERS}

    def medium(modality: ModalityName) -> Piece:
        piece = next(waiting[modality], None)
        if piece is None:
            raise OutOfForm(f"more <{modality}> than {modality}_captions")
        return piece

    messages = tuple(
        Message(said.sender, read_placeholders(said.value, medium)) for said in prepared.conversations
    )
    for modality, pieces in waiting.items():
        if next(pieces, None) is not None:
            raise OutOfForm(f"more {modality}_captions than <{modality}>")
    return Record(messages)


def _conditions(prepared: PreparedRecord, modality: ModalityName) -> list[Piece]:
    captions = getattr(prepared, f"{modality}_captions")
    names = getattr(prepared, f"{modality}_caption_embeddings")
    if len(names) != len(captions):
        raise OutOfForm(f"{len(names)} {modality}_caption_embeddings for {len(captions)} {modality}_captions")
    foreign = [name for name in names if not name.endswith(".npy")]
    if foreign:
        raise OutOfForm(f"{foreign[0]} is no .npy")
    return [Piece(modality, caption, embedding=name) for caption, name in zip(captions, names, strict=True)]


def _write_prepared(_: int, record: Record) -> dict[str, Any]:
    for piece in record.media:
        if not piece.content.strip():
            raise BrokenTag(f"{piece.modality} without a caption cannot be prepared")
    lists: dict[str, list[str]] = defaultdict(list)
    for message in record.messages:
        for piece in message.pieces:
            if message.sender == "gpt" and piece.modality != "text":
                lists[f"{piece.modality}_captions"].append(piece.content)
                lists[f"{piece.modality}_caption_embeddings"].append(piece.embedding)
    row: dict[str, Any] = {}
    for modality in LETTERS:
        for ending in ("captions", "caption_embeddings"):
            if modality != "speech" or lists[f"speech_{ending}"]:
                row[f"{modality}_{ending}"] = lists[f"{modality}_{ending}"]
    # The published form keeps the media of answers only: of those of requests the words that are spoken are left.
    kept = [
        message if message.sender == "gpt" else message._replace(pieces=_texts(message))
        for message in record.messages
    ]
    return row | {"conversations": _said(Record(tuple(kept)), write_placeholders)}


def _read_anyinstruct(row: Fields) -> Record:
    record = AnyInstructRecord.model_validate(row)
    lines = [line for part in record.conversation for line in part]
    messages = (
        Message("human" if line.role == "user" else "gpt", read_tokens(line.message)) for line in lines
    )
    parts = tuple(len(part) for part in record.conversation) if len(record.conversation) > 1 else ()
    return Record(tuple(messages), id=record.id, parts=parts)


def _write_anyinstruct(place: int, record: Record) -> dict[str, Any]:
    lines = [
        {
            "role": "user" if message.sender == "human" else "assistant",
            "message": write_tokens(message.pieces),
        }
        for message in record.messages
    ]
    rest = iter(lines)
    parts = [list(islice(rest, length)) for length in record.parts or (len(lines),)]
    return {"id": place if record.id is None else record.id, "conversation": parts}


def _said(record: Record, written: Callable[[tuple[Piece, ...]], str]) -> list[dict[str, str]]:
    said = (Said.model_validate({"from": m.sender, "value": written(m.pieces)}) for m in record.messages)
    return [one.model_dump(by_alias=True) for one in said]


def _texts(message: Message) -> tuple[Piece, ...]:
    said = (piece for piece in message.pieces if piece.modality in ("text", "speech"))
    return tuple(Piece("text", piece.content) for piece in said)


READERS: Mapping[FormName, Callable[[Fields], Record]] = {
    "raw": _read_raw, "prepared": _read_prepared, "anyinstruct": _read_anyinstruct,
}  # fmt: skip
WRITERS: Mapping[FormName, Callable[[int, Record], dict[str, Any]]] = {
    "raw": _write_raw, "prepared": _write_prepared, "anyinstruct": _write_anyinstruct,
}  # fmt: skip
