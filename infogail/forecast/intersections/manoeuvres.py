"""Whether a car will turn left, go straight or turn right, foretold from its first two seconds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.stats import binomtest

from infogail.forecast.forecasters import ENDED, MaxEnt
from infogail.forecast.grid import HEADINGS, MOVES
from infogail.forecast.intersections.lanes import lane_heading
from infogail.forecast.paths import RecordedPaths
from infogail.forecast.walks import Walks
from infogail.parallel import terminal

NAMES = ("left", "straight", "right")
TURNED = math.radians(30.0)
"""Who has turned by more has turned left or right."""
CHORD = 6.0
"""[m] of a path whose direction counts, at its start and its end; if it is shorter than two, half of it."""
SPACING = 0.5  # [m] between the points from which directions are taken
SECONDS = 2.0
DRAWN = 200
"""Paths drawn from where a car then is."""
STILL = 0.5  # [m]: who has moved less has no direction yet


def heading_change(points: np.ndarray) -> float:
    """By how much a path along `points` (n, 2) [m] turns from its start to its end [rad], positive to the left."""
    along = np.append(0.0, np.hypot(*np.diff(points, axis=0).T).cumsum())
    if along[-1] == 0.0:
        return 0.0
    moves = np.append(True, np.diff(along) > 0)
    even = np.linspace(0.0, along[-1], 2 * math.ceil(along[-1] / SPACING / 2) + 1)
    path = np.stack([np.interp(even, along[moves], axis) for axis in points[moves].T], -1)
    chord = round(min(CHORD / even[1], (len(even) - 1) / 2))
    x, y = (path[chord:] - path[:-chord]).T
    headings = np.unwrap(np.arctan2(y, x))
    return float(headings[-1] - headings[0])


def manoeuvre(points: np.ndarray) -> int:
    """The index in `NAMES` of what a path along `points` (n, 2) [m] does."""
    change = heading_change(points)
    return 0 if change > TURNED else 2 if change < -TURNED else 1


def judge_manoeuvres(paths: RecordedPaths, walks: Walks, model: MaxEnt, seed: int) -> dict[str, Any]:
    """How many held-out manoeuvres are foretold: the one that most of `DRAWN` paths do, from where a car then is.

    Cars that are seen for less than `SECONDS` are not counted.
    """
    grid = walks.grid
    learned = [manoeuvre(grid.middles(grid.places(states[:-1] // HEADINGS))) for states in walks.training.states]
    commonest = np.bincount(learned, minlength=len(NAMES)).argmax()
    rng = np.random.default_rng(seed)
    counts = np.zeros((len(NAMES), len(NAMES)), int)
    for k in walks.recorded:
        if paths.seconds(k)[-1] <= SECONDS:
            continue
        seen = paths.path(k)[paths.seconds(k) <= SECONDS]
        state, made = _state(paths, walks, seen)
        chances = model.goal_chances(np.array([state]), made)[0]
        goals = rng.choice(len(chances), DRAWN, p=chances)
        drawn = model.continue_from(np.full(DRAWN, state), goals, made, rng)
        ahead = (grid.middles(grid.places(row[row != ENDED][1:] // HEADINGS)) for row in drawn)
        foretold = np.bincount([manoeuvre(np.concatenate((seen, rest))) for rest in ahead], minlength=len(NAMES))
        counts[manoeuvre(paths.path(k)), foretold.argmax()] += 1
    return summary(counts, int(counts[commonest].sum()))


def summary(counts: np.ndarray, commonest: int) -> dict[str, Any]:
    """The metrics of `counts` (true, foretold), where always to foretell the commonest is right `commonest` times."""
    cars, right = int(counts.sum()), int(counts.trace())
    low, high = binomtest(right, cars).proportion_ci(method="wilson") if cars else (0.0, 1.0)
    return {
        "manoeuvre_cars": cars,
        "manoeuvre_accuracy_2s": right / max(cars, 1),
        "manoeuvre_accuracy_2s_low": float(low),
        "manoeuvre_accuracy_2s_high": float(high),
        "manoeuvre_commonest": commonest / max(cars, 1),
        "manoeuvre_confusion": {
            true: dict(zip(NAMES, row, strict=True)) for true, row in zip(NAMES, counts.tolist(), strict=True)
        },
    }


def print_manoeuvres(result: dict[str, Any]) -> None:
    """Print the metrics of `judge_manoeuvres`."""
    confusion = result["manoeuvre_confusion"]
    low, high = (result[f"manoeuvre_accuracy_2s_{end}"] for end in ("low", "high"))
    title = f"cars by what they do, and what is foretold after {SECONDS:g} s"
    lines = [[true, *(str(confusion[true][foretold]) for foretold in NAMES)] for true in NAMES]
    terminal.print_table(title, ["", *(f"foretold:\n{name}" for name in NAMES)], lines)
    print(
        f"right: {result['manoeuvre_accuracy_2s']:.1%} of {result['manoeuvre_cars']} cars (95 % interval {low:.1%} to "
        f"{high:.1%}); always the commonest: {result['manoeuvre_commonest']:.1%}"
    )


def _state(paths: RecordedPaths, walks: Walks, seen: np.ndarray) -> tuple[int, int]:
    """Where a car is after the points `seen` (n, 2), and how many moves it has made.

    While it is in its first cell, its heading is that of its movement, or, if it stands, of its lane.
    """
    states, moves = walks.grid.moves(walks.grid.walk(seen))
    if len(states):
        return int(states[-1]), len(moves)
    x, y = seen[-1] - seen[0]
    heading = math.atan2(y, x) if math.hypot(x, y) > STILL else lane_heading(paths.lanes, seen[-1]) or 0.0
    angles = np.arctan2(*(MOVES * walks.grid.size).T[::-1])
    return int(walks.grid.walk(seen)[-1]) * HEADINGS + int(np.cos(angles - heading).argmax()), 0
