"""Demonstrations as a learner sees them: observations and actions, without anything that only a judge may know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from infogail.envs.environment import Spec


@dataclass(frozen=True)
class Demonstrations:
    """What a learner may see: N decisions of E episodes, concatenated."""

    spec: Spec
    observations: np.ndarray
    """(N, F) float32"""
    actions: np.ndarray
    """(N, A) float32 in [-1, 1]"""
    episode_bounds: np.ndarray
    """(E + 1,) int64: episode e has the rows from `episode_bounds[e]` up to `episode_bounds[e + 1]`."""
    labels: Mapping[int, int] = field(default_factory=dict)
    """Styles by episode, for the few labelled episodes; empty unless training is semi-supervised."""

    @property
    def num_episodes(self) -> int:
        return len(self.episode_bounds) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(E,) int64: the decisions of each episode."""
        return np.diff(self.episode_bounds)

    def episodes(self, index: np.ndarray | slice) -> Demonstrations:
        """Only the episodes in `index`, in that order."""
        chosen = np.arange(self.num_episodes)[index]
        lengths = self.lengths[chosen]
        rows = rows_of(self.episode_bounds, chosen)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        return replace(
            self, observations=self.observations[rows], actions=self.actions[rows], episode_bounds=bounds, labels={}
        )

    def pairs(self) -> np.ndarray:
        """(N, F + A): observations and actions, concatenated."""
        return np.concatenate((self.observations, self.actions), -1)

    def padded_observations(self) -> np.ndarray:
        """(E, T, F): one row per episode, the shorter ones padded by repeating their last observation."""
        return self._padded(self.observations)

    def padded_pairs(self) -> np.ndarray:
        """(E, T, F + A): the same for `pairs`."""
        return self._padded(self.pairs())

    def _padded(self, rows: np.ndarray) -> np.ndarray:
        lengths = self.lengths
        steps = np.minimum(np.arange(lengths.max()), lengths[:, None] - 1)
        return rows[self.episode_bounds[:-1, None] + steps]


def concatenate(parts: Sequence[Demonstrations]) -> Demonstrations:
    """All episodes of `parts`, in that order, without labels.

    Raises:
        ValueError: there are no parts, or they are of different tasks.
    """
    if not parts or any(part.spec != parts[0].spec for part in parts):
        raise ValueError("concatenate needs demonstrations of one task, with equal `spec`")
    lengths = np.concatenate([part.lengths for part in parts])
    return Demonstrations(
        parts[0].spec,
        np.concatenate([part.observations for part in parts]),
        np.concatenate([part.actions for part in parts]),
        np.concatenate([[0], np.cumsum(lengths)]),
    )


def rows_of(bounds: np.ndarray, episodes: np.ndarray) -> np.ndarray:
    """Rows of the `episodes`, concatenated, where episode e has the rows from `bounds[e]` up to `bounds[e + 1]`."""
    return np.concatenate([np.arange(bounds[e], bounds[e + 1]) for e in episodes])
