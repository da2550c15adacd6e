"""Highway: dense one-way traffic by IDM and MOBIL, with an ego that may drive in several styles.

The others are `highway_env.vehicle.behavior.IDMVehicle`; `infogail.envs.physics.traffic` is their batched twin. Styles
differ in a driver's desired speed, headway and acceleration. No single manoeuvre distinguishes them; means over an
episode do.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.physics.neighbours import LONGEST_HEADWAY, next_in_lane
from infogail.envs.physics.roads import LANE_WIDTH, SPEED_LIMIT
from infogail.envs.physics.state import Array, Scene, VehicleState
from infogail.envs.physics.streams import Draw
from infogail.envs.scenarios.demonstrators import TrafficDriver
from infogail.envs.scenarios.scenario import EPISODE_STEPS, SIMULATION_FREQUENCY, Scenario
from infogail.envs.scenarios.styles import Style
from infogail.envs.scenarios.view import LOOK_AHEAD, Diagram, Panel, View

ROAD_LENGTH = 10_000.0  # [m]
SHOWN_LENGTH = 180.0  # [m] of the road, in a film
SLOTS = tuple(f"{side}{role}" for side in ("", "left_", "right_") for role in ("leader", "follower"))
SIDES = {"": 0, "left_": -1, "right_": 1}


@dataclass(frozen=True)
class IDMStyle(Style):
    """A driver's IDM parameters."""

    speed: float  # [m/s]
    headway: float  # [s]
    acceleration: float  # [m/s²], maximum


IDM_STYLES = (
    IDMStyle("aggressive", 30.0, 0.25, 5.0),
    IDMStyle("passive", 10.0, 1.75, 1.0),
    IDMStyle("tailgater", 15.0, 0.25, 1.0),
    IDMStyle("speeder", 30.0, 1.75, 5.0),
)
"""The styles of Burn-InfoGAIL (arXiv 1710.05090)."""
VARIETY = 0.05  # relative standard deviation of each parameter among the drivers of a style


class Highway(Scenario):
    """Road along x, lane k's centre at y = 4 k; `lane_offset` is from the middle of all lanes, positive rightwards.

    Args:
        lanes: number of lanes.
        vehicles: number of vehicles in each world, including the ego, which is a third of the way through the pack.
        density: of the traffic, relative to highway-env's default.
        policy_frequency: decisions per second, a divisor of the physics steps per second.

    Raises:
        TypeError: `lanes`, `vehicles` or `policy_frequency` is not an integer.
        ValueError: an argument is out of range, or the road is too short for that many vehicles.
    """

    steering_range = (-0.15, 0.15)
    usable_as_traffic = True
    compilable = False  # its drivers' decisions depend on who is where
    screen = (900, 150)
    features = (
        "lane_offset",
        "heading",
        "speed",
        "headway",
        "left_lane",
        "right_lane",
        *(f"{slot}_{what}" for slot in SLOTS for what in ("present", "gap", "closing")),
    )
    context = tuple(name for name in features if "left" in name or "right" in name or "follower" in name)
    style_features: tuple[str, ...] = ("speed", "headway")
    style_tolerance = 0.3
    measures: tuple[str, ...] = ("mean_speed", "mean_headway", "mean_abs_acceleration", "lane_changes")

    def __init__(
        self,
        name: str = "highway",
        styles: tuple[Style, ...] = IDM_STYLES,
        lanes: int = 3,
        vehicles: int = 12,
        density: float = 1.0,
        policy_frequency: int = 5,
    ) -> None:
        for what, number in (("lanes", lanes), ("vehicles", vehicles), ("policy_frequency", policy_frequency)):
            if not isinstance(number, Integral):
                raise TypeError(f"{what} must be a whole number, not {number!r}")
        if lanes < 1:
            raise ValueError(f"lanes must be at least 1, not {lanes}")
        if vehicles < 2:
            raise ValueError(f"vehicles must be at least 2, including the ego, not {vehicles}")
        if not 0 < density < np.inf:
            raise ValueError(f"density must be positive and finite, not {density}")
        if policy_frequency < 1 or SIMULATION_FREQUENCY % policy_frequency:
            raise ValueError(f"policy_frequency must divide {SIMULATION_FREQUENCY}, not be {policy_frequency}")
        self.name, self.styles = name, styles
        self.lanes, self.num_vehicles, self.policy_frequency = lanes, vehicles, policy_frequency
        self.spacing = np.exp(-5 / 40 * lanes) / density  # `Vehicle.create_random`
        self.behind = (vehicles - 1) // 3
        self.draws = {
            "first_lane": Draw(0.0, float(lanes)),  # rounded down: of the last in the pack
            "speed": Draw(0.7 * SPEED_LIMIT, 0.8 * SPEED_LIMIT, size=vehicles),  # [m/s], the others' desired speed
            "gap": Draw(
                0.7, 1.3, size=vehicles
            ),  # to the previous vehicle in the pack, relative to the usual gap at that speed
            "delta": Draw(IDMVehicle.DELTA_RANGE[0], IDMVehicle.DELTA_RANGE[1], size=vehicles),
            "ego_offset": Draw(-0.3, 0.3),  # [m]
        }
        longest_gap = self.draws["gap"].high * self.spacing * (12.0 + self.draws["speed"].high)
        farthest = vehicles * longest_gap + self.horizon / policy_frequency * Vehicle.MAX_SPEED
        if farthest > ROAD_LENGTH:
            raise ValueError(
                f"vehicles: {vehicles} at density {density:g} on {lanes} lanes may reach {farthest:,.0f} m, but the "
                f"road ends at {ROAD_LENGTH:,.0f} m; use fewer of them, or more decisions per second"
            )

    @property
    def recommended(self) -> dict[str, Any]:
        # Four styles that show only in means take more exploration than a cloned fork; a decision costs far more here.
        return super().recommended | {"initial_log_std": -2.3, "iterations": 24}

    @property
    def view(self) -> View:
        """Follows the ego, with more of the road ahead than behind."""
        width = 1120

        def camera(states: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
            ego = VehicleState.of(states, 0)
            return np.array([ego.x + LOOK_AHEAD, ego.y - self.lane_offset(states, scene)]), width / SHOWN_LENGTH

        return View(
            (width, 124),
            camera=camera,
            detail=lambda states, scene: headway_in_words(float(self.headway(states))),
            diagram=self.diagram("mean headway of an episode [s]", (0.0, LONGEST_HEADWAY + 0.1), self.headway),
        )

    def diagram(self, label: str, ends: tuple[float, float], quantity: Callable[[np.ndarray], np.ndarray]) -> Diagram:
        """Left: speed over time. Right: a point for each episode, the means of `quantity` and of the speed.

        Args:
            label: axis label of the quantity, with its unit.
            ends: limits of its axis.
            quantity: maps states (T, V, 4) to values (T,).
        """
        step = 1 / self.policy_frequency
        panels = (
            Panel(
                "time [s]",
                "speed [m/s]",
                (-step / 2, EPISODE_STEPS * step + step / 2),
                (0.0, 35.0),
                share=1.4,
                grid=True,
            ),
            Panel(label, "mean speed [m/s]", ends, grid=True),
        )

        def trajectories(states: np.ndarray, scene: Scene) -> list[tuple[int, np.ndarray, np.ndarray]]:
            time, speed = np.arange(len(states)) / self.policy_frequency, states[:, 0, 3]
            return [(1, quantity(states).mean(keepdims=True), speed.mean(keepdims=True)), (0, time, speed)]

        return Diagram(trajectories, panels, height=3.6, shared_y=True)

    def initial_states(self, scene: Scene) -> Array:
        xp = array_namespace(scene["speed"])
        # From the last of the pack to the first; the ego, vehicle 0, is within.
        pack = [*range(1, self.behind + 1), 0, *range(self.behind + 1, self.num_vehicles)]
        gaps = scene["gap"] * self.spacing * (12.0 + scene["speed"])
        rank = list(np.argsort(pack))
        x = xp.cumulative_sum(gaps[pack, ...], axis=0)[rank, ...]
        # Lanes in turn: with random lanes, as in highway-v0, cars start so close to each other that traffic jams.
        y = xp.stack([(xp.floor(scene["first_lane"]) + k) % self.lanes for k in rank]) * LANE_WIDTH
        y = xp.concat((y[:1, ...] + scene["ego_offset"][None, ...], y[1:, ...]))
        return xp.stack((x, y, xp.zeros_like(x), scene["speed"]), axis=1)

    def observe(self, states: Array, scene: Scene) -> list[Array]:
        xp = array_namespace(states)
        ego = VehicleState.of(states, 0)
        lane = self._lane(ego.y)
        slots = [slot for side in SIDES.values() for slot in self._neighbours(states, lane + side)]
        headway = self._headway(slots[0], ego.speed)
        return [
            (ego.y - LANE_WIDTH * lane) / 2.0,
            ego.heading / 0.1,
            (ego.speed - 20.0) / 10.0,
            headway / 2.0,
            xp.where(lane > 0, 1.0, 0.0),
            xp.where(lane < self.lanes - 1, 1.0, 0.0),
            *(feature for present, gap, closing in slots for feature in (present, gap / 50.0, closing / 10.0)),
        ]

    def observe_in_lanes(self, states: Array, lanes: Array) -> list[Array]:
        highway: Any = copy(self)
        highway.lanes = lanes  # one number per driver
        return highway.observe(states[..., :4], {})

    def off_road(self, states: Array, scene: Scene) -> Array:
        return abs(self.lane_offset(states, scene)) > LANE_WIDTH * self.lanes / 2

    def placement(self, vehicle: VehicleState, scene: Scene) -> tuple[Array, Array]:
        return vehicle.x, vehicle.y - LANE_WIDTH * (self.lanes - 1) / 2

    def measure(self, states: Array) -> Array:
        """Measures (M, ...) of whole trajectories (T, ..., V, 4): mean speed [m/s], mean time headway [s], mean
        absolute acceleration [m/s²], number of lane changes."""
        xp = array_namespace(states)
        ego = VehicleState.of(states, 0)
        lane = self._lane(ego.y)
        rows = (
            ego.speed,
            self.headway(states),
            abs(xp.diff(ego.speed, axis=0)) * self.policy_frequency,
        )
        changes = xp.sum(xp.where(xp.diff(lane, axis=0) != 0, 1.0, 0.0), axis=0)
        return xp.stack((*(xp.mean(row, axis=0) for row in rows), changes))

    def headway(self, states: Array) -> Array:
        """(...) [s] to the rear bumper of the leader in the ego's lane, at most `LONGEST_HEADWAY`."""
        ego = VehicleState.of(states, 0)
        leader, _ = self._neighbours(states, self._lane(ego.y))
        return self._headway(leader, ego.speed)

    def style(self, states: Array, scene: Scene) -> Array:
        """Not determined by geometry; `fit_judge` makes a judge.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.name}: styles are judged by comparison with demonstrations; use fit_judge(recording)")

    def demonstrator(self, scene: Scene, style: int, rng: np.random.Generator) -> TrafficDriver:
        """Drives by IDM and MOBIL, with the parameters of its style."""
        return TrafficDriver(self, rng, self._driver(style, rng, self._open_road(scene, rng)))

    def _driver(self, style: int, rng: np.random.Generator, road: Road) -> IDMVehicle:
        wanted, driver = self.styles[style], IDMVehicle(road, (0.0, 0.0))
        assert isinstance(wanted, IDMStyle)
        means = np.array((wanted.speed, wanted.headway, wanted.acceleration))
        wishes = means * rng.normal(1.0, VARIETY, 3).clip(1 - 2 * VARIETY, 1 + 2 * VARIETY)
        driver.target_speed, driver.TIME_WANTED, driver.COMFORT_ACC_MAX = wishes.tolist()
        driver.timer = rng.uniform(0.0, driver.LANE_CHANGE_DELAY)
        return driver

    def _open_road(self, scene: Scene, rng: np.random.Generator) -> Road:
        """The empty road, without the speed limit, which would make some styles alike."""
        road = Road(self.road_network(scene), np_random=rng)
        for lane in road.network.lanes_list():
            lane.speed_limit = None
        return road

    def begin(self, scene: Scene) -> Array:
        from infogail.envs.physics.traffic import initial_lane_traffic

        return initial_lane_traffic(self.initial_states(scene).transpose(0, 1), self.lanes)

    def move(
        self, traffic: Array, acceleration: Array, steering: Array, scene: Scene, elapsed: Array, thorough: bool
    ) -> Array:
        from infogail.envs.physics.traffic import drive_in_traffic

        duration = 1 / self.simulation_frequency, self.simulation_frequency // self.policy_frequency
        return drive_in_traffic(traffic, acceleration, steering, *self.wishes(scene), self.lanes, *duration)

    def road_network(self, scene: Scene) -> RoadNetwork:
        return RoadNetwork.straight_road_network(self.lanes, speed_limit=SPEED_LIMIT)

    def vehicles(self, road: Road, scene: Scene) -> list[Vehicle]:
        ego, *others = self.initial_states(scene)
        drivers = [IDMVehicle(road, (x, y), float(heading), float(speed)) for x, y, heading, speed in others]
        for driver, delta in zip(drivers, scene["delta"][1:], strict=True):
            driver.DELTA = float(delta)
        return [Vehicle(road, ego[:2], float(ego[2]), float(ego[3])), *drivers]

    def wishes(self, scene: Scene) -> tuple[Array, Array]:
        """(V, ...) each: the desired speed [m/s] of every vehicle, 0 for the ego, and IDM's exponent."""
        xp = array_namespace(scene["speed"])
        speed = xp.concat((xp.zeros_like(scene["speed"][:1, ...]), scene["speed"][1:, ...]))
        return speed, scene["delta"]

    def _lane(self, y: Array) -> Array:
        """(...): number of the nearest lane; halfway between two, the left one, as in highway-env."""
        xp = array_namespace(y)
        return xp.clip(xp.ceil(y / LANE_WIDTH - 0.5), 0, self.lanes - 1)

    def _neighbours(self, states: Array, lane: Array) -> list[tuple[Array, Array, Array]]:
        """Leader and follower in `lane` (...), as from `next_in_lane`; gaps are between centres."""
        ahead = states[..., 1:, 0] - states[..., :1, 0]
        slower = states[..., :1, 3] - states[..., 1:, 3]
        aside = abs(states[..., 1:, 1] - LANE_WIDTH * lane[..., None])
        in_lane = aside <= LANE_WIDTH / 2 + 1.0  # `Road.neighbour_vehicles`: a vehicle between two lanes is in both
        return next_in_lane(in_lane, ahead, slower)

    @staticmethod
    def _headway(leader: tuple[Array, Array, Array], speed: Array) -> Array:
        """As `headway`, to the given leader."""
        xp = array_namespace(speed)
        present, gap, _ = leader
        headway = (gap - Vehicle.LENGTH) / xp.clip(speed, 1.0, None)
        return xp.where(present > 0, xp.clip(headway, 0.0, LONGEST_HEADWAY), LONGEST_HEADWAY)


def headway_in_words(headway: float) -> str:
    """Caption text for a headway [s] of at most `LONGEST_HEADWAY`."""
    return f"headway {headway:.1f} s" if headway < LONGEST_HEADWAY else "no leader nearby"
