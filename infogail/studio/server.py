"""The studio's server: the page, the library behind it, and the sessions in which people drive, train and watch."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import threading
import time
import webbrowser
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from infogail.envs.errors import BadInput
from infogail.studio import messages
from infogail.studio.access import Access
from infogail.studio.messages import BadMessage, Check
from infogail.studio.processes import Message, Process, prepare

if TYPE_CHECKING:
    from infogail.studio.desk import Desk

MAX_BODY = 2**16  # [bytes] of a request, apart from uploads
MAX_UPLOAD = 2**26
RATE, BURST = 120.0, 240.0  # messages per second from one page, and at once
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
FINISHED, REFUSED, FAILED = 1000, 1008, 1011  # codes with which WebSockets are closed
DESK_ACTIONS = ("train", "resume", "stop", "film")


def serve(
    folder: Path, host: str, port: int, open_page: bool, max_sessions: int, learners: Callable[[], Mapping[str, Any]]
) -> None:
    """Serve the page until Ctrl-C, and print its address.

    Args:
        folder: where demonstrations and runs are.
        host: address to listen at.
        port: 0: any that is free.
        max_sessions: of people who drive, watch or forecast at the same time.
        learners: makes the learner classes by algorithm; called late, since they take seconds to import.

    Raises:
        BadInput: the port is in use, or the host is not this machine's.
    """
    listener = _listen(host, port)
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(24)
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/?token={token}"
    print(f"studio: {address}", flush=True)
    print("Anyone with this address can drive and train here. Ctrl-C stops it.", flush=True)
    if open_page:
        threading.Timer(0.5, webbrowser.open, (address,)).start()
    app = make_app(folder, token, host, port, max_sessions, learners)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            loop="asyncio",
            http="h11",
            ws="websockets-sansio",
            ws_max_size=MAX_BODY,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after an orderly end
        server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except socket.gaierror as error:
        raise BadInput(f"--host {host}: {error.strerror}; give an address of this machine") from error
    except OSError as error:
        raise BadInput(f"--port {port}: {error.strerror}; give another, such as {port + 1}") from error
    return listener


def make_app(
    folder: Path, token: str, host: str, port: int, max_sessions: int, learners: Callable[[], Mapping[str, Any]]
) -> ASGIApp:
    """The studio as an ASGI application; see `serve`."""
    studio = Studio(folder, max_sessions, learners)
    routes = [
        Route("/", studio.page),
        Route("/static/{name}", studio.static),
        Route("/api/state", studio.state),
        Route("/api/episodes", studio.episodes),
        Route("/api/episode", studio.episode),
        Route("/api/upload", studio.upload, methods=["POST"]),
        Route("/api/{action}", studio.act, methods=["POST"]),
        Route("/film", studio.film),
        WebSocketRoute("/ws/drive", studio.drive),
        WebSocketRoute("/ws/watch", studio.watch),
        WebSocketRoute("/ws/forecast", studio.forecast),
        WebSocketRoute("/ws/train", studio.train),
    ]
    handlers: Any = {BadInput: _refuse, OSError: _report}
    return Access(Starlette(routes=routes, exception_handlers=handlers, lifespan=studio.lifespan), token, host, port)


def _refuse(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


def _report(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    return JSONResponse({"error": f"{error.filename or 'the folder'}: {error.strerror or error}"}, 500)


class Refused(Exception):
    """A session ends: the code and the reason with which its WebSocket is closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason.encode()[:120].decode(errors="ignore")


class Studio:
    """The handlers of all requests."""

    def __init__(self, folder: Path, max_sessions: int, learners: Callable[[], Mapping[str, Any]]) -> None:
        self.folder, self.max_sessions, self.learners = folder, max_sessions, learners
        self.sessions = 0
        self.preparing: asyncio.Task[Desk] | None = None
        self.watchers: set[asyncio.Event] = set()

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Import the simulators while the page is already being served; end what is still running at the end."""
        self.preparing = asyncio.create_task(asyncio.to_thread(self._prepare))
        yield
        await (await self.preparing).close()

    def _prepare(self) -> Desk:
        prepare()
        from infogail.studio.desk import Desk

        return Desk(self.folder, self.learners(), self._tell_watchers)

    @property
    def desk(self) -> Desk:
        """Where the work is done.

        Raises:
            BadInput: the simulators are still being imported.
        """
        if self.preparing is None or not self.preparing.done():
            raise BadInput("the simulators are still being prepared; wait a moment")
        return self.preparing.result()

    def _tell_watchers(self) -> None:
        for changed in self.watchers:
            changed.set()

    @cached_property
    def assets(self) -> dict[str, tuple[bytes, str]]:
        """Content and type of the page's files by name."""
        found = [*files("infogail.studio").joinpath("static").iterdir(), *files("infogail.rendering").iterdir()]
        endings = {file: Path(file.name).suffix for file in found}
        return {file.name: (file.read_bytes(), TYPES[kind]) for file, kind in endings.items() if kind in TYPES}

    async def page(self, request: Request) -> Response:
        """The one page."""
        return self._asset("index.html")

    async def static(self, request: Request) -> Response:
        """A file of the page."""
        return self._asset(request.path_params["name"])

    def _asset(self, name: str) -> Response:
        if name not in self.assets:
            return JSONResponse({"error": "no such file"}, 404)
        content, kind = self.assets[name]
        return Response(content, media_type=kind)

    async def state(self, request: Request) -> Response:
        """All that there is to choose from."""
        if self.preparing is None or not self.preparing.done():
            return JSONResponse({"ready": False, "folder": str(self.folder)})
        return await _in_thread(self.desk.state)

    async def episodes(self, request: Request) -> Response:
        """The episodes of a file."""
        return await _in_thread(self.desk.library.episodes, request.query_params.get("file", ""))

    async def episode(self, request: Request) -> Response:
        """One episode of a file."""
        number = request.query_params.get("episode", "")
        if not number.isascii() or not number.isdigit() or len(number) > 9:
            raise BadInput("'episode' is not a number")
        return await _in_thread(self.desk.library.episode, request.query_params.get("file", ""), int(number))

    async def upload(self, request: Request) -> Response:
        """Take a file into the library."""
        data = await _body(request, MAX_UPLOAD)
        return await _in_thread(self.desk.library.upload, request.query_params.get("name", ""), data)

    async def act(self, request: Request) -> Response:
        """Change the library, or train."""
        action = request.path_params["action"]
        if action not in messages.REQUESTS:
            return JSONResponse({"error": "no such action"}, 404)
        content = messages.parse_request(await _body(request, MAX_BODY), action)
        if action in DESK_ACTIONS:
            return JSONResponse(await getattr(self.desk, action)(**content))
        return await _in_thread(getattr(self.desk.library, action), **content)

    async def film(self, request: Request) -> Response:
        """A film of a run."""
        run, name = (request.query_params.get(key, "") for key in ("run", "name"))
        return FileResponse(await asyncio.to_thread(self.desk.film_path, run, name))

    async def drive(self, socket: WebSocket) -> None:
        """A session at the wheel."""
        await self._session(socket, messages.DRIVE, lambda desk, begin: desk.driving(begin))

    async def watch(self, socket: WebSocket) -> None:
        """A session in front of the panels."""
        await self._session(socket, messages.WATCH, lambda desk, begin: desk.watching(begin))

    async def forecast(self, socket: WebSocket) -> None:
        """A session in front of a map."""
        await self._session(socket, messages.FORECAST, lambda desk, begin: desk.forecasting(begin))

    async def train(self, socket: WebSocket) -> None:
        """Tell a page about training, whenever something changes."""
        await socket.accept()
        try:
            desk = self.desk
        except BadInput as error:
            await _close(socket, Refused(REFUSED, str(error)))
            return
        changed = asyncio.Event()
        self.watchers.add(changed)

        async def tell() -> None:
            told: list[str | None] = [None, None]
            while True:
                changed.clear()
                now = desk.progress
                for k, line in enumerate(now):
                    if line is not None and line is not told[k]:
                        await socket.send_text(line)
                told = list(now)
                await changed.wait()

        async def listen() -> None:
            if await _next(socket) is not None:
                raise Refused(REFUSED, "this page only listens")

        try:
            await _first_of(tell(), listen())
        except Refused as refused:
            await _close(socket, refused)
        except BadInput as error:
            await _close(socket, Refused(REFUSED, str(error)))
        finally:
            self.watchers.discard(changed)

    async def _session(
        self,
        socket: WebSocket,
        kinds: Mapping[str, Mapping[str, Check]],
        start: Callable[[Desk, Message], Process],
    ) -> None:
        """A process for a page, until either ends."""
        await socket.accept()
        if self.sessions >= self.max_sessions:
            await _close(socket, Refused(REFUSED, f"{self.max_sessions} sessions are open; close one of them"))
            return
        self.sessions += 1
        process: Process | None = None
        try:
            line = await _next(socket)
            if line is None:
                return
            begin = messages.parse(line, kinds)
            if begin["type"] != "begin":
                raise BadMessage("the first message is not 'begin'")
            process = await asyncio.to_thread(start, self.desk, begin)
            await process.start()
            rest = {kind: fields for kind, fields in kinds.items() if kind != "begin"}
            await _first_of(_up(socket, process, rest), _down(socket, process))
        except Refused as refused:
            await _close(socket, refused)
        except BadInput as error:
            await _close(socket, Refused(REFUSED, str(error)))
        finally:
            self.sessions -= 1
            if process is not None:
                await process.close()


async def _up(socket: WebSocket, process: Process, kinds: Mapping[str, Mapping[str, Check]]) -> None:
    """Pass the page's messages on."""
    allowed, before = BURST, time.monotonic()
    while (line := await _next(socket)) is not None:
        now = time.monotonic()
        allowed, before = min(BURST, allowed + RATE * (now - before)) - 1, now
        if allowed < 0:
            raise Refused(REFUSED, f"more than {RATE:.0f} messages per second")
        message = messages.parse(line, kinds)
        if not process.send(message) and message["type"] != "pedals":  # newer pedals will follow
            raise Refused(FAILED, "the session does not answer; begin again")


async def _down(socket: WebSocket, process: Process) -> None:
    """Pass the session's messages on."""
    problem = None
    while (data := await process.receive()) is not None:
        if data.startswith(b'{"type": "error"'):
            problem = json.loads(data)["error"]
        if data.startswith(b"{"):
            await socket.send_text(data.decode())
        else:
            await socket.send_bytes(data)
    raise Refused(FAILED, problem) if problem else Refused(FINISHED, "finished")


async def _next(socket: WebSocket) -> str | None:
    """The next message of a page; None when it has gone."""
    message = await socket.receive()
    if message["type"] != "websocket.receive":
        return None
    line = message.get("text")
    if line is None:
        raise BadMessage("a message is not text")
    return line


async def _close(socket: WebSocket, refused: Refused) -> None:
    with contextlib.suppress(RuntimeError, OSError, WebSocketDisconnect):  # the page has gone already
        await socket.close(refused.code, refused.reason)


async def _first_of(*coroutines: Any) -> None:
    """Run all until one ends, and cancel the others; raises what it raised."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        error = task.exception()
        if error is not None and not isinstance(error, WebSocketDisconnect | OSError):
            raise error


async def _body(request: Request, limit: int) -> bytes:
    """The content of a request.

    Raises:
        BadMessage: it is larger than `limit` [bytes].
    """
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > limit:
            raise BadMessage(f"holds more than {limit:,} bytes")
    return bytes(data)


async def _in_thread(function: Callable[..., Any], *arguments: Any, **named: Any) -> Response:
    """Answer with the result of `function`, without keeping the sessions waiting."""
    return JSONResponse(await asyncio.to_thread(function, *arguments, **named))
