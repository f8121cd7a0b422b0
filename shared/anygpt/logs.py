"""Logs as one JSON object a line: which request, tenant, stage and trace, and never what a user said.

What an exception says may quote its input, so only its type and its frames are told; the query of a URL may be a
signature, so it is cut.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

FIELDS: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default={})  # noqa: B039
"""Who the task at hand works for; tasks and threads that it starts inherit them."""
_QUERY = re.compile(r"(\w+://[^\s?#\"'<>]*)\?[^\s\"'<>]*")
_TOKEN = re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]+")
_HEADER = re.compile(r"(?i)\b(?:x-api-key|authorization)[\"']?\s*[:=]\s*\S+")
_USERINFO = re.compile(r"(\w+://)[^\s/@]+@")
FOREIGN_LEVEL = logging.WARNING
"""Libraries log requests and URLs below it."""
MOST_KINDS = 1000
"""Kinds of messages that are remembered: some libraries write their figures into the text."""
OURS = ("anygpt", "anygpt_models", "services")


def bind(**fields: str) -> None:
    """Add fields to what this task logs from here on; an empty one is left out."""
    FIELDS.set({**FIELDS.get(), **{name: text for name, text in fields.items() if text}})


@contextmanager
def bound(**fields: str) -> Iterator[None]:
    """The same for a block of one task."""
    token = FIELDS.set({**FIELDS.get(), **fields})
    try:
        yield
    finally:
        FIELDS.reset(token)


class JsonFormatter(logging.Formatter):
    """One line of JSON a record."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redacted(record.getMessage()),
            **FIELDS.get(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["errors"] = [_told(error) for error in _chain(record.exc_info[1])]
        return json.dumps(line, ensure_ascii=False)


class Seldom(logging.Filter):
    """A library that repeats itself is quoted once in `SECONDS`: a broker that is away must not fill a disk."""

    SECONDS = 10.0

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter; what we log ourselves always passes."""
        if record.name.split(".")[0] in OURS:
            return True
        key = (record.name, str(record.msg))
        is_due = record.created - self._told.get(key, -self.SECONDS) >= self.SECONDS
        if is_due:
            if len(self._told) > MOST_KINDS:
                self._told.clear()
            self._told[key] = record.created
        return is_due


def redacted(text: str) -> str:
    """Text without the queries of URLs and without credentials."""
    text = _USERINFO.sub(r"\1", _QUERY.sub(r"\1?...", text))
    return _HEADER.sub("[credentials]", _TOKEN.sub("[credentials]", text))


def start_logging() -> None:
    """Log to standard error: our own from INFO on, libraries' from WARNING on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    handler.addFilter(Seldom())
    logging.basicConfig(level=FOREIGN_LEVEL, handlers=[handler], force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(capture=True)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, outermost first."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _told(error: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return {"type": type(error).__name__, "frames": places}
