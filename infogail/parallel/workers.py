"""A pool of worker processes that report progress and clean up after themselves when the parent fails."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from typing import Any

from infogail.envs.errors import BadInput

POLL = 0.2  # [s] between checks for reports
GRACE = 5.0  # [s] for a worker to clean up when asked to stop

_reports: SimpleQueue[float] | None = None  # in a worker: the queue to report to


class WorkerLost(BadInput):
    """A worker was killed from outside, most likely because memory ran out."""


@contextmanager
def workers(processes: int, on_report: Callable[[float], None] = lambda amount: None) -> Iterator[Callable[..., Any]]:
    """A `map` over `processes` processes, one torch thread each; on an error or Ctrl-C the remaining work is dropped.

    Args:
        on_report: called in this process with every amount that the workers `report`.

    Raises:
        WorkerLost: a worker was killed from outside.
    """
    context = multiprocessing.get_context("spawn")  # forking is unsafe while torch's threads are running
    reports = context.SimpleQueue()
    alive, stop = context.Pipe(duplex=False)  # only this process holds `stop`, so it also closes when this process ends
    pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(alive, reports))

    def pass_on() -> None:
        while not reports.empty():
            on_report(reports.get())

    def mapped(function: Callable, *iterables: Iterable) -> Iterator[Any]:
        # Only this process handles Ctrl-C: the workers inherit a mask that blocks it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            futures = [pool.submit(_work, function, *args) for args in zip(*iterables, strict=True)]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for future in futures:
            while wait([future], POLL).not_done:
                for other in futures:
                    if other.done():
                        other.result()  # a failure is raised as soon as it happens
                pass_on()
            pass_on()
            yield future.result()

    try:
        yield mapped
    except BaseException as error:
        stop.close()
        if isinstance(error, BrokenProcessPool):
            raise WorkerLost("a worker process was killed from outside; is there enough memory?") from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        stop.close()


def report(amount: float) -> None:
    """In a worker: call the parent's `on_report` with `amount`."""
    if _reports is not None:
        _reports.put(amount)


def _begin(alive: Connection, reports: SimpleQueue[float]) -> None:
    global _reports
    _reports = reports
    os.environ["OMP_NUM_THREADS"] = "1"  # more would compete for cores; read when torch is imported
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_stop_with, args=(alive,), daemon=True).start()


def _stop_with(alive: Connection) -> None:
    """Wait for the other end of `alive` to close, then give the worker `GRACE` seconds to clean up."""
    alive.poll(None)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


def _leave(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would interrupt the cleanup
    sys.exit(1)


def _work(function: Callable, *args: Any) -> Any:
    try:
        return function(*args)
    except SystemExit:
        os._exit(1)  # do not start the next task
