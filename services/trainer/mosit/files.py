"""Reading and writing the three published forms: raw MosIT, prepared MosIT, AnyInstruct's dialogues."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from anygpt.errors import InvalidInput
from anygpt.vocabulary import ModalityName
from services.trainer.mosit.form import AnyInstructRecord, PreparedRecord, RawRecord, Said
from services.trainer.mosit.record import LETTERS, Defect, Message, OutOfForm, Piece, Record
from services.trainer.mosit.tags import (
    BrokenTag,
    read_placeholders,
    read_tags,
    read_tokens,
    write_placeholders,
    write_tags,
    write_tokens,
)

FormName = Literal["raw", "prepared", "anyinstruct"]
Form = TypeVar("Form", bound=BaseModel)
FILE_NAME = re.compile(r"mosit_[ivas]_\d{7}_\d{2}\.\w+")


def read(path: Path) -> tuple[list[Record], list[Defect]]:
    """Every record that can be read, and why the others cannot; the form is told by the keys of the first.

    Raises InvalidInput for a file that is missing or no JSON at all.
    """
    rows = _rows(path)
    form = form_of(rows)
    records: list[Record] = []
    defects: list[Defect] = []
    for place, row in enumerate(rows):
        try:
            records.append(READERS[form](row))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"])
            defects.append(Defect(place, "form", f"{where}: {first['msg']}"))
        except (OutOfForm, BrokenTag) as error:
            defects.append(Defect(place, "tags", str(error)))
    return records, defects


def write(path: Path, records: Sequence[Record], form: FormName) -> None:
    """Write records in a form. Raises InvalidInput naming the record that it cannot hold."""
    rows = []
    for place, record in enumerate(records):
        try:
            rows.append(WRITERS[form](place, record))
        except BrokenTag as error:
            raise InvalidInput(
                f"record {place}: {error}", reason="FORM", field=f"records[{place}]"
            ) from error
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) if form == "anyinstruct" else "[\n" + ",\n".join(lines) + "\n]"
    path.write_text(text + "\n", encoding="utf-8")


def form_of(rows: Sequence[Mapping[str, Any]]) -> FormName:
    """The form of a file by the keys of its first record. Raises InvalidInput for none of the three."""
    keys = set(rows[0]) if rows else set()
    if "conversations" in keys:
        return "prepared"
    if "id" in keys:
        return "anyinstruct"
    if "conversation" in keys:
        return "raw"
    raise InvalidInput("no dialogues in one of the three published forms", reason="FORM", field="file")


def _rows(path: Path) -> list[Mapping[str, Any]]:
    if not path.is_file():
        raise InvalidInput(f"there is no file {path.name}", reason="DATA_MISSING", field="file")
    try:
        text = path.read_text(encoding="utf-8")
        found = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [json.loads(s) for s in text.splitlines() if s]
        )
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{path.name} is no JSON: {error}", reason="DATA_MALFORMED", field="file"
        ) from error
    if not all(isinstance(row, dict) for row in found):
        raise InvalidInput(f"{path.name} is no list of records", reason="DATA_MALFORMED", field="file")
    return list(found)


def _read_raw(row: Mapping[str, Any]) -> Record:
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


def _read_prepared(row: Mapping[str, Any]) -> Record:
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


def _read_anyinstruct(row: Mapping[str, Any]) -> Record:
    lines = [line for part in AnyInstructRecord.model_validate(row).conversation for line in part]
    return Record(
        tuple(Message("human" if line.role == "user" else "gpt", read_tokens(line.message)) for line in lines)
    )


def _write_anyinstruct(place: int, record: Record) -> dict[str, Any]:
    lines = [
        {
            "role": "user" if message.sender == "human" else "assistant",
            "message": write_tokens(message.pieces),
        }
        for message in record.messages
    ]
    return {"id": place, "conversation": [lines]}


def _said(record: Record, written: Callable[[tuple[Piece, ...]], str]) -> list[dict[str, str]]:
    said = (Said.model_validate({"from": m.sender, "value": written(m.pieces)}) for m in record.messages)
    return [one.model_dump(by_alias=True) for one in said]


def _texts(message: Message) -> tuple[Piece, ...]:
    return tuple(piece for piece in message.pieces if piece.modality == "text")


READERS: Mapping[FormName, Callable[[Mapping[str, Any]], Record]] = {
    "raw": _read_raw, "prepared": _read_prepared, "anyinstruct": _read_anyinstruct,
}  # fmt: skip
WRITERS: Mapping[FormName, Callable[[int, Record], dict[str, Any]]] = {
    "raw": _write_raw, "prepared": _write_prepared, "anyinstruct": _write_anyinstruct,
}  # fmt: skip
