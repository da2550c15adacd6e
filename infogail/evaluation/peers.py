"""Non-learning baselines for a trained driver: constant velocity, and IDM, fitted to people, with MOBIL.

They follow their lane like `highway_env.vehicle.controller.ControlledVehicle`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from highway_env.utils import do_every, not_zero, wrap_to_pi
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.controller import ControlledVehicle

from infogail.envs.data.recording import Recording
from infogail.envs.physics.state import Scene
from infogail.envs.physics.traffic import idm
from infogail.envs.scenarios.recorded_road import RecordedState
from infogail.envs.scenarios.replay import Replay
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE
from infogail.evaluation.episodes import Act

CLOSEST = 0.1  # [m], lower bound of gaps
SLOPE = 2.0  # [m], length over which a lane's direction is measured
STEP = 1 / Replay.policy_frequency  # [s]


class Parameters(NamedTuple):
    """Parameters of the intelligent driver model (Treiber, Hennecke and Helbing 2000)."""

    desired_speed: float
    """[m/s]"""
    time_headway: float
    """[s]"""
    min_gap: float
    """[m] from bumper to bumper"""
    comfortable_acceleration: float
    """[m/s²]"""
    comfortable_deceleration: float
    """[m/s²]"""


LOWEST, FIRST_GUESS, HIGHEST = (
    Parameters(1.0, 0.1, 0.5, 0.1, 0.1),
    Parameters(30.0, 1.5, 2.0, 1.5, 2.0),
    Parameters(60.0, 5.0, 10.0, 6.0, 10.0),
)


class Neighbour(NamedTuple):
    """The nearest car ahead or behind in a lane, each field (...)."""

    present: np.ndarray
    gap: np.ndarray
    """[m] from bumper to bumper"""
    closing: np.ndarray
    """[m/s]"""


def idm_acceleration(parameters: Parameters, speed: np.ndarray, leader: Neighbour) -> np.ndarray:
    """(...) [m/s²] at `speed` (...) [m/s], clipped to a car's range: a (1 - (v / v₀)⁴ - (s* / s)²).

    s* = s₀ + max(0, v T + v Δv / 2 √(a b)), equations 1 to 3 of Treiber et al. 2000.
    """
    desired, time, min_gap, a, b = parameters
    wanted = min_gap + np.maximum(0.0, speed * time + speed * leader.closing / (2 * np.sqrt(a * b)))
    near = np.where(leader.present, wanted / np.maximum(leader.gap, CLOSEST), 0.0)
    return np.clip(idm(np.maximum(speed, 0.0), desired, near, a, IDMVehicle.DELTA), *ACCELERATION_RANGE)


def fit(recording: Recording) -> Parameters:
    """Robust least squares on people's positions, in the training windows only.

    Fits trajectories rather than accelerations, as Kesting and Treiber 2008 advise: accelerations are so noisy that
    their best predictor is about 0. The loss is asymptotically linear, so the few windows in which a car cuts in do not
    dominate the fit.
    """
    from scipy.optimize import least_squares

    speed, leader = followed(recording, range(recording.num_training))
    fitted = least_squares(
        lambda values: simulated_lag(Parameters(*values), speed, leader)[:, ::10].ravel(),
        FIRST_GUESS,
        bounds=(LOWEST, HIGHEST),
        x_scale=FIRST_GUESS,
        loss="soft_l1",
    )
    return Parameters(*fitted.x.tolist())


def followed(recording: Recording, windows: Iterable[int]) -> tuple[np.ndarray, Neighbour]:
    """Speeds (E, T) [m/s] of people in these windows after the burn-in, and their leaders (E, T)."""
    scenario = recording.scenario
    speeds, *leaders = np.stack([scenario.followed(window)[:, scenario.burn_in :] for window in windows], axis=1)
    return speeds, Neighbour(*leaders)


def simulated_lag(parameters: Parameters, speed: np.ndarray, leader: Neighbour) -> np.ndarray:
    """(E, T) [m]: how far IDM falls behind people with `speed` (E, T) [m/s] and `leader` (E, T), starting at t = 0.

    When people change lanes, so does IDM: its leader is always theirs.
    """
    driven, behind = speed[:, 0], np.zeros(len(speed))
    lags = []
    for t in range(speed.shape[1]):
        seen = Neighbour(leader.present[:, t], leader.gap[:, t] + behind, leader.closing[:, t] + driven - speed[:, t])
        behind = behind + (speed[:, t] - driven) * STEP
        driven = np.maximum(driven + idm_acceleration(parameters, driven, seen) * STEP, 0.0)
        lags.append(behind)
    return np.stack(lags, axis=1)


class _Peer:
    """A pilot without codes."""

    num_codes = 1

    def choose_code(self, observations: np.ndarray, actions: np.ndarray) -> int:
        return 0


class ConstantVelocity(_Peer):
    """Keeps its speed and its lateral offset from the lane centre."""

    def start(self, code: int, scenario: Replay, scene: Scene) -> Act:
        kept: list[tuple[np.ndarray, float]] = []

        def act(obs: np.ndarray, states: np.ndarray) -> np.ndarray:
            if not kept:
                kept.append((scenario.road.lane(states, scene), float(scenario.lane_offset(states, scene))))
            lane, offset = kept[0]
            return _action(0.0, steering(scenario, scene, states[0], lane, offset), scenario)

        return act


class IntelligentDriver(_Peer):
    """Follows with IDM, and changes lanes with MOBIL (Kesting et al. 2007) and highway-env's parameters."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters

    @classmethod
    def fitted(cls, recording: Recording) -> IntelligentDriver:
        return cls(fit(recording))

    def start(self, code: int, scenario: Replay, scene: Scene) -> Act:
        timer = target = None

        def act(obs: np.ndarray, states: np.ndarray) -> np.ndarray:
            nonlocal timer, target
            lane = int(scenario.road.lane(states, scene))
            if timer is None or target is None:
                # As in highway-env, drivers consider lane changes at different times.
                timer, target = float(states[0, :2].sum() * np.pi) % IDMVehicle.LANE_CHANGE_DELAY, lane
            around = {side: _neighbours(scenario, states, lane + side, scene) for side in (0, -1, 1)}
            if lane == target and do_every(IDMVehicle.LANE_CHANGE_DELAY, timer):
                timer = 0.0
                for side in (-1, 1):
                    possible = 0 <= lane + side < scenario.road.num_lanes(states, scene) and states[0, 3] >= 1
                    if possible and self.wants(states[0, 3], around[0], around[side]):
                        target = lane + side
            timer += STEP
            lanes = {0, int(np.sign(target - lane))}
            acceleration = min(self.acceleration(states[0, 3], around[side][0]) for side in lanes)
            return _action(acceleration, steering(scenario, scene, states[0], np.asarray(target)), scenario)

        return act

    def acceleration(self, speed: float, leader: Neighbour) -> float:
        """[m/s²] at `speed` [m/s]"""
        return float(idm_acceleration(self.parameters, np.asarray(speed), leader))

    def wants(self, speed: float, own: Sequence[Neighbour], beside: Sequence[Neighbour]) -> bool:
        """Whether a lane change would be advantageous without making the new follower brake hard.

        Args:
            own, beside: leader and follower in its lane, and in the adjacent lane.
        """
        leader, follower = beside
        imposed = self.acceleration(speed + float(follower.closing), follower)
        if follower.present and imposed < -IDMVehicle.LANE_CHANGE_MAX_BRAKING_IMPOSED:
            return False
        # The others' gain is weighted by highway-env's `POLITENESS`, which is 0.
        gain = self.acceleration(speed, leader) - self.acceleration(speed, own[0])
        return gain >= IDMVehicle.LANE_CHANGE_MIN_ACC_GAIN


def _neighbours(scenario: Replay, states: np.ndarray, lane: int, scene: Scene) -> list[Neighbour]:
    return [Neighbour(*fields) for fields in scenario.road.neighbours(states, np.asarray(lane), scene)]


def steering(scenario: Replay, scene: Scene, state: np.ndarray, lane: np.ndarray, offset: float = 0.0) -> float:
    """[rad], `ControlledVehicle.steering_control` in `state` (8,) to a line `offset` [m] right of the lane centre."""
    ego = RecordedState.of(state)
    ahead = ego.s + max(ego.speed * ControlledVehicle.TAU_PURSUIT, 0.0)
    middle, _ = scenario.road.lane_middle(ego.s, lane, scene)
    near, heading = scenario.road.lane_middle(ahead, lane, scene)
    far, _ = scenario.road.lane_middle(ahead + SLOPE, lane, scene)
    speed = not_zero(ego.speed)
    sideways = -ControlledVehicle.KP_LATERAL * (ego.d - middle - offset)
    wanted = heading + np.arctan((far - near) / SLOPE)
    wanted += np.clip(np.arcsin(np.clip(sideways / speed, -1, 1)), -np.pi / 4, np.pi / 4)
    rate = ControlledVehicle.KP_HEADING * wrap_to_pi(wanted - ego.heading)
    slip = np.arcsin(np.clip(ego.length / 2 / speed * rate, -1, 1))
    return float(np.arctan(2 * np.tan(slip)))


def _action(acceleration: float, steering: float, scenario: Replay) -> np.ndarray:
    """(2,) float32 in [-1, 1]"""
    ranges = (ACCELERATION_RANGE, scenario.steering_range)
    scaled = [np.interp(x, ends, (-1, 1)) for x, ends in zip((acceleration, steering), ranges, strict=True)]
    return np.array(scaled, dtype=np.float32)
