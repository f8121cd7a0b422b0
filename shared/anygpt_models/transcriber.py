"""The search that reads what was heard in the light of a language: CTC prefix beam search over phonemes.

Hannun et al. 2014, arXiv 1408.2873. Words outside the lexicon stay possible, at a price, and are spelled as heard.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anygpt_models.speech_language import SpeechLanguage
from anygpt_models.speech_recogniser import GAP, Likelihoods, SpeechRecogniser, spelled

BEAM = 24
WEIGHT = 0.8
"""Trust in the language beside the sound."""
FUSED = -1.0
"""Log probability that a word begins without a gap before it."""
_FAINT = -7.0
"""Phonemes less likely than this at a step are not tried."""
MOST = 10
"""Phonemes that are tried at a step: in noise nearly all would be."""
_NEVER = -math.inf


class _Key(NamedTuple):
    """Finished words, the last of them, and the sounds of the next so far."""

    text: str
    last: str
    sounds: str


@dataclass
class _Path:
    """Log probabilities of a beginning: as it ends in a blank, in its last sound, and in the language."""

    language: float
    since: int
    """The step at which the unfinished word began."""
    blank: float = _NEVER
    sound: float = _NEVER

    @property
    def heard(self) -> float:
        return _sum(self.blank, self.sound)

    @property
    def score(self) -> float:
        return self.heard + self.language


class Transcriber:
    """Speech -> the words that were likely said, over `ALPHABET`; empty for none."""

    def __init__(self, recogniser: SpeechRecogniser, language: SpeechLanguage) -> None:
        self.recogniser, self.language = recogniser, language

    @classmethod
    def from_pretrained(cls, pack: str | Path) -> Transcriber:
        """With the two parts of a pack that hear speech."""
        folder = Path(pack)
        language = SpeechLanguage.from_pretrained(folder / "speech_language")
        return cls(SpeechRecogniser.open(folder / "speech_recogniser"), language)

    def transcribe(self, waveform: Tensor | NDArray[np.float32]) -> str:
        """Waveform [S] at 16 kHz -> words."""
        return self.read(self.recogniser.listen(torch.as_tensor(waveform)))

    def read(self, heard: Likelihoods, check: Callable[[], None] = lambda: None) -> str:
        """What was heard -> words; `check` is called time and again, and may raise."""
        return read(heard, self.recogniser.setting("phonemes"), self.language, check)


def read(
    heard: Likelihoods, phonemes: str, language: SpeechLanguage, check: Callable[[], None] = lambda: None
) -> str:
    """The likeliest words of one utterance, its likelihoods [N, ...] in the order of `phonemes`."""
    search = _Search(phonemes, language, heard.letters.argmax(dim=-1).tolist() if len(heard.letters) else [])
    for row in heard.phonemes.tolist():
        check()
        search.hear(row)
    return search.best()


class _Search:
    """The beam after some steps."""

    def __init__(self, phonemes: str, language: SpeechLanguage, letters: list[int]) -> None:
        self._phonemes, self._language, self._letters = phonemes, language, letters
        self._step = 0
        self._hopes: dict[str, float] = {}
        self._beam = {_Key("", "", ""): _Path(0.0, 0, blank=0.0)}

    def hear(self, row: list[float]) -> None:
        """Take one more step: log probabilities of the blank and of each phoneme."""
        audible = (place for place, value in enumerate(row) if place and value > _FAINT)
        likely = nlargest(MOST, audible, key=row.__getitem__)
        grown: dict[_Key, _Path] = {}
        for key, path in self._beam.items():
            _add(grown, key, path.language, path.since, blank=path.heard + row[0])
            for place in likely:
                self._grow(grown, key, path, self._phonemes[place - 1], row[place])
        self._step += 1
        self._beam = dict(sorted(grown.items(), key=lambda entry: -entry[1].score)[:BEAM])

    def best(self) -> str:
        """The likeliest words when nothing follows."""
        ends = (
            (path.score + gain, end.text)
            for key, path in self._beam.items()
            for end, gain in self._ends(key, path)
        )
        return max(ends)[1]

    def _grow(self, grown: dict[_Key, _Path], key: _Key, path: _Path, phoneme: str, value: float) -> None:
        repeated = phoneme == (key.sounds[-1:] or (GAP if key.text else ""))
        if repeated:
            _add(grown, key, path.language, path.since, sound=path.sound + value)
        if phoneme == GAP:
            for end, gain in self._ends(key, path) if key.sounds else ():
                _add(grown, end, path.language + gain, self._step, sound=path.heard + value)
            return
        sound = (path.blank if repeated else path.heard) + value
        if sound > _NEVER:
            longer, since = (
                key._replace(sounds=key.sounds + phoneme),
                path.since if key.sounds else self._step,
            )
            _add(grown, longer, path.language + self._gain(key.sounds, longer.sounds), since, sound=sound)
            for end, gain in self._ends(key, path) if self._language.words_of(key.sounds) else ():
                fused = path.language + gain + FUSED + self._gain("", phoneme)
                _add(grown, end._replace(sounds=phoneme), fused, self._step, sound=sound)

    def _gain(self, before: str, sounds: str) -> float:
        """What one more sound adds to the hope for a word."""
        return WEIGHT * (self._hope(sounds) - (self._hope(before) if before else 0.0))

    def _hope(self, sounds: str) -> float:
        known = self._hopes.get(sounds)
        if known is None:
            known = self._hopes[sounds] = self._language.hope(sounds)
        return known

    def _ends(self, key: _Key, path: _Path) -> Iterator[tuple[_Key, float]]:
        """Words that the last sounds may be, and what each adds to the hope that the sounds have had."""
        if not key.sounds:
            yield key, 0.0
            return
        words = self._language.words_of(key.sounds)
        hope = self._hope(key.sounds)
        for word in words:
            yield _ended(key, word), WEIGHT * (self._language.likelihood(key.last, word) - hope)
        if not words:
            word = spelled(self._letters[max(path.since - 1, 0) : self._step + 1]).replace(" ", "")
            yield _ended(key, word), WEIGHT * (self._language.strangeness(key.sounds) - hope)


def _ended(key: _Key, word: str) -> _Key:
    return _Key(f"{key.text} {word}".strip(), word, "")


def _add(
    grown: dict[_Key, _Path],
    key: _Key,
    language: float,
    since: int,
    blank: float = _NEVER,
    sound: float = _NEVER,
) -> None:
    """One more way to a beginning."""
    path = grown.get(key)
    if path is None:
        grown[key] = _Path(language, since, blank, sound)
        return
    path.blank, path.sound = _sum(path.blank, blank), _sum(path.sound, sound)


def _sum(first: float, second: float) -> float:
    """log(e^a + e^b)"""
    high, low = (first, second) if first > second else (second, first)
    return high if low == _NEVER else high + math.log1p(math.exp(low - high))
