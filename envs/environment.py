"""What a learner needs of an environment, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
from gymnasium import spaces

if TYPE_CHECKING:
    from torch import Tensor

EarlyEnd = Literal["failure", "success", "neither"]
"""What it means that an episode ends before its time is up."""


@dataclass(frozen=True)
class Spec:
    """What environments and demonstrations of one task have in common."""

    observation_shape: tuple[int, ...]
    """Of one observation."""
    observation_dtype: np.dtype
    action_space: spaces.Space
    """Of one action: a Box, each entry from -1 to 1."""
    horizon: int
    """Decisions T after which an episode is truncated."""
    early_end: EarlyEnd
    style_features: tuple[int, ...]
    """Entries of the observation in which a style can show; the posterior reads these and not what chance decides."""
    style_tolerance: float = 1.0
    """Standard deviations by which all style features of a trajectory may be moved without changing its style."""

    @property
    def observation_size(self) -> int:
        """Entries of one observation."""
        return int(np.prod(self.observation_shape))

    @property
    def action_size(self) -> int:
        """Numbers that make one action."""
        return int(np.prod(self.action_space.shape or ()))


class Step(NamedTuple):
    """What came of one decision in each of B environments."""

    observations: Tensor
    """`(B, *observation_shape)`: where an episode ended, already the next one's first"""
    final_observations: Tensor
    """`(B, *observation_shape)`: what the action led to; where an episode ended, its last observation"""
    terminated: Tensor
    """(B,) bool: an early end, see `Spec.early_end`"""
    truncated: Tensor
    """(B,) bool: out of time"""


class Environment(Protocol):
    """B environments that step together; where an episode ends, the next begins in the same step."""

    spec: Spec
    num_envs: int

    def reset(self, seed: int | None = None) -> Tensor:
        """Begin anew everywhere: first observations `(B, *observation_shape)`."""

    def step(self, actions: Tensor) -> Step:
        """One decision with `actions`, `(B, *action_shape)`, which are clipped to the action space."""

    def demonstrations(self) -> Tensor | None:
        """(B,) int64: which demonstration each episode started in place of, -1 for none; None where nobody knows."""

    def styles(self) -> Tensor | None:
        """(B,) int64: style of each environment's first episode since `reset`, for the log only; -1 where it failed.

        None where styles cannot be judged.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """All that decides what comes next."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from where `state_dict` was taken."""
