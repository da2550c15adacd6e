"""Recover the commands of a recorded driver, acceleration and steering, from its positions over time.

Recorded positions are off by decimetres from one step to the next, so their third derivative is noise. They are
smoothed first, by least squares with a penalty on the third difference (jerk): Whittaker 1923, "On a new method of
graduation". highway-env's bicycle model is then inverted: the displacement to the next position gives the speed along
the course, the course minus the heading is the slip, and the slip's tangent is half of the steering's. The states are
those that the model passes through under the commands as stored.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from highway_env.vehicle.kinematics import Vehicle
from scipy.linalg import solveh_banded

from infogail.envs.scenarios.scenario import ACCELERATION_RANGE

STIFFNESS = 2000.0  # of the smoothing: at 10 Hz, motion slower than about 0.45 Hz is kept
ROLLING = 1.0  # [m/s]: below this speed, positions do not determine the course
SHORTEST = 5  # states in the shortest track that can be smoothed


class Recovered(NamedTuple):
    """The commands that reproduce a track, and the resulting states."""

    actions: np.ndarray
    """(T - 1, 2) float32 in [-1, 1]: acceleration and steering, as fractions of their limits"""
    states: np.ndarray
    """(T, 4) float64: x [m], y [m], heading [rad], speed [m/s]"""
    misses: np.ndarray
    """(T,) [m]: distance of the states from the recorded positions"""


def recover(states: np.ndarray, length: float, steering_limit: float, dt: float) -> Recovered:
    """The commands of the car recorded in `states` (T, 4), every `dt` [s].

    Commands beyond the limits (`ACCELERATION_RANGE`, ±`steering_limit` [rad]) are clipped; `misses` says how far the
    car then is from its recorded positions.

    Args:
        states: (T, 4) x [m], y [m], heading [rad], speed [m/s]; T is at least `SHORTEST`.
        length: of the car [m], which determines how fast it turns.
    """
    positions = smooth(states[:, :2], STIFFNESS)
    velocities = np.diff(positions, axis=0) / dt
    courses = _courses(velocities, states[:, 2], dt)
    speeds = (velocities * np.stack((np.cos(courses), np.sin(courses)), -1)).sum(-1)
    speeds = np.append(
        speeds, 2 * speeds[-1] - speeds[-2]
    )  # extrapolated: the effect of the last acceleration was not recorded
    speeds = np.clip(speeds, 0.0, Vehicle.MAX_SPEED)
    turns = np.diff(courses, append=courses[-1])
    largest_slip = math.atan(math.tan(steering_limit) / 2)
    actions = np.zeros((len(velocities), 2), np.float32)
    path = np.zeros((len(states), 4))
    path[0] = *positions[0], courses[0], speeds[0]
    for k, (course, turn) in enumerate(zip(courses, turns, strict=True)):
        *_, heading, speed = path[k]
        # If a step turns a car by more than its slip, applying the whole slip at once would make it oscillate.
        gain = max(speed * 2 / length * dt, 1.0)
        steady = math.asin(min(max(turn / gain, -1.0), 1.0))
        slip = (course - heading) / gain + (1 - 1 / gain) * steady
        slip = min(max(slip, -largest_slip), largest_slip)
        acceleration = min(max((speeds[k + 1] - speed) / dt, ACCELERATION_RANGE[0]), ACCELERATION_RANGE[1])
        shares = acceleration / ACCELERATION_RANGE[1], math.atan(2 * math.tan(slip)) / steering_limit
        actions[k] = np.clip(shares, -1.0, 1.0)
        path[k + 1] = bicycle_step(path[k], actions[k], length, steering_limit, dt)
    return Recovered(actions, path, np.hypot(*(path[:, :2] - states[:, :2]).T))


def bicycle_step(
    state: np.ndarray, action: np.ndarray, length: float, steering_limit: float, dt: float
) -> tuple[float, float, float, float]:
    """`highway_env.vehicle.kinematics.Vehicle.step` for a car of `length` [m] in `state` (4,) with `action` (2,)."""
    x, y, heading, speed = map(float, state)
    acceleration, steering = ACCELERATION_RANGE[1] * float(action[0]), steering_limit * float(action[1])
    slip = math.atan(math.tan(steering) / 2)
    return (
        x + speed * math.cos(heading + slip) * dt,
        y + speed * math.sin(heading + slip) * dt,
        heading + speed * math.sin(slip) / (length / 2) * dt,
        speed + acceleration * dt,
    )


def smooth(values: np.ndarray, stiffness: float) -> np.ndarray:
    """The z (T, n) that minimises |z - values|² + stiffness · |third differences of z|², column by column."""
    stencil, count = np.array([-1.0, 3.0, -3.0, 1.0]), len(values)
    bands = np.zeros((4, count))  # of a symmetric matrix: row 3 is the diagonal, row 3 - k the k-th above it
    bands[3] = 1.0
    for k in range(4):
        for m in range(4 - k):
            bands[3 - k, m + k : m + k + count - 3] += stiffness * stencil[m] * stencil[m + k]
    return solveh_banded(bands, values)


def mean_absolute_jerk(speeds: np.ndarray, dt: float) -> float:
    """Mean absolute jerk [m/s³] of `speeds` (T,) [m/s]."""
    return float(abs(np.diff(speeds, 2)).mean() / dt**2)


def _courses(velocities: np.ndarray, headings: np.ndarray, dt: float) -> np.ndarray:
    """Directions (T - 1,) [rad] of `velocities` (T - 1, 2) [m/s]; at low speed, interpolated by distance covered."""
    speeds = np.hypot(*velocities.T)
    rolling = speeds > ROLLING
    if not rolling.any():
        return np.full(len(velocities), math.atan2(np.sin(headings).mean(), np.cos(headings).mean()))
    distance = np.cumsum(speeds) * dt
    known = np.unwrap(np.arctan2(velocities[rolling, 1], velocities[rolling, 0]))
    return np.interp(distance, distance[rolling], known)
