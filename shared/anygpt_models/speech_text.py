"""Spoken form of English text: lowercase letters, apostrophes and single spaces, numbers in words."""

from __future__ import annotations

import re
import unicodedata

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ALPHABET = " '" + LETTERS
PHRASE_WORDS = 8

_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth"}
_ORDINALS |= {"nine": "ninth", "twelve": "twelfth"}
_SYMBOLS: dict[str, str | int | None] = {
    "&": " and ",
    "+": " plus ",
    "=": " equals ",
    "%": " percent ",
    "@": " at ",
    "\u2019": "'",
    "\u2018": "'",
}
_NUMBER = re.compile(r"([$\u20ac\u00a3]?)(\d[\d_]*)(?:\.(\d+))?(?:(st|nd|rd|th)\b)?")
_CURRENCY = {"$": "dollar", "\u20ac": "euro", "\u00a3": "pound"}
_CUT_BEFORE = {
    "and", "but", "or", "because", "when", "if", "while", "then", "in", "on", "at", "with", "near", "behind", "under",
    "after", "before",
}  # fmt: skip
_CLOCK = re.compile(r"\b(\d{1,2}):(\d\d)\b")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}\b)")


def cardinal(number: int) -> str:
    """The words of a whole number; digits one by one from a thousand trillion on."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        rest = number % 10
        return _TENS[number // 10] + (f" {_ONES[rest]}" if rest else "")
    if number >= 10**15:
        return _digits(str(number))
    size, name = next(pair for pair in _SCALES if number >= pair[0])
    head, rest = divmod(number, size)
    joint = " and " if rest < 100 else " "
    return f"{cardinal(head)} {name}" + (f"{joint}{cardinal(rest)}" if rest else "")


def ordinal(number: int) -> str:
    """The words of a rank, as in twenty first."""
    *head, last = cardinal(number).split()
    regular = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return " ".join([*head, _ORDINALS.get(last, regular)])


def spoken(text: str) -> str:
    """Any text -> what is said of it, over `ALPHABET`; words apart by one space, no space at the ends."""
    text = _GROUPED.sub("_", _CLOCK.sub(_clock, text.translate(str.maketrans(_SYMBOLS))))
    text = unicodedata.normalize("NFKD", text).translate(str.maketrans(_SYMBOLS))
    text = "".join(character for character in text if not unicodedata.combining(character))
    text = _NUMBER.sub(_number, text).lower()
    words = re.sub(r"[^a-z']+", " ", text).split()
    return " ".join(word.strip("'") for word in words if word.strip("'"))


def phrases(text: str) -> list[str]:
    """A text in phrases of at most 8 words, cut before a joining word where one is near."""
    words, out = text.split(), list[str]()
    while len(words) > PHRASE_WORDS:
        joints = [place for place in range(4, PHRASE_WORDS + 1) if words[place] in _CUT_BEFORE]
        cut = joints[-1] if joints else PHRASE_WORDS - 2
        out.append(" ".join(words[:cut]))
        words = words[cut:]
    return [*out, " ".join(words)] if words else out


def _clock(match: re.Match[str]) -> str:
    hour, minute = match.groups()
    if minute == "00":
        return f"{hour} o'clock"
    return f"{hour} oh {int(minute)}" if minute.startswith("0") else f"{hour} {minute}"


def _number(match: re.Match[str]) -> str:
    sign, grouped, fraction, rank = match.groups()
    whole = grouped.replace("_", "")
    if rank and not fraction and len(whole) <= 15:
        return f" {ordinal(int(whole))} "
    year = len(grouped) == 4 and not sign and not fraction and "1100" <= whole < "2000"
    words = _year(int(whole)) if year else _whole(whole)
    if sign:
        unit = _CURRENCY[sign] + ("" if whole == "1" and not fraction else "s")
        cents = f" {_whole(fraction[:2])}" if fraction else ""
        return f" {words} {unit}{cents} "
    return f" {words} point {_digits(fraction)} " if fraction else f" {words} "


def _year(number: int) -> str:
    head, rest = divmod(number, 100)
    if rest == 0:
        return f"{cardinal(head)} hundred"
    return f"{cardinal(head)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def _whole(digits: str) -> str:
    keeps_zeros = len(digits) > 1 and digits.startswith("0")
    return _digits(digits) if keeps_zeros or len(digits) > 15 else cardinal(int(digits))


def _digits(digits: str) -> str:
    return " ".join(_ONES[int(digit)] for digit in digits)
