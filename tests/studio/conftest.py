"""A studio in a process of its own, as `infogail studio` starts it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.studio.keys import wait

PATIENCE = 60.0  # [s]
READY = "document.getElementById('drive-start') !== null"


class RunningStudio:
    """The process, and a client of it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options = folder, options
        self.start()

    def start(self, port: int = 0) -> None:
        """Start it, and wait until it is ready."""
        command = [sys.executable, "-m", "infogail", "studio", str(self.folder), "--port", str(port), *self.options]
        self.errors = (self.folder / ".errors").open("w+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"studio: (http://127\.0\.0\.1:(\d+)/\?token=([\w-]+))\n", line)
        assert found, line + self.said()
        self.address, self.port, self.token = found[1], int(found[2]), found[3]
        self.host = f"127.0.0.1:{self.port}"
        self.cookie = f"infogail-studio-{self.port}={self.token}"
        deadline = time.monotonic() + PATIENCE
        while not self.get("/api/state")[1].get("ready"):
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def said(self) -> str:
        """What it wrote on standard error."""
        self.errors.seek(0)
        return self.errors.read()

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, content and headers of the answer; `headers` replace the cookie."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request(method, path, body, {"Cookie": self.cookie} if headers is None else headers)
        response = connection.getresponse()
        answer = response.status, response.read(), {key.lower(): value for key, value in response.getheaders()}
        connection.close()
        return answer

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON."""
        status, content, _ = self.request("GET", path)
        return status, json.loads(content)

    def post(self, path: str, content: Any) -> tuple[int, Any]:
        """Status and JSON."""
        status, answer, _ = self.request("POST", path, json.dumps(content).encode())
        return status, json.loads(answer)

    def socket(self, path: str, **options: Any) -> ClientConnection:
        """A WebSocket of the studio's own page."""
        options = {"additional_headers": {"Cookie": self.cookie}, "origin": f"http://{self.host}"} | options
        return connect(f"ws://{self.host}{path}", **options)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop it; returns its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


def until(socket: ClientConnection, kind: str, suits: Callable[[dict[str, Any]], bool] = lambda _: True) -> Any:
    """The next message of this kind that `suits`."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        data = socket.recv(timeout=PATIENCE)
        if isinstance(data, str) and (message := json.loads(data))["type"] == kind and suits(message):
            return message
    raise TimeoutError(kind)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    """A studio over an empty folder, for all tests of a module."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    running = RunningStudio(tmp_path_factory.mktemp("studio"))
    yield running
    if running.process.poll() is None:
        running.stop()
    assert "Traceback" not in running.said()


class Opened:
    """A page, and all that went wrong in it or left this machine."""

    def __init__(self, chromium: Any, studio: RunningStudio, **options: Any) -> None:
        options = {"viewport": {"width": 1280, "height": 900}} | options
        self.context = chromium.new_context(**options)
        self.page, self.problems, self.requests = self.context.new_page(), list[str](), list[Any]()
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.goto(studio.address)
        wait(self.page, READY)


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Any]:
    """Opens pages of a studio, whose problems fail the test."""
    opened: list[Opened] = []

    def open(studio: RunningStudio, **options: Any) -> Any:
        opened.append(Opened(chromium, studio, **options))
        return opened[-1].page

    yield open
    for each in opened:
        each.context.close()
        assert not each.problems


def go(page: Any, room: str) -> None:
    page.get_by_role("link", name=room).click()
    page.locator(f"#{room.lower()}").wait_for()
