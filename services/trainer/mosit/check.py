"""The rules of a set of dialogues; each defect names its record and its rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from anygpt.errors import InvalidInput
from services.trainer.mosit.files import Contents
from services.trainer.mosit.record import ENDINGS, LETTERS, SPLITS, Defect, FormName, Place, Record, Sender

FEWEST_ROUNDS, MOST_ROUNDS = 3, 7
CODES = {"image": 8192, "speech": 1024, "audio": 8192}
IMAGE_CODES, BANDS, BAND = 32, 4, 2048
Rule = Callable[[Record], Iterator[str]]
Placed = Mapping[Place, Record]


def check(rows: Sequence[Record | Defect], media: Path | None = None, form: FormName = "raw") -> list[Defect]:
    """Every defect of a set, those of reading among them; with `media` each named file must lie there."""
    return check_files({"": Contents(list(rows), form)}, media)


def check_files(files: Mapping[str, Contents], media: Path | None = None) -> list[Defect]:
    """Every defect of the files of a set, by their names. Raises InvalidInput for a folder that is none."""
    records = {
        Place(file, number): row
        for file, contents in files.items()
        for number, row in enumerate(contents.rows)
        if isinstance(row, Record)
    }
    found = [replace(defect, file=file) for file, contents in files.items() for defect in contents.defects]
    found += [
        _defect(place, name, message)
        for place, record in records.items()
        for name, rule in RULES[files[place.file].form].items()
        for message in rule(record)
    ]
    for of_all in (_repeats, _topics_in_two_splits, _names_of_two_media, _ids_of_two_records):
        found += of_all(records)
    found += _of_another_split(records, files)
    if media is not None:
        found += _absent(records, _folder(media, files))
    order = {file: number for number, file in enumerate(files)}
    return sorted(found, key=lambda defect: (order[defect.file], defect.record))


def _defect(place: Place, rule: str, message: str) -> Defect:
    return Defect(place.record, rule, message, place.file)


def _folder(media: Path, files: Mapping[str, Contents]) -> Path:
    if not media.is_dir():
        raise InvalidInput(f"there is no folder {media.name}", reason="DATA_MISSING", field="media")
    if any(contents.form == "anyinstruct" for contents in files.values()):
        raise InvalidInput("AnyInstruct names no files: its media are tokens", reason="FORM", field="media")
    return media


def _order(record: Record) -> Iterator[str]:
    senders = [message.sender for message in record.messages]
    if senders[:1] != ["human"]:
        yield "a dialogue begins with a human"
    if senders[-1:] != ["gpt"]:
        yield "a dialogue ends with gpt"
    if any(first == second for first, second in pairwise(senders)):
        yield "the two sides take turns"


def _rounds(record: Record) -> Iterator[str]:
    """What was published says 3 to 7 turns, and means messages in one place, rounds in another: both pass."""
    fewest = FEWEST_ROUNDS if record.topic else 1 + FEWEST_ROUNDS // 2
    if not fewest <= record.rounds <= MOST_ROUNDS:
        yield f"{record.rounds} rounds, {fewest} to {MOST_ROUNDS} are due"


def _content(record: Record, may_be_empty: Sender | None = None) -> Iterator[str]:
    for place, message in enumerate(record.messages):
        if not message.pieces and message.sender != may_be_empty:
            yield f"message {place} is empty"
        for piece in message.pieces:
            if not (piece.content.strip() or piece.codes):
                yield f"message {place} has {piece.modality} that nobody describes"


def _prepared_content(record: Record) -> Iterator[str]:
    """A request that was only a medium leaves nothing in the prepared form, and no request has media there."""
    yield from _content(record, may_be_empty="human")
    for place, message in enumerate(record.messages):
        if message.sender == "human" and set(message.modalities) - {"text"}:
            yield f"message {place} is a request, and has media"


def _names(record: Record) -> Iterator[str]:
    for piece in record.media:
        due = rf"mosit_{LETTERS[piece.modality]}_[0-9]{{7}}_[0-9]{{2}}\.{ENDINGS[piece.modality]}"
        if piece.name and not re.fullmatch(due, piece.name):
            yield f"{piece.name} is no name of {piece.modality}"
        if re.search(r"[/\\]", piece.embedding):
            yield f"{piece.embedding} is in another folder"


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
    seen: dict[object, Place] = {}
    for place, record in records.items():
        said = tuple(
            (m.sender, *((p.modality, p.content, p.codes) for p in m.pieces)) for m in record.messages
        )
        first = seen.setdefault(said, place)
        if first != place:
            yield _defect(place, "repeat", f"the same as {first}")


def _topics_in_two_splits(records: Placed) -> Iterator[Defect]:
    splits: dict[str, str] = {}
    for place, record in records.items():
        if record.topic and splits.setdefault(record.topic, record.split) != record.split:
            other = splits[record.topic] or "no split"
            yield _defect(place, "split", f"the topic {record.topic!r} is in {other} too")


def _of_another_split(records: Placed, files: Mapping[str, Contents]) -> Iterator[Defect]:
    for place, record in records.items():
        split = files[place.file].split
        if split and record.split in SPLITS and record.split != split:
            yield _defect(place, "split", f"it is of {record.split}")


def _names_of_two_media(records: Placed) -> Iterator[Defect]:
    shown: dict[str, tuple[str, Place]] = {}
    for place, record in records.items():
        for piece in record.media:
            for name in filter(None, (piece.name, piece.embedding)):
                other, first = shown.setdefault(name, (piece.content, place))
                if other != piece.content:
                    where = "twice in this record" if first == place else f"of something else in {first}"
                    yield _defect(place, "names", f"{name} is the name {where}")


def _ids_of_two_records(records: Placed) -> Iterator[Defect]:
    seen: dict[int, Place] = {}
    for place, record in records.items():
        if record.id is not None and (first := seen.setdefault(record.id, place)) != place:
            yield _defect(place, "id", f"{first} has the id {record.id} too")


def _absent(records: Placed, media: Path) -> Iterator[Defect]:
    there = {path.name for path in media.iterdir() if path.is_file()}
    for place, record in records.items():
        for name in dict.fromkeys(piece.name or piece.embedding for piece in record.media):
            if name and name not in there:
                yield _defect(place, "file", f"{name} is missing")


_OF_EVERY_FORM: Mapping[str, Rule] = {
    "order": _order, "content": _content, "names": _names, "codes": _codes, "split": _split,
    "references": _references,
}  # fmt: skip
RULES: Mapping[FormName, Mapping[str, Rule]] = {
    "raw": {**_OF_EVERY_FORM, "rounds": _rounds},
    "prepared": {**_OF_EVERY_FORM, "rounds": _rounds, "content": _prepared_content},
    "anyinstruct": _OF_EVERY_FORM,
}
