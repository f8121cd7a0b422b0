"""What a pack is made of, as data: sizes, vocabulary, prompt, and each part by name and class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anygpt.pack import ModalityEntry, PromptEntry
from anygpt.vocabulary import ModalityName, VocabularyLayout


@dataclass(frozen=True)
class LanguageSizes:
    """The numbers that shape a Llama-class language model."""

    hidden: int
    layers: int
    heads: int
    key_heads: int
    feed_forward: int
    context: int
    rows: int
    """Of embedding and head, as the model comes."""


@dataclass(frozen=True)
class Tuning:
    """What is trained around a frozen language model."""

    rank: int
    alpha: float
    feature_widths: Mapping[ModalityName, int]
    conditions: Mapping[ModalityName, tuple[int, int]]
    """Vectors of a decoder's condition, and their width."""


@dataclass(frozen=True)
class Ingredient:
    """One part: the class that its folder must be of, and where it comes from."""

    kind: str
    licence: str
    provenance: str
    trained: bool = False


@dataclass(frozen=True)
class PackRecipe:
    """All that a builder needs to know about a pack beside the folders of its parts."""

    name: str
    licence: str
    language: LanguageSizes
    vocabulary: VocabularyLayout
    prompt: PromptEntry
    modalities: Mapping[ModalityName, ModalityEntry]
    parts: Mapping[str, Ingredient]
    tuning: Tuning | None = None
