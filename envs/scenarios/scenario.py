"""The interface of a scenario: one driving task, defined once for both physics.

Scenario functions take NumPy arrays (one highway-env world) and torch tensors (the batched twin) alike, through the
Python array API; leading dimensions `...` are arbitrary. The two physics thus share every definition here, and a parity
test between them tests the physics alone. Torch is imported only by the twin's physics, where a scenario calls it, for
an exported driver needs none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from gymnasium import spaces
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.environment import EarlyEnd, Spec
from infogail.envs.errors import BadInput
from infogail.envs.physics.state import Array, Scene, VehicleState
from infogail.envs.physics.streams import Draw
from infogail.envs.scenarios.styles import CentroidJudge, Style, StyleCentroids, StyleJudge
from infogail.envs.scenarios.view import View

if TYPE_CHECKING:
    from infogail.envs.data.recording import Recording
    from infogail.envs.data.world import World

SIMULATION_FREQUENCY = 15  # [Hz]
POLICY_FREQUENCY = 5  # [Hz]
EPISODE_STEPS = 60  # decisions, 12 s
ACCELERATION_RANGE = (-5.0, 5.0)  # [m/s²], highway-env's default

DISCOUNT = 0.95  # recommended per decision, at 5 decisions a second: a horizon of about 4 s
GRADED_LEVELS = 7  # recommended for a graded code


class Demonstrator(Protocol):
    """A scripted driver of one episode."""

    def act(self, states: np.ndarray) -> np.ndarray:
        """Action (2,) in [-1, 1], for states (V, 4)."""


class Scenario(ABC):
    """One driving task. `states` is (..., V, 4) = x [m], y [m], heading [rad], speed [m/s], the ego first.

    A subclass sets the attributes without a default, defines the abstract methods, and overrides whatever else differs.
    `infogail.envs.catalogue` says how it is found by name.
    """

    name: str
    """Its name in the catalogue, or else `module:Class`, by which worker processes and saved runs find it again."""
    num_vehicles: int
    styles: tuple[Style, ...]
    features: tuple[str, ...]
    """Names of the observation's entries."""
    style_features: tuple[str, ...]
    """The features that can reveal a style: the posterior reads these, and not those set by the road alone."""
    draws: dict[str, Draw]
    """The start distribution."""
    steering_range: tuple[float, float]
    """[rad] at actions -1 and 1."""

    style_mix: tuple[float, ...] | None = None
    """Probability of each style among recorded drivers; None if uniform."""
    graded: bool = False
    """Styles differ by degree: `style_value` says more than the style."""
    world_type: type[World] | None = None
    """The world in which people were recorded; None if demonstrations are not of people from `infogail import`."""
    starting_speeds: np.ndarray | None = None
    """(n,) [m/s] of the people learned from, at the beginning of their demonstrations; None if there are none."""
    burn_in: int = 0
    """Decisions of the recorded driver, from which a code is inferred, before another driver takes over."""
    steers: bool = True
    """Actions are acceleration and steering; if not, acceleration alone."""
    measures: tuple[str, ...] = ()
    """What a nearest-centroid rule, fitted to demonstrations, distinguishes styles by; empty if geometry suffices."""
    style_tolerance: float = 1.0
    """Standard deviations by which all style features of a trajectory may be shifted without changing its style; less
    where the styles lie in a row, near each other."""
    early_end: EarlyEnd = "failure"
    """How to interpret an early end of an episode: here, a crash or a road exit."""
    horizon: int = EPISODE_STEPS
    """Decisions of an episode."""
    policy_frequency: int = POLICY_FREQUENCY
    """Decisions per second."""
    simulation_frequency: int = SIMULATION_FREQUENCY
    """Physics steps per second."""
    fixed_settings: tuple[str, ...] = ()
    """highway-env's settings that cannot be changed; `vehicle_class`: the ego's, which follows from the action type."""
    context: tuple[str, ...] = ()
    """The features that describe the surroundings rather than the driving; see `Spec.context`."""
    usable_as_traffic: bool = False
    """Its drivers observe enough to drive in other environments, see `infogail.traffic.population`."""
    compilable: bool = True
    """The twin's step has no data-dependent branches, if `thorough`."""
    path_axes: tuple[str, str] = ("along the road from the start [m]", "lane offset [m]")
    """Names of the two coordinates of `path`."""
    path_stretch: float = 5.0
    """How many times as long as wide cells of a map of paths should be: about as many times as the ego moves farther
    along than across."""
    screen: tuple[int, int] = (600, 150)
    """Width and height [px] of highway-env's rendering, unless its configuration sets them."""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "name" not in vars(cls):  # also for objects that `get_scenario` did not make
            cls.name = f"{cls.__module__}:{cls.__qualname__}"

    @property
    def recorded(self) -> bool:
        """Whether demonstrations are of people, from `infogail import`; their styles are unknown."""
        return self.world_type is not None

    @property
    def action_size(self) -> int:
        """Numbers in one action."""
        return 2 if self.steers else 1

    @property
    def recommended(self) -> dict[str, Any]:
        """Training settings that depend on the scenario, by name."""
        return {
            "num_codes": GRADED_LEVELS if self.graded else len(self.styles),
            "graded_code": self.graded,
            "gamma": DISCOUNT ** (POLICY_FREQUENCY / self.policy_frequency),
        }

    @property
    def spec(self) -> Spec:
        """What learners need to know about it."""
        return Spec(
            observation_shape=(len(self.features),),
            observation_dtype=np.dtype(np.float32),
            action_space=spaces.Box(-1.0, 1.0, (self.action_size,), np.float32),
            horizon=self.horizon,
            early_end=self.early_end,
            style_features=tuple(self.features.index(name) for name in self.style_features),
            context=tuple(self.features.index(name) for name in self.context),
            style_tolerance=self.style_tolerance,
            one_episode=True,
        )

    @property
    def label(self) -> str:
        """The name as part of file names and titles: without a module."""
        return self.name.rpartition(":")[2].lower()

    @property
    def view(self) -> View:
        """How it is shown in films and diagrams."""
        return View()

    @abstractmethod
    def initial_states(self, scene: Scene) -> Array:
        """Where the vehicles start: (V, 4, ...), components first."""

    @abstractmethod
    def observe(self, states: Array, scene: Scene) -> list[Array]:
        """The features, each (...), scaled to about [-1, 1]."""

    @abstractmethod
    def off_road(self, states: Array, scene: Scene) -> Array:
        """(...) bool: the ego's centre has left the road."""

    @abstractmethod
    def placement(self, vehicle: VehicleState, scene: Scene) -> tuple[Array, Array]:
        """(...) [m] each: how far along the road a vehicle is, and how far from the road's centre line; each scenario
        chooses which side is positive."""

    @abstractmethod
    def road_network(self, scene: Scene) -> RoadNetwork:
        """highway-env's road for one scene of scalars."""

    @abstractmethod
    def style(self, states: Array, scene: Scene) -> Array:
        """Styles (...) of whole trajectories (T, ..., V, 4) by geometry: an index into `styles`, or `NO_STYLE`."""

    def lane_offset(self, states: Array, scene: Scene) -> Array:
        """(...) [m]: the ego's distance from the road's centre line."""
        return self.placement(VehicleState.of(states, 0), scene)[1]

    def distance(self, states: Array, scene: Scene) -> Array:
        """(...) [m]: how far along the road the ego is."""
        return self.placement(VehicleState.of(states, 0), scene)[0]

    def path(self, states: np.ndarray, scene: Scene) -> np.ndarray:
        """(T, 2): the ego's path on a map that suits all episodes, for a whole trajectory (T, V, …); see `path_axes`.

        For forecasts of where drivers go; by default along the road, from the start, and across it.
        """
        along, across = self.placement(VehicleState.of(states, 0), scene)
        return np.stack((along - along[0], across), -1)

    @property
    def path_obstacles(self) -> np.ndarray:
        """(O, 4): what stands on the map of `path`, as segments x1, y1, x2, y2."""
        return np.empty((0, 4))

    def sizes(self, states: np.ndarray) -> np.ndarray:
        """Length and width (V, 2) [m] of the vehicles of a trajectory (T, V, 4)."""
        return np.tile((Vehicle.LENGTH, Vehicle.WIDTH), (states.shape[1], 1))

    def fit_judge(self, recording: Recording) -> StyleJudge:
        """The judge of styles: geometry, or, where there are `measures`, a centroid rule fitted to `recording`."""
        if not self.measures:
            return self.style
        episodes = range(recording.demonstrations.num_episodes)
        measures = np.stack([self.measure(recording.trajectory(e)) for e in episodes], axis=1)
        return CentroidJudge(self.measure, StyleCentroids.of(measures, recording.styles))

    def demonstrator(self, scene: Scene, style: int, rng: np.random.Generator) -> Demonstrator:
        """A scripted driver of style number `style`, for one episode that starts in `scene`.

        Raises:
            BadInput: the scenario has no scripted drivers.
        """
        raise BadInput(f"record {self.name}: it has no scripted drivers; give --demonstrations FILE")

    def measure(self, states: Array) -> Array:
        """The `measures` (M, ...) of whole trajectories (T, ..., V, 4)."""
        return states[:0, ..., 0, 0]

    def style_value(self, states: Array, scene: Scene) -> Array:
        """The quantity that graded styles differ in, as a number (...), for trajectories (T, ..., V, 4)."""
        raise ValueError(f"the styles of {self.name} are not graded")

    def demonstration(self, scene: Scene) -> Array | None:
        """(...) int64: the demonstration whose driver the ego replaces; None if it replaces none."""
        return None

    def observe_in_lanes(self, states: Array, lanes: Array) -> list[Array]:
        """The features of drivers as traffic on straight lanes that need not be the scenario's own, each (...).

        Args:
            states: (..., V, 6): x [m], y [m] from the middle of the leftmost lane, positive rightwards, heading [rad],
                speed [m/s], length and width [m] of all vehicles as each driver sees them, itself first.
            lanes: (...), the number of lanes around each driver.
        """
        raise NotImplementedError(f"{self.name}: its drivers do not drive as traffic")

    def followed(self, window: int) -> np.ndarray:
        """(4, T + 1): what the person of a recorded window did behind the leader: speed [m/s], presence of a leader (0
        or 1), gap from bumper to bumper [m], closing speed [m/s]."""
        raise NotImplementedError(f"{self.name}: no people were recorded")

    def complete(self, states: np.ndarray, scene: Scene) -> np.ndarray:
        """States (T + 1, V, …) of all vehicles in a demonstration; of people, a recording holds only the
        driver's `states` (T + 1, 1, 4)."""
        return states

    def with_recording(self, recording: Recording) -> Scenario:
        """This scenario in the world of `recording`, if it has one."""
        return self

    def begin(self, scene: Scene) -> Array:
        """The twin's traffic (9 or more rows, V, B) at the start; see `envs.physics.dynamics`."""
        from infogail.envs.physics.dynamics import initial_traffic

        return initial_traffic(self.initial_states(scene).transpose(0, 1))

    def move(
        self, traffic: Array, acceleration: Array, steering: Array, scene: Scene, elapsed: Array, thorough: bool
    ) -> Array:
        """The twin's traffic one decision later.

        Args:
            acceleration, steering: (B,) [m/s²] [rad], the ego's commands.
            elapsed: (B,) decisions since the start.
            thorough: compute everything in every environment.
        """
        from infogail.envs.physics.dynamics import drive, drive_thoroughly

        physics = drive_thoroughly if thorough else drive
        steps = self.simulation_frequency // self.policy_frequency
        return physics(traffic, acceleration, steering, 1 / self.simulation_frequency, steps)

    def states(self, traffic: Array, scene: Scene, elapsed: Array) -> Array:
        """(B, V, 4) of the twin's traffic, `elapsed` (B,) decisions after the start."""
        from infogail.envs.physics.dynamics import vehicle_states

        return vehicle_states(traffic)

    def states_of(self, vehicles: list[Vehicle], scene: Scene) -> np.ndarray:
        """float64 (V, 4) of highway-env's vehicles, the ego first."""
        return np.array([(*v.position, v.heading, v.speed) for v in vehicles], dtype=np.float64)

    def vehicles(self, road: Road, scene: Scene) -> list[Vehicle]:
        """highway-env's vehicles on `road`, the ego first."""
        states = self.initial_states(scene)
        return [Vehicle(road, (x, y), float(heading), float(speed)) for x, y, heading, speed in states]


def body_outline() -> np.ndarray:
    """(4, 4) [m]: the sides x1, y1, x2, y2 of a car at the origin."""
    x, y = Vehicle.LENGTH / 2, Vehicle.WIDTH / 2
    corners = np.array([(-x, -y), (x, -y), (x, y), (-x, y)])
    return np.concatenate((corners, np.roll(corners, -1, axis=0)), axis=1)


def body_overlap(gap: Array) -> Array:
    """(...) bool: two cars whose centres are `gap` [m] apart along the road overlap lengthwise."""
    return abs(gap) < Vehicle.LENGTH
