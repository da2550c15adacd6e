"""Only the studio's own page, with the token, is answered."""

from __future__ import annotations

import json
import random

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.studio.conftest import RunningStudio, until

PATHS = ("/", "/static/app.js", "/api/state", "/api/episodes?file=x", "/film?run=x&name=y", "/nowhere")
DRIVE = {"type": "begin", "scenario": "pass", "run": None, "traffic": None, "file": None, "style": -1, "seed": 1}
DRIVE |= {"recorder": ""}


@pytest.mark.parametrize("path", PATHS)
def test_without_the_cookie_nothing_is_answered(studio: RunningStudio, path: str) -> None:
    assert studio.request("GET", path, headers={})[0] == 401
    other = "y" if studio.token.endswith("x") else "x"
    wrong = {"Cookie": f"infogail-studio-{studio.port}={studio.token[:-1]}{other}"}
    assert studio.request("GET", path, headers=wrong)[0] == 401


def test_the_printed_address_gives_the_cookie(studio: RunningStudio) -> None:
    status, _, headers = studio.request("GET", f"/?token={studio.token}", headers={})
    assert (status, headers["location"]) == (303, "/")
    assert headers["set-cookie"].startswith(studio.cookie)
    assert "httponly" in headers["set-cookie"].lower() and "samesite=strict" in headers["set-cookie"].lower()
    assert studio.request("GET", "/?token=guessed", headers={})[0] == 401
    assert studio.request("GET", "/")[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", ""])
def test_other_hosts_are_refused(studio: RunningStudio, host: str) -> None:
    status, _, _ = studio.request("GET", "/api/state", headers={"Cookie": studio.cookie, "Host": host})
    assert status == 403


def test_other_origins_are_refused(studio: RunningStudio) -> None:
    for origin in ("https://evil.example", "null", f"http://localhost:{studio.port}", f"https://{studio.host}"):
        headers = {"Cookie": studio.cookie, "Origin": origin}
        assert studio.request("POST", "/api/stop", b"{}", headers)[0] == 403
        with pytest.raises(InvalidStatus) as refused:
            studio.socket("/ws/drive", origin=origin)
        assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus) as refused:
        studio.socket("/ws/drive", additional_headers={})
    assert refused.value.response.status_code == 401


def test_the_policy_forbids_everything_from_elsewhere(studio: RunningStudio) -> None:
    headers = studio.request("GET", "/")[2]
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/static/../access.py", "/static/%2e%2e/access.py", "/static/%2e%2e%2faccess.py", "/static/film.py", "/static/"],
)
def test_only_the_pages_own_files_are_served(studio: RunningStudio, path: str) -> None:
    assert studio.request("GET", path)[0] == 404


@pytest.mark.parametrize(
    ("action", "content"),
    [
        ("delete", {"names": ["../../etc/passwd"]}),
        ("delete", {"names": ["demos"]}),
        ("split", {"name": "/etc/passwd", "episodes": [0], "out": "x"}),
        ("split", {"name": "demos/x.safetensors", "episodes": [0], "out": "../x"}),
        ("train", {"file": "x", "algorithm": "infogail", "preset": "default", "seed": 0, "name": None}),
        ("resume", {"run": "../runs"}),
        ("film", {"run": "runs/none", "seed": 0}),
        ("stop", []),
        ("merge", {"names": [], "out": "x"}),
        ("upload/x", {}),
        ("__class__", {}),
    ],
)
def test_bad_requests_are_refused_in_one_line(studio: RunningStudio, action: str, content: object) -> None:
    status, answer, _ = studio.request("POST", f"/api/{action}", json.dumps(content).encode())
    assert status in (400, 404)
    assert b"Traceback" not in answer and answer.count(b"\n") <= 1


def test_large_and_deep_requests_are_refused(studio: RunningStudio) -> None:
    assert studio.request("POST", "/api/delete", b"[" * 60_000)[0] == 400
    assert studio.request("POST", "/api/delete", b" " * 70_000)[0] == 400
    assert studio.get("/api/state")[1]["ready"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "no type"),
        (json.dumps({**DRIVE, "scenario": "nowhere"}), "no such scenario"),
        (json.dumps({**DRIVE, "run": "../x"}), "no such run"),
        (json.dumps({**DRIVE, "file": "../x"}), "'file' is not valid"),
        (json.dumps({**DRIVE, "style": 0.5}), "'style' is not valid"),
        (json.dumps({**DRIVE, "more": 1}), "unknown field"),
        (json.dumps({"type": "pedals", "acceleration": 0, "steering": 0, "at": 0}), "'begin'"),
        (json.dumps({**DRIVE, "recorder": "x" * 5000}), "at most 4096"),
    ],
)
def test_a_bad_first_message_ends_the_session_with_a_reason(studio: RunningStudio, message: str, reason: str) -> None:
    with studio.socket("/ws/drive") as socket:
        socket.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                socket.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008 and reason in closed.value.rcvd.reason


def test_ten_thousand_random_messages_break_nothing(studio: RunningStudio) -> None:
    rng = random.Random(0)
    words = [
        "type",
        "begin",
        "pedals",
        "acceleration",
        "steering",
        "at",
        "keep",
        "style",
        "panels",
        "run",
        "code",
        "seed",
    ]

    def scrap(depth: int = 0) -> object:
        kind = rng.randrange(9 if depth < 3 else 6)
        match kind:
            case 0:
                return rng.choice([None, True, False])
            case 1:
                return rng.choice([0, 1, -1, 10**30, 0.5, -1e308, float("nan"), float("inf")])
            case 2 | 3:
                return rng.choice(words)
            case 4:
                return "".join(chr(rng.randrange(32, 0x2FFF)) for _ in range(rng.randrange(20)))
            case 5:
                return rng.choice(["../..", "\x00", "demos/x.safetensors", "é" * 300])
            case 6:
                return [scrap(depth + 1) for _ in range(rng.randrange(4))]
            case _:
                return {str(rng.choice(words)): scrap(depth + 1) for _ in range(rng.randrange(5))}

    sent, reasons = 0, []
    while sent < 10_000:
        path = rng.choice(["/ws/drive", "/ws/watch", "/ws/train"])
        with studio.socket(path) as socket:
            started = path == "/ws/drive" and rng.random() < 0.02
            if started:
                socket.send(json.dumps(DRIVE))
                until(socket, "frame")
            for _ in range(rng.randrange(1, 60)):
                raw = rng.random()
                line: str | bytes = json.dumps(
                    {"type": rng.choice(words), **{w: scrap() for w in rng.sample(words, 3)}}
                )
                if raw < 0.3:
                    line = rng.randbytes(rng.randrange(200))
                elif raw < 0.6:
                    line = json.dumps(scrap())
                try:
                    socket.send(line)
                except ConnectionClosed:
                    break
                finally:
                    sent += 1
            try:
                while True:
                    answer = socket.recv(timeout=30)
                    assert "Traceback" not in str(answer)
            except ConnectionClosed as closed:
                if closed.rcvd is None:
                    continue  # it was closed while this end was still sending
                reasons.append(closed.rcvd.reason)
                assert closed.rcvd.code == 1008 and "Traceback" not in closed.rcvd.reason
    assert len(reasons) > 100 and len(set(reasons)) > 5
    assert studio.get("/api/state")[0] == 200
    assert "Traceback" not in studio.said()


def test_sessions_are_limited(studio: RunningStudio) -> None:
    sockets = [studio.socket("/ws/drive") for _ in range(8)]
    with studio.socket("/ws/drive") as ninth, pytest.raises(ConnectionClosed) as closed:
        ninth.recv(timeout=30)
    assert closed.value.rcvd is not None and "8 sessions" in closed.value.rcvd.reason
    for socket in sockets:
        socket.close()
    with studio.socket("/ws/drive") as again:
        again.send(json.dumps(DRIVE))
        assert until(again, "begin")["rate"] == 5


def test_too_many_messages_end_the_session(studio: RunningStudio) -> None:
    with studio.socket("/ws/drive") as socket:
        socket.send(json.dumps(DRIVE))
        until(socket, "frame")
        with pytest.raises(ConnectionClosed) as closed:
            for k in range(5000):
                socket.send(json.dumps({"type": "pedals", "acceleration": 0, "steering": 0, "at": k}))
            while True:
                socket.recv(timeout=30)
    assert closed.value.rcvd is not None and "messages per second" in closed.value.rcvd.reason
