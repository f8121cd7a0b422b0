"""Why media are refused: stable reasons, each with the field that held the media."""

from __future__ import annotations

from anygpt.errors import InvalidInput, TooLarge

EMPTY = "MEDIA_EMPTY"
TYPE_MISMATCH = "MEDIA_TYPE_MISMATCH"
UNREADABLE = "MEDIA_UNREADABLE"
TRUNCATED = "MEDIA_TRUNCATED"
TOO_LARGE = "MEDIA_TOO_LARGE"
TOO_LONG = "MEDIA_TOO_LONG"
UNSUPPORTED = "MEDIA_UNSUPPORTED"
TOO_SLOW = "MEDIA_TOO_SLOW"

FIELD = "media"
"""Where the media stand in a request, unless a caller knows better."""


def empty(field: str) -> InvalidInput:
    """There are no bytes."""
    return InvalidInput("the media are empty", reason=EMPTY, field=field)


def type_mismatch(message: str, field: str) -> InvalidInput:
    """The bytes are not what the request says they are."""
    return InvalidInput(message, reason=TYPE_MISMATCH, field=field)


def unreadable(field: str) -> InvalidInput:
    """The bytes are no media, or broken."""
    return InvalidInput("the bytes are no readable image, video or sound", reason=UNREADABLE, field=field)


def truncated(field: str) -> InvalidInput:
    """The file ends before its content does."""
    return InvalidInput("the media end too early", reason=TRUNCATED, field=field)


def unsupported(message: str, field: str) -> InvalidInput:
    """The bytes are known, but nothing here takes them."""
    return InvalidInput(message, reason=UNSUPPORTED, field=field)


def too_slow(field: str) -> TooLarge:
    """Reading them takes longer than anything may."""
    return TooLarge("the media take too long to read", reason=TOO_SLOW, field=field)


def too_large(message: str, field: str) -> TooLarge:
    """More bytes, pixels, frames or channels than the limits allow."""
    return TooLarge(message, reason=TOO_LARGE, field=field)


def too_long(limit_ms: int, field: str) -> TooLarge:
    """Longer than the limits allow."""
    return TooLarge(f"the media last longer than {limit_ms / 1000:g} s", reason=TOO_LONG, field=field)
