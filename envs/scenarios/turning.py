"""Turn: a 90° bend to the left or right, taken on its inside or its outside line, or on any line between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from highway_env.road.road import RoadNetwork

from infogail.envs.physics.roads import LANE_WIDTH, bend_coordinates, bend_network
from infogail.envs.physics.state import Array, Scene, VehicleState
from infogail.envs.physics.streams import Draw
from infogail.envs.scenarios.demonstrators import PlannedDriver
from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.scenarios.styles import NO_STYLE, Style
from infogail.envs.scenarios.view import Area, Diagram, Label, Line, Panel, View

STRAIGHT = 600.0  # [m] before and after the bend, beyond what 12 s can reach
LOOK_AHEAD = 8.0  # [m]
SHOWN_RADIUS = 32.5  # [m], of the one bend that stands for all in a diagram
PANEL = 560  # [px], width and height


@dataclass(frozen=True)
class TurnStyle(Style):
    """On which side of the centre line a driver takes the bend."""

    inward: float
    """1: inside, -1: outside"""


class Turn(Scenario):
    """Two lanes; the centre line enters the bend at the origin. `lane_offset` is positive toward the inside."""

    num_vehicles = 1
    steering_range = (-0.4, 0.4)
    screen = (600, 600)
    path_axes = ("along the road from where the bend begins [m]", "toward its inside [m]")
    styles: tuple[TurnStyle, ...] = (TurnStyle("inside", 1.0), TurnStyle("outside", -1.0))
    features = (
        "offset_right",
        "heading_right",
        "curvature_right",
        "curvature_right_ahead",
        "offset_inside",
        "heading_inside",
        "speed",
        "bend_begins",
        "bend_progress",
    )
    draws = {
        "direction": Draw(-1.0, 1.0, only_ends=True),  # 1 bends toward positive y, to the right as drawn
        "radius": Draw(25.0, 40.0),  # [m], of the centre line
        "approach": Draw(18.0, 26.0),  # [m] from the start to the bend
        "ego_offset": Draw(-0.5, 0.5),  # [m], positive to the right
        "ego_heading": Draw(-0.05, 0.05),  # [rad]
        "ego_speed": Draw(8.0, 11.0),  # [m/s]
    }

    def __init__(self, name: str = "turn", graded: bool = False) -> None:
        self.name, self.graded = name, graded
        self.lines = (0.0, 2.4) if graded else (1.4, 2.4)  # [m] from the centre line, that drivers take in the bend
        # The direction of the bend is not the driver's choice: a code must not be able to hide in it. With graded
        # lines the style is the line; drivers also differ by degree in speed, which is not part of the style.
        speed = () if graded else ("speed",)
        self.style_features = ("offset_inside", "heading_inside", *speed, "bend_begins", "bend_progress")

    @property
    def view(self) -> View:
        """The whole bend, from a fixed camera."""
        return View((PANEL, PANEL), 3, camera=_whole_bend, phrase="took the {}", diagram=_all_bends_as_one())

    def initial_states(self, scene: Scene) -> Array:
        xp = array_namespace(scene["ego_speed"])
        ego = (-scene["approach"], scene["ego_offset"], scene["ego_heading"], scene["ego_speed"])
        return xp.stack(ego)[None]

    def observe(self, states: Array, scene: Scene) -> list[Array]:
        ego, direction, radius = VehicleState.of(states, 0), scene["direction"], scene["radius"]
        distance, inside, turned = bend_coordinates(ego.x, ego.y, radius, direction)
        bend = radius * (math.pi / 2)
        bends = 25.0 * direction / radius
        ahead = distance + LOOK_AHEAD
        heading = (ego.heading - direction * turned) / 0.2
        return [
            direction * inside / 2.0,
            heading,
            bends * ((distance > 0.0) & (distance < bend)),
            bends * ((ahead > 0.0) & (ahead < bend)),
            inside / 2.0,
            direction * heading,
            (ego.speed - 9.5) / 3.0,
            distance.clip(-30.0, 0.0) / 15.0,
            turned,
        ]

    def off_road(self, states: Array, scene: Scene) -> Array:
        return abs(self.lane_offset(states, scene)) > LANE_WIDTH

    def path(self, states: np.ndarray, scene: Scene) -> np.ndarray:
        return np.stack(self.placement(VehicleState.of(states, 0), scene), -1)

    def placement(self, vehicle: VehicleState, scene: Scene) -> tuple[Array, Array]:
        along, inside, _ = bend_coordinates(vehicle.x, vehicle.y, scene["radius"], scene["direction"])
        return along, inside

    def style(self, states: Array, scene: Scene) -> Array:
        """The sign of the mean offset from the centre line in the middle third of the arc.

        The manoeuvre is complete if the ego ends beyond the bend.
        """
        xp = array_namespace(states)
        offset = self.style_value(states, scene)
        done = (self.distance(states, scene)[-1] > scene["radius"] * math.pi / 2) & (offset != 0)
        return xp.where(done, xp.where(offset > 0, 0, 1), NO_STYLE)

    def style_value(self, states: Array, scene: Scene) -> Array:
        """Mean offset [m] in the middle third of the arc, positive toward the inside; 0 where it was not reached."""
        xp = array_namespace(states)
        ego = VehicleState.of(states, 0)
        _, inside, turned = bend_coordinates(ego.x, ego.y, scene["radius"], scene["direction"])
        middle = (turned > math.pi / 6) & (turned < math.pi / 3)
        steps = xp.sum(xp.where(middle, 1.0, 0.0), axis=0)
        return xp.sum(xp.where(middle, inside, 0.0), axis=0) / xp.clip(steps, 1.0, None)

    def road_network(self, scene: Scene) -> RoadNetwork:
        return self._network(scene, [-LANE_WIDTH / 2, LANE_WIDTH / 2])

    def demonstrator(self, scene: Scene, style: int, rng: np.random.Generator) -> PlannedDriver:
        """Takes its line in the bend, and keeps near the centre line before and after it."""
        line = self.styles[style].inward * rng.uniform(*self.lines)
        straight = rng.uniform(-0.3, 0.3)
        speed = rng.uniform(8.5, 11.0)
        bend = float(scene["radius"]) * np.pi / 2
        begin, end = rng.uniform(-12.0, -6.0), bend + rng.uniform(0.0, 6.0)  # [m] along the road

        def plan(states: np.ndarray) -> tuple[float, float]:
            return (line if begin < self.distance(states, scene) < end else straight), speed

        direction = float(scene["direction"])
        return PlannedDriver(self, rng, plan, lambda offset: self._network(scene, [offset * direction]))

    def _network(self, scene: Scene, offsets: list[float]) -> RoadNetwork:
        return bend_network(float(scene["radius"]), float(scene["direction"]), STRAIGHT, offsets)


def turn_line() -> Turn:
    """Any line between inside and outside: styles differ by degree."""
    return Turn("turn-line", graded=True)


def _whole_bend(states: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
    radius, approach, direction = (float(scene[name]) for name in ("radius", "approach", "direction"))
    span = approach + radius + 20.0
    return np.array([(radius - approach + 4.0) / 2, direction * (span / 2 - 10.0)]), PANEL / span


def _all_bends_as_one() -> Diagram:
    """Left: from above, with all bends mapped to one radius and direction. Right: offset over progress."""
    radius, arc = SHOWN_RADIUS, SHOWN_RADIUS * np.pi / 2

    def from_above(distance: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and y (n,) [m], as highway-env draws them."""
        turned = np.clip(distance / radius, 0.0, np.pi / 2)
        before, after = np.minimum(distance, 0.0), np.maximum(distance - arc, 0.0)
        return (radius - inside) * np.sin(turned) + before, radius - (radius - inside) * np.cos(turned) + after

    def trajectories(states: np.ndarray, scene: Scene) -> list[tuple[int, np.ndarray, np.ndarray]]:
        ego, length = VehicleState.of(states, 0), scene["radius"] * np.pi / 2
        distance, inside, _ = bend_coordinates(ego.x, ego.y, scene["radius"], scene["direction"])
        beyond = np.where(distance < length, distance * arc / length, distance - length + arc)
        stretched = np.where(distance < 0, distance, beyond)
        return [(0, *from_above(stretched, inside)), (1, 100 * distance / length, inside)]

    along, ends = np.linspace(-60.0, arc + 60.0, 200), (-45.0, 160.0)
    inner, outer = (np.stack(from_above(along, np.full_like(along, side * LANE_WIDTH)), -1) for side in (1, -1))
    above = Panel(
        "x [m]",
        "y [m]",
        (-20.0, radius + 7.0),
        (radius + 20.0, -7.0),
        equal=True,
        background=(
            Area(np.concatenate((inner, outer[::-1]))),
            Line(np.stack(from_above(along, 0 * along), -1), width=1.5, dashed=True),
            Label("from above,\nall bends as one", (-17.0, radius + 16.0), size=9),
        ),
    )
    progress = Panel(
        "distance along the bend [% of its length]",
        "offset [m], inside is up",
        ends,
        (-4.8, 4.8),
        share=2.0,
        background=(
            Area.rectangle(ends, (-LANE_WIDTH, LANE_WIDTH)),
            Line(np.array([(x, 0.0) for x in ends]), dashed=True),
            *(Line(np.array([(x, -4.8), (x, 4.8)]), "#777777", 1.0) for x in (0.0, 100.0)),
            *(Label(f"bend {what}", (x, LANE_WIDTH), (3, 2), 9) for x, what in ((0.0, "begins"), (100.0, "ends"))),
        ),
    )
    return Diagram(trajectories, (above, progress))
