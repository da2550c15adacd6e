"""From the rows of a trajectory table to pairs of a driver and the leader that it follows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from highway_env.vehicle.kinematics import Vehicle
from scipy.spatial import cKDTree

from infogail.envs.recordings.columns import Columns, InvalidTable

RATE = 10  # [Hz] of pairs
SHORTEST = 50  # steps in a pair
SMALLEST_GAP = 0.3  # [m] from bumper to bumper: closer, one of the two is recorded in the wrong place
ABSENT = 60.0  # [s]: an id that returns after longer than this was given to another vehicle
PATH_SPACING = 1.0  # [m] between points of a path, so that its direction is not that of noise
EXTENSION = 1000.0  # [m] by which a path goes straight on beyond its end
TINY = 1e-9  # [m]


class Pair(NamedTuple):
    """One driver behind one leader, every 0.1 s, along the road."""

    follower: str
    """Its id in the file, such as "13"."""
    leader: str
    first_frame: int
    """Step of 0.1 s of the recording at which the pair begins, on one clock for the whole table."""
    follower_states: np.ndarray
    """(T, 2): x [m] of the centre, speed [m/s]"""
    leader_states: np.ndarray
    """(T, 2): likewise, on the same axis, which points in the driving direction"""
    follower_length: float  # [m]; highway-env's where unknown
    leader_length: float  # [m]


class DrivenPath:
    """The path of a vehicle's centre, and straight on beyond its end.

    Args:
        points: (T, 2) [m] of the centre, frame by frame
        heading: [rad] at its beginning, which is the direction of a path too short to have one
    """

    def __init__(self, points: np.ndarray, heading: float):
        self.distances = np.concatenate(([0.0], np.hypot(*np.diff(points, axis=0).T).cumsum()))
        """(T,) [m]: driven until each frame"""
        kept = np.flatnonzero(np.diff(self.distances // PATH_SPACING, prepend=-1.0))
        vertices, at = points[kept], self.distances[kept]
        beyond = np.array((math.cos(heading), math.sin(heading)))
        if len(kept) > 1:
            last = vertices[-1] - vertices[-2]
            beyond = last / max(np.hypot(*last), TINY)
        self._vertices = np.append(vertices, vertices[-1:] + EXTENSION * beyond, axis=0)
        self._at = np.append(at, at[-1] + EXTENSION)
        self._tree = cKDTree(self._vertices)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of `points` (n, 2): distance along the path (n,) [m], distance from it (n,) [m], its direction (n,) [rad]."""
        nearest = self._tree.query(points)[1]
        # The nearest place lies on one of the two segments that meet at the nearest vertex.
        segment = np.clip(np.stack((nearest - 1, nearest)), 0, len(self._at) - 2)
        begins, spans = self._vertices[segment], np.diff(self._vertices, axis=0)[segment]
        share = np.clip(((points - begins) * spans).sum(-1) / np.maximum((spans**2).sum(-1), TINY), 0.0, 1.0)
        offset = np.hypot(*np.moveaxis(points - begins - share[..., None] * spans, -1, 0))
        places = self._at[segment] + share * np.diff(self._at)[segment]
        courses = np.arctan2(spans[..., 1], spans[..., 0])
        chosen = offset.argmin(0), np.arange(len(points))
        return places[chosen], offset[chosen], courses[chosen]


class Tracks:
    """The rows of a table, sorted by place, vehicle and frame, in arrays (n,).

    Args:
        columns: of the table, in the order of the file
        id_name: the column of ids
        frames: (n,) whole numbers, in the order of the file

    Raises:
        InvalidTable: a vehicle is recorded twice in a frame.
    """

    def __init__(self, columns: Columns, id_name: str, frames: np.ndarray):
        ids, frames = columns.numbers[id_name].astype(np.int64), frames.astype(np.int64)
        sites = columns.codes  # ids and frames mean nothing at another place
        self.order = np.lexsort((frames, ids, sites))
        """Sorts a column of the file."""
        self.ids, self.frames, sites = ids[self.order], frames[self.order], sites[self.order]
        self._known, index = np.unique(self.ids, return_inverse=True)
        moments, self._moment = np.unique(self.frames, return_inverse=True)
        self._first_of_site = sites * len(self._known)
        self._moments, vehicle = len(moments), self._first_of_site + index
        self._keys = vehicle * self._moments + self._moment
        twice = np.flatnonzero(np.diff(self._keys) == 0)
        if len(twice):
            lines = columns.lines[self.order]
            raise InvalidTable(
                f"{columns.path}: line {lines[twice[0] + 1]}: vehicle {self.ids[twice[0]]} is already recorded at this "
                f"time, in line {lines[twice[0]]}; remove one of the two rows, or give recordings one by one"
            )
        self._same = unchanged(vehicle)
        self.joined = self._same & (np.diff(self.frames, prepend=self.frames[:1]) == 1)
        """Whether a row continues the row before it: the same vehicle, one frame later."""
        row = np.arange(len(ids))
        self.starts = np.maximum.accumulate(np.where(self.joined, 0, row))
        """First row of the track without missing frames that a row belongs to."""
        last = ~np.append(self.joined[1:], False)
        self.ends = np.minimum.accumulate(np.where(last, row + 1, len(ids))[::-1])[::-1]
        """One more than its last row."""
        bounds = np.flatnonzero(~unchanged(sites))
        first, last = np.minimum.reduceat(self.frames, bounds), np.maximum.reduceat(self.frames, bounds)
        begins = np.append(0, (last - first + 1).cumsum()[:-1]) + first[0]
        self.clock = self.frames + np.repeat(begins - first, np.diff(bounds, append=len(ids)))
        """`frames`, as if places were recorded one after another, so that nobody meets anybody at another place."""

    def find(self, ids: np.ndarray) -> np.ndarray:
        """The row (n,) in which the vehicle `ids` (n,) is recorded at the place and time of each row; -1: in none."""
        index = np.searchsorted(self._known, ids).clip(max=len(self._known) - 1)
        keys = (self._first_of_site + index) * self._moments + self._moment
        row = np.searchsorted(self._keys, keys).clip(max=len(keys) - 1)
        return np.where((self._known[index] == ids) & (self._keys[row] == keys), row, -1)

    def largest(self, values: np.ndarray) -> np.ndarray:
        """The largest of a vehicle's `values` (n,), in all its rows (n,)."""
        bounds = np.flatnonzero(~self._same)
        return np.repeat(np.maximum.reduceat(values, bounds), np.diff(bounds, append=len(values)))

    def count(self, among: np.ndarray, rate: float) -> int:
        """Number of vehicles in the rows `among` (n,) of a recording at `rate` [Hz]."""
        returns = self._same & (np.diff(self.frames, prepend=self.frames[:1]) > ABSENT * rate)
        return int((among & (~self._same | returns)).sum())


class Rows(NamedTuple):
    """Rows with what a pair consists of, but for the states."""

    tracks: Tracks
    leaders: np.ndarray
    """(n,): row of the leader in the same frame"""
    lengths: np.ndarray
    """(n,) [m]; 0 or less: unknown"""
    rate: float  # [Hz]

    def pairs(
        self,
        following: np.ndarray,
        joined: np.ndarray,
        along: Callable[[int, int], tuple[np.ndarray, np.ndarray] | None],
        left_out: Counter[str],
    ) -> list[Pair]:
        """Cut out the pairs, and count in `left_out` what is left out.

        Args:
            following: (n,) whether a row has a leader
            joined: (n,) whether a row continues the row before it, behind the same leader
            along: states (n, 2) of the follower and of the leader from one row to before another; None: it is parked
        """
        pairs = []
        for start, end in _runs(following, joined):
            leader = int(self.leaders[start])
            if self._steps(end - start) < SHORTEST:
                left_out["runs under 5 s"] += 1
                continue
            if self.lengths[leader] <= 0:
                left_out["leader of unknown length"] += 1
                continue
            states = along(start, end)
            if states is None:
                left_out["parked"] += 1
                continue
            own, ahead = (self._resampled(of_one) for of_one in states)
            leader_length = float(self.lengths[leader])
            length = float(self.lengths[start]) if self.lengths[start] > 0 else Vehicle.LENGTH
            plausible = ahead[:, 0] - own[:, 0] - (length + leader_length) / 2 >= SMALLEST_GAP - 1e-9
            left_out["steps with an implausible gap"] += int((~plausible).sum())
            first_step = round(float(self.tracks.clock[start]) * RATE / self.rate)
            names = str(self.tracks.ids[start]), str(self.tracks.ids[leader])
            for first, last in _runs(plausible, np.ones(len(own), bool)):
                if last - first < SHORTEST:
                    left_out["runs under 5 s"] += 1
                else:
                    cut = slice(first, last)
                    pairs.append(Pair(*names, first_step + first, own[cut], ahead[cut], length, leader_length))
        return pairs

    def _steps(self, frames: int) -> int:
        """Number of steps of 0.1 s in a run of `frames`."""
        return int((frames - 1) * RATE / self.rate + 1e-6) + 1

    def _resampled(self, states: np.ndarray) -> np.ndarray:
        """Linear in between, from (frames, 2) to (T, 2)."""
        if self.rate == RATE:
            return states
        times, recorded = np.arange(self._steps(len(states))) / RATE, np.arange(len(states)) / self.rate
        return np.stack([np.interp(times, recorded, values) for values in states.T], -1)


def _runs(wanted: np.ndarray, joined: np.ndarray) -> Iterable[tuple[int, int]]:
    """The runs of rows `wanted` (n,), each `joined` (n,) to the one before: first row, and one more than the last."""
    joined = joined & wanted & np.append(False, wanted[:-1])
    starts = np.flatnonzero(wanted & ~joined)
    ends = np.flatnonzero(wanted & ~np.append(joined[1:], False)) + 1
    return zip(starts.tolist(), ends.tolist(), strict=True)


def unchanged(values: np.ndarray) -> np.ndarray:
    """Whether a row's value (n,) equals that of the row before; False in the first."""
    return np.append(False, values[1:] == values[:-1])
