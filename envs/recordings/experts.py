"""Scripted drivers with a style, on highway-env's own controllers, with human-like variety.

An expert plans as highway-env's `ControlledVehicle` does (lateral position → heading → steering, and a speed
controller), along a path beside the road's centre line. Each driver draws once how fast, how early, how smoothly and
how precisely it drives; a slow random wander of hands and feet is added to what the controllers ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from highway_env.road.road import Road
from highway_env.vehicle.behavior import AggressiveVehicle, DefensiveVehicle, IDMVehicle
from highway_env.vehicle.controller import ControlledVehicle

from infogail.envs.physics.roads import LANE_WIDTH
from infogail.envs.scenarios.highway import Highway
from infogail.envs.scenarios.manners import Manners
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE, Scenario, Scene, VehicleState
from infogail.envs.scenarios.turning import Turn

WANDER_TIME = 1.0  # [s], over which the wander of an action forgets itself
WANDER_SCALE = (0.06, 0.03)  # standard deviation of acceleration and steering, as actions


class Plan(Protocol):
    """What one driver wants: where beside the centre line [m], and how fast [m/s], given states (V, 4)."""

    def __call__(self, states: np.ndarray) -> tuple[float, float]: ...


class Expert:
    """One driver for one episode. `act` maps states (V, 4) to an action (2,) in [-1, 1]."""

    def __init__(self, scenario: Scenario, scene: Scene, style: int, rng: np.random.Generator) -> None:
        self._scenario, self._scene, self._rng = scenario, scene, rng
        self._wanted = self._follow_plan
        if isinstance(scenario, Highway):
            self._driver, self._wanted = _character(scenario, scene, style, rng), self._follow_character
        else:
            self._plan = _PLANS[scenario.road](scenario, scene, style, rng)
        self._time_constants = rng.uniform(0.9, 1.3), rng.uniform(0.25, 0.35)  # lateral, heading [s]
        self._wander = np.zeros(2)
        self._paths: dict[float, Road] = {}

    def act(self, states: np.ndarray) -> np.ndarray:
        acceleration, steering = self._wanted(states)
        wanted = acceleration / ACCELERATION_RANGE[1], steering / self._scenario.steering_range[1]
        decay = np.exp(-1 / (WANDER_TIME * self._scenario.policy_frequency))
        self._wander = decay * self._wander + np.sqrt(1 - decay**2) * self._rng.normal(0.0, WANDER_SCALE)
        return np.clip(wanted + self._wander, -1.0, 1.0)

    def _follow_plan(self, states: np.ndarray) -> tuple[float, float]:
        """Acceleration [m/s²] and steering [rad] along the plan's path; half as eager as highway-env's."""
        offset, target_speed = self._plan(states)
        if offset not in self._paths:
            self._paths[offset] = Road(self._scenario.expert_path(self._scene, offset), np_random=self._rng)
        x, y, heading, speed = states[0]
        driver = ControlledVehicle(self._paths[offset], (x, y), heading, speed, target_speed=target_speed)
        driver.KP_LATERAL, driver.KP_HEADING = 1 / self._time_constants[0], 1 / self._time_constants[1]
        driver.act()
        return driver.action["acceleration"] / 2, driver.action["steering"]

    def _follow_character(self, states: np.ndarray) -> tuple[float, float]:
        """What IDM and MOBIL make of the scene, for a driver who takes the others for ones that keep their speed."""
        driver, road = self._driver, self._driver.road
        (*position, driver.heading, driver.speed), *others = states.tolist()
        driver.position = np.array(position)
        driver.KP_LATERAL, driver.KP_HEADING = 1 / self._time_constants[0], 1 / self._time_constants[1]
        driver.on_state_update()
        driver.timer += 1 / self._scenario.policy_frequency
        road.vehicles = [driver, *(ControlledVehicle(road, (x, y), heading, v) for x, y, heading, v in others)]
        driver.act()
        return driver.action["acceleration"], driver.action["steering"]


def _passing_plan(scenario: Scenario, scene: Scene, style: int, rng: np.random.Generator) -> Plan:
    word = scenario.styles[style]
    side = (1.0 if "right" in word else -1.0) * rng.uniform(0.93, 1.07) * LANE_WIDTH
    middle = rng.uniform(-0.15, 0.15)
    speed = rng.uniform(*((27.0, 29.0) if "brisk" in word else (21.0, 23.0) if "calm" in word else (23.0, 27.0)))
    pull_out, pull_in = rng.uniform(24.0, 32.0), rng.uniform(9.0, 14.0)  # [m] behind and ahead of the lead

    def plan(states: np.ndarray) -> tuple[float, float]:
        ego, lead = VehicleState.of(states, 0), VehicleState.of(states, 1)
        passing = -pull_in < lead.x - ego.x < pull_out
        return (side if passing else middle), speed

    if word != "behind":
        return plan
    headway, patience = rng.uniform(12.0, 18.0), rng.uniform(2.5, 3.5)  # [m] to the lead's centre, [s] to get there

    def follow(states: np.ndarray) -> tuple[float, float]:
        ego, lead = VehicleState.of(states, 0), VehicleState.of(states, 1)
        return middle, min(speed, lead.speed + (lead.x - ego.x - headway) / patience)

    return follow


def _turning_plan(scenario: Turn, scene: Scene, style: int, rng: np.random.Generator) -> Plan:
    line = (1.0, -1.0)[style] * rng.uniform(*scenario.lines)
    straight = rng.uniform(-0.3, 0.3)
    speed = rng.uniform(8.5, 11.0)
    bend = float(scene["radius"]) * np.pi / 2
    begin, end = rng.uniform(-12.0, -6.0), bend + rng.uniform(0.0, 6.0)  # [m] along the road

    def plan(states: np.ndarray) -> tuple[float, float]:
        return (line if begin < scenario.distance(states, scene) < end else straight), speed

    return plan


CHARACTERS = {
    "aggressive": (30.0, 0.25, 5.0),
    "passive": (10.0, 1.75, 1.0),
    "tailgater": (15.0, 0.25, 1.0),
    "speeder": (30.0, 1.75, 5.0),
}
"""Desired speed [m/s], time headway [s], maximum acceleration [m/s²] of IDM (Burn-InfoGAIL, 1710.05090)."""
VARIETY = 0.05  # of each of them among the drivers of a style


def _character(scenario: Highway, scene: Scene, style: int, rng: np.random.Generator) -> IDMVehicle:
    """An IDM/MOBIL driver of that style, on a road by itself; or one of highway-env's own characters."""
    road = Road(scenario.road_network(scene), np_random=rng)
    for lane in road.network.lanes_list():
        lane.speed_limit = None  # it would take what tells some drivers from others
    name = scenario.styles[style]
    if isinstance(scenario, Manners):
        driver = {"aggressive": AggressiveVehicle, "defensive": DefensiveVehicle}[name](road, (0.0, 0.0))
        driver.target_speed = rng.uniform(29.0, 31.0)  # [m/s], about their own `MERGE_TARGET_VEL`
        driver.collecting_data = False
        return driver
    driver = IDMVehicle(road, (0.0, 0.0))
    wishes = np.array(CHARACTERS[name]) * rng.normal(1.0, VARIETY, 3).clip(1 - 2 * VARIETY, 1 + 2 * VARIETY)
    driver.target_speed, driver.TIME_WANTED, driver.COMFORT_ACC_MAX = wishes.tolist()
    driver.timer = rng.uniform(0.0, driver.LANE_CHANGE_DELAY)
    return driver


_PLANS: dict[str, Callable[..., Plan]] = {"pass": _passing_plan, "turn": _turning_plan}
