"""From recorded paths to moves on a grid: what is learned from, what is held out, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from infogail.baselines.maxent_irl import Graph, Paths
from infogail.envs.errors import BadInput
from infogail.forecast.goals import Goals, find_goals
from infogail.forecast.grid import HEADINGS, STOP, Grid, usual_cell
from infogail.forecast.intersections.lanes import with_lanes
from infogail.forecast.paths import RecordedPaths

SHORTEST = 6
"""Cells of a path."""
FEWEST = 10
"""Paths to learn from."""


@dataclass(frozen=True)
class Walks:
    """Paths on a grid."""

    grid: Grid
    graph: Graph
    goals: Goals
    """Where the paths to learn from end."""
    training: Paths
    held_out: Paths
    recorded: np.ndarray
    """(n,) int64: number of each held-out path in the file"""
    learned: np.ndarray
    """(n,) int64: number of each path to learn from in the file"""
    left_out: int
    """Paths of fewer than `SHORTEST` cells, which were left out."""
    start_counts: np.ndarray
    """(G, G) int64: training paths that start nearest to one goal and go to another"""
    obstacles: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))
    """(O, 4), see `RecordedPaths`"""
    has_lanes: bool = False
    """Whether the last features of the graph are those of lanes, see `with_lanes`."""
    axes: tuple[str, str] = ("x", "y")
    """See `RecordedPaths`."""

    @property
    def horizon(self) -> int:
        """T: moves in which a path must end: a quarter more than the longest path has."""
        return max(self.training.longest, self.held_out.longest) * 5 // 4

    @property
    def goal_states(self) -> np.ndarray:
        """(G, S) bool: the end state of each goal."""
        return np.eye(len(self.goals), len(self.graph.next_state), len(self.grid) * HEADINGS, dtype=bool)

    def goal_prior(self, paths: Paths) -> np.ndarray:
        """(n, G): P(goal | start): how often training paths from near the start go there, plus one."""
        counts = self.start_counts[_first_goals(self.grid, self.goals, paths)] + 1.0
        return counts / counts.sum(1, keepdims=True)

    def learning_from(self, chosen: np.ndarray) -> Walks:
        """The same with only those of the paths to learn from that are `chosen` (n,), by their order among them."""
        every = self.training
        states, moves = ([each[k] for k in chosen] for each in (every.states, every.moves))
        training = Paths(states, moves, every.goals[chosen])
        counts = _start_counts(self.grid, self.goals, training)
        return replace(self, training=training, learned=self.learned[chosen], start_counts=counts)


def make_walks(
    paths: RecordedPaths, cell: float | None, number: int | None, seed: int, held_out: np.ndarray | None = None
) -> Walks:
    """Put `paths` on a grid.

    Args:
        cell: width of a cell; None for `usual_cell`.
        number: of goals; None for the rule of `find_goals`.
        held_out: (P,) bool; None for those of `RecordedPaths.held_out`.

    Raises:
        BadInput: too few paths are long enough, or `cell` or `number` does not suit them.
    """
    size = usual_cell(paths.points, paths.stretch) if cell is None else cell
    try:
        grid = Grid.over(paths.points, size, paths.stretch)
    except (ValueError, OverflowError) as error:
        raise BadInput(f"--cell {size:g}: {error}; give a larger one") from error
    walks = [grid.walk(paths.path(k)) for k in range(len(paths))]
    long_enough = np.array([len(cells) >= SHORTEST for cells in walks])
    held_out = paths.held_out() if held_out is None else held_out
    training, judged = np.flatnonzero(long_enough & ~held_out), np.flatnonzero(long_enough & held_out)
    for name, number_of, fewest in (("to learn from", len(training), FEWEST), ("held out", len(judged), 1)):
        if number_of < fewest:
            raise BadInput(
                f"{number_of} paths {name} have {SHORTEST} cells of {size:g} or more, fewer than {fewest}; "
                "give more paths, or a smaller --cell"
            )
    try:
        ends = np.array([walks[k][-1] for k in training])
        goals = find_goals(grid, ends, number, seed)
    except ValueError as error:
        raise BadInput(f"--goals {number}: {error}; give fewer") from error
    graph = grid.graph(goals.nearest(grid.places(np.arange(len(grid)))), ends, grid.near(paths.obstacles))
    if len(paths.lanes):
        graph = with_lanes(graph, grid, paths.lanes)
    learned, unseen = (_paths(grid, goals, [walks[k] for k in which]) for which in (training, judged))
    counts = _start_counts(grid, goals, learned)
    left_out, lanes = int((~long_enough).sum()), len(paths.lanes) > 0
    obstacles, axes = paths.obstacles, paths.axes
    return Walks(grid, graph, goals, learned, unseen, judged, training, left_out, counts, obstacles, lanes, axes)


def _first_goals(grid: Grid, goals: Goals, paths: Paths) -> np.ndarray:
    """(n,): the goal in which each path starts."""
    return goals.nearest(grid.places(np.array([states[0] // HEADINGS for states in paths.states])))


def _start_counts(grid: Grid, goals: Goals, paths: Paths) -> np.ndarray:
    """(G, G) int64, see `Walks.start_counts`."""
    counts = np.zeros((len(goals), len(goals)), np.int64)
    np.add.at(counts, (_first_goals(grid, goals, paths), paths.goals), 1)
    return counts


def _paths(grid: Grid, goals: Goals, walks: list[np.ndarray]) -> Paths:
    """The paths of these walks, with the stop in the goal in which they end."""
    states, moves, to = [], [], []
    for cells in walks:
        visited, made = grid.moves(cells)
        goal = int(goals.nearest(grid.places(cells[-1:]))[0])
        states.append(np.append(visited, len(grid) * HEADINGS + goal))
        moves.append(np.append(made, STOP))
        to.append(goal)
    return Paths(states, moves, np.array(to))
