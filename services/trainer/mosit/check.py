"""The rules of a set of dialogues; each defect names its record and its rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from services.trainer.mosit.record import ENDINGS, LETTERS, SPLITS, Defect, FormName, Record, Sender

FEWEST_ROUNDS, MOST_ROUNDS = 3, 7
CODES = {"image": 8192, "speech": 1024, "audio": 8192}
IMAGE_CODES, BANDS, BAND = 32, 4, 2048
Rule = Callable[[Record], Iterator[str]]
Placed = Mapping[int, Record]


def check(rows: Sequence[Record | Defect], media: Path | None = None, form: FormName = "raw") -> list[Defect]:
    """Every defect of a set, those of reading among them; with `media` each named file must lie there."""
    records = {place: row for place, row in enumerate(rows) if isinstance(row, Record)}
    found = [row for row in rows if isinstance(row, Defect)]
    found += [
        Defect(place, name, message)
        for place, record in records.items()
        for name, rule in RULES[form].items()
        for message in rule(record)
    ]
    found += _repeats(records)
    found += _topics_in_two_splits(records)
    found += _names_of_two_media(records)
    found += _ids_of_two_records(records)
    if media is not None:
        found += _absent(records, media)
    return sorted(found, key=lambda defect: defect.record)


def _order(record: Record) -> Iterator[str]:
    senders = [message.sender for message in record.messages]
    if senders[:1] != ["human"]:
        yield "a dialogue begins with a human"
    if senders[-1:] != ["gpt"]:
        yield "a dialogue ends with gpt"
    if any(first == second for first, second in pairwise(senders)):
        yield "the two sides take turns"


def _rounds(record: Record) -> Iterator[str]:
    if not FEWEST_ROUNDS <= record.rounds <= MOST_ROUNDS:
        yield f"{record.rounds} rounds, {FEWEST_ROUNDS} to {MOST_ROUNDS} are due"


def _content(record: Record, may_be_empty: Sender | None = None) -> Iterator[str]:
    for place, message in enumerate(record.messages):
        if not message.pieces and message.sender != may_be_empty:
            yield f"message {place} is empty"
        for piece in message.pieces:
            if not (piece.content.strip() or piece.codes):
                yield f"message {place} has {piece.modality} that nobody describes"


def _names(record: Record) -> Iterator[str]:
    for piece in record.media:
        due = rf"mosit_{LETTERS[piece.modality]}_\d{{7}}_\d{{2}}\.{ENDINGS[piece.modality]}"
        if piece.name and not re.fullmatch(due, piece.name):
            yield f"{piece.name} is no name of {piece.modality}"


def _codes(record: Record) -> Iterator[str]:
    for piece in record.media:
        if any(code >= CODES.get(piece.modality, 0) for code in piece.codes):
            yield f"a code of {piece.modality} lies outside its codebook"
        if piece.modality == "image" and piece.codes and len(piece.codes) != IMAGE_CODES:
            yield f"an image has {IMAGE_CODES} codes, not {len(piece.codes)}"
        bands = [code // BAND for code in piece.codes] if piece.modality == "audio" else []
        if bands != [place % BANDS for place in range(len(bands))]:
            yield "the four codebooks of music take turns"


def _split(record: Record) -> Iterator[str]:
    if record.split and record.split not in SPLITS:
        yield f"{record.split!r} is neither train nor held_out"


def _references(record: Record) -> Iterator[str]:
    if record.references and len(record.references) != record.rounds:
        yield f"{len(record.references)} references for {record.rounds} rounds"
    if any(not -1 <= earlier < place for place, earlier in enumerate(record.references)):
        yield "a round can only speak of one before it"


def _repeats(records: Placed) -> Iterator[Defect]:
    seen: dict[object, int] = {}
    for place, record in records.items():
        said = tuple(
            (m.sender, *((p.modality, p.content, p.codes) for p in m.pieces)) for m in record.messages
        )
        first = seen.setdefault(said, place)
        if first != place:
            yield Defect(place, "repeat", f"the same as record {first}")


def _topics_in_two_splits(records: Placed) -> Iterator[Defect]:
    splits: dict[str, str] = {}
    for place, record in records.items():
        if record.topic and splits.setdefault(record.topic, record.split) != record.split:
            yield Defect(place, "split", f"the topic {record.topic!r} is in {splits[record.topic]} too")


def _names_of_two_media(records: Placed) -> Iterator[Defect]:
    shown: dict[str, str] = {}
    for place, record in records.items():
        for piece in record.media:
            if piece.name and shown.setdefault(piece.name, piece.content) != piece.content:
                yield Defect(place, "names", f"{piece.name} shows something else in an earlier record")


def _ids_of_two_records(records: Placed) -> Iterator[Defect]:
    seen: dict[int, int] = {}
    for place, record in records.items():
        if record.id is not None and (first := seen.setdefault(record.id, place)) != place:
            yield Defect(place, "id", f"record {first} has the id {record.id} too")


def _absent(records: Placed, media: Path) -> Iterator[Defect]:
    there = {path.name for path in media.iterdir() if path.is_file()} if media.is_dir() else set()
    for place, record in records.items():
        for piece in record.media:
            if piece.name and piece.name not in there:
                yield Defect(place, "file", f"{piece.name} is missing")


_OF_EVERY_FORM: Mapping[str, Rule] = {
    "order": _order, "content": _content, "names": _names, "codes": _codes, "split": _split,
    "references": _references,
}  # fmt: skip
RULES: Mapping[FormName, Mapping[str, Rule]] = {
    "raw": {**_OF_EVERY_FORM, "rounds": _rounds},
    # A request that was only a medium leaves nothing in the prepared form.
    "prepared": {**_OF_EVERY_FORM, "rounds": _rounds, "content": partial(_content, may_be_empty="human")},
    "anyinstruct": _OF_EVERY_FORM,
}
