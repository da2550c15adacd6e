"""Drivers that learned to follow one leader, as vehicles of any highway-env environment: they keep their lane, and
their policy accelerates and brakes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.controller import ControlledVehicle
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.physics.neighbours import SENSOR_RANGE
from infogail.envs.scenarios.following import MEMORY, MIN_SPEED, Follow, FollowState
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE
from infogail.traffic.styled import StyledVehicle

FOLLOW = Follow()


class StyledFollower(StyledVehicle):
    """Keeps its lane, and follows the vehicle ahead with a trained policy and a fixed code.

    Without a vehicle within `SENSOR_RANGE` to follow, it accelerates as IDM on a free road.
    """

    action: dict[str, float]
    _leader: Vehicle | None = None
    _speeds: deque[float]
    """[m/s] of the leader at the last decisions"""

    def act(self, action: dict | str | None = None) -> None:
        """Steer along the lane in every physics step; once per period, choose an acceleration."""
        acceleration = self.action["acceleration"]
        if self._is_due():
            acceleration = self._accelerate()
            self.wait += self.period
        if not self.crashed:
            steering = self.steering_control(self.lane_index)
            limit = ControlledVehicle.MAX_STEERING_ANGLE
            self.action = {"acceleration": acceleration, "steering": float(np.clip(steering, -limit, limit))}

    def step(self, dt: float) -> None:
        """Move like any vehicle, but stop rather than reverse."""
        self.action["acceleration"] = max(self.action["acceleration"], -max(self.speed, 0.0) / dt)
        super().step(dt)

    def _accelerate(self) -> float:
        """[m/s²]"""
        leader, gap = leader_of(self)
        if leader is None:
            self._leader = None
            limit = getattr(self.lane, "speed_limit", None) or IDMVehicle.MAX_SPEED
            chosen = IDMVehicle.COMFORT_ACC_MAX * (1 - (max(self.speed, 0.0) / limit) ** IDMVehicle.DELTA)
        else:
            chosen = ACCELERATION_RANGE[1] * float(self.policy(self._observe(leader, gap), np.array([self.code]))[0, 0])
        return float(np.clip(chosen, *ACCELERATION_RANGE))

    def _observe(self, leader: Vehicle, gap: float) -> np.ndarray:
        """(1, F): what `Follow` observes, along the lane."""
        if leader is not self._leader:
            self._leader, self._speeds = leader, deque(maxlen=MEMORY + 1)
        self._speeds.append(leader.speed)
        since = max(len(self._speeds) - 1, 1) * self.period
        rows = (
            (0.0, self.speed, self.action["acceleration"], self.LENGTH),
            (
                gap + (leader.LENGTH + self.LENGTH) / 2,
                leader.speed,
                (self._speeds[-1] - self._speeds[0]) / since,
                leader.LENGTH,
            ),
        )
        states = FollowState.stack(*np.array(rows).T)
        return np.stack(FOLLOW.observe(states[None], {}), -1)


def leader_of(vehicle: Vehicle) -> tuple[Vehicle | None, float]:
    """The vehicle ahead in the lane, None if there is none within `SENSOR_RANGE`, and the gap [m] to it."""
    leader, _ = vehicle.road.neighbour_vehicles(vehicle)
    gap = np.inf if leader is None else vehicle.lane_distance_to(leader) - (leader.LENGTH + vehicle.LENGTH) / 2
    return (leader, gap) if gap <= SENSOR_RANGE else (None, np.inf)


def headways(vehicles: Sequence[Vehicle]) -> np.ndarray:
    """(n,) [s] of those of `vehicles` that follow another, see `leader_of`, at their speed or `MIN_SPEED`."""
    followers = ((vehicle.speed, leader_of(vehicle)) for vehicle in vehicles if not vehicle.crashed)
    return np.array([gap / max(speed, MIN_SPEED) for speed, (leader, gap) in followers if leader is not None])
