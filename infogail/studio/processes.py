"""Each session drives in a process of its own, so that none can delay or break another, or the server.

They are forked from a process that has imported the simulators, so that one begins at once. Both sides speak JSON over
a pipe, and a closed pipe ends either.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

from infogail.envs.catalogue import imported_here
from infogail.envs.errors import BadInput, one_line

PRELOADED = tuple(f"infogail.studio.{room}" for room in ("driving", "watching", "training", "forecasting"))
WAITING = 32  # messages to the page that wait before the session is slowed down
GRACE = 3.0  # [s] for a session's process to end by itself

CONTEXT = multiprocessing.get_context("forkserver")

Message = dict[str, Any]
Function = Callable[..., None]
"""What a process does: (channel, *arguments)."""


class Channel:
    """A session's end of the pipe."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def send(self, message: Message | bytes) -> None:
        """Send a message, or a picture as bytes that do not begin with a brace."""
        data = message if isinstance(message, bytes) else json.dumps(message, allow_nan=False).encode()
        self.connection.send_bytes(data)

    def messages(self, until: float | None) -> Iterator[Message]:
        """The messages that arrive until the time `until` of `time.monotonic`; if None, wait for one.

        Raises:
            EOFError: the page has gone.
        """
        while self.connection.poll(None if until is None else max(0.0, until - time.monotonic())):
            yield json.loads(self.connection.recv_bytes())
            until = until or time.monotonic()


def prepare() -> None:
    """Start the process that the sessions are forked from; it imports the simulators, which takes seconds."""
    CONTEXT.set_forkserver_preload([*PRELOADED, *imported_here])
    forkserver.ensure_running()


class Process:
    """The server's side of one session's process. All methods are for the event loop's thread."""

    def __init__(self, function: Function, *arguments: Any) -> None:
        """A process that will call `function`, named in a module, with a `Channel` and `arguments`."""
        self._connection, self._theirs = multiprocessing.Pipe()
        self._process = CONTEXT.Process(target=_run, args=(self._theirs, function, arguments), daemon=True)
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._reading = False

    async def start(self) -> None:
        """Begin; waits for what `prepare` started.

        Raises:
            BadInput: the operating system does not let it start.
        """
        try:
            await asyncio.to_thread(self._process.start)
        except (OSError, EOFError) as error:
            raise BadInput(
                f"no process could be started ({one_line(error)}); close something, and try again"
            ) from error
        finally:
            self._theirs.close()
            if self._process.pid is None:
                self._connection.close()
        self._read(True)

    def send(self, message: Message) -> bool:
        """Pass a message on; False if the process does not take any."""
        if not self._connection.closed and select.select([], [self._connection], [], 0)[1]:
            try:
                self._connection.send_bytes(json.dumps(message).encode())
            except OSError:
                return False
            return True
        return False

    async def receive(self) -> bytes | None:
        """The next message from the process; None when it has ended."""
        data = await self._arrived.get()
        if not self._reading and not self._connection.closed and self._arrived.qsize() < WAITING // 2:
            self._read(True)
        return data

    def terminate(self) -> None:
        """Ask the process to stop where it can be resumed."""
        if self._process.is_alive():
            self._process.terminate()

    async def close(self) -> None:
        """End the process."""
        self._read(False)
        self._connection.close()
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        if self._process.pid is None:  # it could not be started
            return
        self._process.join(GRACE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def _read(self, reading: bool) -> None:
        if reading == self._reading:
            return
        self._reading, loop = reading, asyncio.get_running_loop()
        if reading:
            loop.add_reader(self._connection.fileno(), self._on_readable)
        else:
            loop.remove_reader(self._connection.fileno())

    def _on_readable(self) -> None:
        try:
            data = self._connection.recv_bytes()
        except (EOFError, OSError):
            self._read(False)
            self._arrived.put_nowait(None)
            return
        self._arrived.put_nowait(data)
        if self._arrived.qsize() >= WAITING:
            self._read(False)  # the page is slow: let the pipe fill, and the session wait


def _run(connection: Connection, function: Function, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server tells its sessions
    import torch

    torch.set_num_threads(1)  # more would compete for cores
    channel = Channel(connection)
    try:
        function(channel, *arguments)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the page has gone
    except BadInput as error:
        _tell(channel, str(error))
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        _tell(channel, f"the session failed ({one_line(error)}); the terminal shows where")


def _tell(channel: Channel, problem: str) -> None:
    with contextlib.suppress(OSError):
        channel.send({"type": "error", "error": " ".join(problem.split())})
