"""Cars of recorded traffic in highway-env: the ego in the place of a recorded driver, and the others."""

from __future__ import annotations

import numpy as np
from highway_env.road.lane import AbstractLane
from highway_env.road.road import Road
from highway_env.vehicle.graphics import VehicleGraphics
from highway_env.vehicle.kinematics import Vehicle


class SizedVehicle(Vehicle):
    """A car of its own size, whose lane is looked up lazily: on recorded roads that is the slowest part."""

    def __init__(self, road: Road, state: np.ndarray, length: float, width: float) -> None:
        x, y, heading, speed = state.tolist()
        super().__init__(None, (x, y), heading, speed)
        self.road = road
        self._resize(length, width)

    @property
    def lane_index(self) -> tuple[str, str, int]:
        return self.road.network.get_closest_lane_index(self.position, self.heading)

    @lane_index.setter
    def lane_index(self, index: None) -> None: ...

    @property
    def lane(self) -> AbstractLane:
        return self.road.network.get_lane(self.lane_index)

    @lane.setter
    def lane(self, lane: None) -> None: ...

    def on_state_update(self) -> None: ...

    def _resize(self, length: float, width: float) -> None:
        self.LENGTH, self.WIDTH = length, width
        self.diagonal = float(np.hypot(length, width))


class Replaced(SizedVehicle):
    """The ego, which replaces a recorded driver."""


class Follower(SizedVehicle):
    """The ego in one lane: it stops rather than reverses.

    Args:
        state: (7,), see `FollowState`.
    """

    def __init__(self, road: Road, state: np.ndarray) -> None:
        super().__init__(road, state[:4], *state[5:].tolist())
        self.action = {"steering": 0.0, "acceleration": float(state[4])}

    def step(self, dt: float) -> None:
        self.action["acceleration"] = max(float(self.action["acceleration"]), -self.speed / dt)
        super().step(dt)


class RecordedVehicle(SizedVehicle):
    """Follows its recorded states, whatever happens; only the ego checks for collisions.

    Args:
        recorded: (T, 7) or (T, 8), the states to come; see `FollowState` and `RecordedState`.
        column: of the recording.
    """

    def __init__(self, road: Road, recorded: np.ndarray, column: int = 0) -> None:
        self._to_come = iter(recorded)
        self.recorded = next(self._to_come)
        self.column = column
        super().__init__(road, self.recorded[:4], *self.recorded[-2:].tolist())
        self.check_collisions = False
        self.color = VehicleGraphics.DEFAULT_COLOR

    def step(self, dt: float) -> None:
        """Move to the next recorded state; `dt` is the recording's."""
        self.recorded = next(self._to_come, self.recorded)
        x, y, self.heading, self.speed, *_, length, width = self.recorded.tolist()
        self.position = np.array((x, y))
        self._resize(length, width)
