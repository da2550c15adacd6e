"""The room Drive over its WebSocket: real time, recording, and that what is recorded drives alike in highway-env."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import Recording
from infogail.envs.reference import DrivingEnv
from infogail.studio.simulation import OpenRoad, Simulation, open_roads
from tests.studio.conftest import RunningStudio, until

BEGIN = {"type": "begin", "scenario": "pass", "run": None, "traffic": None, "file": "mine", "style": -1, "seed": 3}
BEGIN |= {"recorder": "Ann"}


def pedals(socket: ClientConnection, acceleration: float, steering: float, at: float = 0.0) -> None:
    socket.send(json.dumps({"type": "pedals", "acceleration": acceleration, "steering": steering, "at": at}))


def say(socket: ClientConnection, kind: str) -> None:
    socket.send(json.dumps({"type": kind}))


def drive_a_while(socket: ClientConnection, decisions: int) -> None:
    """Start the episode, let it run for this many decisions, and pause."""
    pedals(socket, 0.25, 0.0, at=5.0)
    until(socket, "frame", lambda frame: frame["t"] >= decisions / 5)
    say(socket, "pause")
    until(socket, "paused")


def test_an_episode_waits_for_the_driver_and_runs_in_real_time(studio: RunningStudio) -> None:
    with studio.socket("/ws/drive") as socket:
        socket.send(json.dumps(BEGIN))
        begun = until(socket, "begin")
        assert (begun["rate"], begun["seconds"], begun["records"], begun["others"]) == (5, 12.0, True, 1)
        assert len(begun["road"]["lanes"]) == 3
        assert until(socket, "frame")["t"] == 0
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.4)
        start = time.monotonic()
        pedals(socket, 0.5, 0.0, at=7.0)
        frames: list[dict[str, Any]] = []
        while not frames or frames[-1]["t"] < 2.0:
            frames.append(until(socket, "frame"))
        assert time.monotonic() - start > 1.8  # not faster than real time, however busy the machine is
    np.testing.assert_allclose([frame["t"] for frame in frames], np.arange(1, 31) / 15, atol=1e-3)
    assert [frame["input"] for frame in frames].count(7.0) == 1
    assert frames[-1]["pedals"] == [0.5, 0.0]
    (ego, *_), (lead, *_) = frames[-1]["cars"][0][1:], frames[-1]["cars"][1][1:]
    assert frames[-1]["gap"] == pytest.approx(lead - ego - 5.0, abs=0.1)
    assert frames[-1]["headway"] == pytest.approx(frames[-1]["gap"] / frames[-1]["speed"], abs=0.01)


def test_kept_episodes_are_demonstrations_that_drive_alike(studio: RunningStudio) -> None:
    with studio.socket("/ws/drive") as socket:
        socket.send(json.dumps({**BEGIN, "file": "alike", "style": 1}))
        for kept in (1, 2):
            drive_a_while(socket, 6)
            say(socket, "keep")
            assert until(socket, "kept")["kept"] == kept
        drive_a_while(socket, 6)
        say(socket, "discard")
        until(socket, "discarded")
        assert until(socket, "begin")["kept"] == 2
        say(socket, "end")
        until(socket, "finished")
    recording = Recording.load(studio.folder / "demos" / "alike.safetensors", get_scenario("pass"))
    assert recording.source == "by hand: Ann"
    assert recording.styles.tolist() == [1, 1]
    env = DrivingEnv("pass")
    for episode in range(2):
        obs, _ = env.reset(options={"scene": recording.scene(episode)})
        first, last = recording.demonstrations.episode_bounds[episode : episode + 2]
        states = [env.vehicle_state]
        for row in range(first, last):
            np.testing.assert_array_equal(obs, recording.demonstrations.observations[row])
            obs, *_ = env.step(recording.demonstrations.actions[row])
            states.append(env.vehicle_state)
        np.testing.assert_array_equal(np.stack(states), recording.trajectory(episode))


def test_a_crash_cannot_be_kept(studio: RunningStudio) -> None:
    with studio.socket("/ws/drive") as socket:
        socket.send(json.dumps({**BEGIN, "file": "crashes"}))
        pedals(socket, 1.0, 0.0)
        ended = until(socket, "ended")
        assert ended == {"type": "ended", "outcome": "crashed", "style": None, "keepable": False}
        say(socket, "keep")
        say(socket, "discard")
        until(socket, "discarded")
        assert until(socket, "begin")["kept"] == 0
    assert not (studio.folder / "demos" / "crashes.safetensors").exists()


def test_a_killed_server_loses_only_the_episode_being_driven(tmp_path: Path) -> None:
    running = RunningStudio(tmp_path)
    with running.socket("/ws/drive") as socket:
        socket.send(json.dumps(BEGIN))
        drive_a_while(socket, 3)
        say(socket, "keep")
        until(socket, "kept")
        pedals(socket, 0.25, 0.0)
        until(socket, "frame", lambda frame: frame["t"] > 0.5)
        running.stop(signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            while True:
                socket.recv(timeout=30)
    running.start()
    with running.socket("/ws/drive") as socket:
        socket.send(json.dumps(BEGIN))
        assert until(socket, "begin")["kept"] == 1
        drive_a_while(socket, 3)
        say(socket, "keep")
        assert until(socket, "kept")["kept"] == 2
    assert running.stop() == 0
    assert "Traceback" not in running.said()


def test_nobody_drives_for_a_damaged_file(studio: RunningStudio) -> None:
    (studio.folder / "demos").mkdir(exist_ok=True)
    (studio.folder / "demos" / "damaged.safetensors").write_bytes(b"damaged")
    with studio.socket("/ws/drive") as socket:
        socket.send(json.dumps({**BEGIN, "file": "damaged"}))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=30)
    assert closed.value.rcvd is not None and "damaged.safetensors" in closed.value.rcvd.reason


def test_a_wrong_style_is_refused(studio: RunningStudio) -> None:
    with studio.socket("/ws/drive") as socket:
        socket.send(json.dumps({**BEGIN, "file": "labelled", "style": 1}))
        until(socket, "frame")
        socket.send(json.dumps({"type": "style", "style": 2}))
        with pytest.raises(ConnectionClosed) as closed:
            until(socket, "begin")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.reason == "style 2: choose -1 (unlabelled) to 1"


def test_two_pages_record_into_one_file(studio: RunningStudio) -> None:
    with studio.socket("/ws/drive") as one, studio.socket("/ws/drive") as other:
        for socket in (one, other):
            socket.send(json.dumps({**BEGIN, "file": "shared"}))
            drive_a_while(socket, 2)
        for socket in (one, other):
            say(socket, "keep")
        assert {until(socket, "kept")["kept"] for socket in (one, other)} == {1, 2}


@pytest.mark.parametrize("name", ["pass", "turn", "highway"])
def test_a_simulation_moves_as_the_environment_does(name: str) -> None:
    simulation, env = Simulation(get_scenario(name)), DrivingEnv(name)
    simulation.begin(seed=5)
    obs, _ = env.reset(seed=5)
    rng = np.random.default_rng(0)
    for _ in range(10):
        np.testing.assert_array_equal(simulation.obs, obs)
        action = rng.uniform(-0.3, 0.3, 2).astype(np.float32)
        for _ in range(3):
            simulation.step(lambda obs, chosen=action: chosen)
        obs, *_ = env.step(action)
    np.testing.assert_array_equal(simulation.states[-1], env.vehicle_state)
    assert simulation.time == pytest.approx(2.0)


def test_the_posterior_is_asked_at_decisions_only() -> None:
    class Certain:
        """A driver whose posterior counts how often it is asked."""

        asked = 0

        def belief(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
            self.asked += 1
            return np.tile((0.25, 0.75), (len(actions) + 1, 1))

    driver: Any = Certain()
    simulation = Simulation(get_scenario("pass"), driver)
    simulation.begin(seed=0)
    for _ in range(7):
        simulation.step(lambda obs: np.zeros(2))
    assert driver.asked == 1 + 2 and simulation.belief == [0.25, 0.75]


@pytest.mark.parametrize("road", open_roads())
def test_every_road_can_be_driven(road: str) -> None:
    simulation = OpenRoad(road)
    simulation.begin(seed=0)
    lanes, first = simulation.road()["lanes"], simulation.frame()
    for _ in range(15):
        simulation.step(lambda obs: np.array([0.2, 0.0]))
    assert lanes and first["t"] == 0
    assert simulation.frame()["cars"][0][1:3] != first["cars"][0][1:3]
    assert np.isfinite(simulation.readings()["speed"])
