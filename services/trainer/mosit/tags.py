"""Media inside the text of a message: NExT-GPT's tags and placeholders, AnyGPT's runs of tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from anygpt.vocabulary import ModalityName
from services.trainer.mosit.record import Piece

_TAG = re.compile(r"<(image|video|audio|speech)>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
_PLACEHOLDER = re.compile(r"<(image|video|audio|speech)>")
_STRAY = re.compile(r"</?(?:image|video|audio|speech)>", re.IGNORECASE)
_BRACKETS: Mapping[ModalityName, tuple[str, str, str]] = {
    "image": ("<soim>", "<eoim>", "<\U0001f440{}>"),
    "speech": ("<sosp>", "<eosp>", "<\U0001f5e3\ufe0f{}>"),
    "audio": ("<somu>", "<eomu>", "<\U0001f3b6{}>"),
}
_RUN = re.compile(
    "|".join(f"{begin}(?P<{name}>.*?){end}" for name, (begin, end, _) in _BRACKETS.items()), re.DOTALL
)


class BrokenTag(ValueError):
    """A tag without its partner, or a token that is none."""


def read_tags(value: str, medium: Callable[[ModalityName, str], Piece]) -> tuple[Piece, ...]:
    """`text <Image>name</Image> text` as pieces. Raises BrokenTag for a tag without its partner."""
    pieces = _split(value, _TAG, lambda found: medium(_name(found[1]), found[2].strip()))
    return _without_strays(pieces)


def read_placeholders(value: str, medium: Callable[[ModalityName], Piece]) -> tuple[Piece, ...]:
    """`text <image> text` as pieces. Raises BrokenTag for a closing tag."""
    return _without_strays(_split(value, _PLACEHOLDER, lambda found: medium(_name(found[1]))))


def read_tokens(value: str) -> tuple[Piece, ...]:
    """`text <soim>...<eoim> text` as pieces. Raises BrokenTag for a token that is none, or a run without its end."""
    pieces = _split(value, _RUN, _run)
    marks = [mark for begin, end, _ in _BRACKETS.values() for mark in (begin, end)]
    for piece in pieces:
        if piece.modality == "text" and any(mark in piece.content for mark in marks):
            raise BrokenTag(f"a run of tokens without its end in {piece.content[:40]!r}")
    return pieces


def write_tags(pieces: tuple[Piece, ...]) -> str:
    """The inverse of `read_tags`: media by name where they have one, or by what they show."""
    return _joined(
        pieces,
        lambda piece: f"<{piece.modality.title()}>{piece.name or piece.content}</{piece.modality.title()}>",
    )


def write_placeholders(pieces: tuple[Piece, ...]) -> str:
    """The inverse of `read_placeholders`."""
    return _joined(pieces, lambda piece: f"<{piece.modality}>")


def write_tokens(pieces: tuple[Piece, ...]) -> str:
    """The inverse of `read_tokens`. Raises BrokenTag for a medium without codes, or that AnyGPT does not have."""

    def run(piece: Piece) -> str:
        if piece.modality not in _BRACKETS or not piece.codes:
            raise BrokenTag(f"{piece.modality} without codes cannot be written as tokens")
        begin, end, token = _BRACKETS[piece.modality]
        return begin + "".join(token.format(code) for code in piece.codes) + end

    return _joined(pieces, run)


def _split(
    value: str, pattern: re.Pattern[str], piece: Callable[[re.Match[str]], Piece]
) -> tuple[Piece, ...]:
    found: list[Piece] = []
    end = 0
    for match in pattern.finditer(value):
        found += [Piece("text", value[end : match.start()].strip()), piece(match)]
        end = match.end()
    found.append(Piece("text", value[end:].strip()))
    return tuple(piece for piece in found if piece.modality != "text" or piece.content)


def _run(match: re.Match[str]) -> Piece:
    modality = _name(match.lastgroup or "")
    token = re.escape(_BRACKETS[modality][2]).replace(r"\{\}", r"(\d+)")
    if not re.fullmatch(f"(?:{token})+", match[modality]):
        raise BrokenTag(f"{modality} tokens are expected, there is {match[modality][:40]!r}")
    return Piece(modality, codes=tuple(int(code) for code in re.findall(token, match[modality])))


def _without_strays(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    for piece in pieces:
        if piece.modality == "text" and (stray := _STRAY.search(piece.content)):
            raise BrokenTag(f"{stray[0]} has no partner")
    return pieces


def _joined(pieces: tuple[Piece, ...], medium: Callable[[Piece], str]) -> str:
    return " ".join(piece.content if piece.modality == "text" else medium(piece) for piece in pieces)


def _name(text: str) -> ModalityName:
    return text.lower()  # type: ignore[return-value]  # the patterns have these names only
