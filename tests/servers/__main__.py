"""`python -m tests.servers install | run`: the test servers from the command line."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from threading import Event

from tests.servers.install import ToolsMissing, install
from tests.servers.kafka import Kafka
from tests.servers.minio import Minio
from tests.servers.redis import Redis

USAGE = "usage: python -m tests.servers install | run"


def run() -> None:
    """Starts all three servers, prints their URLs, and stops them at Ctrl-C or SIGTERM."""
    ended = Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    with ExitStack() as stack:
        servers = {"bus": Kafka(), "store": Minio(), "memory": Redis()}
        for option, server in servers.items():
            print(f"--{option} {stack.enter_context(server).url}", flush=True)
        ended.wait()


def main(arguments: list[str]) -> int:
    """Runs one command; 1 means that something is missing or failed, 2 a wrong command line."""
    commands = {"install": install, "run": run}
    if len(arguments) != 1 or arguments[0] not in commands:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        commands[arguments[0]]()
    except (ToolsMissing, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
