"""Vehicles for highway-env that a trained policy drives among others, in lanes; and the assistant that overrules it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from highway_env.road.lane import AbstractLane, StraightLane
from highway_env.road.road import LaneIndex, Road, Route
from highway_env.utils import wrap_to_pi
from highway_env.vehicle.controller import ControlledVehicle
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.physics.roads import LANE_WIDTH
from infogail.envs.scenarios.highway import Highway
from infogail.envs.scenarios.safety import too_close
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE, Scenario
from infogail.runs.driver import CodeLabels, FastPolicy

HIGHWAY = Highway()


class StyledVehicle(ControlledVehicle):
    """Drives with a trained policy and a fixed code, drawn at creation. `population` makes subclasses.

    A `ControlledVehicle` for compatibility with environments: it keeps its route, and `IDMVehicle.create_from` works.
    """

    policy: ClassVar[FastPolicy]
    scenario: ClassVar[Scenario]
    """that the policy was trained on"""
    mix: ClassVar[np.ndarray]
    """(K,): probability of each code"""
    labels: ClassVar[CodeLabels]
    """of the codes"""
    assisted: ClassVar[bool]
    steering_range: ClassVar[tuple[float, float]]
    period: ClassVar[float]
    """[s] between decisions"""

    def __init__(
        self,
        road: Road,
        position: np.ndarray,
        heading: float = 0.0,
        speed: float = 0.0,
        target_lane_index: LaneIndex | None = None,
        target_speed: float | None = None,
        route: Route | None = None,
        enable_lane_change: bool = True,
        timer: float | None = None,
        code: int | None = None,
    ) -> None:
        super().__init__(road, position, heading, speed, route=route)
        if code is None:  # one number from the road's generator, as `IDMVehicle.randomize_behavior` takes one
            code = int(drawn_codes(self.mix, road.np_random.uniform()))
        self.code = code
        self.wait = 0.0  # [s] until its next decision
        self.overruled = False  # whether the assistant overrode its last decision

    @classmethod
    def create_from(cls, vehicle: Vehicle) -> StyledVehicle:
        """A vehicle with the position, heading and speed of `vehicle`, and its code if it has one."""
        code, route = getattr(vehicle, "code", None), getattr(vehicle, "route", None)
        return cls(vehicle.road, vehicle.position, vehicle.heading, vehicle.speed, route=route, code=code)

    def randomize_behavior(self) -> None:
        """Do nothing: the code determines the behaviour."""

    def act(self, action: dict | str | None = None) -> None:
        """Once per period, decide together with all vehicles of this class that are due, in one call of the policy."""
        if not self._is_due():
            return
        due = (v for v in self.road.vehicles if type(v) is type(self) and v._is_due())
        drivers = list(dict.fromkeys([self, *due]))
        observations = observe(drivers, self.scenario)
        actions = self.policy(observations, np.array([driver.code for driver in drivers]))
        (slowest, fastest), (left, right) = ACCELERATION_RANGE, self.steering_range
        accelerations = slowest + (actions[:, 0] + 1.0) / 2.0 * (fastest - slowest)
        steerings = left + (actions[:, 1] + 1.0) / 2.0 * (right - left)
        steerings += [along_bend(driver.lane, driver.position, driver.speed * self.period) for driver in drivers]
        around = observations if self.scenario.features == Highway.features else observe(drivers)
        brake, hold = too_close(around) & self.assisted
        accelerations[brake] = slowest
        # Brakes stop a car, but do not reverse it.
        speeds = np.array([driver.speed for driver in drivers])
        accelerations = np.maximum(accelerations, -np.maximum(speeds, 0.0) / self.period)
        for k in np.flatnonzero(hold):
            steerings[k] = np.clip(drivers[k].steering_control(drivers[k].lane_index), left, right)
        commands = accelerations.tolist(), steerings.tolist(), (brake | hold).tolist()
        for driver, acceleration, steering, overruled in zip(drivers, *commands, strict=True):
            driver.action = {"acceleration": acceleration, "steering": steering}
            driver.overruled = overruled
            driver.wait += self.period

    def step(self, dt: float) -> None:
        """Move like any vehicle."""
        super().step(dt)
        self.wait -= dt
        # For other vehicles: an `IDMVehicle` considering a lane change assumes that a vehicle without a `target_speed`
        # wants to stop, and merge-v0 divides by it.
        self.target_lane_index, self.target_speed = self.lane_index, max(self.speed, 1.0)

    def _is_due(self) -> bool:
        return self.wait < 1e-6 and not self.crashed


def along_bend(lane: AbstractLane, position: np.ndarray, ahead: float) -> float:
    """The steering angle [rad] at which a vehicle at `position` turns as much as `lane` does in the next `ahead` [m]: a
    policy that sees the lane as straight steers relative to it. The inverse of the bicycle in `Vehicle.step`."""
    if type(lane) is StraightLane or ahead < 0.1:
        return 0.0
    start, _ = lane.local_coordinates(position)
    end = min(start + ahead, lane.length)
    turn = wrap_to_pi(lane.heading_at(end) - lane.heading_at(start))
    slip = np.arcsin(np.clip(turn / ahead * Vehicle.LENGTH / 2, -0.7, 0.7))
    return float(np.arctan(2.0 * np.tan(slip)))


def drawn_codes(mix: np.ndarray, drawn: np.ndarray | float) -> np.ndarray:
    """(…) codes with the frequencies (K,) `mix`, from numbers (…) drawn uniformly from 0 to 1."""
    return np.searchsorted(np.cumsum(mix)[:-1], drawn, side="right")


def observe(drivers: Sequence[Vehicle], scenario: Scenario = HIGHWAY) -> np.ndarray:
    """What `scenario`'s drivers observe (N, F) on the same road, each along its own lane as if that were straight."""
    road = drivers[0].road
    seen = list(dict.fromkeys([*drivers, *road.vehicles, *(thing for thing in road.objects if thing.solid)]))
    rows = [(*thing.position, thing.heading, thing.speed, thing.LENGTH, thing.WIDTH) for thing in seen]
    world = np.array(rows)
    indices = list(dict.fromkeys(driver.lane_index for driver in drivers))
    views, counts = zip(*(along(road, index, world) for index in indices), strict=True)
    view_of = np.array([indices.index(driver.lane_index) for driver in drivers])
    states = np.pad(np.stack(views)[view_of], ((0, 0), (0, 1), (0, 0)))  # the last is a placeholder for no vehicle
    itself = np.arange(len(drivers))
    egos = states[itself, itself]
    states[itself, itself], states[:, 0] = states[:, 0].copy(), egos
    lanes = np.array(counts)[view_of]
    # In training there were no vehicles beside the road.
    aside = abs(states[:, 1:, 1] - LANE_WIDTH * (lanes[:, None] - 1) / 2)
    states[:, 1:, 1][aside > LANE_WIDTH * lanes[:, None] / 2 + 1.0] = np.inf
    states[:, -1, 1] = np.inf
    return np.stack(scenario.observe_in_lanes(states, lanes), axis=1)


def along(road: Road, index: LaneIndex, world: np.ndarray) -> tuple[np.ndarray, Any]:
    """Convert states (V, 6) from world coordinates to those of `Scenario.observe_in_lanes`, as if lane `index` and the
    adjacent lanes open to lane changes were its road; also returns the number of these lanes."""
    start, end, number = index
    side = road.network.graph[start][end]
    first, last, lane = number, number, side[number]
    while first > 0 and not side[first - 1].forbidden:
        first -= 1
    while last < len(side) - 1 and not side[last + 1].forbidden:
        last += 1
    if type(lane) is StraightLane:
        places = (world[:, :2] - lane.start) @ np.stack((lane.direction, lane.direction_lateral), axis=1)
        heading = lane.heading
    else:
        places = np.array([lane.local_coordinates(position) for position in world[:, :2]])
        heading = np.array([lane.heading_at(longitudinal) for longitudinal in places[:, 0]])
    y = places[:, 1] + LANE_WIDTH * (number - first)
    turned = wrap_to_pi(world[:, 2] - heading)
    return np.column_stack((places[:, 0], y, turned, world[:, 3:])), last - first + 1
