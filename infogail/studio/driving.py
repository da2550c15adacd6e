"""The room Drive: a person drives in highway-env in real time, and what they keep is recorded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from infogail.envs.catalogue import get_scenario
from infogail.envs.scenarios.styles import NO_STYLE
from infogail.runs.driver import Driver, load
from infogail.studio.library import append, count
from infogail.studio.processes import Channel, Message
from infogail.studio.simulation import COMPLETE, OpenRoad, Simulation

BEHIND = 0.5  # [s]; a session that is later than this does not try to catch up


def drive(channel: Channel, begin: Message, file: Path | None, run: Path | None, traffic: Path | None) -> None:
    """A session at the wheel; ends when the page goes.

    Args:
        begin: the page's first message, checked.
        file: where kept episodes go; None: nowhere.
        run: whose posterior guesses the style.
        traffic: a run whose drivers are the other cars, on roads of highway-env.
    """
    DrivingSession(channel, begin, file, run, traffic).run()


class DrivingSession:
    """One person's drives, one after another."""

    def __init__(
        self, channel: Channel, begin: Message, file: Path | None, run: Path | None, traffic: Path | None
    ) -> None:
        self.channel, self.file = channel, file
        self.style, self.recorder = begin["style"], begin["recorder"].strip()
        name = begin["scenario"]
        road = name.endswith(tuple(f"-v{k}" for k in range(10)))
        self.simulation: Simulation | OpenRoad = OpenRoad(name, traffic) if road else Simulation(get_scenario(name))
        self.driver: Driver | None = load(run) if run is not None else None
        self.seeds = np.random.default_rng(begin["seed"])
        self.pedals, self.at = np.zeros(2), None
        self.paused, self.left = True, False
        self.due = 0.0  # of the next step, as `time.monotonic` counts
        self.belief: np.ndarray | None = None

    def run(self) -> None:
        """Drive until the page ends it."""
        self.begin()
        while not self.left:
            for message in self.channel.messages(None if self.paused else self.due):
                self.hear(message)
            if self.paused or self.left:
                continue
            if time.monotonic() - self.due > BEHIND:
                self.due = time.monotonic()
            self.advance(self.due)
            self.due += 1 / self.simulation.rate
        self.channel.send({"type": "finished"})

    def begin(self) -> None:
        """Start an episode; it waits for the driver."""
        simulation = self.simulation
        simulation.begin(int(self.seeds.integers(2**31)))
        self.paused, self.belief = True, None
        scenario = simulation.scenario if isinstance(simulation, Simulation) else None
        self.channel.send(
            {
                "type": "begin",
                "road": simulation.road(),
                "size": list(simulation.size),
                "codes": self.driver.codes if self.driver else [],
                "num_codes": self.driver.num_codes if self.driver else None,
                "rate": scenario.policy_frequency if scenario else simulation.rate,
                "seconds": scenario.horizon / scenario.policy_frequency if scenario else None,
                "lock": scenario.steering_range[1] if scenario else None,
                "records": self.file is not None,
                "kept": count(self.file) if self.file is not None else 0,
                "others": len(simulation.env.road.vehicles) - 1,
            }
        )
        self.show(0.0, None)

    def hear(self, message: Message) -> None:
        """Act on a message of the page."""
        kind = message["type"]
        if kind == "pedals":
            self.pedals = np.array([message["acceleration"], message["steering"]])
            if self.at is None:  # the oldest that no decision has acted on
                self.at = message["at"]
            if self.paused and not self.simulation.outcome and not self.simulation.time and self.pedals.any():
                self.resume()
        elif kind == "style":
            self.style = message["style"]
        elif kind == "pause" and not self.simulation.outcome and not self.paused:
            self.paused = True
            self.channel.send({"type": "paused", "keepable": self.keepable})
        elif kind == "resume" and self.paused and not self.simulation.outcome:
            self.resume()
        elif kind == "keep" and self.paused and self.keepable:
            self.keep()
            self.begin()
        elif kind == "discard" and self.paused:
            self.channel.send({"type": "discarded"})
            self.begin()
        elif kind == "end":
            self.left = True

    def resume(self) -> None:
        """Let the episode go on."""
        self.paused, self.due = False, time.monotonic()
        self.channel.send({"type": "resumed"})

    @property
    def keepable(self) -> bool:
        """Whether the episode can be recorded: demonstrations end neither in a crash nor beside the road."""
        simulation = self.simulation
        if self.file is None or not isinstance(simulation, Simulation):
            return False
        return simulation.outcome in ("", COMPLETE) and len(simulation.states) > 1

    def keep(self) -> None:
        """Add the episode to the file; on return it is on the disk."""
        assert self.file is not None and isinstance(self.simulation, Simulation)
        source = f"by hand: {self.recorder}" if self.recorder else "by hand"
        style = min(self.style, len(self.simulation.scenario.styles) - 1)
        kept = append(self.file, self.simulation.recording(style, source))
        self.channel.send({"type": "kept", "kept": kept, "file": f"{self.file.parent.name}/{self.file.name}"})

    def advance(self, due: float) -> None:
        """Drive one physics step, which was due at this time."""
        simulation, used = self.simulation, None
        if simulation.at_decision:
            used, self.at = self.at, None
        simulation.step(lambda obs: self.pedals)
        if self.driver is not None and isinstance(simulation, Simulation) and simulation.at_decision:
            self.belief = self.driver.belief(*simulation.driven)
        self.show(due, used)
        if simulation.outcome:
            self.paused = True
            self.channel.send({"type": "ended", "outcome": simulation.outcome, **self.judged()})

    def judged(self) -> dict[str, Any]:
        """The style that the episode showed, by geometry, and whether it can be kept."""
        style = self.simulation.style() if isinstance(self.simulation, Simulation) else NO_STYLE
        names = self.simulation.scenario.styles if isinstance(self.simulation, Simulation) else ()
        return {"style": str(names[style]) if style != NO_STYLE else None, "keepable": self.keepable}

    def show(self, due: float, used: float | None) -> None:
        """Send a frame; `used` is the page's time of the input that this step acted on, if new."""
        belief = None if self.belief is None else [round(float(p), 4) for p in self.belief[-1]]
        frame = {"type": "frame", **self.simulation.frame(), **self.simulation.readings(), "belief": belief}
        pedals = [round(float(pedal), 3) for pedal in self.pedals]
        late = round(1000 * (time.monotonic() - due), 2) if due else 0.0
        self.channel.send({**frame, "pedals": pedals, "input": used, "late": late})
