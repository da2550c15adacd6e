"""An area in cells, and paths as moves between neighbouring cells.

A state is a cell and the heading with which it was entered, for people go on in the direction in which they go. Columns
are along x, rows along y; heading k is 45° k from the x axis toward the y axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from infogail.baselines.maxent_irl import NOWHERE, Graph

USUAL_CELLS = 27 * 48
"""About so many cells has a grid whose cell size is not given."""
MOST_CELLS = 4_000
MOVES = np.array([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)])
"""(8, 2): columns and rows of each move; its number is also the heading it leads to."""
HEADINGS = len(MOVES)
STOP = HEADINGS
"""The number of the move with which a path ends."""
TURNS = 5
"""Kinds of turns: by 0°, 45°, 90°, 135° and 180°."""
ABOUT, RARELY = 2.0, 0.01
"""Standard deviation [cells] of the Gaussian that smooths where paths end, and what is added to their number."""
FINE = 20
"""Points per cell, when a path is followed from cell to cell."""
BANDS = (0.5, 1.5, 2.5, 4.0)
"""Upper bounds [cells] of the bands of distance from the nearest obstacle, of which each has a reward."""


def usual_cell(points: np.ndarray, stretch: float = 1.0) -> float:
    """The width of cells, to one digit, with which the area of `points` (N, 2) has about `USUAL_CELLS` of them."""
    spans = np.ptp(points, axis=0) / (stretch, 1.0)
    exact = max(math.sqrt(spans.prod() / USUAL_CELLS), spans.max() / USUAL_CELLS)
    return float(f"{exact:.0e}")


@dataclass(frozen=True)
class Grid:
    """Cells over an area, all of one size.

    Raises:
        ValueError: there are more than `MOST_CELLS`.
    """

    left: float
    """The smallest x."""
    bottom: float
    """The smallest y."""
    cell: float
    """Width of a cell, along y, in the unit of the points."""
    columns: int
    rows: int
    stretch: float = 1.0
    """How many times as long, along x, as wide a cell is."""

    def __post_init__(self) -> None:
        if len(self) > MOST_CELLS:
            raise ValueError(f"{self.columns} x {self.rows} cells, more than {MOST_CELLS:,}")

    @classmethod
    def over(cls, points: np.ndarray, cell: float, stretch: float = 1.0) -> Grid:
        """The grid that covers `points` (N, 2)."""
        (left, bottom), spans = points.min(0).tolist(), np.ptp(points, axis=0) / (cell * stretch, cell)
        columns, rows = (math.floor(span) + 1 for span in spans.tolist())
        return cls(left, bottom, cell, columns, rows, stretch)

    def __len__(self) -> int:
        return self.columns * self.rows

    @property
    def size(self) -> np.ndarray:
        """(2,): length and width of a cell."""
        return np.array((self.cell * self.stretch, self.cell))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top."""
        right, top = (self.left, self.bottom) + self.size * (self.columns, self.rows)
        return self.left, float(right), self.bottom, float(top)

    def middles(self, places: np.ndarray) -> np.ndarray:
        """(n, 2): the points in the middle of `places` (n, 2), columns and rows."""
        return (self.left, self.bottom) + (places + 0.5) * self.size

    def places(self, cells: np.ndarray) -> np.ndarray:
        """(n, 2): column and row of each cell (n,)."""
        return np.stack((cells % self.columns, cells // self.columns), -1)

    def walk(self, points: np.ndarray) -> np.ndarray:
        """(m,) int64: the cells of a path along `points` (n, 2), each a neighbour of the one before.

        A corner is cut where the cell before it and the one after are neighbours, so that diagonals are moves.
        """
        scaled = self._scaled(points)
        along = np.concatenate(([0.0], np.hypot(*np.diff(scaled, axis=0).T).cumsum()))
        steps = np.linspace(0.0, along[-1], math.ceil(along[-1] * FINE) + 1)
        fine = np.stack([np.interp(steps, along, of_axis) for of_axis in scaled.T], -1)
        places = np.floor(fine).astype(np.int64).clip(0, (self.columns - 1, self.rows - 1))
        entered = np.append(True, (np.diff(places, axis=0) != 0).any(1))
        walked: list[tuple[int, int]] = []
        for x, y in places[entered].tolist():
            if len(walked) > 1 and max(abs(x - walked[-2][0]), abs(y - walked[-2][1])) == 1:
                walked[-1] = x, y
            else:
                walked.append((x, y))
        return np.array([y * self.columns + x for x, y in walked])

    def moves(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """States (m - 1,) and moves (m - 2,) of a walk over m cells, from its first heading on and without its stop."""
        steps = np.diff(self.places(cells), axis=0)
        headings = (steps[:, None] == MOVES).all(-1).argmax(1)
        return cells[1:] * HEADINGS + headings, headings[1:]

    def near(self, obstacles: np.ndarray) -> np.ndarray:
        """(C, B) bool: in which of the `BANDS` of distance from the nearest obstacle each cell's middle is.

        Args:
            obstacles: (O, 4), segments from x1, y1 to x2, y2; if there are none, B is 0.
        """
        if not len(obstacles):
            return np.zeros((len(self), 0), bool)
        ends = self._scaled(obstacles.reshape(-1, 2)).reshape(-1, 2, 2)
        parts = [np.linspace(a, b, math.ceil(math.dist(a, b) * FINE) + 1) for a, b in ends]
        distances, _ = cKDTree(np.concatenate(parts)).query(self.places(np.arange(len(self))) + 0.5)
        return np.searchsorted(BANDS, distances)[:, None] == np.arange(len(BANDS))

    def _scaled(self, points: np.ndarray) -> np.ndarray:
        """`points` (n, 2) in cells, from the left and the bottom."""
        return (points - (self.left, self.bottom)) / self.size

    def graph(self, goals: np.ndarray, ends: np.ndarray, near: np.ndarray | None = None) -> Graph:
        """All states and moves; `STOP` leads from a cell to the end state of its goal, where no moves are left.

        Features (F,): the cell entered (C), the turn (`TURNS`), the length in cells; and of stopping, log of how many
        paths end about there, and the cell (C); and of the cell entered, whether it is `near` obstacles (B).

        Args:
            goals: (C,) int64, the goal in which each cell lies, 0 to G - 1; end states follow the others.
            ends: (N,) int64, the last cells of paths.
            near: (C, B), from `near`.
        """
        counts = np.bincount(ends, minlength=len(self)).astype(float).reshape(self.rows, self.columns)
        about = np.log(gaussian_filter(counts, ABOUT, mode="constant").flatten() + RARELY)
        number = len(self)
        states = np.arange(number * HEADINGS)
        there = self.places(states // HEADINGS)[:, None] + MOVES
        inside = ((there >= 0) & (there < (self.columns, self.rows))).all(-1)
        cells = there[..., 1] * self.columns + there[..., 0]
        following = np.full((len(states) + goals.max() + 1, HEADINGS + 1), NOWHERE)
        following[: len(states), :HEADINGS] = np.where(inside, cells * HEADINGS + np.arange(HEADINGS), NOWHERE)
        following[: len(states), STOP] = len(states) + goals[states // HEADINGS]
        turn = abs(np.arange(HEADINGS) - (states % HEADINGS)[:, None])
        turn = np.minimum(turn, HEADINGS - turn)
        length = np.broadcast_to(np.hypot(*MOVES.T), turn.shape)
        move = (states[:, None] * (HEADINGS + 1) + np.arange(HEADINGS))[inside]
        stop = states * (HEADINGS + 1) + STOP
        costs = number + TURNS
        near = np.zeros((number, 0)) if near is None else near
        which, band = near[cells[inside]].nonzero()
        features = (  # move, feature, value
            (move, cells[inside], np.ones(len(move))),
            (move, number + turn[inside], np.ones(len(move))),
            (move, np.full(len(move), costs), length[inside]),
            (stop, np.full(len(stop), costs + 1), about[states // HEADINGS]),
            (stop, costs + 2 + states // HEADINGS, np.ones(len(stop))),
            (move[which], costs + 2 + number + band, np.ones(len(which))),
        )
        rows, columns, values = (torch.from_numpy(np.concatenate(part)) for part in zip(*features, strict=True))
        size = following.size, costs + 2 + number + near.shape[1]
        matrix = torch.sparse_coo_tensor(torch.stack((rows, columns)), values.float(), size, check_invariants=True)
        return Graph(torch.from_numpy(following), matrix.coalesce())

    @property
    def costs(self) -> range:
        """The features of the graph that are costs: turns and length."""
        return range(len(self), len(self) + TURNS + 1)
