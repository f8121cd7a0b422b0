"""The commands as a person types them: in a terminal, in a pipe, with what can be wrong."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pyte
import pytest

from anygpt.client import Client, Options
from tests.flow.media import picture, sound

WIDTH, HEIGHT = 100, 40
PATIENCE_S = 30.0


def typed(address: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a pipe."""
    command = [sys.executable, "-m", "anygpt", *words]
    found = {**os.environ, "ANYGPT_ADDRESS": address, "COLUMNS": str(WIDTH), **environment}
    return subprocess.run(command, env=found, capture_output=True, text=True, timeout=60, check=False)


class Terminal:
    """A command in a terminal: what it shows, and keys for it."""

    def __init__(self, process: subprocess.Popen[bytes], keys: int) -> None:
        self._process = process
        self._keys = keys
        self._screen = pyte.Screen(WIDTH, HEIGHT)
        self._stream = pyte.ByteStream(self._screen)

    def say(self, line: str) -> None:
        """Wait for the prompt, and type a line."""
        self.wait("^>$")
        os.write(self._keys, f"{line}\n".encode())
        self.wait(f"^> {re.escape(line)}")

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def lines(self) -> list[str]:
        """What stands on the screen."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def wait(self, pattern: str) -> str:
        """Read until a line matches; the line."""
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            for line in self.lines():
                if re.search(pattern, line):
                    return line
            if not self._read():
                break
        raise AssertionError(f"{pattern!r} never came: {self.lines()}")

    def end(self) -> int:
        """Read to the end; the exit status."""
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends and self._read():
            pass
        return self._process.wait(10)

    def _read(self) -> bool:
        """Whether there may be more to come."""
        if not select.select([self._keys], [], [], 0.2)[0]:
            return True
        try:
            data = os.read(self._keys, 4096)
        except OSError:
            return False
        self._stream.feed(data)
        return bool(data)


@contextmanager
def heard_interrupts() -> Iterator[None]:
    """Children hear Ctrl-C, even of tests that run in the background, whose shell lets them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def terminal(address: str, *words: str) -> Iterator[Terminal]:
    """Run a command in a terminal of its own."""
    keys, side = pty.openpty()
    environment = {**os.environ, "ANYGPT_ADDRESS": address, "TERM": "xterm", "COLUMNS": str(WIDTH)}
    command = [sys.executable, "-m", "anygpt", *words]
    with heard_interrupts():
        process = subprocess.Popen(
            command, env=environment, stdin=side, stdout=side, stderr=side, start_new_session=True
        )
    os.close(side)
    try:
        yield Terminal(process, keys)
    finally:
        process.kill()
        process.wait()
        os.close(keys)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a picture and a sound."""
    (tmp_path / "cat.png").write_bytes(picture())
    (tmp_path / "hello.wav").write_bytes(sound())
    return tmp_path


def test_the_parts_of_a_message_go_in_the_order_in_which_they_were_typed(
    embedded_address: str, files: Path
) -> None:
    words = [
        "--image",
        str(files / "cat.png"),
        "--text",
        "one",
        f"--speech={files / 'hello.wav'}",
        "--text",
        "two",
    ]
    told = typed(
        embedded_address,
        "generate",
        *words,
        "--conversation",
        "new",
        "--want",
        "text,image",
        "--out",
        str(files),
    )
    first, text, saved = told.stdout.splitlines()
    assert text == "two "
    assert Path(saved.strip("[]")).read_bytes().startswith(b"image")
    with Client(embedded_address) as client:
        (turn,) = client.conversation(first.removeprefix("conversation ")).turns
    kinds = [part.text or part.media.media_type for part in turn.parts]
    assert kinds == ["image/png", "one", "audio/wav", "two"]


def test_in_a_terminal_the_whole_answer_stays_in_sight(embedded_address: str, files: Path) -> None:
    with terminal(
        embedded_address,
        "generate",
        "--text",
        "an image for you",
        "--want",
        "text,image",
        "--out",
        str(files),
    ) as shown:
        assert shown.end() == 0
        text, saved = shown.lines()
        assert text == "an image for you"
        assert saved.endswith("-1.bin]")


def test_a_chat_streams_keeps_media_and_begins_anew(embedded_address: str, files: Path) -> None:
    with terminal(embedded_address, "chat", "--out", str(files / "out")) as shown:
        shown.say("recall alone")
        alone = shown.wait(r"^recall:\d+ alone").split()[0]
        shown.say("/image nowhere.png")
        shown.wait("there is no file nowhere.png")
        shown.say(f"/image {files / 'cat.png'}")
        shown.say("recall and an image")
        assert shown.wait(r"^recall:\d+ and").split()[0] > alone
        shown.wait(r"out/\w+-1.bin]")
        shown.say("/new")
        shown.say("recall anew")
        assert shown.wait(r"^recall:\d+ anew").split()[0] == alone
        shown.say("word hang")
        shown.wait("^word")
        shown.interrupt()
        shown.say("recall free")
        shown.wait(r"^recall:\d+ free")
        shown.say("/quit")
        assert shown.end() == 0
    assert len(list((files / "out").iterdir())) == 1


def test_ctrl_c_ends_a_request_at_once_and_everywhere(embedded_address: str, files: Path) -> None:
    with terminal(
        embedded_address, "generate", "--text", "word hang", "--conversation", "new", "--out", str(files)
    ) as shown:
        conversation = shown.wait("^conversation ").removeprefix("conversation ")
        shown.wait("^word")
        began = time.monotonic()
        shown.interrupt()
        assert shown.end() == 130
        assert time.monotonic() - began < 3
        assert not [line for line in shown.lines() if "Traceback" in line or "Error" in line]
    with Client(embedded_address) as client:
        options = Options(conversation_id=conversation)
        assert client.answer("free", options=options).text.strip() == "free"


def test_what_a_person_gets_wrong_is_told_in_a_line(embedded_address: str, files: Path) -> None:
    nowhere = str(files / "nowhere")
    wrong = {
        ("generate",): "EMPTY_REQUEST (parts)",
        ("generate", "--image", nowhere): f"there is no file {nowhere}",
        ("generate", "--text", "x", "--want", "smell"): "MODALITY_UNKNOWN (want[0])",
        ("generate", "--text", "x", "--seed", "-1"): "--seed",
        ("generate", "--text", "x", "--format", "image"): "--format",
        ("generate", "--text", "x", "--format", "image=exe"): "FORMAT_UNKNOWN (output[0].format)",
        ("upload", nowhere): "does not exist",
        ("upload", str(files)): "is a directory",
        ("upload", str(files / "cat.png"), "--modality", "smell"): "MODALITY_UNKNOWN",
        ("download", "uploads/abc", nowhere): "OBJECT_NOT_FOUND (object)",
        ("job", "submit", nowhere): "does not exist",
        ("job", "watch", "abc"): "NOT_FOUND (job_id)",
        ("serve", "--port", "70000"): "SETTINGS (port)",
        ("serve", "--pack", nowhere): "PACK_MISSING (pack)",
        ("serve", "gateway", "--port", embedded_address.split(":")[1]): "PORT_TAKEN (port)",
        ("serve", "smell"): "there is no service 'smell'",
    }
    with ThreadPoolExecutor(4) as threads:
        for (words, said), told in zip(
            wrong.items(), threads.map(lambda words: typed(embedded_address, *words), wrong), strict=True
        ):
            assert told.returncode in (1, 2), words
            assert said in re.sub(r"[\s│]+", " ", told.stderr), words
            assert "Traceback" not in told.stderr, words
            assert not told.stdout, words


def test_media_and_jobs_go_there_and_back(embedded_address: str, files: Path) -> None:
    object_id = typed(embedded_address, "upload", str(files / "cat.png")).stdout.strip()
    assert typed(embedded_address, "download", object_id, str(files / "back.png")).returncode == 0
    assert (files / "back.png").read_bytes() == picture()
    assert typed(embedded_address, "download", object_id, str(files / "no" / "back.png")).returncode == 1
    lines = [{"id": "a", "parts": [{"text": "hello"}]}, {"parts": [{"media": {"object": object_id}}]}]
    (files / "jobs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    job_id = typed(embedded_address, "job", "submit", str(files / "jobs.jsonl")).stdout.strip()
    told = typed(embedded_address, "job", "watch", job_id, "--out", str(files / "results.jsonl"))
    assert (told.returncode, told.stdout.splitlines()[-1]) == (0, "JOB_STATE_SUCCEEDED: 2 finished, 0 failed")
    results = [json.loads(line) for line in io.StringIO((files / "results.jsonl").read_text())]
    assert [result["state"] for result in results] == ["finished", "finished"]
    assert typed(embedded_address, "job", "cancel", job_id).returncode == 0


def test_a_pipe_that_closes_early_is_no_error_worth_a_trace(embedded_address: str) -> None:
    command = f"{sys.executable} -m anygpt generate --text 'slow slow slow slow' | head -c 1"
    environment = {**os.environ, "ANYGPT_ADDRESS": embedded_address}
    told = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in told.stderr
    assert "Exception" not in told.stderr
