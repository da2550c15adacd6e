"""Where paths end: clusters of their last cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from infogail.forecast.grid import Grid

MOST_GOALS = 12
NEAR = 0.1
"""Times the longer side of the grid: so near to the centres of their clusters should ends be, on average."""


@dataclass(frozen=True)
class Goals:
    """G goals."""

    centres: np.ndarray
    """(G, 2): column and row"""
    regions: np.ndarray
    """(G, C) bool: the cells of each goal, where its paths end; no cell has two"""

    def __len__(self) -> int:
        return len(self.centres)

    def nearest(self, places: np.ndarray) -> np.ndarray:
        """(n,) int64: the goal whose centre is nearest to each of `places` (n, 2)."""
        return cdist(places, self.centres).argmin(1)


def find_goals(grid: Grid, ends: np.ndarray, number: int | None, seed: int) -> Goals:
    """Cluster the last cells `ends` (n,) of paths by k-means.

    A goal's region is the cells in which its paths end, and their neighbours that are nearest to its centre.

    Args:
        number: of goals; None for the smallest, of at most `MOST_GOALS`, with ends `NEAR` their centres.

    Raises:
        ValueError: there are fewer different ends than goals.
    """
    places = grid.places(ends).astype(float)
    distinct = len(np.unique(ends))
    if number is not None and number > distinct:
        raise ValueError(f"people end in {distinct} different cells, fewer than {number} goals")
    tried = [number] if number is not None else range(1, min(MOST_GOALS, distinct) + 1)
    for k in tried:
        clusters = KMeans(k, n_init=10, random_state=seed).fit(places)
        distances = np.linalg.norm(places - clusters.cluster_centers_[clusters.labels_], axis=1)
        if distances.mean() <= NEAR * max(grid.columns, grid.rows):
            break
    every = grid.places(np.arange(len(grid)))
    near_end = (abs(every[:, None] - every[np.unique(ends)]).max(-1) <= 1).any(1)
    goals = Goals(clusters.cluster_centers_, np.zeros((k, len(grid)), bool))
    goals.regions[goals.nearest(every)[near_end], near_end] = True
    return goals
