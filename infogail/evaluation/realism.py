"""The realism metametric of Waymo's Sim Agents Challenge (Montali et al. 2023, arXiv 2305.12032), for one lane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Histogram(NamedTuple):
    """How the likelihood of one quantity is estimated."""

    low: float
    high: float
    bins: int
    weight: float


HISTOGRAMS = {
    "speed": Histogram(0.0, 25.0, 10, 0.05),
    "acceleration": Histogram(-12.0, 12.0, 11, 0.05),
    "gap": Histogram(-5.0, 40.0, 10, 0.10),
    "time_to_collision": Histogram(0.0, 5.0, 10, 0.10),
}
"""The kinematic and interactive features of the Waymo Open Sim Agents Challenge that exist in one lane."""
COLLISION_WEIGHT, SMOOTHING, BERNOULLI_SMOOTHING = 0.25, 0.1, 0.001


def realism(person: dict[str, np.ndarray], rollouts: Sequence[dict[str, np.ndarray]], crashed: np.ndarray) -> float:
    """The realism metametric of Waymo's Sim Agents Challenge, from 0 to 1 (Montali et al. 2023, arXiv 2305.12032).

    For each quantity, a histogram of all steps of a window's rollouts gives the likelihood of each step of the person;
    the geometric mean over the steps is averaged over the windows. Collisions: the likelihood of none.

    Args:
        person: the `HISTOGRAMS`' quantities (n, H) of n people over H steps.
        rollouts: the same of each of R rollouts.
        crashed: (R, n) bool
    """
    total, weights = 0.0, COLLISION_WEIGHT
    for name, histogram in HISTOGRAMS.items():
        simulated = np.concatenate([each[name] for each in rollouts], axis=1)  # (n, R H)
        likelihoods = []
        for sample, real in zip(_bins(simulated, histogram), _bins(person[name], histogram), strict=True):
            counts = np.bincount(sample, minlength=histogram.bins) + SMOOTHING
            likelihoods.append(np.exp(np.log(counts / counts.sum())[real].mean()))
        total, weights = total + histogram.weight * float(np.mean(likelihoods)), weights + histogram.weight
    crashes, number = crashed.sum(0), len(crashed)
    without = (number - crashes + BERNOULLI_SMOOTHING) / (number + 2 * BERNOULLI_SMOOTHING)
    return (total + COLLISION_WEIGHT * float(without.mean())) / weights


def _bins(x: np.ndarray, histogram: Histogram) -> np.ndarray:
    """Number of the bin of each of `x`; beyond the ends, of the first or last."""
    low, high, bins, _ = histogram
    return np.clip((np.clip(x, low, high) - low) / (high - low) * bins, 0, bins - 1).astype(np.int64)
