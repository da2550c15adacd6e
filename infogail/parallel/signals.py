"""SIGINT and SIGTERM: finish the current step, then exit."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopped(SystemExit):
    """A signal requested a stop, and progress so far is saved. The exit status is 128 + signal."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(128 + number)
        self.status, self.message = 128 + number, message


@contextmanager
def stop_requests() -> Iterator[Callable[[], int]]:
    """Record SIGINT and SIGTERM instead of acting on them; yields a function that returns the first received, or 0.

    A second SIGINT raises KeyboardInterrupt immediately. Outside the main thread, signal handlers are left unchanged.
    """
    received: list[int] = []

    def record(number: int, frame: object) -> None:
        received.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
