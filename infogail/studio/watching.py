"""The room Watch: trained drivers from the same start, one panel each, whose code may be turned in mid-drive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE
from infogail.envs.tasks import GymTask
from infogail.rendering.camera import draw_offscreen
from infogail.rendering.environment_film import keep_picture
from infogail.runs.driver import Driver, load
from infogail.runs.folder import DEMONSTRATIONS
from infogail.studio.processes import Channel, Message
from infogail.studio.session import Session
from infogail.studio.simulation import Simulation, belief_after

FPS = 15  # [Hz] at most, of environments that are sent as pictures


def watch(channel: Channel, begin: Message, runs: Sequence[Path]) -> None:
    """A session in front of the panels; ends when the page goes.

    Args:
        begin: the page's first message, checked.
        runs: the run of each panel.
    """
    drivers = {run: load(run) for run in dict.fromkeys(runs)}
    kinds = {isinstance(driver.task, GymTask) for driver in drivers.values()}
    if len(kinds) > 1:
        raise BadInput("driving scenarios and other environments cannot be watched side by side; choose one kind")
    codes = [panel["code"] for panel in begin["panels"]]
    for driver, code in zip((drivers[run] for run in runs), codes, strict=True):
        check_code(driver, code)
    panel_type = PicturePanel if kinds.pop() else DrivingPanel
    panels = [panel_type(drivers[run], run, code) for run, code in zip(runs, codes, strict=True)]
    WatchSession(channel, panels, begin).run()


def check_code(driver: Driver, code: float) -> None:
    """Raise BadInput if the driver has no such code."""
    if code not in driver.codes and not (driver.graded and -1 <= code <= 1):
        raise BadInput(f"code {code:g}: this run has {driver.codes[0]} to {driver.codes[-1]}; choose one of them")


class DrivingPanel:
    """One driver in highway-env."""

    kind = "driving"

    def __init__(self, driver: Driver, run: Path, code: float) -> None:
        self.driver, self.code, self.label = driver, code, run.name
        self.recording = Recording.load(run / DEMONSTRATIONS, driver.scenario)
        self.simulation = Simulation(self.recording.scenario, driver)
        self.rate = self.simulation.rate
        self.num_demonstrations = self.recording.demonstrations.num_episodes
        self.ghost: np.ndarray | None = None

    def begin(self, seed: int, demonstration: int | None) -> None:
        """Start an episode, drawn with `seed`, or where a demonstration started, which then drives along as a ghost."""
        if demonstration is None and self.recording.scenario.recorded:
            demonstration = seed % self.num_demonstrations  # recorded traffic exists around demonstrations only
        if demonstration is None:
            self.simulation.begin(seed)
            self.ghost = None
            return
        if demonstration >= self.num_demonstrations:
            last = self.num_demonstrations - 1
            raise BadInput(f"demonstration {demonstration}: the last one is {last}; choose one up to it")
        self.simulation.begin(scene=self.recording.scene(demonstration))
        self.ghost = self.recording.trajectory(demonstration)[:, 0]

    def opening(self) -> dict[str, Any]:
        """What does not change during the episode."""
        simulation, driver = self.simulation, self.driver
        return {
            "road": simulation.road(),
            "size": list(simulation.size),
            "codes": driver.codes[: driver.num_distinct],
            "names": driver.names,
            "graded": driver.graded,
            "code": self.code,
            "label": self.label,
            "seconds": simulation.seconds,
        }

    @property
    def ended(self) -> bool:
        """Whether the episode has."""
        return bool(self.simulation.outcome)

    def step(self) -> None:
        """One physics step."""
        self.simulation.step(lambda obs: self.driver.act(obs, self.code))

    def frame(self) -> dict[str, Any]:
        """What changes."""
        simulation = self.simulation
        readings, action = simulation.readings(), simulation.actions[-1] if simulation.actions else np.zeros(2)
        return {
            **simulation.frame(),
            "code": self.code,
            "speed": readings["speed"],
            "headway": readings["headway"],
            "acceleration": round(float(np.interp(action[0], (-1, 1), ACCELERATION_RANGE)), 2),
            "belief": simulation.belief,
            "outcome": simulation.outcome,
            "ghost": self._ghost_now(),
        }

    def picture(self) -> bytes | None:
        """None: driving is drawn by the page."""
        return None

    def _ghost_now(self) -> list[float] | None:
        if self.ghost is None:
            return None
        now, last = self.simulation.time * self.simulation.decision_rate, len(self.ghost) - 1
        if now > last:
            return None
        x, y, heading = (np.interp(now, np.arange(last + 1), self.ghost[:, k]) for k in range(3))
        return [round(float(x), 3), round(float(y), 3), round(float(heading), 4)]


class PicturePanel:
    """One policy in any Gymnasium environment that can draw itself."""

    kind = "frames"
    num_demonstrations = 0

    def __init__(self, driver: Driver, run: Path, code: float) -> None:
        assert isinstance(driver.task, GymTask)
        draw_offscreen()
        self.driver, self.code, self.label = driver, code, run.name
        self.interface = driver.task.interface
        self.env = driver.task.make(render_mode="rgb_array")
        self.rate = min(FPS, self.env.metadata.get("render_fps") or FPS)

    def begin(self, seed: int, demonstration: int | None) -> None:
        """Start an episode from `seed`."""
        self.raw, _ = self.env.reset(seed=seed)
        self.observations: list[np.ndarray] = []
        self.actions: list[np.ndarray] = []
        self.collected, self.ended, self.outcome = 0.0, False, ""
        self.belief: list[float] | None = None

    def opening(self) -> dict[str, Any]:
        """What does not change during the episode."""
        seconds = self.interface.spec.horizon / self.rate
        codes, graded = self.driver.codes[: self.driver.num_distinct], self.driver.graded
        what = {"codes": codes, "names": self.driver.names, "graded": graded, "code": self.code}
        return what | {"label": self.label, "seconds": seconds}

    def step(self) -> None:
        """One decision."""
        self.observations.append(self.interface.observation(self.raw))
        self.actions.append(self.driver.act(self.observations[-1], self.code))
        action = self.interface.decode(self.actions[-1][None])[0]
        self.raw, reward, terminated, truncated, _ = self.env.step(action)
        self.collected += float(reward)
        self.ended = bool(terminated or truncated)
        self.outcome = "terminated" if terminated else "time limit" if truncated else ""
        self.belief = belief_after(self.driver, np.stack(self.observations), np.stack(self.actions))

    def frame(self) -> dict[str, Any]:
        """What changes, apart from the picture."""
        return {
            "t": round(len(self.actions) / self.rate, 3),
            "code": self.code,
            "return": round(self.collected, 3),
            "belief": self.belief,
            "outcome": self.outcome,
        }

    def picture(self) -> bytes | None:
        """The environment's picture as JPEG."""
        pictures: list[np.ndarray] = []
        keep_picture(self.env, pictures)
        return cv2.imencode(".jpg", cv2.cvtColor(pictures[0], cv2.COLOR_RGB2BGR))[1].tobytes()


class WatchSession(Session):
    """Panels that advance together."""

    def __init__(self, channel: Channel, panels: Sequence[DrivingPanel | PicturePanel], begin: Message) -> None:
        super().__init__(channel)
        self.panels, self.speed = panels, begin["speed"]
        self.seed, self.demonstration = begin["seed"], begin["demonstration"]

    @property
    def rate(self) -> float:
        """Steps per second, at the chosen speed."""
        return self.panels[0].rate * self.speed

    def begin(self) -> None:
        """Start an episode in each panel, and play."""
        for panel in self.panels:
            panel.begin(self.seed, self.demonstration)
        self.channel.send(
            {
                "type": "begin",
                "kind": self.panels[0].kind,
                "panels": [panel.opening() for panel in self.panels],
                "demonstrations": min(panel.num_demonstrations for panel in self.panels),
                "demonstration": self.demonstration,
            }
        )
        self.show()
        self.go()

    @property
    def ended(self) -> bool:
        """Whether all episodes have."""
        return all(panel.ended for panel in self.panels)

    def hear(self, message: Message) -> None:
        """Act on a message of the page."""
        kind = message["type"]
        if kind == "code":
            if message["panel"] < len(self.panels):
                panel = self.panels[message["panel"]]
                check_code(panel.driver, message["code"])
                panel.code = message["code"]
        elif kind == "play":
            if not self.ended:
                self.go()
        elif kind == "pause":
            self.going = False
        elif kind == "step":
            self.going = False
            self.advance()
        elif kind == "speed":
            self.speed = message["speed"]
        elif kind == "restart":
            self.seed, self.demonstration = message["seed"], message["demonstration"]
            self.begin()

    def advance(self) -> None:
        """One step in each panel that has not ended."""
        going = [panel for panel in self.panels if not panel.ended]
        for panel in going:
            panel.step()
        if going:
            self.show()
        if self.ended and self.going:
            self.going = False
            self.channel.send({"type": "ended"})

    def show(self) -> None:
        """Send a frame of each panel, and its picture where there is one."""
        self.channel.send({"type": "frame", "panels": [panel.frame() for panel in self.panels]})
        for number, panel in enumerate(self.panels):
            if (picture := panel.picture()) is not None:
                self.channel.send(bytes([number]) + picture)
