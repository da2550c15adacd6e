"""The rooms Train and Watch over HTTP and WebSockets."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from infogail.cli import main
from infogail.envs.catalogue import get_scenario
from infogail.envs.gym_environment import record_policy
from infogail.envs.recordings.record import record
from infogail.envs.tasks import GymTask
from infogail.runs.driver import load
from tests.studio.conftest import PATIENCE, RunningStudio, until

TRAIN = {"file": "demos/pass.safetensors", "algorithm": "infogail", "num_codes": None, "graded": None}
TRAIN |= {"preset": "default", "seed": 3, "name": None}


@pytest.fixture(scope="module")
def furnished(studio: RunningStudio) -> RunningStudio:
    """A studio with demonstrations of pass and of CartPole."""
    record(get_scenario("pass"), 20, seed=0)[0].save(studio.folder / "demos" / "pass.safetensors")
    env = GymTask("CartPole-v1").make()
    policy = lambda observation: int(observation[2] + observation[3] > 0)  # noqa: E731
    record_policy(env, policy, 5, seed=0).save(studio.folder / "demos" / "cartpole.safetensors")
    env.close()
    return studio


def follow_to_the_end(socket: ClientConnection) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The last state of a training, and all shows of the policy until then."""
    shows, deadline = [], time.monotonic() + 2 * PATIENCE
    while time.monotonic() < deadline:
        message = json.loads(socket.recv(timeout=PATIENCE))
        if message["type"] == "episodes":
            shows.append(message)
        elif message["state"] not in ("idle", "training"):
            return message, shows
    raise TimeoutError


def trained(studio: RunningStudio, **changes: Any) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    with studio.socket("/ws/train") as socket:
        assert until(socket, "state")["state"] != "training"
        status, answer = studio.post("/api/train", {**TRAIN, **changes})
        assert status == 200, answer
        until(socket, "state", lambda message: message["run"] == answer["run"])
        return (answer["run"], *follow_to_the_end(socket))


@pytest.fixture(scope="module")
def run(furnished: RunningStudio) -> str:
    """A run of pass."""
    name, state, shows = trained(furnished)
    assert state["state"] == "finished" and state["done"] == 1, state
    assert state["iteration"] == state["iterations"] and len(state["log"]["imitation reward"]) == state["iteration"]
    assert set(state["log"]) == {
        "style NMI",
        "imitation reward",
        "information reward",
        "discriminator loss",
        "posterior cross-entropy",
        "success rate",
    }
    final = shows[-1]["episodes"]
    assert [episode["code"] for episode in final] == [0, 1]
    assert len(final[0]["frames"][0]) == 2 and final[0]["frames"][0] == final[1]["frames"][0]
    return name


def test_a_run_has_the_bits_of_the_command_line(furnished: RunningStudio, run: str, tmp_path: Path) -> None:
    file = furnished.folder / TRAIN["file"]
    main(["train", "pass", "--demonstrations", str(file), "--seed", "3", "--out", str(tmp_path / "run")])
    files = [furnished.folder / run, tmp_path / "run"]
    assert len({(path / "policy.safetensors").read_bytes() for path in files}) == 1


def test_runs_are_listed_and_deleted(furnished: RunningStudio, run: str) -> None:
    entry = next(entry for entry in furnished.get("/api/state")[1]["runs"] if entry["name"] == run)
    assert (entry["task"], entry["algorithm"], entry["codes"], entry["state"]) == (
        "pass",
        "infogail",
        [0, 1],
        "finished",
    )
    assert entry["posterior"] and sum(entry["prior"]) == pytest.approx(1.0)


def test_a_stopped_run_is_resumed(furnished: RunningStudio) -> None:
    with furnished.socket("/ws/train") as socket:
        _, answer = furnished.post("/api/train", {**TRAIN, "seed": 5})
        assert furnished.post("/api/train", TRAIN)[0] == 400  # one at a time
        until(socket, "state", lambda message: message["run"] == answer["run"] and message["iteration"] >= 1)
        assert furnished.post("/api/delete", {"names": [answer["run"]]})[0] == 400  # it is being trained
        furnished.post("/api/stop", {})
        stopped, _ = follow_to_the_end(socket)
        assert stopped["state"] == "stopped" and 1 <= stopped["iteration"] < stopped["iterations"]
        assert furnished.post("/api/resume", {"run": answer["run"]})[0] == 200
        until(socket, "state", lambda message: message["state"] == "training")
        assert follow_to_the_end(socket)[0]["state"] == "finished"


def test_what_cannot_be_trained_is_told(furnished: RunningStudio) -> None:
    status, answer = furnished.post("/api/train", {**TRAIN, "algorithm": "gail", "preset": "no such"})
    assert status == 400 and "no such algorithm or preset" in answer["error"]
    name, state, _ = trained(furnished, preset="trpo", algorithm="bc", name="odd")
    assert name == "runs/odd" and state["state"] in ("finished", "failed")


def test_any_environment_is_trained_and_watched_in_pictures(furnished: RunningStudio) -> None:
    name, state, shows = trained(furnished, file="demos/cartpole.safetensors", algorithm="bc")
    assert state["state"] == "finished" and shows == []
    with furnished.socket("/ws/watch") as socket:
        begin = {"type": "begin", "panels": [{"run": name, "code": 0}], "seed": 1, "demonstration": None, "speed": 8}
        socket.send(json.dumps(begin))
        assert until(socket, "begin")["kind"] == "frames"
        picture = next(data for _ in range(10) if isinstance(data := socket.recv(timeout=PATIENCE), bytes))
        assert picture[0] == 0 and picture[1:4] == b"\xff\xd8\xff"
        until(socket, "frame", lambda frame: frame["panels"][0]["return"] >= 3)


def watching(run: str, **changes: Any) -> str:
    panels = [{"run": run, "code": code} for code in (0, 1)]
    begin = {"type": "begin", "panels": panels, "seed": 1, "demonstration": None, "speed": 8.0}
    return json.dumps({**begin, **changes})


def test_codes_part_from_the_same_start(furnished: RunningStudio, run: str) -> None:
    with furnished.socket("/ws/watch") as socket:
        socket.send(watching(run))
        begun = until(socket, "begin")
        assert begun["kind"] == "driving" and begun["demonstrations"] == 20
        first = until(socket, "frame")["panels"]
        assert first[0]["cars"] == first[1]["cars"]
        beside = until(socket, "frame", lambda m: abs(m["panels"][0]["cars"][0][2] - m["panels"][1]["cars"][0][2]) > 4)
        assert sum(beside["panels"][0]["belief"]) == pytest.approx(1.0, abs=1e-3)
        until(socket, "ended")


def test_a_code_may_be_turned_in_mid_drive(furnished: RunningStudio, run: str) -> None:
    """Both panels have the same code, until one is turned: only then do they part."""
    with furnished.socket("/ws/watch") as socket:
        socket.send(watching(run, panels=[{"run": run, "code": 0}] * 2, speed=2.0))
        alike = until(socket, "frame", lambda frame: frame["panels"][0]["t"] >= 1.0)["panels"]
        assert alike[0]["cars"] == alike[1]["cars"]
        socket.send(json.dumps({"type": "code", "panel": 1, "code": 1}))
        apart = until(socket, "frame", lambda m: abs(m["panels"][0]["cars"][0][2] - m["panels"][1]["cars"][0][2]) > 1)
        assert [panel["code"] for panel in apart["panels"]] == [0, 1]


def test_playing_can_be_paused_stepped_and_restarted(furnished: RunningStudio, run: str) -> None:
    with furnished.socket("/ws/watch") as socket:
        socket.send(watching(run, speed=1.0))
        last = until(socket, "frame", lambda frame: frame["panels"][0]["t"] > 0.2)["panels"][0]["t"]
        socket.send(json.dumps({"type": "pause"}))
        with pytest.raises(TimeoutError):
            while True:
                last = json.loads(socket.recv(timeout=1.5))["panels"][0]["t"]
        socket.send(json.dumps({"type": "step"}))
        assert until(socket, "frame")["panels"][0]["t"] == pytest.approx(last + 1 / 15, abs=1e-3)
        socket.send(json.dumps({"type": "restart", "seed": 2, "demonstration": 4}))
        begun = until(socket, "begin")
        frame = until(socket, "frame")["panels"][0]
        recording_start = furnished.get(f"/api/episode?file={TRAIN['file']}&episode=4")[1]["frames"][0]
        assert begun["demonstration"] == 4 and frame["t"] == 0
        np.testing.assert_allclose(frame["ghost"][:2], recording_start[0][:2], atol=2e-2)
        np.testing.assert_allclose(frame["cars"][1][1:3], recording_start[1][:2], atol=2e-2)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"demonstration": 99}, "the last one is 19"),
        ({"panels": [{"run": "runs/pass-infogail-3", "code": 7}]}, "this run has 0 to 1"),
        ({"panels": [{"run": "runs/none", "code": 0}]}, "no such run"),
        ({"panels": []}, "'panels' is not valid"),
        ({"speed": 100}, "'speed' is not valid"),
    ],
)
def test_what_cannot_be_watched_is_told(
    furnished: RunningStudio, run: str, changes: dict[str, Any], reason: str
) -> None:
    with furnished.socket("/ws/watch") as socket:
        socket.send(watching(run, **changes))
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                socket.recv(timeout=PATIENCE)
    assert closed.value.rcvd is not None and reason in closed.value.rcvd.reason


def test_the_posterior_guesses_the_style_of_who_drives(furnished: RunningStudio, run: str) -> None:
    """A demonstrator at the wheel: in the end the belief is that of the posterior for its observations and actions."""
    begin = {"type": "begin", "scenario": "pass", "run": run, "traffic": None, "file": None, "style": -1, "seed": 1}
    with furnished.socket("/ws/drive") as socket:
        socket.send(json.dumps({**begin, "recorder": ""}))
        assert until(socket, "begin")["codes"] == [0, 1]
        prior = load(furnished.folder / run).prior
        assert until(socket, "frame")["belief"] == pytest.approx(prior, abs=1e-4)
        socket.send(json.dumps({"type": "pedals", "acceleration": 0.1, "steering": 0.3, "at": 1.0}))
        beliefs = [until(socket, "frame")["belief"] for _ in range(6)]
    assert beliefs[-1] is not None and sum(beliefs[-1]) == pytest.approx(1.0, abs=1e-3)
    assert not np.allclose(beliefs[-1], prior, atol=1e-3)


def test_a_film_is_made(furnished: RunningStudio, run: str) -> None:
    assert furnished.post("/api/film", {"run": run, "seed": 0})[0] == 200
    deadline = time.monotonic() + 3 * PATIENCE
    while True:
        entry = next(entry for entry in furnished.get("/api/state")[1]["runs"] if entry["name"] == run)
        assert not entry["filming"], entry["filming"]
        if entry["films"] and entry["filming"] is None:
            break
        assert time.monotonic() < deadline
        time.sleep(0.5)
    status, film, headers = furnished.request("GET", f"/film?run={run}&name=codes.mp4")
    assert status == 200 and film[4:8] == b"ftyp" and headers["content-type"] == "video/mp4"
