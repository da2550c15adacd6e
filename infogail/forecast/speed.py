"""`infogail speed --forecast`: how long maximum causal entropy IRL takes to fit, and in how much memory."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable

import numpy as np

from infogail.forecast.forecasters import MaxEnt
from infogail.forecast.paths import NO_GROUP, RecordedPaths
from infogail.forecast.walks import make_walks

ROWS, COLUMNS = 27, 48
SCALES = (0.5, 1.0, 2.0)
"""Times 27 × 48 cells; both sides grow alike, and so do the paths, in cells."""
PEOPLE = 1250
"""Of whom 1,000 are learned from."""
POINTS = 60


def measure(seed: int, update: Callable[[str], None] = lambda message: None) -> dict[str, dict[str, float]]:
    """By size of the area: cells, moves and goals, the seconds of a fit and of its share per cell and move ahead, and
    the peak memory [MB] of the process until then. Smaller areas come first, so that their peaks are their own."""
    paths, results = crossings(PEOPLE, seed), {}
    for scale in SCALES:
        update(f"{scale:g} x {ROWS * COLUMNS:,} cells")
        walks = make_walks(paths, 1 / math.sqrt(scale), None, seed)
        start = time.perf_counter()
        MaxEnt(walks)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        results[f"{walks.grid.rows} x {walks.grid.columns} cells x 8 headings"] = {
            "paths": float(len(walks.training.goals)),
            "goals": float(len(walks.goals)),
            "horizon": float(walks.horizon),
            "seconds": seconds,
            "microseconds per cell and move of the horizon": 1e6 * seconds / (len(walks.grid) * walks.horizon),
            "peak MB": peak / 1e6,
        }
    return results


def crossings(number: int, seed: int) -> RecordedPaths:
    """`number` made-up people who cross an area of 27 × 48 by way of one of four passages between its two halves."""
    rng = np.random.default_rng(seed)
    turn = rng.integers(2, size=number)  # half of them walk the other way
    near, far = (rng.uniform(0.0, ROWS, number) for _ in range(2))
    passage = rng.choice([4.0, 10.0, 17.0, 23.0], number) + rng.normal(0.0, 0.5, number)
    corners = np.stack(
        (np.array([[0.0, COLUMNS / 2, COLUMNS]]).repeat(number, 0), np.stack((near, passage, far), 1)), 2
    )
    corners[turn == 1] = corners[turn == 1, ::-1]
    at = np.linspace(0.0, 2.0, POINTS)
    points = [np.stack([np.interp(at, range(3), axis) for axis in own.T], 1) for own in corners]
    return RecordedPaths(
        np.concatenate(points),
        (10.0 * np.arange(number)[:, None] + np.arange(POINTS) * 0.4).flatten(),
        np.arange(number + 1, dtype=np.int64) * POINTS,
        np.zeros(number, np.int64),
        np.full(number, NO_GROUP, np.int64),
        ("crossings",),
        "made up",
    )
