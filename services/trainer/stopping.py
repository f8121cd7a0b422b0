"""Signals that wait: a step of training is done whole or not at all."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def signals_put_off() -> Iterator[Callable[[], None]]:
    """What SIGINT and SIGTERM would do now is done where the function that is yielded is called, or at the end.

    Outside the main thread, where Python hears no signals, nothing is put off.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }

    def let_in() -> None:
        if came:
            number = signal.Signals(came.pop())
            if before[number] is signal.SIG_DFL:
                raise SystemExit(128 + number)
            signal.signal(number, before[number])
            signal.raise_signal(number)

    try:
        yield let_in
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    let_in()
