"""MoveToBeacon: StarCraft II's first mini-game as two numbers, the example that GAIL is often introduced with.

A marine moves over a square map of 63 by 63 until it stands on the beacon. In its two styles it goes along x first, or
along y first; a start in which either distance is less than two moves would not show which, so `styled` leaves these
out.
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

SIZE, MOVE, HORIZON = 63.0, 3.0, 100
REACHED = 0.03  # of (distance / SIZE)²
SCALE = 10.0 / SIZE  # of observations
MOVES = np.array([[MOVE, 0.0], [-MOVE, 0.0], [0.0, MOVE], [0.0, -MOVE]])
LEAST_APART = 2 * MOVE  # along each axis, in `styled` starts
X_FIRST, Y_FIRST = 0, 1  # styles: the axis of the first move
SPEC = Spec(
    (2,),
    np.dtype(np.float32),
    spaces.Discrete(len(MOVES)),
    HORIZON,
    "success",
    (0, 1),
    reflections=((0,), (1,)),
    style_tolerance=0.05,
)


class MoveToBeacon(gym.Env[np.ndarray, np.int64]):
    """`gymnasium.make("infogail/MoveToBeacon-v0")`. Reward: -1 for each move. Terminates at the beacon.

    Observations (2,): marine minus beacon, in x and y, times 10 / 63. Actions: 0 and 1 move by 3 along x, forth and
    back, 2 and 3 along y.

    Args:
        styled: only starts in which a style can show.
    """

    learner_spec = SPEC

    def __init__(self, styled: bool = False) -> None:
        self.styled = styled
        self.observation_space, self.action_space = spaces.Box(-np.inf, np.inf, (2,)), SPEC.action_space
        self.offset = np.zeros(2)  # of the marine from the beacon

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Draw both positions uniformly."""
        super().reset(seed=seed)
        while True:
            marine, beacon = self.np_random.uniform(0.0, SIZE, (2, 2))
            self.offset = marine - beacon
            if not self.styled or shows_style(self.offset):
                return self._observation(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Move the marine."""
        self.offset = self.offset + MOVES[action]
        return self._observation(), -1.0, bool(reached(self.offset)), False, {}

    def _observation(self) -> np.ndarray:
        return (SCALE * self.offset).astype(np.float32)


class MoveToBeaconEnvironment:
    """B copies in tensors, an `infogail.envs.environment.Environment`; the same moves to rounding."""

    spec = SPEC

    def __init__(self, num_envs: int, styled: bool = False, device: str = "cpu") -> None:
        self.num_envs, self.styled = num_envs, styled
        self._generator = torch.Generator(device)
        self._moves = torch.tensor(MOVES, dtype=torch.float32, device=device)
        self.reset(seed=0)

    def reset(self, seed: int | None = None) -> Tensor:
        """Reset all copies; returns the first observations (B, 2)."""
        if seed is not None:
            self._generator.manual_seed(seed)
        self._offset, self._steps = self._starts(), torch.zeros_like(self._moves[0, 0]).repeat(self.num_envs)
        self._first_moves: Tensor | None = None
        self._arrived = torch.zeros_like(self._steps, dtype=torch.bool)
        return SCALE * self._offset

    def _starts(self) -> Tensor:
        """Offsets (B, 2) of as many new episodes."""
        size, device = (self.num_envs, 2, 2), self._moves.device
        offset = torch.full((self.num_envs, 2), torch.inf, device=device)
        wanted = torch.ones(self.num_envs, 1, dtype=torch.bool, device=device)
        while wanted.any():
            marine, beacon = (SIZE * torch.rand(size, generator=self._generator, device=device)).unbind(1)
            offset = torch.where(wanted, marine - beacon, offset)
            wanted = torch.zeros_like(wanted) if not self.styled else ~shows_style(offset)[:, None]
        return offset

    def step(self, actions: Tensor) -> Step:
        """Move by one-hot `actions` (B, 4)."""
        if self._first_moves is None:
            self._first_moves = actions.argmax(-1)
        offset, self._steps = self._offset + actions @ self._moves, self._steps + 1
        terminated = reached(offset)
        truncated = (self._steps >= HORIZON) & ~terminated
        self._arrived = self._arrived | terminated
        done = terminated | truncated
        self._offset = torch.where(done[:, None], self._starts(), offset)
        self._steps = self._steps.masked_fill(done, 0.0)
        return Step(SCALE * self._offset, SCALE * offset, terminated, truncated)

    def demonstrations(self) -> None:
        """Not known: episodes start anywhere."""

    def styles(self) -> Tensor | None:
        """(B,) int64: the axis of each copy's first move since `reset`, -1 where it has not arrived."""
        if self._first_moves is None:
            return None
        return (self._first_moves // 2).masked_fill(~self._arrived, -1)

    def state_dict(self) -> dict[str, Tensor]:
        """What determines the following resets; every iteration begins with one."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Resume from a state returned by `state_dict`."""
        self._generator.set_state(state["generator"].cpu())


def reached(offset: Any) -> Any:
    """(…) bool: whether a marine at `offset` (…, 2) from the beacon stands on it."""
    return (offset * offset).sum(-1) / SIZE**2 < REACHED


def shows_style(offset: Any) -> Any:
    """(…) bool: whether a start at `offset` (…, 2) is far enough along both axes, and not at the beacon already."""
    return ~reached(offset) & (abs(offset) >= LEAST_APART).all(-1)


def expert_move(offset: np.ndarray, style: int | None) -> int:
    """The move of an expert at `offset` (2,): along the larger distance, or, in a style, first along its axis."""
    axis = int(abs(offset[1]) > abs(offset[0])) if style is None else style
    if abs(offset[axis]) < MOVE / 2:
        axis = 1 - axis
    return 2 * axis + int(offset[axis] > 0)


def record(episodes: int, seed: int = 0, styled: bool = False) -> Episodes:
    """Of the greedy expert, or, `styled`, of experts of both styles at random."""
    world, rng = MoveToBeacon(styled), np.random.default_rng(seed)
    env, styles = TimeLimit(world, HORIZON), rng.integers(2, size=episodes) if styled else np.full(episodes, -1)

    def one(style: int, seed: int) -> Episodes:
        def expert(observation: np.ndarray) -> np.int64:
            return np.int64(expert_move(world.offset, style if styled else None))

        return record_policy(env, expert, 1, seed, SPEC.early_end, style)

    return Episodes.join([one(int(style), int(rng.integers(2**31))) for style in styles])
