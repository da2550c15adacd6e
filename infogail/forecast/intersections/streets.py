"""Read the paths of cars through a junction, and its lanes, from CommonRoad files of one place.

Files are cut from longer recordings. Each has an origin of its own; some overlap in time; many show the same people.

- The maps are moved onto one another such that the most lanelets of the same shape coincide.
- Two tracks are of one person if id, length and width are equal, or if both pass through the same points for two
  seconds. Of one person's tracks, the one along which the car gets farthest is kept.
- Files that show the same people have one group.
- Lanelets that cross at more than 45° make a junction. Kept are cars that begin before it, and turn or leave it again.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from infogail.envs.errors import BadInput
from infogail.envs.recordings.commonroad import (
    TIME_STEP,
    Car,
    InvalidScenario,
    Lanelet,
    RecordedScene,
    read_commonroad,
)
from infogail.envs.recordings.importing import in_order
from infogail.envs.recordings.report import listed
from infogail.forecast.importing import PathsReport
from infogail.forecast.intersections.manoeuvres import NAMES, SECONDS, manoeuvre
from infogail.forecast.paths import RecordedPaths

SAME_STEPS = 20  # so many steps at the same points are of one person
SAME = 0.03  # [m]: as far apart may these points be
SAME_PLACE = 1.0  # [m]: so near are lanelets of the same shape the same
DRIVEN = 1.0  # [m] along them, for cars that stand may well stand where others stood
CROSSING = math.cos(math.radians(45.0))  # of the smallest angle at which lanes cross
UP = (1.0, -1.0)  # y points to the right of x in `RecordedScene`, and to the left of it in paths


class _Track(NamedTuple):
    """One car in one file."""

    file: int
    car: Car
    points: np.ndarray
    """(T, 2) [m]"""


def import_streets(paths: Sequence[Path]) -> tuple[RecordedPaths, PathsReport]:
    """Paths through a junction, and its lanes; x is along the road. Files that cannot be read are left out.

    Raises:
        BadInput: no file can be read, a file shows another place, or no path remains.
    """
    files, unreadable = [], []
    for path in in_order(paths, ()):
        try:
            files.append((path, read_commonroad(path)))
        except InvalidScenario as error:
            unreadable.append(str(error))
    if not files:
        raise InvalidScenario(unreadable[0])
    shifts, lanes = _one_map(files)
    tracks = [
        _Track(k, car, (car.states[:, :2] + shift) * UP)
        for k, ((_, scene), shift) in enumerate(zip(files, shifts, strict=True))
        for car in scene.cars
    ]
    groups, people = _groups_and_people(tracks, len(files))
    junction = _junction(lanes)
    left_out, kept = Counter[str](), []
    for person in range(people.max() + 1):
        track = max((tracks[k] for k in np.flatnonzero(people == person)), key=lambda own: _length(own.points))
        reason = _why_not(track.points, junction)
        if reason:
            left_out[reason] += 1
        else:
            kept.append(track)
    if not kept:
        raise BadInput(f"{files[0][0]}: no path remains ({listed(left_out)} left out); give cars at a junction")
    along = _direction(lanes)
    recorded = RecordedPaths(
        np.concatenate([_turned(track.points, along) for track in kept]),
        np.concatenate([TIME_STEP * (track.car.first_step + np.arange(len(track.points))) for track in kept]),
        np.append(0, np.cumsum([len(track.points) for track in kept])).astype(np.int64),
        np.array([track.file for track in kept], np.int64),
        np.array([groups[track.file] for track in kept], np.int64),
        tuple(path.name for path, _ in files),
        "commonroad",
        lanes=np.concatenate(
            [
                np.column_stack((np.full(len(lane), k), _turned(lane[:, :2], along), _turned(lane[:, 2:], along)))
                for k, lane in enumerate(lanes)
            ]
        ),
    )
    report = PathsReport(
        files=len(files),
        people=int(people.max()) + 1,
        paths=len(kept),
        points=len(recorded.points),
        grouped=len(kept),
        cut=0,
        left_out=left_out,
        unreadable=tuple(unreadable),
    )
    return recorded, report


def _one_map(files: Sequence[tuple[Path, RecordedScene]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What moves each file's points onto the first's (2,) [m]; and all lanes, (m, 4) with borders left and right.

    Raises:
        InvalidScenario: a file shares no lanelet with those before it.
    """
    shifts: list[np.ndarray] = []
    known: dict[tuple[float, ...], list[np.ndarray]] = {}  # lanelets side by side may have the same shape
    lanes = []
    for path, scene in files:
        own = [(_shape(lanelet), lanelet) for lanelet in scene.lanelets.values()]
        steps = np.array([at - lanelet.centre[0] for shape, lanelet in own for at in known.get(shape, ())])
        if known and not len(steps):
            raise InvalidScenario(f"{path}: shares no lane with {files[0][0]}; import each place by itself")
        near = [np.linalg.norm(steps - step, axis=1) < SAME_PLACE for step in steps]
        shift = np.median(steps[max(near, key=np.sum)], axis=0) if near else np.zeros(2)
        shifts.append(shift)
        for shape, lanelet in own:
            at, others = lanelet.centre[0] + shift, known.setdefault(shape, [])
            if all(math.dist(at, other) > SAME_PLACE for other in others):
                others.append(at)
                lanes.append(np.concatenate(((lanelet.left + shift) * UP, (lanelet.right + shift) * UP), 1))
    return shifts, lanes


def _shape(lanelet: Lanelet) -> tuple[float, ...]:
    """The borders of a lanelet [dm] from its first point on, whatever the origin."""
    points = np.concatenate((lanelet.left, lanelet.right)) - lanelet.centre[0]
    return tuple(np.round(10 * points).ravel().tolist())


def _groups_and_people(tracks: Sequence[_Track], files: int) -> tuple[np.ndarray, np.ndarray]:
    """(files,) and (tracks,): the group of each file, and the person of each track, by number."""
    windows, whose = [], []
    for k, track in enumerate(tracks):
        if len(track.points) > SAME_STEPS:
            first, last = track.points[:-SAME_STEPS], track.points[SAME_STEPS:]
            half = track.points[SAME_STEPS // 2 :][: len(first)]
            driven = np.linalg.norm(last - first, axis=1) > DRIVEN
            windows.append(np.concatenate((first, half, last), 1)[driven])
            whose += [k] * int(driven.sum())
    pairs = np.zeros((0, 2), int)
    if whose:
        found = cKDTree(np.concatenate(windows)).query_pairs(SAME, output_type="ndarray", p=np.inf)
        pairs = np.array(whose)[found]
    alike: dict[tuple[float, ...], list[int]] = {}
    for k, track in enumerate(tracks):
        alike.setdefault((track.car.id, track.car.length, track.car.width), []).append(k)
    links = [link for own in alike.values() for link in itertools.pairwise(own)]
    same = np.concatenate((pairs, np.array(links, int).reshape(-1, 2)))
    file = np.array([track.file for track in tracks])
    return _connected(file[same], files), _connected(same, len(tracks))


def _connected(pairs: np.ndarray, number: int) -> np.ndarray:
    """(number,): the component of each of `number` nodes, which `pairs` (n, 2) connect."""
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(number, number))
    return np.asarray(connected_components(graph, directed=False)[1])


def _junction(lanes: Sequence[np.ndarray]) -> shapely.Geometry:
    """The area of all lanes that cross others."""
    centres = [shapely.LineString((lane[:, :2] + lane[:, 2:]) / 2) for lane in lanes]
    crossing = set[int]()
    for a, b in shapely.STRtree(centres).query(centres, predicate="crosses").T.tolist():
        there = shapely.intersection(centres[a], centres[b]).centroid
        one, other = (_heading(line, there) for line in (centres[a], centres[b]))
        if abs(math.cos(one - other)) < CROSSING:
            crossing |= {a, b}
    borders = [np.concatenate((lanes[k][:, :2], lanes[k][::-1, 2:])) for k in sorted(crossing)]
    return shapely.union_all([shapely.Polygon(border).buffer(0.0) for border in borders])


def _heading(line: shapely.LineString, point: shapely.Point) -> float:
    """The direction [rad] of `line` at `point`."""
    at = line.project(point)
    (before,), (after,) = (line.interpolate(max(at + step, 0.0)).coords for step in (-0.5, 0.5))
    return math.atan2(after[1] - before[1], after[0] - before[0])


def _why_not(points: np.ndarray, junction: shapely.Geometry) -> str:
    """Why a path along `points` (T, 2) is left out, or an empty string."""
    if (len(points) - 1) * TIME_STEP <= SECONDS:
        return f"seen for {SECONDS:g} s or less"
    within = shapely.contains_xy(junction, points)
    if within[0]:
        return "that begin in a junction"
    if NAMES[manoeuvre(points)] != "straight":
        return ""
    if not within.any():
        return "that neither turn nor cross a junction"
    return "that end in a junction, not yet turned" if within[-1] else ""


def _length(points: np.ndarray) -> float:
    """Of a path along `points` (T, 2); points half a second apart count, for standing cars seem to move a little."""
    return float(np.linalg.norm(np.diff(points[:: round(0.5 / TIME_STEP)], axis=0), axis=1).sum())


def _direction(lanes: Sequence[np.ndarray]) -> float:
    """The direction [rad] of the longer of two roads at right angles, which fit all lanes the best."""
    pieces = np.concatenate([np.diff(lane[:, :2] + lane[:, 2:], axis=0) for lane in lanes]) @ (1.0, 1.0j)
    lengths = abs(pieces)
    angle = float(np.angle((pieces**4 / lengths**3).sum()) / 4)
    return max((angle, angle + math.pi / 2), key=lambda each: float(abs((pieces * np.exp(-1j * each)).real).sum()))


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    """`points` (n, 2), turned so that the direction `angle` [rad] becomes that of x."""
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ np.array(((cos, -sin), (sin, cos)))
