"""SIGINT and SIGTERM: finish what was begun, then leave."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopped(SystemExit):
    """A signal asked to stop, and what was done until then is saved. Its code is the exit status, 128 + signal."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(128 + number)
        self.status, self.message = 128 + number, message


@contextmanager
def stop_requests() -> Iterator[Callable[[], int]]:
    """Note SIGINT and SIGTERM instead of obeying; gives a function that returns the first that came, or 0.

    A second SIGINT raises KeyboardInterrupt at once. Elsewhere than in the main thread signals stay as they are.
    """
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        came.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came[0] if came else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
