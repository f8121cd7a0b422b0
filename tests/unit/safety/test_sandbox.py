"""What nobody vouches for is read in a child that may die: it harms nobody, learns nothing, and is replaced."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anygpt.errors import InvalidInput, TooLarge, Unavailable
from anygpt.sandbox import Died, Facts, Overstayed, Sandbox
from anygpt.settings import MIB, LimitSettings, SandboxSettings
from anygpt.topology import IMAGE, VIDEO
from anygpt_models.input import Fit, Hearing, MediaReader, Source
from tests.flow.media import film, picture, sound

Answer = tuple[Facts, bytes]
SLOW, LOAD_S = "tests.unit.safety.slow_start", 3.0
"""A module that only children load, and how long that takes."""


def echo(facts: dict[str, Any], data: bytes) -> Answer:
    return {**facts, "pid": os.getpid(), "environment": dict(os.environ)}, data[::-1]


def refuse(facts: dict[str, Any], data: bytes) -> Answer:
    raise InvalidInput("as asked", reason="REFUSED", field="parts[0]")


def crash(facts: dict[str, Any], data: bytes) -> Answer:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}, b""


def stumble(facts: dict[str, Any], data: bytes) -> Answer:
    raise RuntimeError(data.decode())


def hang(facts: dict[str, Any], data: bytes) -> Answer:
    while True:
        pass


def swell(facts: dict[str, Any], data: bytes) -> Answer:
    return {}, bytes(16 * 1024 * MIB)[:1]


def gush(facts: dict[str, Any], data: bytes) -> Answer:
    return {}, bytes(2 * MIB)


def write(facts: dict[str, Any], data: bytes) -> Answer:
    Path(facts["path"]).write_bytes(bytes(10))
    return {}, b""


def forge(facts: dict[str, Any], data: bytes) -> Answer:
    os.write(4, b"\xff" * 64)
    os._exit(0)


def print_something(facts: dict[str, Any], data: bytes) -> Answer:
    print("\x00" * 100, flush=True)
    return {"done": True}, b""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Two children that know this module."""
    made = Sandbox(SandboxSettings(children=2, seconds=20, output_bytes=MIB))
    yield made
    made.close()


def test_facts_and_bytes_go_in_and_out(sandbox: Sandbox) -> None:
    facts, data = sandbox.run(echo, {"a": 1}, b"abc")
    assert (facts["a"], data) == (1, b"cba")
    assert facts["pid"] != os.getpid()
    assert sandbox.run(print_something, {}) == ({"done": True}, b"")


def test_a_child_knows_no_secret_of_its_parent(sandbox: Sandbox) -> None:
    facts, _ = sandbox.run(echo, {})
    assert set(facts["environment"]) <= {"OMP_NUM_THREADS", "LC_CTYPE"}


def test_an_error_of_ours_comes_back_as_it_was(sandbox: Sandbox) -> None:
    with pytest.raises(InvalidInput) as raised:
        sandbox.run(refuse, {})
    assert (raised.value.reason, raised.value.field) == ("REFUSED", "parts[0]")


@pytest.mark.parametrize("operation", [crash, stumble, swell, gush, write, forge])
def test_a_child_that_breaks_out_dies_and_the_next_task_finds_another(
    sandbox: Sandbox, operation: Any, tmp_path: Path
) -> None:
    with pytest.raises(Died):
        sandbox.run(operation, {"path": str(tmp_path / "made")}, b"words")
    assert not (tmp_path / "made").exists() or not (tmp_path / "made").stat().st_size
    assert sandbox.run(echo, {}, b"ab")[1] == b"ba"


def test_children_load_while_nobody_waits_for_them_the_first_time_and_after_a_death() -> None:
    boxed = Sandbox(SandboxSettings(children=1, seconds=20))
    boxed.warm(SLOW)
    time.sleep(1.6 * LOAD_S)
    assert _seconds(boxed, "hello") < 0.6 * LOAD_S
    with pytest.raises(Died):
        boxed.run(_slow("crash"), {})
    time.sleep(1.6 * LOAD_S)
    assert _seconds(boxed, "hello") < 0.6 * LOAD_S
    boxed.close()


def _seconds(sandbox: Sandbox, name: str) -> float:
    began = time.perf_counter()
    sandbox.run(_slow(name), {})
    return time.perf_counter() - began


def _slow(name: str) -> Any:
    """An operation of a module that only children load."""

    def operation(facts: dict[str, Any], data: bytes) -> Answer:
        raise AssertionError("the parent does not run it")

    operation.__module__, operation.__qualname__ = SLOW, name
    return operation


def test_a_child_that_hangs_is_killed_by_the_clock() -> None:
    impatient = Sandbox(SandboxSettings(children=1, seconds=1.5))
    with pytest.raises(Overstayed):
        impatient.run(hang, {})
    impatient.close()


def test_more_tasks_than_children_wait_for_their_turn(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(6) as threads:
        facts = list(threads.map(lambda i: sandbox.run(echo, {"i": i})[0], range(30)))
    assert [one["i"] for one in facts] == list(range(30))
    assert len({one["pid"] for one in facts}) <= 2


def test_the_time_of_a_file_does_not_begin_before_its_child_is_ready() -> None:
    fresh = Sandbox(SandboxSettings(children=1, seconds=0.25))
    for _ in range(3):
        with pytest.raises(Died):
            fresh.run(crash, {})
    assert fresh.run(echo, {}, b"ab")[1] == b"ba"
    fresh.close()


def test_a_closed_sandbox_leaves_no_child_behind() -> None:
    closing = Sandbox(SandboxSettings(children=1))
    pid = closing.run(echo, {})[0]["pid"]
    closing.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(Unavailable):
        closing.run(echo, {})


def test_media_read_apart_are_what_they_are_here() -> None:
    boxed = Sandbox(SandboxSettings(children=1))
    reader, limits = MediaReader(boxed), LimitSettings()
    facts = reader.facts(Source(film(), limits), "video/mp4", VIDEO)
    assert (facts.width, facts.duration_ms) == (64, 1000)
    pixels = reader.image(Source(picture(), limits), Fit(16))
    assert np.array_equal(pixels, Fit(16)(np.full((48, 64, 3), (200, 30, 30), dtype=np.uint8)))
    assert reader.waveform(Source(sound(), limits), Hearing()).shape == (8000,)
    with pytest.raises(InvalidInput) as raised:
        reader.facts(Source(b"no media at all", limits, "parts[3].inline"), "", IMAGE)
    assert (raised.value.reason, raised.value.field) == ("MEDIA_UNREADABLE", "parts[3].inline")
    boxed.close()


def test_media_that_need_more_time_or_memory_than_there_is_are_refused() -> None:
    boxed = Sandbox(SandboxSettings(children=1, seconds=0.001))
    with pytest.raises(TooLarge) as raised:
        MediaReader(boxed).facts(Source(film(), LimitSettings(), "parts[0]"), "", VIDEO)
    assert (raised.value.reason, raised.value.field) == ("MEDIA_TOO_SLOW", "parts[0]")
    boxed.close()
