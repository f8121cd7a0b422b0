"""A dialogue with media on either side, whatever form it is kept in, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from anygpt.errors import InvalidInput
from anygpt.vocabulary import ModalityName

Sender = Literal["human", "gpt"]
FormName = Literal["raw", "prepared", "anyinstruct"]
LETTERS: Mapping[ModalityName, str] = {"image": "i", "video": "v", "audio": "a", "speech": "s"}
"""In the names of media files."""
ENDINGS: Mapping[ModalityName, str] = {"image": "jpg", "video": "mp4", "audio": "wav", "speech": "wav"}
SPLITS = ("train", "held_out")


class Piece(NamedTuple):
    """Text, or a medium by what it shows (for speech: says), by its file name, or by its codes."""

    modality: ModalityName
    content: str = ""
    name: str = ""
    codes: tuple[int, ...] = ()
    source: str = "mosit"
    """Where a raw record has its medium from."""
    embedding: str = ""
    """The file of its caption's condition, in the prepared form."""


class Message(NamedTuple):
    """What one side says at once."""

    sender: Sender
    pieces: tuple[Piece, ...]

    @property
    def modalities(self) -> tuple[ModalityName, ...]:
        """In the order in which they come."""
        return tuple(piece.modality for piece in self.pieces)


@dataclass(frozen=True)
class Record:
    """One dialogue; `references` holds for each round the earlier round that it speaks of, or -1.

    Only AnyInstruct gives it an `id`, and `parts`: how many messages each of its lists has, where they are several.
    """

    messages: tuple[Message, ...]
    topic: str = ""
    split: str = ""
    references: tuple[int, ...] = ()
    id: int | None = None
    parts: tuple[int, ...] = ()

    @property
    def rounds(self) -> int:
        """Requests with their answers."""
        return len(self.messages) // 2

    @property
    def media(self) -> list[Piece]:
        """All media in their order."""
        return [piece for message in self.messages for piece in message.pieces if piece.modality != "text"]


class Place(NamedTuple):
    """Where a record stands."""

    file: str
    record: int

    def __str__(self) -> str:
        return f"{self.file}: record {self.record}" if self.file else f"record {self.record}"


@dataclass(frozen=True)
class Defect:
    """A rule that a record breaks; records are counted from 0, and their file is named where there are several."""

    record: int
    rule: str
    message: str
    file: str = ""

    def __str__(self) -> str:
        line = f"{Place(self.file, self.record)}: {self.rule}: {self.message}"
        # What a file holds can break a line, steer a terminal, or have no encoding.
        return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)


class OutOfForm(InvalidInput):
    """A record that cannot even be read; the field names it and its rule."""

    default_reason = "RECORD_OUT_OF_FORM"
