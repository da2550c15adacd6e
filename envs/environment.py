"""The interface between learners and environments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
from gymnasium import spaces

if TYPE_CHECKING:
    from torch import Tensor

NO_STYLE = -1
"""The style of an episode that nobody labelled, that failed, or in which the manoeuvre was not done."""

EarlyEnd = Literal["failure", "success", "neither"]
"""How to interpret an episode that ends before its time limit."""


@dataclass(frozen=True)
class Spec:
    """What the environments and demonstrations of one task have in common."""

    observation_shape: tuple[int, ...]
    """Shape of one observation."""
    observation_dtype: np.dtype
    action_space: spaces.Space
    """Space of one action: a Box with bounds -1 and 1, a Discrete or a MultiDiscrete."""
    horizon: int
    """Decisions T after which an episode is truncated."""
    early_end: EarlyEnd
    style_features: tuple[int, ...]
    """Indices of the observation entries that can reveal a style; the posterior reads these, not what chance sets."""
    style_tolerance: float = 1.0
    """Standard deviations by which all style features of a trajectory may be shifted without changing its style."""
    reflections: tuple[tuple[int, ...], ...] = ()
    """Sets of observation entries; negating all entries of a set along a trajectory does not change its style."""
    one_episode: bool = False
    """Whether only the first episode of a rollout counts for codes; what follows its early end fills the rollout."""
    context: tuple[int, ...] = ()
    """Indices of the observation entries that describe a driver's surroundings rather than its driving."""

    @property
    def observation_size(self) -> int:
        """Number of entries in one observation."""
        return int(np.prod(self.observation_shape))

    @property
    def categories(self) -> tuple[int, ...]:
        """The number of choices of each discrete action; () if actions are continuous."""
        if isinstance(self.action_space, spaces.Discrete):
            return (int(self.action_space.n),)
        if isinstance(self.action_space, spaces.MultiDiscrete):
            return tuple(int(count) for count in self.action_space.nvec.flat)
        return ()

    @property
    def action_size(self) -> int:
        """Number A of entries in one action as learners see it: discrete ones are one-hot, one after another."""
        return sum(self.categories) or int(np.prod(self.action_space.shape or ()))


class Step(NamedTuple):
    """The result of one decision in each of B environments."""

    observations: Tensor
    """`(B, *observation_shape)`: where an episode ended, the first observation of the next"""
    final_observations: Tensor
    """`(B, *observation_shape)`: what the actions led to; where an episode ended, its last observation"""
    terminated: Tensor
    """(B,) bool: the episode ended early, see `Spec.early_end`"""
    truncated: Tensor
    """(B,) bool: the episode reached its time limit, without ending early"""
    ignored: Tensor | None = None
    """(B,) bool: the action had no effect: the step only began the next episode (next-step autoreset), or the episode
    had ended and the next has not begun; None: never"""
    penalties: Tensor | None = None
    """(B,): what the environment charges for this decision, whoever is imitated (reward augmentation); None: nothing"""


class Environment(Protocol):
    """B environments that step together and reset themselves; see `Step` for how."""

    spec: Spec
    num_envs: int

    def reset(self, seed: int | None = None) -> Tensor:
        """Reset all environments; returns the first observations `(B, *observation_shape)`."""

    def step(self, actions: Tensor) -> Step:
        """Advance by one decision with `actions` (B, A), clipped to the action space; see `Spec.action_size`."""

    def demonstrations(self) -> Tensor | None:
        """(B,) int64: the demonstration that each episode started in place of, -1 for none; None if unknown."""

    def styles(self) -> Tensor | None:
        """(B,) int64: style of each environment's first episode since `reset`, for the log only; -1 where it failed.

        None if styles cannot be judged.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """The complete state: everything that determines what comes next."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Resume from a state returned by `state_dict`."""
