"""`python -m tests.servers install | run`: the test servers from the command line."""

from __future__ import annotations

import signal
import subprocess
import sys
from threading import Event

from tests.servers.install import ToolsMissing, install
from tests.servers.kafka import Kafka
from tests.servers.minio import Minio
from tests.servers.redis import Redis
from tests.servers.service import Backends

USAGE = "usage: python -m tests.servers install | run"


def run() -> None:
    """Starts all three servers, prints the variables that lead there, and stops them at Ctrl-C or SIGTERM."""
    ended = Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    with Kafka() as kafka, Minio() as minio, Redis() as redis:
        for name, value in Backends.of(kafka, minio, redis).environment.items():
            print(f"export {name}={value}", flush=True)
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
