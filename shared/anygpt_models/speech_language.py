"""What people are likely to say: words with their pronunciations, how often each comes, and which follow which."""

from __future__ import annotations

import gzip
import json
import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

COUNTS, LEXICON = "language.json", "lexicon.txt.gz"
"""Files of the part; the lexicon has a line for each word: the word and its pronunciations."""
PAIR_SHARE = 0.7
"""How much of a word's likelihood comes from the word before it."""
STRANGE, STRANGE_SOUND = -15.0, -3.0
"""Log probability of a word outside the lexicon: to start it, and each sound past the last known beginning."""


class SpeechLanguage:
    """Word and word-pair counts of the sentences that the pack was made for, and a lexicon of pronunciations.

    A pronunciation is a string, one character a phoneme, without stress. The lexicon knows more words than are counted.
    """

    def __init__(
        self, words: Mapping[str, int], pairs: Mapping[str, int], lexicon: Mapping[str, Sequence[str]]
    ) -> None:
        self.words, self.pairs, self.lexicon = dict(words), dict(pairs), dict(lexicon)
        self._total = sum(words.values()) or 1
        self._after: Counter[str] = Counter()
        for pair, count in pairs.items():
            self._after[pair.split(" ")[0]] += count
        self._named: defaultdict[str, list[str]] = defaultdict(list)
        self._beginnings: dict[str, float] = {}
        for word, pronunciations in lexicon.items():
            for sounds in pronunciations:
                self._named[sounds].append(word)
                if word in words:
                    self._learn_beginnings(sounds, words[word] / self._total)
        self._sorted = sorted(self._named)

    def _learn_beginnings(self, sounds: str, share: float) -> None:
        for end in range(1, len(sounds) + 1):
            known = self._beginnings.get(sounds[:end], 0.0)
            self._beginnings[sounds[:end]] = max(known, share)

    @classmethod
    def from_pretrained(cls, part: str | Path) -> SpeechLanguage:
        """Read the counts and the lexicon from a part of a pack."""
        counts = json.loads((Path(part) / COUNTS).read_text(encoding="utf-8"))
        lines = gzip.decompress((Path(part) / LEXICON).read_bytes()).decode().splitlines()
        entries = (line.split(" ") for line in lines)
        return cls(counts["words"], counts["pairs"], {word: sounds for word, *sounds in entries})

    def save_pretrained(self, part: str | Path) -> None:
        """Write the counts as json, and the lexicon beside them."""
        Path(part).mkdir(parents=True, exist_ok=True)
        body = json.dumps({"words": self.words, "pairs": self.pairs}, indent=0, sort_keys=True)
        (Path(part) / COUNTS).write_text(body + "\n", encoding="utf-8")
        lines = "".join(f"{word} {' '.join(sounds)}\n" for word, sounds in sorted(self.lexicon.items()))
        (Path(part) / LEXICON).write_bytes(gzip.compress(lines.encode(), mtime=0))

    def words_of(self, sounds: str) -> Sequence[str]:
        """Words that are said so; several where they sound alike."""
        return self._named.get(sounds, ())

    def hope(self, beginning: str) -> float:
        """Log probability of the likeliest word that begins with these sounds."""
        share = self._share(beginning)
        if share:
            return max(math.log(share), STRANGE)
        begun = (end for end in range(len(beginning) - 1, 0, -1) if self._share(beginning[:end]))
        return STRANGE + STRANGE_SOUND * (len(beginning) - next(begun, 0))

    def _share(self, beginning: str) -> float:
        """Of the likeliest word that begins so; a word without a count is as rare as the rarest with one."""
        counted = self._beginnings.get(beginning)
        if counted is not None:
            return counted
        place = bisect_left(self._sorted, beginning)
        begun = place < len(self._sorted) and self._sorted[place].startswith(beginning)
        return 1 / self._total if begun else 0.0

    def likelihood(self, before: str, word: str) -> float:
        """Log probability of a word of the lexicon behind another, "" for the first."""
        single = self.words.get(word, 1) / self._total
        pair = self.pairs.get(f"{before} {word}", 0) / (self._after[before] or 1)
        return math.log(PAIR_SHARE * pair + (1.0 - PAIR_SHARE) * single)

    def strangeness(self, sounds: str) -> float:
        """Log probability of a word that is said so and that the lexicon lacks."""
        return STRANGE + STRANGE_SOUND * len(sounds) / 2


def count_language(
    sentences: Iterable[str], words: Mapping[str, int], lexicon: Mapping[str, Sequence[str]]
) -> SpeechLanguage:
    """Pairs of the sentences, with "" before the first word, and any words beside them."""
    pairs: Counter[str] = Counter()
    for sentence in sentences:
        pairs.update(f"{before} {word}" for before, word in pairwise(["", *sentence.split()]))
    return SpeechLanguage(words, pairs, lexicon)
