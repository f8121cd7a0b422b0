"""A line of the log is JSON, says whose work it is about, and quotes nobody."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import copy_context
from typing import Any

import pytest

from anygpt.logs import JsonFormatter, Seldom, bind, redacted

SECRET = "canary-7391"


def line(message: str, *arguments: object, error: bool = False) -> dict[str, Any]:
    """What is written for a message."""
    info = sys.exc_info() if error else None
    record = logging.LogRecord("anygpt.doors", logging.INFO, "doors.py", 1, message, arguments, info)
    told: dict[str, Any] = json.loads(JsonFormatter().format(record))
    return told


def test_a_line_says_whose_work_it_is_about() -> None:
    def work() -> dict[str, Any]:
        bind(request="r1", tenant="acme", stage="llm", trace="")
        return line("buried %d", 3)

    told = copy_context().run(work)
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "info", "logger": "anygpt.doors", "message": "buried 3",
        "request": "r1", "tenant": "acme", "stage": "llm",
    }  # fmt: skip
    assert "request" not in line("another task")


def test_an_exception_is_told_by_type_and_place_and_not_by_what_it_says() -> None:
    def inner() -> None:
        try:
            raise ValueError(f"cannot read {SECRET}")
        except ValueError as error:
            raise RuntimeError(SECRET) from error

    try:
        inner()
    except RuntimeError:
        told = line("a handler failed", error=True)
    assert [error["type"] for error in told["errors"]] == ["RuntimeError", "ValueError"]
    assert told["errors"][0]["frames"][-1].endswith("inner")
    assert SECRET not in json.dumps(told)


@pytest.mark.parametrize(
    "text",
    [
        f"GET http://minio:9000/anygpt/a?X-Amz-Signature={SECRET}&X-Amz-Expires=900 failed",
        f"https://user:{SECRET}@host/path",
        f"authorization: Bearer {SECRET}.abc-def",
        f"Bearer {SECRET}",
        f"{{'x-api-key': '{SECRET}'}}",
        f"redis://:{SECRET}@redis:6379/0 does not answer",
        f"'https://h/p?a=1&sig={SECRET}'",
    ],
)
def test_signatures_and_credentials_are_cut_from_messages(text: str) -> None:
    assert SECRET not in redacted(text)
    assert SECRET not in json.dumps(line("%s", text))


def test_what_is_no_secret_stays() -> None:
    text = "stage llm buried a record of anygpt.v1.generate: POISON, 12 % of s3://minio:9000/anygpt"
    assert redacted(text) == text


def test_a_library_that_repeats_itself_is_quoted_once_in_a_while_and_we_are_always() -> None:
    seldom = Seldom()

    def passes(name: str, text: str, second: float) -> bool:
        record = logging.LogRecord(name, logging.WARNING, __file__, 1, text, (), None)
        record.created = second
        return seldom.filter(record)

    assert [passes("kafka.client", "no broker", second) for second in (0, 1, 9, 11, 12)] == [
        True, False, False, True, False,
    ]  # fmt: skip
    assert passes("kafka.client", "a broker", 1)
    assert all(passes("services.gateway.api", "begun", second) for second in (0, 1, 2))
