"""What the pronouncer learns from: spoken phrases with their phonemes, and rows of words from the lexicon."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from anygpt_models.speech_pronouncer import SLOTS, SpeechPronouncer, letter_ids
from anygpt_models.speech_text import ALPHABET, phrases
from services.trainer.data.speech import COMMA, END, GAP, STRESS, Utterance, symbols_of

RARE = 0.03
"""Of all that a word is heard as, a pronunciation with less than this share is an accident."""
Phrase = list[tuple[str, list[str]]]
"""Words of a phrase with the phonemes of each."""


@dataclass(frozen=True)
class Pronunciations:
    """Phrases as they are spoken, and words alone: the frequent ones and all."""

    phrases: list[Phrase]
    frequent: Phrase
    every: Phrase

    def draw(self, size: int) -> list[Phrase]:
        """A batch: half phrases, half rows of two to five words, every other word a frequent one."""
        spoken = [self.phrases[int(torch.randint(len(self.phrases), ()))] for _ in range(size // 2)]
        return spoken + [self._row() for _ in range(size - size // 2)]

    def _row(self) -> Phrase:
        lists = (self.frequent, self.every)
        return [_any(lists[place % 2]) for place in range(int(torch.randint(2, 6, ())))]


def unstressed(symbol: str) -> str:
    """A phoneme without its stress."""
    return symbol.lstrip(STRESS)


def _plain(symbols: Iterable[str]) -> str:
    return "".join(map(unstressed, symbols))


def inventory(utterances: Sequence[Utterance]) -> list[str]:
    """Every symbol that is spoken at least 20 times, pauses first."""
    counts = Counter(symbol for utterance in utterances for symbol in utterance.symbols)
    return [
        GAP,
        COMMA,
        END,
        *sorted(s for s, count in counts.items() if count >= 20 and s not in (GAP, COMMA, END)),
    ]


def pronunciations(
    utterances: Sequence[Utterance], common: Sequence[str], lexicon: dict[str, str], symbols: Sequence[str]
) -> Pronunciations:
    """Gather all of it, dropping what the inventory cannot write."""
    known = set(symbols)
    spoken = [phrase for utterance in utterances for phrase in _phrases_of(utterance)]
    every = [
        (word.lower(), symbols_of(sound))
        for word, sound in lexicon.items()
        if word.isalpha() and len(word) > 2
    ]
    usable = [entry for entry in every if set(entry[1]) <= known and len(entry[1]) < SLOTS * len(entry[0])]
    frequent = set(common)
    kept = [phrase for phrase in spoken if all(set(sounds) <= known for _, sounds in phrase)]
    return Pronunciations(
        kept, [entry for entry in usable if entry[0] in frequent and len(entry[0]) > 3], usable
    )


def pronounced(utterances: Iterable[Utterance], lexicon: Mapping[str, str]) -> dict[str, list[str]]:
    """Word -> its pronunciations without stress: as heard in sentences, where "the" has two, or else by the lexicon."""
    heard: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for utterance in utterances:
        for word, symbols in (entry for phrase in _phrases_of(utterance) for entry in phrase):
            heard[word][_plain(symbols)] += 1
    found: dict[str, list[str]] = {}
    for word in sorted(filter(_is_word, lexicon), key=str.islower, reverse=True):
        found.setdefault(word.lower(), [_plain(symbols_of(lexicon[word]))])
    for word, said in heard.items():
        found[word] = [sounds for sounds, count in said.items() if count >= RARE * said.total()]
    return found


def _is_word(entry: str) -> bool:
    """Neither an abbreviation nor a compound."""
    return set(entry.lower()) <= set(ALPHABET.strip()) and not entry.isupper()


def pronunciation_loss(pronouncer: SpeechPronouncer, batch: Sequence[Phrase]) -> Tensor:
    """CTC of each word within its own letters."""
    heard = pronouncer(letter_ids([" ".join(word for word, _ in phrase) for phrase in batch]))
    spans, targets = [], []
    for row, phrase in zip(heard, batch, strict=True):
        start = 0
        for word, sounds in phrase:
            spans.append(row[SLOTS * start : SLOTS * (start + len(word))])
            targets.append([pronouncer.symbols.index(sound) + 1 for sound in sounds])
            start += len(word) + 1
    lengths = torch.tensor([len(span) for span in spans])
    padded = torch.nn.utils.rnn.pad_sequence(spans)
    flat = torch.tensor([place for target in targets for place in target])
    sizes = torch.tensor([len(target) for target in targets])
    return functional.ctc_loss(padded, flat, lengths, sizes, zero_infinity=True)


def _phrases_of(utterance: Utterance) -> list[Phrase]:
    out: list[Phrase] = []
    sounds = "\n".join(utterance.symbols[:-1]).split(f"\n{COMMA}\n{GAP}\n")
    for text, sound in zip(phrases(utterance.text), sounds, strict=True):
        words = [part.split("\n") for part in sound.split(f"\n{GAP}\n")]
        out.append(list(zip(text.split(" "), words, strict=True)))
    return out


def _any(words: Phrase) -> tuple[str, list[str]]:
    return words[int(torch.randint(len(words), ()))]
