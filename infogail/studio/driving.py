"""The room Drive: a person drives in highway-env in real time, and what they keep is recorded."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from infogail.envs.catalogue import get_scenario, is_environment
from infogail.envs.errors import BadInput
from infogail.envs.scenarios.styles import NO_STYLE
from infogail.runs.driver import load
from infogail.studio.library import append, count
from infogail.studio.processes import Channel, Message
from infogail.studio.session import Session
from infogail.studio.simulation import OpenRoad, Simulation


def drive(channel: Channel, begin: Message, file: Path | None, run: Path | None, traffic: Path | None) -> None:
    """A session at the wheel; ends when the page goes.

    Args:
        begin: the page's first message, checked.
        file: where kept episodes go; None: nowhere.
        run: whose posterior guesses the style.
        traffic: a run whose drivers are the other cars, on roads of highway-env.
    """
    DrivingSession(channel, begin, file, run, traffic).run()


class DrivingSession(Session):
    """One person's drives, one after another."""

    def __init__(
        self, channel: Channel, begin: Message, file: Path | None, run: Path | None, traffic: Path | None
    ) -> None:
        super().__init__(channel)
        self.file, self.recorder, name = file, begin["recorder"].strip(), begin["scenario"]
        self.driver = load(run) if run is not None else None
        self.simulation: Simulation | OpenRoad = (
            OpenRoad(name, traffic) if is_environment(name) else Simulation(get_scenario(name), self.driver)
        )
        self.label(begin["style"])
        self.seeds = np.random.default_rng(begin["seed"])
        self.pedals, self.at = np.zeros(2), None

    @property
    def rate(self) -> float:
        """Physics steps per second."""
        return self.simulation.rate

    def begin(self) -> None:
        """Start an episode; it waits for the driver."""
        simulation, self.going = self.simulation, False
        simulation.begin(int(self.seeds.integers(2**31)))
        self.channel.send(
            {
                "type": "begin",
                "road": simulation.road(),
                "size": list(simulation.size),
                "codes": self.driver.codes if self.driver else [],
                "names": self.driver.names if self.driver else [],
                "num_codes": self.driver.num_codes if self.driver else None,
                "rate": simulation.decision_rate,
                "seconds": simulation.seconds,
                "lock": simulation.lock,
                "records": self.file is not None,
                "kept": count(self.file) if self.file is not None else 0,
                "others": len(simulation.env.road.vehicles) - 1,
            }
        )
        self.show(None)

    def hear(self, message: Message) -> None:
        """Act on a message of the page."""
        kind, ended = message["type"], bool(self.simulation.outcome)
        if kind == "pedals":
            self.pedals = np.array([message["acceleration"], message["steering"]])
            if self.at is None:  # the oldest that no decision has acted on
                self.at = message["at"]
            if not self.going and not ended and not self.simulation.time and self.pedals.any():
                self.resume()
        elif kind == "style":
            self.label(message["style"])
        elif kind == "pause" and self.going:
            self.going = False
            self.channel.send({"type": "paused", "keepable": self.keepable})
        elif kind == "resume" and not self.going and not ended:
            self.resume()
        elif kind == "keep" and not self.going and self.keepable:
            self.keep()
            self.begin()
        elif kind == "discard" and not self.going:
            self.channel.send({"type": "discarded"})
            self.begin()
        elif kind == "end":
            self.over = True
            self.channel.send({"type": "finished"})

    def label(self, style: int) -> None:
        """Note the style that is driven; raises BadInput if there is none such."""
        most = len(self.simulation.styles) - 1
        if not NO_STYLE <= style <= most:
            raise BadInput(f"style {style}: choose {NO_STYLE} (unlabelled){f' to {most}' if most >= 0 else ''}")
        self.style = style

    def resume(self) -> None:
        """Let the episode go on."""
        self.go()
        self.channel.send({"type": "resumed"})

    @property
    def keepable(self) -> bool:
        """Whether the episode can be kept."""
        return self.file is not None and self.simulation.keepable

    def keep(self) -> None:
        """Add the episode to the file; on return it is on the disk."""
        assert self.file is not None
        source = f"by hand: {self.recorder}" if self.recorder else "by hand"
        kept = append(self.file, self.simulation.recording(self.style, source))
        self.channel.send({"type": "kept", "kept": kept, "file": f"{self.file.parent.name}/{self.file.name}"})

    def advance(self) -> None:
        """Drive one physics step."""
        simulation, used = self.simulation, None
        if simulation.at_decision:
            used, self.at = self.at, None
        simulation.step(lambda obs: self.pedals)
        self.show(used)
        if simulation.outcome:
            self.going = False
            style = simulation.style_name
            ended = {"type": "ended", "outcome": simulation.outcome, "style": style, "keepable": self.keepable}
            self.channel.send(ended)

    def show(self, used: float | None) -> None:
        """Send a frame; `used` is the page's time of the input that this step acted on, if new."""
        simulation = self.simulation
        frame = {"type": "frame", **simulation.frame(), **simulation.readings(), "belief": simulation.belief}
        pedals = [round(float(pedal), 3) for pedal in self.pedals]
        late = round(1000 * (time.monotonic() - self.due), 2) if self.going else 0.0
        self.channel.send({**frame, "pedals": pedals, "input": used, "late": late})
