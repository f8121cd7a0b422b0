"""What the store does with a server's answers that a real one gives only by chance."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from anygpt.errors import Precondition, Unavailable
from anygpt.minio import MinioStore
from anygpt.settings import S3Settings


class Server(HTTPServer):
    """Refuses uploads with the codes it is given, one after another, and takes what comes then."""

    def __init__(self, refusals: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), Upload)
        self.refusals = refusals
        self.bodies: list[bytes] = []


class Upload(BaseHTTPRequestHandler):
    """One PUT."""

    server: Server

    def do_PUT(self) -> None:
        """Answer as S3 does."""
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        code = self.server.refusals.pop(0) if self.server.refusals else ""
        answer = f"<Error><Code>{code}</Code></Error>".encode() if code else b""
        self.send_response(403 if code else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def refusing(*codes: str) -> Iterator[tuple[Server, MinioStore]]:
    with Server([*codes]) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server, MinioStore(f"127.0.0.1:{server.server_port}", "bucket", S3Settings())
        finally:
            server.shutdown()
            thread.join()


async def test_an_upload_whose_folder_a_delete_took_away_is_sent_again_whole(tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(b"of a file")
    for source in (b"of a file", file):
        with refusing("AccessDenied", "NoSuchKey") as (server, store):
            assert await store.put("t/0", source, "x/y")
            assert server.bodies == [b"of a file"] * 3
            await store.close()


async def test_an_upload_that_is_always_denied_is_unavailable_by_the_server_s_word() -> None:
    for code in ("AccessDenied", "NoSuchKey"):
        with refusing(*[code] * 9) as (server, store):
            with pytest.raises(Unavailable, match=code):
                await store.put("t/0", b"", "x/y")
            assert len(server.bodies) == 5
            await store.close()


async def test_other_refusals_are_told_at_once() -> None:
    for code, error in (("SlowDown", Unavailable), ("NoSuchBucket", Precondition)):
        with refusing(code) as (server, store):
            with pytest.raises(error):
                await store.put("t/0", b"", "x/y")
            assert len(server.bodies) == 1
            await store.close()
