"""Speech units: the discrete codes of speech, 8,192 sub-words over letters, apostrophe and space.

Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) of the spoken form of a text. Each unit is spelled as
a token of the language model's own vocabulary is: what the model knows of copying words holds for speech too. A
piece that starts a word carries the space before it, so a run of units can be cut or joined between any two.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from anygpt_models.speech_text import ALPHABET, spoken

FILE_NAME = "units.json"
UNIT_COUNT = 8192

Pair = tuple[str, str]


class SpeechUnits:
    """A fixed inventory of units; ids are positions in it, merges are tried in its order."""

    def __init__(self, pieces: list[str], merges: list[Pair]) -> None:
        if len(set(pieces)) != len(pieces) or not set(ALPHABET) <= set(pieces):
            raise ValueError("speech units must be distinct and hold every letter")
        self.pieces = pieces
        self.merges = merges
        self._ids = {piece: number for number, piece in enumerate(pieces)}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._word = lru_cache(maxsize=8192)(self._encode_word)

    @classmethod
    def from_pretrained(cls, part: str | Path) -> SpeechUnits:
        """Read the inventory from a part of a pack."""
        stored = json.loads((Path(part) / FILE_NAME).read_text(encoding="utf-8"))
        return cls(stored["pieces"], [(left, right) for left, right in stored["merges"]])

    def save_pretrained(self, part: str | Path) -> None:
        """Write the inventory as one json file, one unit or merge a line."""
        Path(part).mkdir(parents=True, exist_ok=True)
        body = {"pieces": self.pieces, "merges": [list(pair) for pair in self.merges]}
        (Path(part) / FILE_NAME).write_text(json.dumps(body, indent=0) + "\n", encoding="utf-8")

    def __len__(self) -> int:
        return len(self.pieces)

    def normalise(self, text: str) -> str:
        """The spoken form of any text: what `decode(encode(text))` gives back."""
        return spoken(text)

    def encode(self, text: str) -> list[int]:
        """Any text -> unit ids; empty where nothing in it can be said."""
        return [unit for word in spoken(text).split() for unit in self._word(f" {word}")]

    def decode(self, units: Iterable[int]) -> str:
        """Unit ids -> text. Raises ValueError for an id outside the inventory."""
        return " ".join(self.join(units).split())

    def join(self, units: Iterable[int]) -> str:
        """Unit ids -> text with its leading space kept, for joining with what came before."""
        ids = list(units)
        if any(not 0 <= unit < len(self.pieces) for unit in ids):
            raise ValueError(f"speech unit outside 0..{len(self.pieces) - 1}")
        return "".join(self.pieces[unit] for unit in ids)

    def starts_word(self, unit: int) -> bool:
        """Whether a unit begins a new word, so that everything before it is whole."""
        return self.pieces[unit].startswith(" ")

    def _encode_word(self, word: str) -> tuple[int, ...]:
        pieces = list(word)
        while len(pieces) > 1:
            pairs = list(pairwise(pieces))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            pieces = merged(pieces, best)
        return tuple(self._ids[piece] for piece in pieces)


def merged(pieces: list[str], pair: Pair) -> list[str]:
    """The pieces with every occurrence of the pair joined, from the left."""
    out: list[str] = []
    for piece in pieces:
        if out and (out[-1], piece) == pair:
            out[-1] += piece
            continue
        out.append(piece)
    return out


def choose_units(words: Mapping[str, int], merges: Iterable[Pair], count: int = UNIT_COUNT) -> SpeechUnits:
    """The letters, and the pieces that a tokenizer's merges cut counted words into most often.

    A unit comes with the pieces that it is merged from. Equal counts go by the order of the merges.
    """
    spelled = [pair for pair in merges if set("".join(pair)) <= set(ALPHABET)]
    everything = SpeechUnits([*ALPHABET, *map("".join, spelled)], spelled)
    used: Counter[int] = Counter()
    for word in sorted(words):
        for unit in everything.encode(word):
            used[unit] += words[word]
    parents = {"".join(pair): pair for pair in spelled}
    chosen = set(ALPHABET)
    for unit in sorted(range(len(everything)), key=lambda unit: (-used[unit], unit)):
        missing = set(_made_from(everything.pieces[unit], parents)) - chosen
        if len(chosen) + len(missing) <= count:
            chosen |= missing
    kept = [pair for pair in spelled if "".join(pair) in chosen]
    return SpeechUnits([*ALPHABET, *map("".join, kept)], kept)


def _made_from(piece: str, parents: Mapping[str, Pair]) -> Iterator[str]:
    """A piece, and every piece that is merged on the way to it."""
    yield piece
    for part in parents.get(piece, ()):
        yield from _made_from(part, parents)
