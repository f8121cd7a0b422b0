"""Reading and writing the three published forms: raw MosIT, prepared MosIT, AnyInstruct's dialogues."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from anygpt.errors import InvalidInput
from anygpt.vocabulary import ModalityName
from services.trainer.mosit.form import AnyInstructRecord, PreparedRecord, RawRecord, Said
from services.trainer.mosit.record import LETTERS, Defect, FormName, Message, OutOfForm, Piece, Record
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
from services.trainer.whole import write_whole

KEYS: Mapping[str, FormName] = {"conversations": "prepared", "id": "anyinstruct", "conversation": "raw"}
"""Which form a record with such a key has, the first of them that it has."""
FILE_NAME = re.compile(r"mosit_[ivas]_\d{7}_\d{2}\.\w+")


class Contents(NamedTuple):
    """A file's form, and in the place of each of its records that record or why it cannot be read."""

    rows: list[Record | Defect]
    form: FormName

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
    return Contents(found, form)


def write(path: Path, records: Sequence[Record], form: FormName) -> None:
    """Write records in a form, whole or not at all. Raises InvalidInput naming the record that it cannot hold."""
    if path.exists() and not path.is_file():
        raise InvalidInput(f"{path.name} is no file", reason="NO_FILE", field="out")
    rows = [_row(place, record, form) for place, record in enumerate(records)]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    text = "\n".join(lines) if form == "anyinstruct" else "[\n" + ",\n".join(lines) + "\n]"
    path.parent.mkdir(parents=True, exist_ok=True)
    # A link stays one: what it leads to is replaced.
    write_whole(path.resolve(), text + "\n")


def form_of(rows: Sequence[Fields | Defect]) -> FormName:
    """The form of a file by the keys of the first record that has any of them. Raises InvalidInput for none."""
    records = (row for row in rows if not isinstance(row, Defect))
    form = next((form for record in records for key, form in KEYS.items() if key in record), None)
    if form is None:
        why = next((f"; {row}" for row in rows if isinstance(row, Defect)), "")
        raise InvalidInput(
            f"no dialogues in one of the three published forms{why}", reason="FORM", field="file"
        )
    return form


def _row(place: int, record: Record, form: FormName) -> Fields:
    def written(record: Record) -> Fields:
        row = WRITERS[form](place, record)
        # What could not be read again is not written.
        READERS[form](fields_of(row))
        return row

    row = tried(place, written, record)
    if isinstance(row, Defect):
        raise InvalidInput(str(row), reason="FORM", field=f"records[{place}]")
    return row


def _read_raw(row: Fields) -> Record:
    raw = RawRecord.model_validate(row)
    captions: dict[str, str] = {}
    for _, name, caption in _listed(raw):
        if captions.setdefault(name, caption) != caption:
            raise OutOfForm(f"{name} is listed with two captions")
    used: set[str] = set()

    def medium(modality: ModalityName, inside: str) -> Piece:
        used.add(inside)
        if inside not in captions and FILE_NAME.fullmatch(inside):
            raise OutOfForm(f"{inside} is named, and in no list")
        return Piece(modality, captions[inside], inside) if inside in captions else Piece(modality, inside)

    messages = tuple(Message(said.sender, read_tags(said.value, medium)) for said in raw.conversation)
    unused = sorted(set(captions) - used)
    if unused:
        raise OutOfForm(f"{unused[0]} is listed, and in no message")
    return Record(messages, raw.topic, raw.split, raw.references)


def _listed(raw: RawRecord) -> Iterator[tuple[ModalityName, str, str]]:
    yield from (("image", one.image_name, one.caption) for one in raw.image_list)
    yield from (("video", one.video_name, one.caption) for one in raw.video_list)
    yield from (("audio", one.audio_name, one.caption) for one in raw.audio_list)
    yield from (("speech", one.speech_name, one.caption) for one in raw.speech_list)


def _write_raw(_: int, record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {f"{modality}_list": [] for modality in LETTERS}
    for piece in dict.fromkeys(piece for piece in record.media if piece.name):
        entry = {f"{piece.modality}_name": piece.name, "data_source": "mosit", "caption": piece.content}
        row[f"{piece.modality}_list"].append(entry)
    if not row["speech_list"]:
        del row["speech_list"]
    row["conversation"] = _said(record, write_tags)
    facts = {"topic": record.topic, "split": record.split, "references": list(record.references)}
    return row | {name: fact for name, fact in facts.items() if fact}


def _read_prepared(row: Fields) -> Record:
    prepared = PreparedRecord.model_validate(row)
    waiting = {modality: iter(getattr(prepared, f"{modality}_captions")) for modality in LETTERS}

    def medium(modality: ModalityName) -> Piece:
        caption = next(waiting[modality], None)
        if caption is None:
            raise OutOfForm(f"more <{modality}> than {modality}_captions")
        return Piece(modality, caption)

    messages = tuple(
        Message(said.sender, read_placeholders(said.value, medium)) for said in prepared.conversations
    )
    for modality, captions in waiting.items():
        if next(captions, None) is not None:
            raise OutOfForm(f"more {modality}_captions than <{modality}>")
        _check_embeddings(prepared, modality)
    return Record(messages)


def _check_embeddings(prepared: PreparedRecord, modality: ModalityName) -> None:
    captions = getattr(prepared, f"{modality}_captions")
    names = getattr(prepared, f"{modality}_caption_embeddings")
    if len(names) != len(captions):
        raise OutOfForm(f"{len(names)} {modality}_caption_embeddings for {len(captions)} {modality}_captions")
    foreign = [name for name in names if not name.endswith(".npy")]
    if foreign:
        raise OutOfForm(f"{foreign[0]} is no .npy")


def _write_prepared(place: int, record: Record) -> dict[str, Any]:
    for piece in record.media:
        if not piece.content.strip():
            raise BrokenTag(f"{piece.modality} without a caption cannot be prepared")
    lists: dict[str, list[str]] = defaultdict(list)
    for message in record.messages:
        for piece in message.pieces:
            if message.sender == "gpt" and piece.modality != "text":
                count = len(lists[f"{piece.modality}_captions"])
                stem = (
                    piece.name.rpartition(".")[0] or f"mosit_{LETTERS[piece.modality]}_{place:07}_{count:02}"
                )
                lists[f"{piece.modality}_captions"].append(piece.content)
                lists[f"{piece.modality}_caption_embeddings"].append(f"{stem}.npy")
    row: dict[str, Any] = {}
    for modality in LETTERS:
        for ending in ("captions", "caption_embeddings"):
            if modality != "speech" or lists[f"speech_{ending}"]:
                row[f"{modality}_{ending}"] = lists[f"{modality}_{ending}"]
    # The published form keeps the media of answers only: those of requests leave no trace.
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
    return Record(tuple(messages), id=record.id)


def _write_anyinstruct(place: int, record: Record) -> dict[str, Any]:
    lines = [
        {
            "role": "user" if message.sender == "human" else "assistant",
            "message": write_tokens(message.pieces),
        }
        for message in record.messages
    ]
    return {"id": place if record.id is None else record.id, "conversation": [lines]}


def _said(record: Record, written: Callable[[tuple[Piece, ...]], str]) -> list[dict[str, str]]:
    said = (Said.model_validate({"from": m.sender, "value": written(m.pieces)}) for m in record.messages)
    return [one.model_dump(by_alias=True) for one in said]


def _texts(message: Message) -> tuple[Piece, ...]:
    return tuple(piece for piece in message.pieces if piece.modality == "text")


READERS: Mapping[FormName, Callable[[Fields], Record]] = {
    "raw": _read_raw, "prepared": _read_prepared, "anyinstruct": _read_anyinstruct,
}  # fmt: skip
WRITERS: Mapping[FormName, Callable[[int, Record], dict[str, Any]]] = {
    "raw": _write_raw, "prepared": _write_prepared, "anyinstruct": _write_anyinstruct,
}  # fmt: skip
