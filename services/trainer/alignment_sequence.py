"""Dialogues as token sequences, exactly as gateway and language model put them together in service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from anygpt.pack import PromptEntry
from anygpt.topology import MODALITIES, SPEECH, TEXT
from anygpt.vocabulary import ModalityName, Vocabulary
from anygpt_models.speech_units import SpeechUnits
from services.trainer.base_model import SPACE, token_ids
from services.trainer.data.messages import Dialogue, Part

NOT_LEARNED = 0
"""How a token is predicted: not at all, or as one of a modality: text and opening brackets, or codes and their end."""

Length = Callable[[ModalityName, str], int]
"""Modality, caption -> how many embeddings a medium that shows it has in the prompt."""
MediaCodes = Callable[[ModalityName, str, bool], Sequence[int]]
"""Modality, caption and whether it is an answer -> codes of a medium that shows the caption."""


def no_codes(modality: ModalityName, caption: str, answered: bool) -> Sequence[int]:
    """The codes of media where the vocabulary has none."""
    raise ValueError(f"the vocabulary has no codes of {modality}")


class Slot(NamedTuple):
    """Where media stand in a sequence, what they show, and how many tokens they take."""

    start: int
    modality: ModalityName
    caption: str
    length: int


@dataclass
class TokenSequence:
    """Token ids, how each is predicted, where features go in and signals come out."""

    ids: list[int] = field(default_factory=list)
    learned: list[int] = field(default_factory=list)
    features: list[Slot] = field(default_factory=list)
    signals: list[Slot] = field(default_factory=list)

    def add(self, ids: Iterable[int], learned: int = NOT_LEARNED) -> None:
        """Append tokens that are all predicted alike."""
        ids = list(ids)
        self.ids += ids
        self.learned += [learned] * len(ids)


class Sequencer:
    """Writes dialogues in the vocabulary and the prompt template of a pack."""

    def __init__(
        self, vocabulary: Vocabulary, tokenizer: Any, units: SpeechUnits, prompt: PromptEntry,
        length: Length, media_codes: MediaCodes = no_codes,
    ) -> None:  # fmt: skip
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.units = units
        self.template = prompt
        self.length = length
        self.media_codes = media_codes
        self.stop = self.tokens(prompt.after_turn)
        self._frame = {text: self.tokens(text) for text in (prompt.before_user, prompt.before_assistant)}

    def tokens(self, text: str) -> list[int]:
        """Text -> base vocabulary ids; nothing is added around it."""
        return token_ids(self.tokenizer, text)

    def prompt(self, dialogue: Dialogue, system: str = "") -> TokenSequence:
        """Everything before the answer of the last turn."""
        sequence = TokenSequence()
        if system:
            sequence.add(self.tokens(self.template.before_system) + self.tokens(system) + self.stop)
        for turn in dialogue.turns[:-1]:
            self._turn(sequence, self.template.before_user, turn.request)
            self._turn(sequence, self.template.before_assistant, turn.answer)
        self._turn(sequence, self.template.before_user, dialogue.turns[-1].request)
        sequence.add(self._frame[self.template.before_assistant])
        return sequence

    def sequence(self, dialogue: Dialogue, system: str = "") -> TokenSequence:
        """The prompt and its answer, of which the answer is learned."""
        sequence = self.prompt(dialogue, system)
        for part in dialogue.turns[-1].answer:
            self._answer(sequence, part, NOT_LEARNED if dialogue.forced else TEXT)
        if dialogue.whole:
            sequence.add(self.stop[:1], TEXT)
        return sequence

    def _turn(self, sequence: TokenSequence, before: str, parts: Sequence[Part]) -> None:
        sequence.add(self._frame[before])
        for part in parts:
            if part.modality == "text":
                sequence.add(self.tokens(part.content))
                continue
            modality = MODALITIES[part.modality]
            brackets = self.vocabulary.brackets[modality]
            sequence.add([brackets.begin])
            if modality in self.vocabulary.codes:
                sequence.add(self.codes(part))
            else:
                length = self.length(part.modality, part.content)
                sequence.features.append(Slot(len(sequence.ids), part.modality, part.content, length))
                sequence.add([brackets.begin] * length)
            sequence.add([brackets.end])
        sequence.add(self.stop)

    def _answer(self, sequence: TokenSequence, part: Part, freely: int) -> None:
        if part.modality == "text":
            sequence.add(self.tokens(part.content), freely)
            return
        modality = MODALITIES[part.modality]
        brackets = self.vocabulary.brackets[modality]
        sequence.add([brackets.begin], freely)
        if modality in self.vocabulary.codes:
            codes = self.vocabulary.codes[modality].ids
            for token in self.codes(part, answered=True):
                sequence.add([token], modality if token in codes else NOT_LEARNED)
            sequence.add([brackets.end], modality)
            return
        signals = self.vocabulary.signals[modality].ids
        sequence.signals.append(Slot(len(sequence.ids), part.modality, part.content, len(signals)))
        sequence.add([*signals, brackets.end])

    def spelled_alike(self) -> list[int]:
        """For each speech unit the text token that is spelled as it is."""
        letters = [piece.replace(" ", SPACE) for piece in self.units.pieces]
        ids: list[int] = self.tokenizer.convert_tokens_to_ids(letters)
        return ids

    def codes(self, part: Part, answered: bool = False) -> list[int]:
        """Words that are spoken, or what a medium shows -> vocabulary ids of their codes."""
        if part.modality == "speech":
            return self.vocabulary.to_ids(SPEECH, self.units.encode(part.content))
        codes = self.media_codes(part.modality, part.content, answered)
        return self.vocabulary.to_ids(MODALITIES[part.modality], codes)


@dataclass(frozen=True)
class Batch:
    """Padded sequences: ids and learned [B, T]; slots with their row."""

    ids: Tensor
    learned: Tensor
    features: list[tuple[int, Slot]]
    signals: list[tuple[int, Slot]]


def collate(sequences: Sequence[TokenSequence], pad: int) -> Batch:
    """Pad on the right: under a causal mask no real token sees the padding."""
    width = max(len(sequence.ids) for sequence in sequences)
    ids = torch.full((len(sequences), width), pad)
    learned = torch.zeros(len(sequences), width, dtype=torch.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        learned[row, : len(sequence.ids)] = torch.tensor(sequence.learned)
    features = [(row, slot) for row, sequence in enumerate(sequences) for slot in sequence.features]
    signals = [(row, slot) for row, sequence in enumerate(sequences) for slot in sequence.signals]
    return Batch(ids, learned, features, signals)


def batches(sequences: Sequence[TokenSequence], tokens: int) -> Iterator[list[TokenSequence]]:
    """Sequences of like length together, at most `tokens` with their padding; deterministic."""
    batch: list[TokenSequence] = []
    for sequence in sorted(sequences, key=lambda sequence: len(sequence.ids)):
        if batch and len(sequence.ids) * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(sequence)
    if batch:
        yield batch
