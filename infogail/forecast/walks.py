"""From recorded paths to moves on a grid: what is learned from, what is held out, and what is left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from infogail.baselines.maxent_irl import Graph, Paths
from infogail.envs.errors import BadInput
from infogail.forecast.goals import Goals, find_goals
from infogail.forecast.grid import HEADINGS, Grid, usual_cell
from infogail.forecast.paths import RecordedPaths

SHORTEST = 6
"""Cells of a path."""
FEWEST = 10
"""Paths to learn from."""


@dataclass(frozen=True)
class Walks:
    """Paths on a grid, each until it first reaches its goal."""

    grid: Grid
    graph: Graph
    goals: Goals
    """Where the paths to learn from end."""
    training: Paths
    held_out: Paths
    recorded: np.ndarray
    """(n,) int64: number of each held-out path in the file"""
    left_out: Counter[str]
    """Paths that were left out, by reason."""
    start_counts: np.ndarray
    """(G, G) int64: training paths that start nearest to one goal and go to another"""

    @property
    def horizon(self) -> int:
        """T: moves in which a path must end: a quarter more than the longest path has."""
        return max(self.training.longest, self.held_out.longest) * 5 // 4

    @property
    def goal_states(self) -> np.ndarray:
        """(G, S) bool"""
        return self.goals.regions.repeat(HEADINGS, axis=1)

    def goal_prior(self, paths: Paths) -> np.ndarray:
        """(n, G): P(goal | start): how often training paths from near the start go there, plus one."""
        starts = self.grid.places(np.array([states[0] // HEADINGS for states in paths.states]))
        counts = self.start_counts[self.goals.nearest(starts)] + 1.0
        return counts / counts.sum(1, keepdims=True)


def make_walks(paths: RecordedPaths, cell: float | None, number: int | None, seed: int) -> Walks:
    """Put `paths` on a grid.

    Args:
        cell: width of a cell; None for `usual_cell`.
        number: of goals; None for the rule of `find_goals`.

    Raises:
        BadInput: too few paths are long enough, or `cell` or `number` does not suit them.
    """
    size = usual_cell(paths.points) if cell is None else cell
    try:
        grid = Grid.over(paths.points, size)
    except (ValueError, OverflowError) as error:
        raise BadInput(f"--cell {size:g}: {error}; give a larger one") from error
    walks = [grid.walk(paths.path(k)) for k in range(len(paths))]
    long_enough = np.array([len(cells) >= SHORTEST for cells in walks])
    held_out = paths.held_out()
    training = np.flatnonzero(long_enough & ~held_out)
    if len(training) < FEWEST:
        raise BadInput(
            f"only {len(training)} paths to learn from have {SHORTEST} cells of {size:g} or more, not {FEWEST}; "
            "give more paths, or a smaller --cell"
        )
    try:
        goals = find_goals(grid, np.array([walks[k][-1] for k in training]), number, seed)
    except ValueError as error:
        raise BadInput(f"--goals {number}: {error}; give fewer") from error
    left_out = Counter({f"with fewer than {SHORTEST} cells": int((~long_enough).sum())})
    learned, _ = _cut(grid, goals, walks, training, left_out)
    judged, kept = _cut(grid, goals, walks, np.flatnonzero(long_enough & held_out), left_out)
    for name, those in (("to learn from", learned), ("held out", judged)):
        if not len(those.goals):
            raise BadInput(f"no path {name} remains; give more paths, or a smaller --cell")
    counts = np.zeros((len(goals), len(goals)), np.int64)
    starts = grid.places(np.array([states[0] // HEADINGS for states in learned.states]))
    np.add.at(counts, (goals.nearest(starts), learned.goals), 1)
    return Walks(grid, grid.graph(), goals, learned, judged, kept, left_out, counts)


def _cut(
    grid: Grid, goals: Goals, walks: list[np.ndarray], which: np.ndarray, left_out: Counter[str]
) -> tuple[Paths, np.ndarray]:
    """The paths `which` until they first reach the goal nearest to where they end, and their numbers."""
    states, moves, to, kept = [], [], [], []
    for k in which.tolist():
        visited, made = grid.moves(walks[k])
        goal = int(goals.nearest(grid.places(walks[k][-1:]))[0])
        there = goals.regions[goal, visited // HEADINGS]
        if not there.any():
            left_out["that end where no other path did"] += 1
        elif there[0]:
            left_out["that start at their goal"] += 1
        else:
            end = int(there.argmax())
            states.append(visited[: end + 1])
            moves.append(made[:end])
            to.append(goal)
            kept.append(k)
    return Paths(states, moves, np.array(to, np.int64)), np.array(kept, np.int64)
