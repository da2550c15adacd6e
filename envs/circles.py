"""Circles: the plane of InfoGAIL's first figure (Li, Song & Ermon 2017, arXiv 1703.08840).

A point starts in the origin and runs round one of three circles, all of which touch there. Which one, that is, radius
and direction, is the style. It moves by up to `STEP` a decision and sees its last five positions.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from torch import Tensor

from infogail.envs.data.episodes import Episodes
from infogail.envs.environment import Spec, Step
from infogail.envs.gym_environment import record_policy

STEP, HORIZON, REMEMBERED = 0.15, 64, 5
CENTRES = np.array([[0.0, 1.0], [0.0, -1.0], [0.0, 2.0]])  # of each style
RADII, TURNS = np.array([1.0, 1.0, 2.0]), np.array([1.0, -1.0, 1.0])  # of each style; 1: counterclockwise
SPEED = 2.0 / 3.0  # of the expert, as an action: once round the small circles in 63 decisions
PULL, NOISE = 2.0, 0.3  # of the expert: towards the circle, per distance from it; its standard deviation, as an action
SPEC = Spec(
    (2 * REMEMBERED,),
    np.dtype(np.float32),
    spaces.Box(-1.0, 1.0, (2,), np.float32),
    HORIZON,
    "failure",  # of which there is none: no episode ends early
    tuple(range(2 * REMEMBERED)),
)


class Circles(gym.Env[np.ndarray, np.ndarray]):
    """`gymnasium.make("infogail/Circles-v0")`. No reward, and no end but the time limit.

    Observations (10,): the last five positions, the newest first; before the start, the point was there, too. Actions
    (2,) in [-1, 1]: the displacement, in units of `STEP`.
    """

    def __init__(self) -> None:
        self.observation_space, self.action_space = spaces.Box(-np.inf, np.inf, (2 * REMEMBERED,)), SPEC.action_space
        self.positions = np.zeros((REMEMBERED, 2))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin in the origin."""
        super().reset(seed=seed)
        self.positions = np.zeros((REMEMBERED, 2))
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Move the point."""
        position = self.positions[0] + STEP * np.clip(action, -1.0, 1.0)
        self.positions = np.concatenate(([position], self.positions[:-1]))
        return self._observation(), 0.0, False, False, {}

    def _observation(self) -> np.ndarray:
        return self.positions.ravel().astype(np.float32)


class CirclesEnvironment:
    """B copies in tensors, an `infogail.envs.environment.Environment`; the same moves to rounding."""

    spec = SPEC

    def __init__(self, num_envs: int, device: str = "cpu") -> None:
        self.num_envs, self._device = num_envs, device
        self.reset()

    def reset(self, seed: int | None = None) -> Tensor:
        """Begin in the origin; returns the first observations (B, 10)."""
        self._seen = torch.zeros(self.num_envs, 2 * REMEMBERED, device=self._device)
        self._path: list[Tensor] = []
        return self._seen

    def step(self, actions: Tensor) -> Step:
        """Move by `actions` (B, 2)."""
        position = self._seen[:, :2] + STEP * actions.clamp(-1.0, 1.0)
        last = torch.cat((position, self._seen[:, :-2]), 1)
        if len(self._path) == HORIZON:
            self._path = []
        self._path.append(position)
        never = torch.zeros(self.num_envs, dtype=torch.bool, device=self._device)
        over = never | (len(self._path) == HORIZON)
        self._seen = torch.where(over[:, None], torch.zeros_like(last), last)
        return Step(self._seen, last, never, over)

    def demonstrations(self) -> None:
        """Not known: all episodes start alike."""

    def styles(self) -> Tensor:
        """(B,) int64: the circle that each copy's last path is nearest to."""
        path = torch.stack(self._path, 1).cpu().numpy()
        return torch.from_numpy(distances(path).argmin(-1)).to(self._device)

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing: every iteration begins with a reset, and all resets are alike."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Resume."""


def distances(path: np.ndarray) -> np.ndarray:
    """(…, 3): the mean distance of the positions (…, T, 2) from each circle."""
    offsets = path[..., None, :] - CENTRES
    return abs(np.linalg.norm(offsets, axis=-1) - RADII).mean(-2)


def expert_action(position: np.ndarray, style: int, rng: np.random.Generator) -> np.ndarray:
    """The displacement (2,) of an expert at `position` (2,): along the circle, drawn towards it, with noise."""
    offset = position - CENTRES[style]
    distance = float(np.linalg.norm(offset))
    outward = offset / distance
    along = TURNS[style] * np.array([-outward[1], outward[0]])
    action = SPEED * along + PULL * (RADII[style] - distance) * outward + NOISE * rng.normal(size=2)
    return action.clip(-1.0, 1.0).astype(np.float32)


def record(episodes: int, seed: int = 0) -> Episodes:
    """Of experts of all styles in turn."""
    world, rng = Circles(), np.random.default_rng(seed)
    env = TimeLimit(world, HORIZON)

    def one(style: int) -> Episodes:
        return record_policy(env, lambda _: expert_action(world.positions[0], style, rng), 1, seed, "failure", style)

    return Episodes.join([one(k % len(RADII)) for k in range(episodes)])
