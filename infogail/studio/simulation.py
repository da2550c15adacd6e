"""highway-env one physics step at a time, as a page shows it: a scenario, or any road of highway-env."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from highway_env.envs.common.abstract import AbstractEnv
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput, one_line
from infogail.envs.physics.state import Scene
from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE, SIMULATION_FREQUENCY, Scenario
from infogail.envs.scenarios.styles import NO_STYLE, Style
from infogail.envs.scenarios.view import follow_ego
from infogail.rendering.viewer import camera_of, road_of
from infogail.runs.driver import Driver
from infogail.traffic.population import make_populated, population

HORIZON = 200.0  # [m] from the ego, beyond which cars are not sent
ROAD_VIEW = (1120, 320)  # [px], of highway-env's own roads
SIDEWAYS = 6.0  # [m/s²] that full steering demands on such a road
UNSUITED = ("multi-agent", "fast", "ActionRepeat", "parked")  # several egos, and variants for learners

CRASHED, LEFT_THE_ROAD, COMPLETE = "crashed", "left the road", "complete"

Frame = dict[str, Any]


class _Shown:
    """What scenarios and roads have in common: the cars of a frame, and the ego's readings.

    What a page asks of both is answered here for a road, on which nothing is recorded and no posterior guesses.
    """

    env: AbstractEnv
    size: tuple[int, int]
    """Width and height [px] at the camera's scale."""
    rate = SIMULATION_FREQUENCY
    """Physics steps per second."""
    decision_rate = SIMULATION_FREQUENCY
    """Decisions per second."""
    seconds: float | None = None
    """[s] that an episode lasts; None: until the driver ends it."""
    lock: float | None = None
    """[rad] of the wheels at full steering; None: less the faster the car is."""
    styles: Sequence[Style] = ()
    belief: list[float] | None = None
    """(K,): the posterior's belief in each code after the last completed decision."""
    time = 0.0
    """[s] since the episode began"""
    outcome = ""
    """How the episode ended; empty while it goes on."""

    @property
    def keepable(self) -> bool:
        """Whether the episode can be recorded: demonstrations end neither in a crash nor beside the road."""
        return False

    @property
    def style_name(self) -> str | None:
        """The style that the episode showed, by geometry; None if that cannot be told."""
        return None

    def recording(self, style: int, source: str) -> Recording:
        """The episode as demonstrations; only if it is `keepable`."""
        raise NotImplementedError

    def _number_cars(self) -> None:
        self._numbers: dict[Any, int] = {}

    def road(self) -> dict[str, Any]:
        """ROAD, see `infogail.rendering.viewer.road_of`."""
        return road_of(self.env.road.network)

    def camera(self) -> list[float]:
        """Centre [m], scale [px/m] and heading [rad]."""
        raise NotImplementedError

    def frame(self) -> Frame:
        """Time, cars and camera, the ego first."""
        ego = self.env.vehicle
        others = [other for other in (*self.env.road.vehicles, *self.env.road.objects) if other is not ego]
        near = [other for other in others if np.abs(other.position - ego.position).max() < HORIZON]
        return {"t": round(self.time, 4), "cars": [self._car(car) for car in (ego, *near)], "camera": self.camera()}

    def readings(self) -> Frame:
        """Speed [m/s], and gap [m] and headway [s] to the car in front, None without one."""
        ego = self.env.vehicle
        front, _ = self.env.road.neighbour_vehicles(ego, ego.lane_index)
        gap = None
        if front is not None:
            lane = self.env.road.network.get_lane(ego.lane_index)
            along = lane.local_coordinates(front.position)[0] - lane.local_coordinates(ego.position)[0]
            gap = float(along - (front.LENGTH + ego.LENGTH) / 2)
            gap = round(gap, 1) if gap < HORIZON else None
        speed = float(ego.speed)
        headway = None if gap is None or speed < 1.0 else round(gap / speed, 2)
        return {"speed": round(speed, 2), "gap": gap, "headway": headway}

    def _car(self, car: Any) -> list[float]:
        number = self._numbers.setdefault(car, len(self._numbers))
        numbers = (*car.position, car.heading, getattr(car, "speed", 0.0), car.LENGTH, car.WIDTH)
        return [number, *(round(float(each), 3) for each in numbers)]


class Simulation(_Shown):
    """An episode of a scenario. Actions count at decisions only, as in `DrivingEnv`: what is recorded drives there."""

    def __init__(self, scenario: Scenario, driver: Driver | None = None) -> None:
        """An episode of `scenario`, watched by the posterior of `driver`."""
        self.scenario, self._driver = scenario, driver
        # One decision of highway-env's per physics step, which moves in the same way.
        self.env = DrivingEnv(scenario, {"policy_frequency": scenario.simulation_frequency})
        self.size = scenario.view.size
        self.rate, self.decision_rate = scenario.simulation_frequency, scenario.policy_frequency
        self.seconds = scenario.horizon / scenario.policy_frequency
        self.lock, self.styles = scenario.steering_range[1], scenario.styles
        self._steps_per_decision = scenario.simulation_frequency // scenario.policy_frequency

    def begin(self, seed: int | None = None, scene: Scene | None = None) -> None:
        """Start an episode, from the scene drawn with `seed`, or from `scene`."""
        self.obs, _ = self.env.reset(seed=seed, options=None if scene is None else {"scene": scene})
        self._number_cars()
        self.observations: list[np.ndarray] = []
        self.actions: list[np.ndarray] = []
        self.states: list[np.ndarray] = [self.env.vehicle_state]
        self._steps, self.time, self.outcome = 0, 0.0, ""
        self.belief = self._believed()

    @property
    def at_decision(self) -> bool:
        """Whether the next step begins a decision."""
        return self._steps % self._steps_per_decision == 0

    def step(self, choose: Callable[[np.ndarray], np.ndarray]) -> None:
        """Advance by one physics step; at a decision, `choose` maps the observation (F,) to the action (A,)."""
        if self.at_decision:
            self.observations.append(self.obs)
            self.actions.append(np.clip(choose(self.obs), -1.0, 1.0).astype(np.float32))
        self.obs, *_ = self.env.step(self.actions[-1])
        self._steps += 1
        self.time = self._steps / self.rate
        if self.at_decision:
            self.states.append(self.env.vehicle_state)
            self.belief = self._believed()
            if self.env.vehicle.crashed:
                self.outcome = CRASHED
            elif self.scenario.off_road(self.states[-1], self.env.scene):
                self.outcome = LEFT_THE_ROAD
            elif len(self.actions) >= self.scenario.horizon:
                self.outcome = COMPLETE

    def camera(self) -> list[float]:
        return camera_of(self.scenario, self.env.vehicle_state, self.env.scene)

    def _believed(self) -> list[float] | None:
        return None if self._driver is None else belief_after(self._driver, *self.driven)

    @property
    def driven(self) -> tuple[np.ndarray, np.ndarray]:
        """Observations (T, F) and actions (T, A) of the completed decisions."""
        done, spec = len(self.states) - 1, self.scenario.spec
        seen = np.array(self.observations[:done]).reshape(done, spec.observation_size)
        return seen, np.array(self.actions[:done]).reshape(done, spec.action_size)

    @property
    def style_name(self) -> str | None:
        if self.scenario.measures or self.outcome in (CRASHED, LEFT_THE_ROAD):
            return None  # with measures, it takes a comparison with demonstrations
        style = int(self.scenario.style(np.stack(self.states), self.env.scene))
        return None if style == NO_STYLE else str(self.styles[style])

    @property
    def keepable(self) -> bool:
        return self.outcome in ("", COMPLETE) and len(self.states) > 1

    def recording(self, style: int, source: str) -> Recording:
        """The episode as demonstrations, up to its last completed decision."""
        observations, actions = self.driven
        return Recording.of(
            self.scenario, [observations], [actions], [np.stack(self.states)], [self.env.scene], [style], source
        )


class OpenRoad(_Shown):
    """Any environment of highway-env, to drive in without recording."""

    size = ROAD_VIEW
    at_decision = True

    def __init__(self, environment: str, traffic: Path | None = None) -> None:
        """A road by highway-env's id; with `traffic`, the drivers of this run are on it."""
        self._id, self._traffic = environment, traffic

    def begin(self, seed: int | None = None) -> None:
        """Start an episode.

        Raises:
            BadInput: it cannot be made, or not with this traffic.
        """
        config = {"simulation_frequency": SIMULATION_FREQUENCY, "policy_frequency": SIMULATION_FREQUENCY}
        try:
            if self._traffic is not None:
                made = make_populated(self._id, population(self._traffic), seed, config)
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # there may be a newer version
                    made = gymnasium.make(self._id, config=config)
                made.reset(seed=seed)
        except (gymnasium.error.Error, TypeError) as error:
            raise BadInput(f"{self._id}: cannot be made ({one_line(error)}); choose another road") from error
        env: Any = made.unwrapped
        # The environment's own ego keeps to lanes and speeds by itself; a person steers a plain vehicle in its place.
        ego = Vehicle(env.road, env.vehicle.position, env.vehicle.heading, env.vehicle.speed)
        env.road.vehicles[env.road.vehicles.index(env.vehicle)] = env.vehicle = ego
        self.env = env
        self._number_cars()
        self.time, self.outcome = 0.0, ""

    def step(self, choose: Callable[[np.ndarray], np.ndarray]) -> None:
        """Advance by one physics step, with the action (2,) in [-1, 1] that `choose` returns."""
        ego = self.env.vehicle
        acceleration, steering = np.clip(choose(np.zeros(0)), -1.0, 1.0)
        limit = min(np.pi / 4, np.arctan(ego.LENGTH * SIDEWAYS / max(ego.speed, 1.0) ** 2))
        ego.act({"acceleration": acceleration * ACCELERATION_RANGE[1], "steering": steering * limit})
        self.env.road.act()
        self.env.road.step(1 / SIMULATION_FREQUENCY)
        self.time += 1 / SIMULATION_FREQUENCY
        if ego.crashed:
            self.outcome = CRASHED
        elif not ego.on_road:
            self.outcome = LEFT_THE_ROAD

    def camera(self) -> list[float]:
        centre, scale = follow_ego(np.array([[*self.env.vehicle.position, 0.0, 0.0]]), {})
        return [*(round(float(each), 3) for each in centre), scale, 0.0]


def belief_after(driver: Driver, observations: np.ndarray, actions: np.ndarray) -> list[float] | None:
    """(K,): the posterior's belief in each code after decisions (T, F) and (T, A); None without a posterior."""
    belief = driver.belief(observations, actions)
    return None if belief is None else [round(float(chance), 4) for chance in belief[-1]]


def open_roads() -> list[str]:
    """The ids of highway-env's environments with one ego, each in its newest version."""
    newest: dict[str, str] = {}
    for name, spec in sorted(gymnasium.registry.items()):
        if str(spec.entry_point).startswith("highway_env") and not any(word in name for word in UNSUITED):
            newest[str(spec.name)] = name
    return sorted(newest.values())
