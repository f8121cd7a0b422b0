"""Text to ids and back, as the base tokenizer has it; knows nothing of media."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from anygpt.errors import Precondition

WORD_STARTS = ("", "▁", "Ġ")
"""How a word may begin in a tokenizer: as it is, after SentencePiece's space, after that of bytes."""
HALF = "\ufffd"
"""What bytes that are no whole character are decoded to."""


class Tokeniser:
    """The base tokenizer. In text that is encoded no control token is ever recognised."""

    def __init__(self, file: Path, text_size: int) -> None:
        content = json.loads(file.read_text(encoding="utf-8"))
        self._added = {str(token["content"]): int(token["id"]) for token in content["added_tokens"]}
        for token in content["added_tokens"]:
            token["special"] = True
        self._tokenizer = Tokenizer.from_str(json.dumps(content))
        self._tokenizer.encode_special_tokens = True
        self._text_size = text_size

    def encode(self, text: str) -> list[int]:
        """Ids of plain text."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def is_control(self, token: str) -> bool:
        """Whether a token is a control token, which no text is ever encoded as."""
        return token in self._added

    def stop_id(self, token: str) -> int:
        """The id of a token of the base tokenizer: a control token, or a word, after a space where it stands only so.

        Raises Precondition if there is none.
        """
        ids = (self._tokenizer.token_to_id(f"{start}{token}") for start in WORD_STARTS)
        found = self._added.get(token, next((one for one in ids if one is not None), None))
        if found is None:
            raise Precondition(
                f"no token {token!r} ends an answer", reason="PACK_MISMATCH", field="prompt.stop"
            )
        return found

    def text_ranges(self) -> tuple[range, ...]:
        """The ids that stand for text: all but control tokens and gaps."""
        control = set(self._added.values())
        ranges: list[range] = []
        for token in range(self._text_size):
            if token in control or self._tokenizer.id_to_token(token) is None:
                continue
            if ranges and ranges[-1].stop == token:
                ranges[-1] = range(ranges[-1].start, token + 1)
            else:
                ranges.append(range(token, token + 1))
        return tuple(ranges)

    def stream(self, stops: Sequence[str] = ()) -> TextStream:
        """A decoder for one run of text."""
        return TextStream(self._tokenizer, stops)


class TextStream:
    """Decodes one token after the other; keeps back half characters, and what may become a stop string."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stops = stops
        self._last: list[int] = []
        """Ids of the last piece of text, without which the next one's space is not known."""
        self._text = ""
        self._shown = 0
        self._pending: list[tuple[int, int]] = []
        """Ids that were not handed out, each with where its text ends; those of an unfinished character at the end."""
        self._unfinished: list[int] = []

    def add(self, token: int) -> bool:
        """Take a token; returns whether a stop string ends the text here."""
        self._unfinished.append(token)
        known, whole = self._decoded(self._last), self._decoded(self._last + self._unfinished)
        if len(whole) <= len(known) or whole.endswith(HALF):
            return False
        self._text += whole[len(known) :]
        self._pending += [(one, len(self._text)) for one in self._unfinished]
        self._last, self._unfinished = self._unfinished, []
        return self._cut()

    def take(self, *, last: bool = False) -> tuple[str, list[int]]:
        """The text and ids that can be shown now; at the `last` call all that there is."""
        end = len(self._text) if last else len(self._text) - self._held()
        text, self._shown = self._text[self._shown : end], end
        ids = [token for token, stop in self._pending if stop <= end]
        self._pending = [(token, stop) for token, stop in self._pending if stop > end]
        return text, ids + (self._unfinished if last else [])

    @property
    def pending(self) -> int:
        """Tokens that were not handed out."""
        return len(self._pending) + len(self._unfinished)

    def _decoded(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def _cut(self) -> bool:
        """Cut the text at the first stop string in it."""
        longest = max(map(len, self._stops), default=0)
        starts = [self._text.find(stop, max(0, self._shown - longest)) for stop in self._stops]
        found = [start for start in starts if start >= self._shown]
        if not found:
            return False
        self._text = self._text[: min(found)]
        self._pending = [(token, stop) for token, stop in self._pending if stop <= len(self._text)]
        return True

    def _held(self) -> int:
        """Length of the longest end of the text that begins a stop string."""
        fresh = self._text[self._shown :]
        lengths = (n for stop in self._stops for n in range(1, len(stop)) if fresh.endswith(stop[:n]))
        return max(lengths, default=0)
