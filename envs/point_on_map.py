"""PointOnMap: where an army's middle goes on a map with two starts, as a point that moves every ten game seconds.

Positions are relative to the starts, so that all such maps, and both sides, are alike: x is along the line from the own
start, 0, to the enemy's, 1; y is across it, to its left, in the same unit.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from infogail.envs.data.episodes import Episodes
from infogail.envs.environment import Spec
from infogail.envs.tasks import GymTask

NAME = "infogail/PointOnMap-v0"
HORIZON = 48
STEPS = np.array([-0.24, -0.12, -0.04, 0.0, 0.04, 0.12, 0.24])
"""Displacements to choose from along each axis. Where the starts are 164 map units apart, the largest is 4 map units a
second, the speed of the fastest units."""
LOW, HIGH = np.array([-0.5, -1.0]), np.array([1.5, 1.0])  # of positions
SPEC = Spec(
    (3,),
    np.dtype(np.float32),
    spaces.MultiDiscrete([len(STEPS)] * 2),
    HORIZON,
    "failure",  # of which there is none: no episode ends early
    (0, 2),  # how far towards the enemy, and when
    style_tolerance=0.15,
)


class PointOnMap(gym.Env[np.ndarray, np.ndarray]):
    """`gymnasium.make("infogail/PointOnMap-v0")`. No reward, and no end but the time limit.

    Observations (3,): the position, and the share of the time limit that has passed. Actions (2,): the numbers of the
    displacements in `STEPS`. An army stands still or goes far, which a choice expresses and a mean with noise does not.
    """

    learner_spec = SPEC

    def __init__(self) -> None:
        self.observation_space, self.action_space = spaces.Box(-np.inf, np.inf, (3,)), SPEC.action_space
        self.position, self.steps = np.zeros(2), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin at the own start."""
        super().reset(seed=seed)
        self.position, self.steps = np.zeros(2), 0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Move the point."""
        self.position, self.steps = moved(self.position, action), self.steps + 1
        return self._observation(), 0.0, False, False, {}

    def _observation(self) -> np.ndarray:
        return np.array([*self.position, self.steps / HORIZON], np.float32)


def moved(position: np.ndarray, action: np.ndarray) -> np.ndarray:
    """(…, 2): where actions (…, 2) take a point at `position` (…, 2)."""
    return (position + STEPS[action]).clip(LOW, HIGH)


def episodes_of(tracks: np.ndarray) -> Episodes:
    """What a point does that follows each of the tracks (E, T + 1, 2), NaN where there is nothing to follow.

    It begins at the start, waits while there is nothing, and takes the displacement that brings it nearest.
    """
    position, path, actions = np.zeros((len(tracks), 2)), [np.zeros((len(tracks), 2))], []
    for goal in tracks[:, 1 : HORIZON + 1].swapaxes(0, 1):
        wanted = np.where(np.isnan(goal), 0.0, goal - position)
        actions.append(abs(wanted[..., None] - STEPS).argmin(-1))
        position = moved(position, actions[-1])
        path.append(position)
    number, steps = len(tracks), len(actions)
    time = np.broadcast_to(np.arange(steps + 1) / HORIZON, (number, steps + 1))
    return Episodes(
        GymTask(NAME).interface,
        np.concatenate((np.stack(path, 1), time[..., None]), -1).astype(np.float32).reshape(-1, 3),
        np.stack(actions, 1).reshape(-1, 2),
        np.arange(number + 1) * steps,
        np.zeros(number * steps),
        np.zeros(number, bool),
        np.full(number, -1),
        np.full(number, -1),
    )
