"""What a scenario is: road, start distribution, observation, outcome and style, defined once for both physics.

Scenario functions take NumPy arrays (one highway-env world) and torch tensors (the batched twin) alike, through the
Python array API; leading dimensions `...` are free. So the two physics share every definition here, and a parity test
between them is a test of physics alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
from array_api_compat import array_namespace
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.physics.dynamics import drive, drive_thoroughly, undamaged, vehicle_states
from infogail.envs.scenarios.view import View

Array = Any
"""numpy.ndarray or torch.Tensor."""
Scene = dict[str, Array]
"""What was drawn at reset, by name, each (...)."""

SIMULATION_FREQUENCY = 15  # [Hz]
POLICY_FREQUENCY = 5  # [Hz]
EPISODE_STEPS = 60  # decisions, 12 s
ACCELERATION_RANGE = (-5.0, 5.0)  # [m/s²], highway-env's default
NO_STYLE = -1
"""The style of an episode in which the manoeuvre was not done."""


class VehicleState(NamedTuple):
    """One vehicle's state, each field (...): a view on the last axis of a state array (..., 4)."""

    x: Array  # [m]
    y: Array  # [m], to the right of x as highway-env draws it
    heading: Array  # [rad]
    speed: Array  # [m/s]

    @classmethod
    def of(cls, states: Array, vehicle: int) -> VehicleState:
        """Vehicle number `vehicle` of `states` (..., V, 4)."""
        return cls(*(states[..., vehicle, k] for k in range(4)))


@dataclass(frozen=True)
class Draw:
    """How one quantity of the scene is drawn: uniformly between two ends, or one of the two ends with equal chance."""

    low: float
    high: float
    only_ends: bool = False
    size: int = 0
    """How many such numbers make a quantity (size, ...); 0: one number (...)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the quantity in one scene."""
        return (self.size,) if self.size else ()


def num_rows(draws: dict[str, Draw]) -> int:
    """How many numbers make a scene."""
    return sum(draw.size or 1 for draw in draws.values())


def scene_from_uniform(draws: dict[str, Draw], uniform: Array) -> Array:
    """Scenes (k, ...) in the order of `draws`, from independent uniform numbers in [0, 1) of that shape."""
    blocks = [
        draw.low + (draw.high - draw.low) * (block.round() if draw.only_ends else block)
        for draw, block in zip(draws.values(), _blocks(draws, uniform), strict=True)
    ]
    return array_namespace(uniform).concat(blocks)


def named(draws: dict[str, Draw], rows: Array) -> Scene:
    """The scene by name, of its numbers (k, ...) in the order of `draws`."""
    blocks = zip(draws.items(), _blocks(draws, rows), strict=True)
    return {name: block if draw.size else block[0] for (name, draw), block in blocks}


def _blocks(draws: dict[str, Draw], rows: Array) -> list[Array]:
    ends = list(accumulate((draw.size or 1 for draw in draws.values()), initial=0))
    return [rows[first:last] for first, last in pairwise(ends)]


class Characters(NamedTuple):
    """What demonstrations of each style are like in the mean; by it a nearest-centroid rule judges other episodes."""

    means: np.ndarray
    """(K, M): mean of each measure in each style"""
    spread: np.ndarray
    """(M,): standard deviation within a style"""

    @classmethod
    def of(cls, measures: np.ndarray, styles: np.ndarray) -> Characters:
        """Fitted to `measures` (M, E) of demonstrations of `styles` (E,)."""
        means = np.full((styles.max() + 1, len(measures)), np.inf)  # no episode is near a style that does not occur
        for style in np.unique(styles):
            means[style] = measures[:, styles == style].mean(1)
        return cls(means, np.maximum((measures.T - means[styles]).std(0), 1e-9))

    def nearest(self, measures: np.ndarray) -> np.ndarray:
        """Styles (...) of episodes with `measures` (M, ...)."""
        ways = (np.moveaxis(measures, 0, -1)[..., None, :] - self.means) / self.spread
        return (ways**2).sum(-1).argmin(-1)


class Scenario(Protocol):
    """One driving task. `states` is (..., V, 4) = x [m], y [m], heading [rad], speed [m/s], the ego first."""

    name: str
    road: str
    """pass or turn: scenarios on the same road look the same."""
    num_vehicles: int
    steering_range: tuple[float, float]
    """[rad] at actions -1 and 1."""
    screen: tuple[int, int]
    """Width and height [px] of highway-env's picture, unless its configuration says otherwise."""
    styles: tuple[str, ...]
    style_mix: tuple[float, ...] | None
    """Chance of each style among recorded drivers; None if all have the same."""
    graded: bool
    """Styles differ by degrees: `style_value` says more than `style`."""
    recorded: bool = False
    """Demonstrations are of people, from `infogail import`; nobody knows their styles."""
    policy_frequency: int = POLICY_FREQUENCY
    """Decisions per second."""
    simulation_frequency: int = SIMULATION_FREQUENCY
    """Physics steps per second."""
    fixed_settings: tuple[str, ...] = ()
    """highway-env's settings that cannot be changed; `vehicle_class`: the ego's, which follows from the action type."""
    compilable: bool = True
    """The twin's step has no branch that depends on data, if `thorough`."""
    measures: tuple[str, ...] = ()
    """By what a nearest-centroid rule, fitted on demonstrations, tells styles apart; none: geometry alone tells."""
    features: tuple[str, ...]
    """Names of the observation's entries."""
    style_features: tuple[str, ...]
    """The features in which a style may show: a posterior reads these, and not what the road alone decides."""
    style_tolerance: float = 1.0
    """By how many standard deviations all of a trajectory's style features may be moved without making another style
    of it; less where the styles lie in a row, near each other."""
    draws: dict[str, Draw]
    """The start distribution."""

    @property
    def view(self) -> View:
        """How it is shown in films and diagrams."""
        return View()

    def initial_states(self, scene: Scene) -> Array:
        """Where the vehicles start: (V, 4, ...), components first."""

    def begin(self, scene: Scene) -> Array:
        """The twin's traffic (9 or more rows, V, B) at the start; see `infogail.envs.physics.dynamics`."""
        return undamaged(self.initial_states(scene).transpose(0, 1))

    def move(
        self, traffic: Array, acceleration: Array, steering: Array, scene: Scene, elapsed: Array, thorough: bool
    ) -> Array:
        """The twin's traffic one decision later.

        Args:
            acceleration, steering: (B,) [m/s²] [rad], the ego's commands.
            elapsed: (B,) decisions since the start.
            thorough: compute everything everywhere.
        """
        physics = drive_thoroughly if thorough else drive
        steps = self.simulation_frequency // self.policy_frequency
        return physics(traffic, acceleration, steering, 1 / self.simulation_frequency, steps)

    def states(self, traffic: Array, scene: Scene, elapsed: Array) -> Array:
        """(B, V, 4) of the twin's traffic, `elapsed` (B,) decisions after the start."""
        return vehicle_states(traffic)

    def states_of(self, vehicles: list[Vehicle], scene: Scene) -> np.ndarray:
        """float64 (V, 4) of highway-env's vehicles, the ego first."""
        return np.array([(*v.position, v.heading, v.speed) for v in vehicles], dtype=np.float64)

    def observe(self, states: Array, scene: Scene) -> list[Array]:
        """The features, each (...), scaled to about [-1, 1]."""

    def off_road(self, states: Array, scene: Scene) -> Array:
        """(...) bool: the ego's centre has left the road."""

    def placement(self, vehicle: VehicleState, scene: Scene) -> tuple[Array, Array]:
        """(...) [m] each: how far along the road a vehicle is, and how far from the road's centre line; on which side
        is positive is the scenario's to say."""

    def lane_offset(self, states: Array, scene: Scene) -> Array:
        """(...) [m]: the ego's distance from the road's centre line."""
        return self.placement(VehicleState.of(states, 0), scene)[1]

    def distance(self, states: Array, scene: Scene) -> Array:
        """(...) [m]: how far along the road the ego is."""
        return self.placement(VehicleState.of(states, 0), scene)[0]

    def style(self, states: Array, scene: Scene, characters: Characters | None = None) -> Array:
        """Styles (...) of whole trajectories (T, ..., V, 4): an index into `styles`, or `NO_STYLE`.

        Where there are `measures`, as the demonstrations' `characters` have it.
        """

    def measure(self, states: Array) -> Array:
        """The `measures` (M, ...) of whole trajectories (T, ..., V, 4)."""
        return states[:0, ..., 0, 0]

    def style_value(self, states: Array, scene: Scene) -> Array:
        """What the style is a matter of, as a number (...), for trajectories (T, ..., V, 4): for graded styles."""
        raise ValueError(f"the styles of {self.name} are not graded")

    def road_network(self, scene: Scene) -> RoadNetwork:
        """highway-env's road for one scene of scalars."""

    def vehicles(self, road: Road, scene: Scene) -> list[Vehicle]:
        """highway-env's vehicles on it, the ego first."""
        states = self.initial_states(scene)
        return [Vehicle(road, (x, y), float(heading), float(speed)) for x, y, heading, speed in states]

    def expert_path(self, scene: Scene, offset: float) -> RoadNetwork:
        """One lane that runs `offset` [m] beside the centre line (same sign as `lane_offset`), for the controllers
        of experts who follow a plan."""
        raise ValueError(f"nobody follows a plan in {self.name}")


def body_overlap(gap: Array) -> Array:
    """(...) bool: two cars whose centres are `gap` [m] apart along the road overlap lengthwise."""
    return abs(gap) < Vehicle.LENGTH


def as_float64(array: Array) -> np.ndarray:
    """A NumPy float64 copy of anything array-like."""
    return np.array(array, dtype=np.float64)
