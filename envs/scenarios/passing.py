"""Pass: overtake the slower car in the middle of three lanes, on its left or its right, and return to the middle.

Its variants have the same road and other drivers: brisk and calm ones, some who stay behind, or a majority on the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from array_api_compat import array_namespace
from highway_env.road.road import RoadNetwork
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.physics.roads import LANE_WIDTH, straight_network
from infogail.envs.physics.state import Array, Scene, VehicleState
from infogail.envs.physics.streams import Draw
from infogail.envs.scenarios.demonstrators import PlannedDriver
from infogail.envs.scenarios.scenario import Scenario, body_outline, body_overlap
from infogail.envs.scenarios.styles import NO_STYLE, Style
from infogail.envs.scenarios.view import Area, Diagram, Label, Line, Panel, View

ROAD_START, ROAD_END = -600.0, 1000.0  # [m], beyond what 12 s can reach in either direction

SENSOR_RANGE = 50.0  # [m], at which the observed distance to the lead is clipped: beyond, it no longer matters
CALM = 25.0  # [m/s], below which a driver's mean speed over the second half counts as calm
FOLLOWING = 30.0, 2.0  # [m] behind the lead and [m/s] from its speed, within which a driver follows it


@dataclass(frozen=True)
class PassStyle(Style):
    """On which side a driver passes, and how fast it wants to drive."""

    side: Literal[-1, 0, 1]
    """-1: left, 1: right, 0: stays behind"""
    speeds: tuple[float, float] = (23.0, 27.0)
    """[m/s], between which the desired speed is drawn"""
    calm: bool | None = None
    """Calm or brisk, by speed; None where the pace is not part of the style."""


LEFT, RIGHT, BEHIND = PassStyle("left", -1), PassStyle("right", 1), PassStyle("behind", 0)
BRISK, SLOW = (27.0, 29.0), (21.0, 23.0)  # [m/s]


class Pass(Scenario):
    """Road along x, the middle lane's centre at y = 0; `lane_offset` is y, positive to the right."""

    styles: tuple[PassStyle, ...]
    num_vehicles = 2
    # At 25 m/s, highway-env's default of ±π/4 would turn the car across the road within one decision.
    steering_range = (-0.1, 0.1)
    screen = (600, 150)
    features = (
        "lane_offset",
        "heading",
        "speed",
        "lead_gap",
        "lead_beside",
        "lead_offset",
        "lead_speed",
    )
    style_features = features
    path_axes = ("ahead of the lead car [m]", "to its left [m]")
    draws = {
        "ego_offset": Draw(-0.4, 0.4),  # [m]
        "ego_heading": Draw(-0.02, 0.02),  # [rad]
        "ego_speed": Draw(20.0, 25.0),  # [m/s]
        "lead_gap": Draw(30.0, 45.0),  # [m], between the centres
        "lead_offset": Draw(-0.3, 0.3),  # [m]
        "lead_speed": Draw(13.0, 16.0),  # [m/s], kept
    }

    def __init__(
        self,
        name: str = "pass",
        styles: tuple[PassStyle, ...] = (LEFT, RIGHT),
        style_mix: tuple[float, ...] | None = None,
    ) -> None:
        self.name, self.styles, self.style_mix = name, styles, style_mix

    @property
    def view(self) -> View:
        """Centred between ego and lead."""
        return View((1120, 160), camera=_between_ego_and_lead, phrase="passed {}", diagram=_around_the_lead())

    def initial_states(self, scene: Scene) -> Array:
        xp = array_namespace(scene["ego_speed"])
        zero = xp.zeros_like(scene["ego_speed"])
        ego = xp.stack((zero, scene["ego_offset"], scene["ego_heading"], scene["ego_speed"]))
        lead = xp.stack((scene["lead_gap"], scene["lead_offset"], zero, scene["lead_speed"]))
        return xp.stack((ego, lead))

    def observe(self, states: Array, scene: Scene) -> list[Array]:
        ego, lead = VehicleState.of(states, 0), VehicleState.of(states, 1)
        gap = lead.x - ego.x
        return [
            ego.y / 4.0,
            ego.heading / 0.1,
            (ego.speed - 22.0) / 5.0,
            gap.clip(-SENSOR_RANGE, SENSOR_RANGE) / 30.0,
            1.0 / (1.0 + (gap / 10.0) ** 2),  # sharp where it matters
            (lead.y - ego.y) / 4.0,
            (lead.speed - ego.speed) / 8.0,
        ]

    def off_road(self, states: Array, scene: Scene) -> Array:
        return abs(states[..., 0, 1]) > 1.5 * LANE_WIDTH

    def path(self, states: np.ndarray, scene: Scene) -> np.ndarray:
        ego, lead = VehicleState.of(states, 0), VehicleState.of(states, 1)
        return np.stack((ego.x - lead.x, lead.y - ego.y), -1)

    @property
    def path_obstacles(self) -> np.ndarray:
        """The lead car."""
        return body_outline()

    def placement(self, vehicle: VehicleState, scene: Scene) -> tuple[Array, Array]:
        return vehicle.x, vehicle.y

    def style(self, states: Array, scene: Scene) -> Array:
        """The side of the lead on which the ego is while their bodies overlap lengthwise; for some styles, the pace.

        Passing is complete if the ego ends ahead of the lead, with its whole body back in the middle lane; staying
        behind, if it ends by following: in the lane, near the lead, at its speed.
        """
        xp = array_namespace(states)
        ego, lead = VehicleState.of(states, 0), VehicleState.of(states, 1)
        side = self.style_value(states, scene)
        calm = xp.mean(ego.speed[len(states) // 2 :], axis=0) < CALM
        ahead = ego.x[-1] - lead.x[-1] > Vehicle.LENGTH
        back = abs(ego.y[-1]) <= (LANE_WIDTH - Vehicle.WIDTH) / 2
        gap, faster = lead.x[-1] - ego.x[-1], ego.speed[-1] - lead.speed[-1]
        follows = (gap > Vehicle.LENGTH) & (gap < FOLLOWING[0]) & (abs(faster) < FOLLOWING[1]) & back
        result = xp.where(follows, NO_STYLE, NO_STYLE)
        for number, style in enumerate(self.styles):
            passed = ahead & back & ((side > 0) if style.side > 0 else (side < 0))
            done = passed if style.side else follows
            if style.calm is not None:
                done = done & (calm if style.calm else ~calm)
            result = xp.where(done, number, result)
        return result

    def style_value(self, states: Array, scene: Scene) -> Array:
        """Mean distance [m] to the right of the lead while the bodies overlap lengthwise; 0 if they never do."""
        xp = array_namespace(states)
        ego, lead = VehicleState.of(states, 0), VehicleState.of(states, 1)
        beside = body_overlap(lead.x - ego.x)
        steps = xp.sum(xp.where(beside, 1.0, 0.0), axis=0)
        return xp.sum(xp.where(beside, ego.y - lead.y, 0.0), axis=0) / xp.clip(steps, 1.0, None)

    def road_network(self, scene: Scene) -> RoadNetwork:
        return straight_network(ROAD_START, ROAD_END, [-LANE_WIDTH, 0.0, LANE_WIDTH])

    def demonstrator(self, scene: Scene, style: int, rng: np.random.Generator) -> PlannedDriver:
        """Keeps to the middle lane; to pass, uses a side lane from well behind the lead until well ahead of it."""
        wanted = self.styles[style]
        side = (wanted.side or -1) * rng.uniform(0.93, 1.07) * LANE_WIDTH
        middle = rng.uniform(-0.15, 0.15)
        speed = rng.uniform(*wanted.speeds)
        pull_out, pull_in = rng.uniform(24.0, 32.0), rng.uniform(9.0, 14.0)  # [m] behind and ahead of the lead

        def overtake(states: np.ndarray) -> tuple[float, float]:
            ego, lead = VehicleState.of(states, 0), VehicleState.of(states, 1)
            passing = -pull_in < lead.x - ego.x < pull_out
            return (side if passing else middle), speed

        def follow(states: np.ndarray) -> tuple[float, float]:
            ego, lead = VehicleState.of(states, 0), VehicleState.of(states, 1)
            return middle, min(speed, lead.speed + (lead.x - ego.x - headway) / patience)

        if not wanted.side:  # [m] to the lead's centre, [s] to get there
            headway, patience = rng.uniform(12.0, 18.0), rng.uniform(2.5, 3.5)
        return PlannedDriver(self, rng, overtake if wanted.side else follow, self._path)

    def _path(self, offset: float) -> RoadNetwork:
        return straight_network(ROAD_START, ROAD_END, [offset])


def pass_pace() -> Pass:
    """Four styles: either side, brisk or calm."""
    paces = (("brisk", BRISK, False), ("calm", SLOW, True))
    return Pass(
        "pass-pace",
        tuple(
            PassStyle(f"{s.name} {pace}", s.side, speeds, calm) for pace, speeds, calm in paces for s in (LEFT, RIGHT)
        ),
    )


def pass_follow() -> Pass:
    """Three styles: left, right, or stay behind."""
    return Pass("pass-follow", (LEFT, RIGHT, BEHIND))


def pass_unbalanced() -> Pass:
    """80 % pass on the left."""
    return Pass("pass-unbalanced", style_mix=(0.8, 0.2))


def _between_ego_and_lead(states: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
    """Halfway between the two, so that both are visible; follows the ego if they are far apart."""
    ego, lead = VehicleState.of(states, 0), VehicleState.of(states, 1)
    return np.array([ego.x + np.clip((lead.x - ego.x) / 2, -45.0, 45.0), 0.0]), 10.0


def _around_the_lead() -> Diagram:
    """The ego's path relative to the lead."""
    ends, edges = (-46.0, 80.0), [y * LANE_WIDTH for y in (-1.5, -0.5, 0.5, 1.5)]
    length, width = (-Vehicle.LENGTH / 2, Vehicle.LENGTH / 2), (-Vehicle.WIDTH / 2, Vehicle.WIDTH / 2)
    panel = Panel(
        "ego's distance ahead of the lead car [m]",
        "lane offset [m]\n(left is up)",
        ends,
        (7.0, -7.0),
        (-4.0, -2.0, 0.0, 2.0, 4.0),
        background=(
            Area.rectangle(ends, (edges[0], edges[-1])),
            *(Line(np.array([(x, y) for x in ends]), dashed=y in edges[1:-1]) for y in edges),
            Area.rectangle(length, width, "#333333", on_top=True),
            Label("lead car", (3.3, 0.0), centred=True),
        ),
    )
    return Diagram(lambda states, scene: [(0, states[:, 0, 0] - states[:, 1, 0], states[:, 0, 1])], (panel,))
