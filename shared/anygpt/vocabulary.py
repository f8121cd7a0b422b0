"""One vocabulary for all modalities: the base tokenizer's ids, then blocks of control tokens, codes, brackets, signals.

The layout is data: AnyGPT's (codes before their brackets) and NExT-GPT's (one pair of brackets, 36 signals) are both
lists of blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from anygpt.errors import InvalidInput, Precondition
from anygpt.topology import MODALITIES, MODALITY_NAMES, Modality

ModalityName = Literal["text", "image", "video", "speech", "audio"]


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
    token: str = Field(description="Text of a token, with {} for its number.")

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
    token: str

    @property
    def size(self) -> int:
        """Rows of the block."""
        return self.count


Block = Annotated[ControlBlock | CodesBlock | BracketsBlock | SignalsBlock, Field(discriminator="kind")]


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


class VocabularyLayout(_Block):
    """The blocks in the order of their ids, after the base tokenizer's `text_size` ids."""

    text_size: int = Field(gt=0)
    blocks: tuple[Block, ...]


class Vocabulary:
    """Finds ids by meaning and meaning by id."""

    def __init__(self, layout: VocabularyLayout) -> None:
        self.layout = layout
        self.text_size = layout.text_size
        self.control: dict[str, int] = {}
        self.codes: dict[Modality, IdRange] = {}
        self.brackets: dict[Modality, Brackets] = {}
        self.signals: dict[Modality, IdRange] = {}
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
        """Codebook indices to vocabulary ids. Raises InvalidInput for an index outside its range."""
        place = self.codes.get(modality)
        if place is None:
            raise InvalidInput(f"{MODALITY_NAMES.get(modality, '?')} has no codes here", field=field)
        if any(code >= place.count for code in codes):
            raise InvalidInput("a code lies outside its codebook", reason="CODE_OUT_OF_RANGE", field=field)
        return [place.first + code for code in codes]

    def to_codes(self, modality: Modality, ids: Sequence[int]) -> list[int]:
        """Vocabulary ids of one modality's codes to codebook indices."""
        return [token - self.codes[modality].first for token in ids]
