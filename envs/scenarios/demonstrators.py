"""Scripted drivers with a style, on highway-env's own controllers, with human-like variety.

Each driver draws once how fast, how early, how smoothly and how precisely it drives (see the scenario's
`demonstrator`); a slow random wander, as of hands and feet, is added to the controllers' commands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.controller import ControlledVehicle

from infogail.envs.scenarios.scenario import ACCELERATION_RANGE, Scenario

WANDER_TIME = 1.0  # [s], correlation time of the wander
WANDER_SCALE = (0.06, 0.03)  # standard deviation of acceleration and steering, as actions

Plan = Callable[[np.ndarray], tuple[float, float]]
"""Maps states (V, 4) to the offset from the centre line [m] and the speed [m/s] that a driver wants."""


class ScriptedDriver(ABC):
    """One driver for one episode: a controller plus a random wander."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self._scenario, self._rng = scenario, rng
        self._time_constants = rng.uniform(0.9, 1.3), rng.uniform(0.25, 0.35)  # lateral, heading [s]
        self._wander = np.zeros(2)

    def act(self, states: np.ndarray) -> np.ndarray:
        """Action (2,) in [-1, 1], for states (V, 4)."""
        acceleration, steering = self._commands(states)
        wanted = acceleration / ACCELERATION_RANGE[1], steering / self._scenario.steering_range[1]
        decay = np.exp(-1 / (WANDER_TIME * self._scenario.policy_frequency))
        self._wander = decay * self._wander + np.sqrt(1 - decay**2) * self._rng.normal(0.0, WANDER_SCALE)
        return np.clip(wanted + self._wander, -1.0, 1.0)

    @abstractmethod
    def _commands(self, states: np.ndarray) -> tuple[float, float]:
        """Acceleration [m/s²] and steering [rad] of the controller."""

    def _tune(self, driver: ControlledVehicle) -> None:
        driver.KP_LATERAL, driver.KP_HEADING = 1 / self._time_constants[0], 1 / self._time_constants[1]


class PlannedDriver(ScriptedDriver):
    """Follows a plan along a path beside the road's centre line, accelerating half as hard as highway-env's drivers.

    Lateral position → heading → steering, and a speed controller, as highway-env's `ControlledVehicle`.

    Args:
        path: makes the road (one lane) that runs at a given offset [m] from the centre line.
    """

    def __init__(
        self, scenario: Scenario, rng: np.random.Generator, plan: Plan, path: Callable[[float], RoadNetwork]
    ) -> None:
        super().__init__(scenario, rng)
        self._plan, self._path = plan, path
        self._roads: dict[float, Road] = {}

    def _commands(self, states: np.ndarray) -> tuple[float, float]:
        offset, target_speed = self._plan(states)
        if offset not in self._roads:
            self._roads[offset] = Road(self._path(offset), np_random=self._rng)
        x, y, heading, speed = states[0]
        driver = ControlledVehicle(self._roads[offset], (x, y), heading, speed, target_speed=target_speed)
        self._tune(driver)
        driver.act()
        return driver.action["acceleration"] / 2, driver.action["steering"]


class TrafficDriver(ScriptedDriver):
    """Decides in traffic as `driver` does (IDM and MOBIL), assuming that the others keep their speed."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator, driver: IDMVehicle) -> None:
        super().__init__(scenario, rng)
        self._driver = driver

    def _commands(self, states: np.ndarray) -> tuple[float, float]:
        driver, road = self._driver, self._driver.road
        (*position, driver.heading, driver.speed), *others = states.tolist()
        driver.position = np.array(position)
        self._tune(driver)
        driver.on_state_update()
        driver.timer += 1 / self._scenario.policy_frequency
        road.vehicles = [driver, *(ControlledVehicle(road, (x, y), heading, v) for x, y, heading, v in others)]
        driver.act()
        return driver.action["acceleration"], driver.action["steering"]
