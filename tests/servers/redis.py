"""Redis, from the system's package, without persistence: in this system it may be lost."""

from __future__ import annotations

import socket

from tests.servers.install import redis_binary
from tests.servers.process import Server


class Redis(Server):
    """A Redis server on a free port."""

    name = "redis"

    @property
    def url(self) -> str:
        """redis://127.0.0.1:PORT/0"""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        """Redis with its port and folder on the command line, and no configuration file."""
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.data)]
        return [redis_binary(), *where, "--save", "", "--appendonly", "no"]

    def answers(self) -> bool:
        """A PONG for a PING; while it loads, Redis answers with an error instead."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
