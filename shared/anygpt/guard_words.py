"""An example of a guard: refuses texts that hold a word of a list, one a line in a file; media pass."""

from __future__ import annotations

import re
from collections.abc import Iterable

from anygpt.errors import ContentRefused, InvalidInput
from anygpt.guard import Content
from anygpt.settings import GuardSettings


class WordGuard:
    """Whole words, whatever their case, in and out."""

    def __init__(self, words: Iterable[str]) -> None:
        listed = "|".join(re.escape(word.strip()) for word in words if word.strip())
        self._listed = re.compile(rf"\b(?:{listed})\b", re.IGNORECASE) if listed else None

    async def incoming(self, content: Content, tenant: str) -> None:
        """See Guard."""
        self._check(content)

    async def outgoing(self, content: Content, tenant: str) -> None:
        """See Guard."""
        self._check(content)

    def _check(self, content: Content) -> None:
        if self._listed and self._listed.search(content.text):
            raise ContentRefused("the text holds a word that is not allowed here")


def open_words(settings: GuardSettings) -> WordGuard:
    """The factory. Raises InvalidInput without a file of words."""
    if settings.words is None:
        raise InvalidInput("the guard `words` needs a file", field="guard.words")
    return WordGuard(settings.words.read_text(encoding="utf-8").splitlines())
