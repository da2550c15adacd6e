"""What lanes tell of moves on a grid: driving where no lane leads, and changing lanes."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.path import Path as Outline

from infogail.baselines.maxent_irl import NOWHERE, Graph
from infogail.forecast.grid import HEADINGS, MOVES, Grid

FEATURES = 2
ALONG = math.cos(math.radians(50.0))
"""Of the largest angle between a move and the lane that it follows: headings are 45° apart."""
JOINED = 1.0
"""Largest distance from the end of a lane to the start of the one after it, in the unit of the paths."""


def with_lanes(graph: Graph, grid: Grid, lanes: np.ndarray) -> Graph:
    """`graph` with `FEATURES` more: of a move to where no lane leads its way, and of a move that changes lanes.

    Args:
        lanes: (K, 5), see `RecordedPaths`.
    """
    sections = np.split(lanes[:, 1:], np.flatnonzero(np.diff(lanes[:, 0])) + 1)
    middles = grid.middles(grid.places(np.arange(len(grid))))
    inside, directions = (np.stack(each) for each in zip(*(_on_lane(lane, middles) for lane in sections), strict=True))
    came_from = (_follows(sections).T.astype(np.float32) @ inside.astype(np.float32)) > 0
    following = graph.next_state[: len(grid) * HEADINGS].numpy()
    here = np.arange(len(following)) // HEADINGS
    rows, columns = [], []
    angles = np.arctan2(*(MOVES * grid.size).T[::-1])
    for move, angle in enumerate(angles):
        exists = np.flatnonzero(following[:, move] != NOWHERE)
        there = following[exists, move] // HEADINGS
        leads = (inside & (np.cos(directions - angle) > ALONG))[:, there]
        astray = ~leads.any(0)
        changes = ~astray & ~(leads & came_from[:, here[exists]]).any(0)
        for feature, which in enumerate((astray, changes)):
            rows.append(exists[which] * graph.next_state.shape[1] + move)
            columns.append(np.full(int(which.sum()), graph.features.shape[1] + feature))
    old = graph.features.coalesce()
    new = torch.from_numpy(np.stack((np.concatenate(rows), np.concatenate(columns))))
    indices = torch.cat((old.indices(), new), 1)
    values = torch.cat((old.values(), torch.ones(new.shape[1], dtype=old.dtype)))
    size = old.shape[0], old.shape[1] + FEATURES
    return Graph(graph.next_state, torch.sparse_coo_tensor(indices, values, size, check_invariants=True).coalesce())


def lane_heading(lanes: np.ndarray, point: np.ndarray) -> float | None:
    """The direction [rad] of a lane on which `point` (2,) is; None if it is on none."""
    for lane in np.split(lanes[:, 1:], np.flatnonzero(np.diff(lanes[:, 0])) + 1):
        inside, directions = _on_lane(lane, point[None])
        if inside[0]:
            return float(directions[0])
    return None


def _on_lane(lane: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) bool: `points` (n, 2) are between the borders of `lane` (m, 4); and its direction (n,) [rad] nearby."""
    left, right = lane[:, :2], lane[:, 2:]
    centre = (left + right) / 2
    sections, along = (centre[1:] + centre[:-1]) / 2, np.diff(centre, axis=0)
    nearest = ((points[:, None] - sections) ** 2).sum(-1).argmin(1)
    inside = Outline(np.concatenate((left, right[::-1]))).contains_points(points)
    return inside, np.arctan2(*along[nearest].T[::-1])


def _follows(sections: list[np.ndarray]) -> np.ndarray:
    """(L, L) bool: whether from one lane a car comes to another without leaving it: the same, or the one after it."""
    ends = [np.stack([(lane[k, :2] + lane[k, 2:]) / 2 for lane in sections]) for k in (-1, 0)]
    gaps = np.linalg.norm(ends[0][:, None] - ends[1], axis=-1)
    return (gaps < JOINED) | np.eye(len(sections), dtype=bool)
