"""One vocabulary for all modalities: the base tokenizer's ids, then blocks of tokens with other meanings.

The layout is data: AnyGPT's (codes before their brackets) and NExT-GPT's (one pair of brackets, 36 signals) are both
lists of blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from anygpt.errors import InvalidInput, Precondition
from anygpt.topology import MODALITIES, MODALITY_NAMES, Modality

ModalityName = Literal["text", "image", "video", "speech", "audio"]
NumberedToken = Annotated[
    str, Field(pattern=r"^[^{}]*\{\}[^{}]*$", description="Text of a token, with {} for its number.")
]
MOST_ROWS = 1 << 20
"""Most rows of a vocabulary, text included: more than any published one has."""


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ControlBlock(_Block):
    """Tokens with a meaning of their own, such as the marks of turns."""

    kind: Literal["control"] = "control"
    tokens: tuple[str, ...]

    @property
    def size(self) -> int:
        """Rows of the block."""
        return len(self.tokens)


class CodesBlock(_Block):
    """The discrete tokens of one modality."""

    kind: Literal["codes"] = "codes"
    modality: ModalityName
    count: int = Field(gt=0)
    cycle: int = Field(
        default=1, gt=0, description="Codebook layers that take turns, in equal bands of the block."
    )
    token: NumberedToken

    @property
    def size(self) -> int:
        """Rows of the block."""
        return self.count


class BracketsBlock(_Block):
    """The two tokens that open and close a span."""

    kind: Literal["brackets"] = "brackets"
    modalities: tuple[ModalityName, ...]
    begin: str
    end: str

    @property
    def size(self) -> int:
        """Rows of the block."""
        return 2


class SignalsBlock(_Block):
    """The tokens whose hidden states go to the decoder of one modality."""

    kind: Literal["signals"] = "signals"
    modality: ModalityName
    count: int = Field(gt=0)
    token: NumberedToken

    @property
    def size(self) -> int:
        """Rows of the block."""
        return self.count


class MarksBlock(_Block):
    """Tokens that tell the time between the codes of a span, so that a frame is known without counting."""

    kind: Literal["marks"] = "marks"
    modality: ModalityName
    count: int = Field(gt=0)
    after: int = Field(default=0, ge=0, description="Codes before the first mark, such as a key frame's.")
    every: int = Field(gt=0, description="Codes from one mark to the next.")
    token: NumberedToken

    @property
    def size(self) -> int:
        """Rows of the block."""
        return self.count


Block = Annotated[
    ControlBlock | CodesBlock | BracketsBlock | SignalsBlock | MarksBlock, Field(discriminator="kind")
]


@dataclass(frozen=True, slots=True)
class IdRange:
    """Consecutive vocabulary ids."""

    first: int
    count: int
    cycle: int = 1

    @property
    def ids(self) -> range:
        """All ids."""
        return range(self.first, self.first + self.count)

    def band(self, position: int) -> range:
        """The ids allowed at `position` of a span: codebook layers take turns in equal bands."""
        width = self.count // self.cycle
        first = self.first + width * (position % self.cycle)
        return range(first, first + width)


@dataclass(frozen=True, slots=True)
class Brackets:
    """The ids that open and close the spans of one modality."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Marks:
    """Where time marks stand in the spans of one modality. Positions count the tokens since the opening bracket."""

    first: int = 0
    count: int = 0
    after: int = 0
    every: int = 1

    def at(self, position: int) -> int | None:
        """The id of the mark that stands at a position."""
        number, offset = divmod(position - self.after, self.every + 1)
        return self.first + number if 0 <= number < self.count and not offset else None

    def before(self, position: int) -> int:
        """How many marks stand before a position."""
        return self._begun(position, self.every + 1)

    def among(self, codes: int) -> int:
        """How many marks stand among the first `codes` codes."""
        return self._begun(codes, self.every)

    def _begun(self, length: int, step: int) -> int:
        return min(max(-(-(length - self.after) // step), 0), self.count)


NO_MARKS = Marks()


class VocabularyLayout(_Block):
    """The blocks in the order of their ids, after the base tokenizer's `text_size` ids."""

    text_size: int = Field(gt=0)
    blocks: tuple[Block, ...]

    @model_validator(mode="after")
    def _rows_are_bounded(self) -> VocabularyLayout:
        rows = self.text_size + sum(block.size for block in self.blocks)
        if rows > MOST_ROWS:
            raise ValueError(f"the vocabulary has {rows:,} rows, {MOST_ROWS:,} at most are allowed")
        return self

    @model_validator(mode="after")
    def _marks_stand_between_frames(self) -> VocabularyLayout:
        cycles = {block.modality: block.cycle for block in self.blocks if isinstance(block, CodesBlock)}
        for block in self.blocks:
            if isinstance(block, MarksBlock):
                cycle = cycles.get(block.modality)
                if cycle is None:
                    raise ValueError(f"there are time marks of {block.modality}, which has no codes")
                if block.after % cycle or block.every % cycle:
                    raise ValueError(f"time marks of {block.modality} part codes that belong together")
        return self


class Vocabulary:
    """Finds ids by meaning and meaning by id."""

    def __init__(self, layout: VocabularyLayout) -> None:
        self.layout = layout
        self.text_size = layout.text_size
        self.control: dict[str, int] = {}
        self.codes: dict[Modality, IdRange] = {}
        self.brackets: dict[Modality, Brackets] = {}
        self.signals: dict[Modality, IdRange] = {}
        self._marks: dict[Modality, Marks] = {}
        first = layout.text_size
        for block in layout.blocks:
            self._place(block, first)
            first += block.size
        self.size = first

    def _place(self, block: Block, first: int) -> None:
        if isinstance(block, ControlBlock):
            self.control.update({token: first + i for i, token in enumerate(block.tokens)})
        elif isinstance(block, CodesBlock):
            self.codes[MODALITIES[block.modality]] = IdRange(first, block.count, block.cycle)
        elif isinstance(block, BracketsBlock):
            for name in block.modalities:
                self.brackets[MODALITIES[name]] = Brackets(first, first + 1)
        elif isinstance(block, MarksBlock):
            self._marks[MODALITIES[block.modality]] = Marks(first, block.count, block.after, block.every)
        else:
            self.signals[MODALITIES[block.modality]] = IdRange(first, block.count)

    @cached_property
    def digest(self) -> str:
        """Sha256 of the layout: encoder, generator and decoder must agree on it."""
        return hashlib.sha256(self.layout.model_dump_json().encode()).hexdigest()

    def check_digest(self, other: str) -> None:
        """Raise Precondition if `other` is another vocabulary's digest; an empty one is not checked."""
        if other and other != self.digest:
            raise Precondition(
                "the sender uses another vocabulary", reason="VOCABULARY_MISMATCH", field="vocabulary_digest"
            )

    def marks(self, modality: Modality) -> Marks:
        """The time marks among the codes of a modality; most have none."""
        return self._marks.get(modality, NO_MARKS)

    def span_length(self, modality: Modality, codes: int) -> int:
        """How many tokens so many codes are with their time marks."""
        return codes + self.marks(modality).among(codes)

    def token_texts(self) -> list[str]:
        """The texts of all ids past the base tokenizer's, in order."""
        texts: list[str] = []
        for block in self.layout.blocks:
            if isinstance(block, ControlBlock):
                texts += block.tokens
            elif isinstance(block, BracketsBlock):
                texts += [block.begin, block.end]
            else:
                texts += [block.token.format(i) for i in range(block.count)]
        return texts

    def to_ids(self, modality: Modality, codes: Sequence[int], field: str = "codes") -> list[int]:
        """The codebook indices of a span to its ids, time marks between them.

        Raises InvalidInput for an index outside its range.
        """
        place = self.codes.get(modality)
        if place is None:
            raise InvalidInput(f"{MODALITY_NAMES.get(modality, '?')} has no codes here", field=field)
        if any(code >= place.count for code in codes):
            raise InvalidInput("a code lies outside its codebook", reason="CODE_OUT_OF_RANGE", field=field)
        marks, ids = self.marks(modality), list[int]()
        for code in codes:
            mark = marks.at(len(ids))
            ids += [place.first + code] if mark is None else [mark, place.first + code]
        return ids

    def to_codes(self, modality: Modality, ids: Sequence[int]) -> list[int]:
        """Vocabulary ids within spans of one modality to codebook indices; time marks are no codes."""
        place = self.codes[modality]
        return [token - place.first for token in ids if token in place.ids]
