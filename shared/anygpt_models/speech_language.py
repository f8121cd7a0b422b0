"""What people are likely to say: a lexicon with word pairs, and the search that reads letters in its light.

CTC prefix beam search (Hannun et al. 2014, arXiv 1408.2873). Words outside the lexicon stay possible, at a price.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from anygpt_models.speech_text import ALPHABET

FILE_NAME = "language.json"
BEAM = 24
WEIGHT = 0.6
"""Trust in the language beside the sound."""
PAIR_SHARE = 0.7
STRANGE, STRANGE_LETTER = -15.0, -3.0
"""Log probability of a word outside the lexicon: to start it, and each letter past the last known beginning."""
_FAINT = -7.0
"""Letters less likely than this at a step are not tried."""

_NEVER = -math.inf
Row = list[float]
Beginning = tuple[str, str, str]
"""Finished words, the last of them, and the beginning of the next."""


@dataclass
class _Path:
    blank: float
    letter: float
    language: float

    @property
    def sound(self) -> float:
        return _sum(self.blank, self.letter)

    @property
    def score(self) -> float:
        return self.sound + self.language


class SpeechLanguage:
    """Word and word-pair counts of the sentences that the pack was made for."""

    def __init__(self, words: dict[str, int], pairs: dict[str, int]) -> None:
        self.words, self.pairs = words, pairs
        self._total = sum(words.values()) or 1
        self._starts: dict[str, float] = {}
        self._after: Counter[str] = Counter()
        for word, count in words.items():
            for end in range(1, len(word) + 1):
                known = self._starts.get(word[:end], 0.0)
                self._starts[word[:end]] = max(known, count / self._total)
        for pair, count in pairs.items():
            self._after[pair.split(" ")[0]] += count

    @classmethod
    def from_pretrained(cls, part: str | Path) -> SpeechLanguage:
        """Read the counts from a part of a pack."""
        stored = json.loads((Path(part) / FILE_NAME).read_text(encoding="utf-8"))
        return cls(stored["words"], stored["pairs"])

    def save_pretrained(self, part: str | Path) -> None:
        """Write the counts as one json file."""
        Path(part).mkdir(parents=True, exist_ok=True)
        body = json.dumps({"words": self.words, "pairs": self.pairs}, indent=0, sort_keys=True)
        (Path(part) / FILE_NAME).write_text(body + "\n", encoding="utf-8")

    def read(self, log_probabilities: Iterable[Row]) -> str:
        """Steps of log probabilities [N][29], blank first then `ALPHABET` -> the likeliest words."""
        beam: dict[Beginning, _Path] = {("", "", ""): _Path(0.0, _NEVER, 0.0)}
        for row in log_probabilities:
            beam = self._step(beam, row)
        finished = {key: path.score + WEIGHT * self._finish(key) for key, path in beam.items()}
        text, _, rest = max(finished, key=finished.__getitem__)
        return f"{text} {rest}".strip()

    def _step(self, beam: dict[Beginning, _Path], row: Row) -> dict[Beginning, _Path]:
        tried = [place for place, value in enumerate(row) if place and value > _FAINT]
        grown: dict[Beginning, _Path] = {}
        for key, path in beam.items():
            _add(grown, key, path.language, blank=path.sound + row[0])
            last = key[2][-1:] or (" " if key[0] else "")
            for place in tried:
                letter = ALPHABET[place - 1]
                if letter == last:
                    _add(grown, key, path.language, letter=path.letter + row[place])
                    if path.blank == _NEVER or letter == " ":
                        continue
                if letter == " " and not key[2]:
                    continue
                sound = (path.blank if letter == last else path.sound) + row[place]
                self._grow(grown, key, letter, (sound, path.language))
        best = sorted(grown.items(), key=lambda entry: -entry[1].score)[:BEAM]
        return dict(best)

    def _grow(
        self, grown: dict[Beginning, _Path], key: Beginning, letter: str, path: tuple[float, float]
    ) -> None:
        sound, language = path
        text, last, rest = key
        if letter == " ":
            longer = (f"{text} {rest}".strip(), rest, "")
            language += WEIGHT * self._finish(key)
        else:
            longer = (text, last, rest + letter)
            language += WEIGHT * (self._hope(rest + letter) - (self._hope(rest) if rest else 0.0))
        _add(grown, longer, language, letter=sound)

    def _hope(self, beginning: str) -> float:
        """Log probability of the likeliest word that begins so."""
        known = self._starts.get(beginning)
        if known is not None:
            return max(math.log(known), STRANGE)
        end = next((end for end in range(len(beginning) - 1, 0, -1) if beginning[:end] in self._starts), 0)
        return STRANGE + STRANGE_LETTER * (len(beginning) - end)

    def _finish(self, key: Beginning) -> float:
        """What ending the word here adds to the hope that its letters have had."""
        _, last, word = key
        if not word:
            return 0.0
        single = self.words.get(word, 0) / self._total
        pair = self.pairs.get(f"{last} {word}", 0) / (self._after[last] or 1)
        likely = PAIR_SHARE * pair + (1.0 - PAIR_SHARE) * single
        strange = STRANGE + STRANGE_LETTER * len(word) / 2
        return max(math.log(likely) if likely else _NEVER, strange) - self._hope(word)


def count_language(sentences: Iterable[str], words: dict[str, int]) -> SpeechLanguage:
    """Pairs of the sentences, with "" before the first word, and any words beside them."""
    pairs: Counter[str] = Counter()
    for sentence in sentences:
        said = sentence.split()
        pairs.update(f"{before} {word}" for before, word in zip(["", *said], said, strict=False))
    return SpeechLanguage(dict(words), dict(pairs))


def _add(
    beam: dict[Beginning, _Path],
    key: Beginning,
    language: float,
    blank: float = _NEVER,
    letter: float = _NEVER,
) -> None:
    path = beam.get(key)
    if path is None:
        beam[key] = _Path(blank, letter, language)
        return
    path.blank, path.letter = _sum(path.blank, blank), _sum(path.letter, letter)


def _sum(first: float, second: float) -> float:
    """log(e^a + e^b)"""
    high, low = (first, second) if first > second else (second, first)
    return high if low == _NEVER else high + math.log1p(math.exp(low - high))
