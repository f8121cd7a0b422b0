"""Media inside the text of a message: NExT-GPT's tags and placeholders, AnyGPT's runs of tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from anygpt.vocabulary import ModalityName
from services.trainer.mosit.record import Piece

# ASCII, lest the case of `ı` and `ſ` be that of `i` and `s`.
_FLAGS = re.IGNORECASE | re.DOTALL | re.ASCII
_MEDIA = "image|video|audio|speech"
_MARK = re.compile(rf"</?(?:{_MEDIA})>", _FLAGS)
_TAG = re.compile(rf"<({_MEDIA})>((?:(?!{_MARK.pattern}).)*)</\1>", _FLAGS)
_PLACEHOLDER = re.compile(rf"<({_MEDIA})>")
_BRACKETS: Mapping[ModalityName, tuple[str, str, str]] = {
    "image": ("<soim>", "<eoim>", "<\U0001f440{}>"),
    "speech": ("<sosp>", "<eosp>", "<\U0001f5e3\ufe0f{}>"),
    "audio": ("<somu>", "<eomu>", "<\U0001f3b6{}>"),
}
_ENDS = "|".join(f"{begin}|{end}" for begin, end, _ in _BRACKETS.values())
_RUN = re.compile(
    "|".join(f"{begin}(?P<{name}>(?:(?!{_ENDS}).)*){end}" for name, (begin, end, _) in _BRACKETS.items()),
    re.DOTALL,
)
_TOKEN = "|".join(token.format("[0-9]+") for _, _, token in _BRACKETS.values())
_STRAY = re.compile(f"{_ENDS}|{_TOKEN}")


class BrokenTag(ValueError):
    """A tag without its partner, or a token that is none."""


def read_tags(value: str, medium: Callable[[ModalityName, str], Piece]) -> tuple[Piece, ...]:
    """`text <Image>name</Image> text` as pieces. Raises BrokenTag for a tag without its partner."""
    pieces = _split(value, _TAG, lambda found: medium(_name(found[1]), found[2].strip()))
    return _without(_MARK, pieces)


def read_placeholders(value: str, medium: Callable[[ModalityName], Piece]) -> tuple[Piece, ...]:
    """`text <image> text` as pieces. Raises BrokenTag for a closing tag."""
    return _without(_MARK, _split(value, _PLACEHOLDER, lambda found: medium(_name(found[1]))))


def read_tokens(value: str) -> tuple[Piece, ...]:
    """`text <soim>...<eoim> text` as pieces. Raises BrokenTag for a token that is none, or a run without its end."""
    return _without(_STRAY, _split(value, _RUN, _run))


def write_tags(pieces: tuple[Piece, ...]) -> str:
    """The inverse of `read_tags`: media by name, or by what they show. Raises BrokenTag for one with neither."""

    def tagged(piece: Piece) -> str:
        inside, tag = (piece.name or piece.content).strip(), piece.modality.title()
        if not inside:
            raise BrokenTag(f"{piece.modality} with neither a name nor a caption cannot be written as a tag")
        return f"<{tag}>{_unmarked(inside, _MARK)}</{tag}>"

    return _joined(pieces, _MARK, tagged)


def write_placeholders(pieces: tuple[Piece, ...]) -> str:
    """The inverse of `read_placeholders`."""
    return _joined(pieces, _MARK, lambda piece: f"<{piece.modality}>")


def write_tokens(pieces: tuple[Piece, ...]) -> str:
    """The inverse of `read_tokens`. Raises BrokenTag for a medium without codes, or that AnyGPT does not have."""

    def run(piece: Piece) -> str:
        if piece.modality not in _BRACKETS or not piece.codes:
            raise BrokenTag(f"{piece.modality} without codes cannot be written as tokens")
        begin, end, token = _BRACKETS[piece.modality]
        return begin + "".join(token.format(code) for code in piece.codes) + end

    return _joined(pieces, _STRAY, run)


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
    token = re.escape(_BRACKETS[modality][2]).replace(r"\{\}", r"([0-9]{1,9})")
    if not re.fullmatch(f"(?:{token})+", match[modality]):
        raise BrokenTag(f"{modality} tokens are expected, there is {match[modality][:40]!r}")
    return Piece(modality, codes=tuple(int(code) for code in re.findall(token, match[modality])))


def _without(mark: re.Pattern[str], pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    for piece in pieces:
        if piece.modality == "text" and (stray := mark.search(piece.content)):
            raise BrokenTag(f"{stray[0]} has no partner")
    return pieces


def _joined(pieces: tuple[Piece, ...], mark: re.Pattern[str], medium: Callable[[Piece], str]) -> str:
    return " ".join(
        _unmarked(piece.content, mark) if piece.modality == "text" else medium(piece) for piece in pieces
    )


def _unmarked(text: str, mark: re.Pattern[str]) -> str:
    if found := mark.search(text):
        raise BrokenTag(f"{found[0]} in {text[:40]!r} would be read as the mark of a medium")
    return text


def _name(text: str) -> ModalityName:
    return text.lower()  # type: ignore[return-value]  # the patterns have these names only
