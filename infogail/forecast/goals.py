"""Where paths end: clusters of their last cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from infogail.forecast.grid import Grid

MOST_GOALS = 12
NEAR = 0.05
"""Times the longer side of the grid: so near to the centres of their clusters should ends be, on average."""


@dataclass(frozen=True)
class Goals:
    """G goals; each cell lies in the nearest."""

    centres: np.ndarray
    """(G, 2): column and row"""

    def __len__(self) -> int:
        return len(self.centres)

    def nearest(self, places: np.ndarray) -> np.ndarray:
        """(n,) int64: the goal in which each of `places` (n, 2), columns and rows, lies."""
        return cdist(places, self.centres).argmin(1)


def find_goals(grid: Grid, ends: np.ndarray, number: int | None, seed: int) -> Goals:
    """Cluster the last cells `ends` (n,) of paths by k-means.

    Args:
        number: of goals; None for the smallest, of at most `MOST_GOALS`, with ends `NEAR` their centres.

    Raises:
        ValueError: there are fewer different ends than goals.
    """
    places = grid.places(ends).astype(float)
    distinct = len(np.unique(ends))
    if number is not None and number > distinct:
        raise ValueError(f"paths end in {distinct} different cells, fewer than {number}")
    tried = [number] if number is not None else range(1, min(MOST_GOALS, distinct) + 1)
    for k in tried:
        clusters = KMeans(k, n_init=10, random_state=seed).fit(places)
        distances = np.linalg.norm(places - clusters.cluster_centers_[clusters.labels_], axis=1)
        if distances.mean() <= NEAR * max(grid.columns, grid.rows):
            break
    return Goals(clusters.cluster_centers_)
