"""Highway-manners: traffic on a single lane, with an ego that is in more of a hurry than all the others.

Its styles are highway-env's own `AggressiveVehicle` and `DefensiveVehicle`, linear drivers with the same goals: 30 m/s
and a safe gap to the leader. They differ only in how they trade off the two: for each 1 m/s below 30 m/s, the
aggressive driver gives up 0.21 m of the safe gap, the defensive one 0.08 m. On an open road, or with another lane to
escape to, that hardly shows: on three lanes, among others at 21 to 24 m/s, a centroid rule was right in 59 % of the
episodes. So here passing is impossible, the others want 15 to 18 m/s, and all start at about the distance that they
mean to keep. Whatever the leader, the aggressive driver settles about 3.5 m inside the safe gap, the defensive one
1.3 m. This margin depends on the gap and the speed alone, and is a feature of the observation.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from array_api_compat import array_namespace
from highway_env.road.road import Road
from highway_env.vehicle.behavior import AggressiveVehicle, DefensiveVehicle, LinearVehicle

from infogail.envs.physics.roads import SPEED_LIMIT
from infogail.envs.physics.state import Array, Scene, VehicleState
from infogail.envs.physics.streams import Draw
from infogail.envs.scenarios.highway import Highway
from infogail.envs.scenarios.scenario import POLICY_FREQUENCY
from infogail.envs.scenarios.styles import Style
from infogail.envs.scenarios.view import View

LARGEST_MARGIN = 5.0  # [m], at which the margin is clipped in either direction; also its value without a leader


STYLES = (Style("aggressive"), Style("defensive"))
DRIVERS = (AggressiveVehicle, DefensiveVehicle)


class Manners(Highway):
    """A `Highway`, by default of one lane, with slower others; the ego also observes its `margin`."""

    features = (*Highway.features, "margin")
    style_features: tuple[str, ...] = ("margin",)
    measures: tuple[str, ...] = ("mean_margin",)
    steering_range = (-0.1, 0.1)  # enough for one lane
    usable_as_traffic = False  # they know only a single lane

    def __init__(
        self, lanes: int = 1, vehicles: int = 6, density: float = 0.6, policy_frequency: int = POLICY_FREQUENCY
    ) -> None:
        super().__init__("highway-manners", STYLES, lanes, vehicles, density, policy_frequency)
        self.draws["speed"] = Draw(0.5 * SPEED_LIMIT, 0.6 * SPEED_LIMIT, size=vehicles)  # [m/s]
        self.draws["ego_offset"] = Draw(
            -0.6, 0.6
        )  # [m]: wide enough to demonstrate recentring, which no lane change does

    def _driver(self, style: int, rng: np.random.Generator, road: Road) -> LinearVehicle:
        driver = DRIVERS[style](road, (0.0, 0.0))
        driver.target_speed = rng.uniform(29.0, 31.0)  # [m/s], about their own `MERGE_TARGET_VEL`
        driver.collecting_data = False
        return driver

    @property
    def view(self) -> View:
        """As a highway's, but with the margin in place of the headway in the diagram."""
        ends = (-LARGEST_MARGIN, LARGEST_MARGIN)
        return replace(super().view, diagram=self.diagram("mean margin of an episode [m]", ends, self.margin))

    def observe(self, states: Array, scene: Scene) -> list[Array]:
        return [*super().observe(states, scene), self.margin(states) / LARGEST_MARGIN]

    def measure(self, states: Array) -> Array:
        """Measures (1, ...) of whole trajectories (T, ..., V, 4): mean margin [m]."""
        return array_namespace(states).mean(self.margin(states), axis=0)[None, ...]

    def margin(self, states: Array) -> Array:
        """(...) [m]: the gap to the leader minus the one that `LinearVehicle` considers safe, at most `LARGEST_MARGIN`
        in either direction."""
        xp = array_namespace(states)
        ego = VehicleState.of(states, 0)
        (present, gap, _), _ = self._neighbours(states, self._lane(ego.y))
        margin = gap - (LinearVehicle.DISTANCE_WANTED + LinearVehicle.TIME_WANTED * xp.clip(ego.speed, 0.0, None))
        return xp.where(present > 0, xp.clip(margin, -LARGEST_MARGIN, LARGEST_MARGIN), LARGEST_MARGIN)
