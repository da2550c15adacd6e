"""Coordinate frames for the roads of recorded cars: distance along, offset across, and the edges of the lanes.

A frame is a reference line, sampled every `SPACING` metres, and the lateral offsets of the lane edges at each of its
points. On a motorway one frame covers a whole file; where cars part, as at intersections, each route has its own.
Lateral offsets are positive to the right, like y where the road runs along x.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from infogail.envs.physics.roads import SPACING, place
from infogail.envs.recordings.commonroad import Car, Lanelet

EXTENSION = 100  # [points] by which the line is extended, straight, at both ends
SMOOTHING = 4.0  # [points]: standard deviation of the kernel; lanelets have kinks, headings should not
STRAIGHT = 20.0  # [m] at an end of a road, which set the direction of its extension
RAGGED = 10.0  # [m]: lanes that begin or end this close to the road's ends continue beyond them
SHOULDER = 1.0  # [m]: lanes farther apart have a strip between them, with edges of its own
LEAST_WIDTH = 1.0  # [m] of a lane, where it begins or ends in a point
ALONGSIDE = math.cos(math.radians(20.0))  # of the largest angle between a lanelet and the reference line it belongs to
WITH_TRAFFIC = 0.5  # cosine of the largest angle between a car's heading and the road it drives along
MAX_FRAMES = 50  # per file


class Frame(NamedTuple):
    """One route along the road."""

    reference: np.ndarray
    """(P, 4): x [m], y [m], heading [rad], curvature [1/m], every `SPACING` metres"""
    edges: np.ndarray
    """(P, M + 1): lateral offsets [m] of the lane edges, ascending; where there are fewer, the last is repeated"""
    lanelets: frozenset[int]
    """Those that make its lanes."""

    def place(self, positions: np.ndarray) -> np.ndarray:
        """Distances along and across [m] of `positions` (..., 2) [m], in one array of that shape."""
        along, across = place(positions[..., 0], positions[..., 1], self.reference)
        return np.stack((along, across), -1)

    def on_lanes(self, states: np.ndarray) -> np.ndarray:
        """(...) bool: a car in `states` (..., 4) has its centre on a lane, and drives along it."""
        within, nearest = self._within(states[..., :2])
        return within & (np.cos(states[..., 2] - self.reference[nearest, 2]) > WITH_TRAFFIC)

    def holds(self, car: Car) -> bool:
        """Whether any part of the rectangle of `car` in its first state is on a lane, whatever its heading."""
        x, y, heading, _ = car.states[0]
        ahead = car.length * np.linspace(-0.5, 0.5, 1 + math.ceil(car.length / SPACING))[:, None]
        aside = car.width * np.linspace(-0.5, 0.5, 1 + math.ceil(car.width / SPACING))
        cos, sin = math.cos(heading), math.sin(heading)
        within, _ = self._within(np.stack((x + ahead * cos - aside * sin, y + ahead * sin + aside * cos), -1))
        return bool(within.any())

    def _within(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(...) bool: `positions` (..., 2) are between the outer edges; and the index of the nearest point (...)."""
        along, across = np.moveaxis(self.place(positions), -1, 0)
        nearest = np.clip(np.round(along / SPACING), 0, len(self.reference) - 1).astype(int)
        edges = self.edges[nearest]
        within = (edges[..., 0] <= across) & (across <= edges[..., -1])
        within &= (along >= 0) & (along <= SPACING * (len(self.reference) - 1))
        return within, nearest


def find_frames(lanelets: dict[int, Lanelet], cars: list[Car]) -> tuple[list[Frame], np.ndarray]:
    """The routes that `cars` take along `lanelets`, the most driven first.

    Returns:
        the frames, and (len(cars),) int: the frame of each car, or -1 if it is off the lanes most of the time.
    """
    steps = _steps_on(lanelets, cars)
    groups = {key: _side_by_side(lanelets, [key]) for key in lanelets}
    frames: list[Frame] = []
    member = np.full(len(cars), -1)
    spent: set[int] = set()
    while len(frames) < MAX_FRAMES:
        driven = {key: float(count[member < 0].sum()) for key, count in steps.items()}
        driven = {key: sum(driven[k] for k in groups[key] if k not in spent) for key in lanelets}
        if not any(driven.values()):
            break
        chain = _longest_chain(lanelets, driven)
        frame = build_frame(lanelets, chain)
        unassigned = [k for k in range(len(cars)) if member[k] < 0]
        on_lanes = [k for k in unassigned if frame.on_lanes(cars[k].states).mean() >= 0.5]
        if on_lanes:
            member[on_lanes] = len(frames)
            frames.append(frame)
        else:
            spent |= _side_by_side(lanelets, chain)
    return frames, member


def build_frame(lanelets: dict[int, Lanelet], chain: list[int]) -> Frame:
    """The frame whose reference line runs through the middle of the lanelets in `chain`, one after the other."""
    reference = _reference(_joined([lanelets[key].centre for key in chain]))
    start, end = SPACING * EXTENSION, SPACING * (len(reference) - 1 - EXTENSION)
    members = _alongside(lanelets, _side_by_side(lanelets, chain), reference)
    lanes = [_lane(lanelets, lane, reference, start, end) for lane in _lanes(lanelets, members)]
    rows = [_edges(np.array([lane[:, k] for lane in lanes])) for k in range(len(reference))]
    rows = rows if any(rows) else [[0.0, 0.0] for _ in rows]  # no lanelet is wide enough anywhere
    filled = np.array([k for k, row in enumerate(rows) if row])
    nearest = filled[abs(filled - np.arange(len(rows))[:, None]).argmin(1)]
    width = max(map(len, rows))
    edges = np.array([rows[k] + rows[k][-1:] * (width - len(rows[k])) for k in nearest])
    return Frame(reference, edges, frozenset(members))


def _steps_on(lanelets: dict[int, Lanelet], cars: list[Car]) -> dict[int, np.ndarray]:
    """Number of steps (len(cars),) that each car drives along each lanelet, by id."""
    from matplotlib.path import Path

    states = np.concatenate([car.states for car in cars])
    whose = np.repeat(np.arange(len(cars)), [len(car.states) for car in cars])
    steps = {}
    for key, lanelet in lanelets.items():
        area = Path(np.concatenate((lanelet.left, lanelet.right[::-1])))
        inside = np.flatnonzero(area.contains_points(states[:, :2]))
        line = _joined([lanelet.centre])
        line = line if len(line) > 1 else lanelet.centre
        direction = np.diff(line, axis=0)[cKDTree(line[:-1]).query(states[inside, :2])[1]]
        with_traffic = np.cos(np.arctan2(direction[:, 1], direction[:, 0]) - states[inside, 2]) > WITH_TRAFFIC
        steps[key] = np.bincount(whose[inside[with_traffic]], minlength=len(cars))
    return steps


def _side_by_side(lanelets: dict[int, Lanelet], keys: Iterable[int]) -> set[int]:
    """`keys`, and all lanelets beside them that run in the same direction."""
    group: set[int] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in group and key in lanelets:
            group.add(key)
            waiting += [k for k in (lanelets[key].left_neighbour, lanelets[key].right_neighbour) if k is not None]
    return group


def _longest_chain(lanelets: dict[int, Lanelet], driven: dict[int, float]) -> list[int]:
    """The chain of successive lanelets that is driven the most; of equal ones, the longest. Cycles are cut open."""
    order: list[int] = []
    state = dict.fromkeys(lanelets, "new")
    edges: dict[int, list[int]] = {}
    for first in lanelets:
        waiting = [first]
        while waiting:  # depth first: a lanelet is done after all its successors
            key = waiting[-1]
            if state[key] == "new":
                state[key] = "open"
                edges[key] = [k for k in lanelets[key].successors if k in lanelets and state[k] != "open"]
                waiting += [k for k in edges[key] if state[k] == "new"]
            else:
                waiting.pop()
                if state[key] == "open":
                    state[key] = "done"
                    order.append(key)
    rank = {key: k for k, key in enumerate(order)}
    best: dict[int, tuple[float, float]] = {}
    follower: dict[int, int | None] = {}
    for key in order:
        after = [k for k in edges[key] if rank[k] < rank[key]]
        follower[key] = max(after, key=best.__getitem__, default=None)
        steps, length = max((best[k] for k in after), default=(0.0, 0.0))
        segments = np.diff(lanelets[key].centre, axis=0)
        best[key] = (steps + driven[key], length + float(np.hypot(*segments.T).sum()))
    chain: list[int] = []
    following: int | None = max(best, key=best.__getitem__)
    while following is not None:
        chain.append(following)
        following = follower[following]
    while len(chain) > 1 and np.hypot(*(lanelets[chain[-1]].centre[-1] - lanelets[chain[0]].centre[0])) < RAGGED:
        # Otherwise the road's end would meet its start, and cars there would have two places. Keep the most driven.
        chain.pop(0 if driven[chain[0]] < driven[chain[-1]] else -1)
    return chain


def _joined(lines: list[np.ndarray]) -> np.ndarray:
    """Several lines joined into one, without duplicate points."""
    points = np.concatenate(lines)
    return points[np.append(True, np.hypot(*np.diff(points, axis=0).T) > 1e-3)]


def _resampled(points: np.ndarray) -> np.ndarray:
    """Points every `SPACING` metres along the line, from its first point on."""
    distance = np.append(0.0, np.cumsum(np.hypot(*np.diff(points, axis=0).T)))
    wanted = np.arange(0.0, distance[-1] + 1e-9, SPACING)
    return np.stack([np.interp(wanted, distance, column) for column in points.T], -1)


def _reference(line: np.ndarray) -> np.ndarray:
    """(P, 4): the line (n, 2) smoothed, extended and sampled, with headings and curvatures."""
    points = _resampled(line)
    spare = math.ceil(4 * SMOOTHING)  # the reach of the kernel

    def beyond(end: np.ndarray, count: int) -> np.ndarray:
        """`count` points straight on from the first of `end`, away from the others."""
        near = end[: max(2, round(STRAIGHT / SPACING))]
        outwards = (near[0] - near[-1]) / np.hypot(*(near[0] - near[-1])) if len(near) > 1 else np.array([1.0, 0.0])
        return near[0] + SPACING * np.arange(1, count + 1)[:, None] * outwards

    count = EXTENSION + spare
    points = np.concatenate((beyond(points, count)[::-1], points, beyond(points[::-1], count)))
    points = gaussian_filter1d(points, SMOOTHING, axis=0, truncate=4.0)[spare:-spare]
    points = _resampled(points)
    heading = np.unwrap(np.arctan2(*np.gradient(points, SPACING, axis=0).T[::-1]))
    curvature = np.gradient(heading, SPACING)
    return np.concatenate((points, heading[:, None], curvature[:, None]), -1)


def _alongside(lanelets: dict[int, Lanelet], members: set[int], reference: np.ndarray) -> set[int]:
    """`members`, and the lanelets before and after them that run along the reference line: ramps, before they part."""
    members = set(members)
    waiting = list(members)
    while waiting:
        lanelet = lanelets[waiting.pop()]
        for key in (*lanelet.predecessors, *lanelet.successors):
            if key in lanelets and key not in members and _runs_along(lanelets[key], reference):
                new = _side_by_side(lanelets, [key]) - members
                members |= new
                waiting += new
    return members


def _runs_along(lanelet: Lanelet, reference: np.ndarray) -> bool:
    points = _resampled(_joined([lanelet.centre]))
    if len(points) < 2:
        return True  # too short to tell
    segments = np.diff(points, axis=0)
    squares = ((points[:-1, None] - reference[None, :, :2]) ** 2).sum(-1)
    turned = np.arctan2(segments[:, 1], segments[:, 0]) - reference[squares.argmin(1), 2]
    return bool((np.cos(turned) > ALONGSIDE).all())


def _lanes(lanelets: dict[int, Lanelet], members: set[int]) -> list[list[int]]:
    """`members` as lanes, each a chain of successive lanelets."""
    after: dict[int, int] = {}
    for key in sorted(members):
        for successor in lanelets[key].successors:
            if successor in members and successor not in after.values():
                after[key] = successor
                break
    lanes = []
    remaining = set(members)
    while remaining:
        firsts = remaining - set(after.values())
        lane = [min(firsts or remaining)]
        remaining.discard(lane[0])
        while lane[-1] in after and after[lane[-1]] in remaining:
            lane.append(after[lane[-1]])
            remaining.discard(lane[-1])
        lanes.append(lane)
        after = {key: successor for key, successor in after.items() if key in remaining}
    return lanes


def _lane(lanelets: dict[int, Lanelet], lane: list[int], reference: np.ndarray, start: float, end: float) -> np.ndarray:
    """(2, P): offsets [m] of the lane's left and right edge at every reference point; NaN where there is no lane."""
    points = SPACING * np.arange(len(reference))
    offsets, firsts, lasts = [], [], []
    for side in ("left", "right"):
        line = _joined([getattr(lanelets[key], side) for key in lane])
        fine = np.concatenate((_resampled(line), line[-1:]))
        along, across = place(fine[:, 0], fine[:, 1], reference)
        order = along.argsort(kind="stable")
        offsets.append(np.interp(points, along[order], across[order]))
        firsts.append(along[0])
        lasts.append(along[-1])
    first, last = np.mean(firsts), np.mean(lasts)
    first = -np.inf if first < start + RAGGED else first
    last = np.inf if last > end - RAGGED else last
    return np.where((points >= first) & (points <= last), np.array(offsets), np.nan)


def _edges(lanes: np.ndarray) -> list[float]:
    """Edges [m], ascending, at a point with `lanes` (L, 2), which may be NaN; empty if there is no lane."""
    lanes = lanes[np.isfinite(lanes).all(-1)]
    lanes = lanes[lanes[:, 1] - lanes[:, 0] >= LEAST_WIDTH]
    edges: list[float] = []
    for left, right in sorted(lanes.tolist()):
        if not edges:
            edges = [left, right]
        elif left > edges[-1] + SHOULDER:
            edges += [left, right]
        elif right > edges[-1] + LEAST_WIDTH and (left + edges[-1]) / 2 > edges[-2] + LEAST_WIDTH:
            edges[-1:] = [(left + edges[-1]) / 2, right]
        else:  # two lanes that coincide here
            edges[-1] = max(edges[-1], right)
    return edges
