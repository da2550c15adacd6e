"""Driving styles, and how an episode's style is judged. For judging only: learners see neither."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from infogail.envs.environment import NO_STYLE
from infogail.envs.physics.state import Array, Scene

StyleJudge = Callable[[Array, Scene], Array]
"""(whole trajectories (T, ..., V, 4), scene) → styles (...): an index into the scenario's styles, or `NO_STYLE`."""


@dataclass(frozen=True)
class Style:
    """One way to drive a scenario."""

    name: str

    def __str__(self) -> str:
        return self.name


class StyleCentroids(NamedTuple):
    """Mean measures of the demonstrations of each style; a nearest-centroid rule judges other episodes by them."""

    means: np.ndarray
    """(K, M): mean of each measure in each style"""
    spread: np.ndarray
    """(M,): standard deviation within a style"""

    @classmethod
    def of(cls, measures: np.ndarray, styles: np.ndarray) -> StyleCentroids:
        """Fitted to `measures` (M, E) of demonstrations of `styles` (E,), except those without a style."""
        measures, styles = measures[:, styles != NO_STYLE], styles[styles != NO_STYLE]
        if not len(styles):
            return cls(np.empty((0, len(measures))), np.ones(len(measures)))
        means = np.full((styles.max() + 1, len(measures)), np.inf)  # no episode is near a style that does not occur
        for style in np.unique(styles):
            means[style] = measures[:, styles == style].mean(1)
        return cls(means, np.maximum((measures.T - means[styles]).std(0), 1e-9))

    def nearest(self, measures: np.ndarray) -> np.ndarray:
        """Styles (...) of episodes with `measures` (M, ...); `NO_STYLE` for all if no demonstration had one."""
        if not len(self.means):
            return np.full(measures.shape[1:], NO_STYLE)
        distances = (np.moveaxis(measures, 0, -1)[..., None, :] - self.means) / self.spread
        return (distances**2).sum(-1).argmin(-1)


@dataclass(frozen=True)
class CentroidJudge:
    """A `StyleJudge` by the nearest centroid of `measure` (M, ...) of trajectories."""

    measure: Callable[[Array], Array]
    centroids: StyleCentroids

    def __call__(self, states: Array, scene: Scene) -> np.ndarray:
        """Styles (...) of whole trajectories (T, ..., V, 4)."""
        return self.centroids.nearest(np.asarray(self.measure(states), dtype=np.float64))
