"""Read trajectory tables of recorded traffic, and cut out pairs of a driver and the leader that it follows.

Four kinds of table, as published, plain or compressed by gzip:

- ngsim: Interstate 80, US Highway 101 and others (US DOT, https://data.transportation.gov/d/8ect-6jqj), in feet, 10 Hz.
- highd: https://levelxdata.com/highd-dataset; 25 Hz, with a `tracksMeta` file beside each `tracks` file.
- ind: https://levelxdata.com/ind-dataset, intersections, and rounD and uniD, which have the same columns; no leaders in
  the file.
- exid: https://levelxdata.com/exid-dataset, motorway exits and entries.

Files are untrusted: every cell that is used is checked.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.recordings.columns import Columns, InvalidTable, Layout, read_columns
from infogail.envs.recordings.tracks import RATE, DrivenPath, Pair, Rows, Tracks, unchanged

KINDS = ("ngsim", "highd", "ind", "exid")
FRAME_RATE = 25.0  # [Hz] of drone recordings without a recordingMeta file
FOOT = 0.3048  # [m]
MOTORCYCLE = 1  # v_Class of NGSIM
CARS = {"car", "van", "truck", "bus", "truck_bus", "trailer"}  # classes of inD and exiD
STILL = 0.1  # [m/s]: a driver never faster than this is parked
NEAR_PATH, FARTHEST_LEADER, SAME_DIRECTION = 1.5, 100.0, math.radians(45)  # [m] [m] [rad] of an inD leader


class Table(NamedTuple):
    """The contents of one file."""

    kind: str
    """One of `KINDS`."""
    vehicles: int
    """Number of recorded vehicles; in inD and exiD, of the classes `CARS`."""
    pairs: list[Pair]
    left_out: Counter[str]
    """What was left out: vehicles ("motorcycles", "not cars"), pairs, or steps, by reason."""


_DRONE = ("trackId", "frame", "xCenter", "yCenter", "heading", "length", "lonVelocity")
_TRACKS = {
    "ngsim": Layout(
        ("Vehicle_ID", "Frame_ID", "Local_Y", "v_length", "v_Vel", "Preceding"),
        ("Global_Time", "v_Class", "Lane_ID", "Following", "Location"),
        text="Location",
    ),
    "highd": Layout(("frame", "id", "x", "width", "xVelocity", "precedingId", "laneId")),
    "ind": Layout(_DRONE),
    "exid": Layout((*_DRONE, "leadId"), ("laneChange",)),
}
_META = {
    "highd": Layout(("id", "drivingDirection")),
    "ind": Layout(("trackId", "class"), text="class"),
    "exid": Layout(("trackId", "class"), text="class"),
}


def read_table(path: Path, kind: str | None = None, meta: Path | None = None) -> Table:
    """Read the table at `path`, and cut out its pairs of at least `SHORTEST` steps.

    A pair lasts while the driver follows the same leader in the same lane, and both are recorded in every frame.

    Args:
        path: a `.csv`, `.txt` or such of any kind, or one of these compressed, `.gz`.
        kind: one of `KINDS`; None for the kind that the columns tell.
        meta: the `tracksMeta` file of highD, inD and exiD; None for the one beside `path`. The frame rate is from the
            `recordingMeta` file beside `path`, if there is one.

    Raises:
        InvalidTable: one line that says what is wrong, where, and the remedy.
    """
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise InvalidTable(f"{path}: unknown kind of table {kind!r}; choose one of {', '.join(KINDS)}")
    columns = read_columns(path, _TRACKS if kind is None else {kind: _TRACKS[kind]})
    if columns.kind == "ngsim":
        return _ngsim(columns)
    meta = Path(meta) if meta is not None else _beside(path, "tracksMeta")
    if meta is None:
        raise InvalidTable(
            f"{path}: its tracksMeta file, with the vehicles' classes and directions, is not beside it; "
            "put it there, or name it"
        )
    of_vehicles = read_columns(meta, {f"{columns.kind} tracksMeta": _META[columns.kind]})
    rate = _frame_rate(path)
    return _highd(columns, of_vehicles, rate) if columns.kind == "highd" else _drone(columns, of_vehicles, rate)


def _ngsim(columns: Columns) -> Table:
    numbers = columns.numbers
    times = numbers["Frame_ID"]  # counted anew in each quarter of an hour, unlike Global_Time [ms]
    if "Global_Time" in numbers:
        times = np.rint(numbers["Global_Time"] / 100)
        times -= times.min()
    tracks = Tracks(columns, "Vehicle_ID", times)
    column = {name: values[tracks.order] for name, values in numbers.items()}
    lengths = tracks.largest(column["v_length"] * FOOT)  # as a rule, a vehicle's is the same in all rows
    centres = column["Local_Y"] * FOOT - np.where(lengths > 0, lengths, Vehicle.LENGTH) / 2
    motorcycles = column["v_Class"] == MOTORCYCLE if "v_Class" in column else np.zeros(len(lengths), bool)

    leaders = tracks.find(column["Preceding"])
    following = (leaders >= 0) & (column["Preceding"] != 0) & ~motorcycles & ~motorcycles[leaders]
    lanes = column.get("Lane_ID", np.zeros(len(lengths)))
    following &= lanes[leaders] == lanes
    if "Following" in column:
        following &= column["Following"][leaders] == tracks.ids
    rows = Rows(tracks, leaders, lengths, float(RATE))
    joined = tracks.joined & unchanged(column["Preceding"]) & unchanged(lanes)
    left_out = Counter({"motorcycles": tracks.count(motorcycles, RATE)})
    states = np.stack((centres, column["v_Vel"] * FOOT), -1)
    pairs = rows.pairs(following, joined, lambda start, end: (states[start:end], states[leaders[start:end]]), left_out)
    return Table(columns.kind, tracks.count(np.ones(len(lengths), bool), RATE), pairs, +left_out)


def _highd(columns: Columns, meta: Columns, rate: float) -> Table:
    tracks = Tracks(columns, "id", columns.numbers["frame"])
    column = {name: values[tracks.order] for name, values in columns.numbers.items()}
    directions = meta.numbers["drivingDirection"]
    for line, direction in zip(meta.lines, directions, strict=True):
        if direction not in (1, 2):
            raise InvalidTable(f"{meta.path}: line {line}: drivingDirection is {direction:g}; it must be 1 or 2")
    signs = np.where(directions[_meta_rows(tracks, columns, meta, "id")] == 1, -1.0, 1.0)
    lengths = tracks.largest(column["width"])
    states = np.stack((signs * (column["x"] + column["width"] / 2), signs * column["xVelocity"]), -1)

    leaders = tracks.find(column["precedingId"])
    lanes = column["laneId"]
    following = (leaders >= 0) & (column["precedingId"] != 0) & (lanes[leaders] == lanes) & (signs[leaders] == signs)
    joined = tracks.joined & unchanged(column["precedingId"]) & unchanged(lanes)
    left_out = Counter[str]()
    rows = Rows(tracks, leaders, lengths, rate)
    pairs = rows.pairs(following, joined, lambda start, end: (states[start:end], states[leaders[start:end]]), left_out)
    return Table(columns.kind, tracks.count(np.ones(len(lengths), bool), rate), pairs, +left_out)


def _drone(columns: Columns, meta: Columns, rate: float) -> Table:
    """inD and exiD, whose roads bend: positions are along the path that the follower itself drives."""
    tracks = Tracks(columns, "trackId", columns.numbers["frame"])
    column = {name: values[tracks.order] for name, values in columns.numbers.items()}
    is_car = np.array([label.lower() in CARS for label in meta.labels])[meta.codes]
    cars = is_car[_meta_rows(tracks, columns, meta, "trackId")]
    points = np.stack((column["xCenter"], column["yCenter"]), -1)
    headings = np.radians(column["heading"])
    lengths = tracks.largest(column["length"])

    @functools.lru_cache(maxsize=1)  # runs of one track come one after another
    def path(first: int) -> DrivenPath:
        last = tracks.ends[first]
        return DrivenPath(points[first:last], headings[first])

    if "leadId" in column:
        leaders = tracks.find(column["leadId"])
    else:
        leaders = _leaders_on_paths(tracks, points, headings, cars, path)
    following = (leaders >= 0) & cars & cars[leaders]
    joined = tracks.joined & unchanged(tracks.ids[leaders]) & (column.get("laneChange", np.zeros(len(cars))) == 0)

    def along(start: int, end: int) -> tuple[np.ndarray, np.ndarray] | None:
        if abs(column["lonVelocity"][start:end]).max() < STILL:
            return None
        first = int(tracks.starts[start])
        driven = path(first)
        ahead, _, _ = driven.project(points[leaders[start:end]])
        own = np.stack((driven.distances[start - first : end - first], column["lonVelocity"][start:end]), -1)
        return own, np.stack((ahead, np.gradient(ahead, 1 / rate)), -1)

    left_out = Counter({"not cars": tracks.count(~cars, rate)})
    pairs = Rows(tracks, leaders, lengths, rate).pairs(following, joined, along, left_out)
    return Table(columns.kind, tracks.count(cars, rate), pairs, +left_out)


def _leaders_on_paths(
    tracks: Tracks, points: np.ndarray, headings: np.ndarray, cars: np.ndarray, path: Callable[[int], DrivenPath]
) -> np.ndarray:
    """For each row, the row (n,) of the nearest road user ahead on the path that the car drives later; -1: none.

    Whoever is nearest counts: a car behind a bicycle does not follow the car ahead of the bicycle.
    """
    leaders = np.full(len(points), -1)
    by_frame = np.argsort(tracks.frames, kind="stable")
    frames = tracks.frames[by_frame]
    for start in np.flatnonzero(~tracks.joined & cars).tolist():
        end, driven = tracks.ends[start], path(start)
        present = slice(*np.searchsorted(frames, (tracks.frames[start], tracks.frames[end - 1] + 1)))
        others = by_frame[present]
        others = others[(others < start) | (others >= end)]
        place, offset, course = driven.project(points[others])
        at = tracks.frames[others] - tracks.frames[start]
        ahead = place - driven.distances[at]
        fits = (ahead > 0) & (ahead <= FARTHEST_LEADER) & (offset <= NEAR_PATH)
        fits &= np.cos(headings[others] - course) >= math.cos(SAME_DIRECTION) - 1e-9
        nearest = np.flatnonzero(fits)[np.lexsort((ahead[fits], at[fits]))]
        moments, first = np.unique(at[nearest], return_index=True)
        leaders[start + moments] = others[nearest[first]]
    return leaders


def _beside(tracks: Path, what: str) -> Path | None:
    """The file of the same recording, such as 01_tracksMeta.csv for 01_tracks.csv; None if there is none."""
    named = re.fullmatch(r"(.*)tracks(\.csv)(\.gz)?", tracks.name, re.IGNORECASE)
    if named is None:
        return None
    files = (tracks.with_name(f"{named[1]}{what}.csv{packed}") for packed in ("", ".gz"))
    return next((file for file in files if file.is_file()), None)


def _frame_rate(tracks: Path) -> float:
    """[Hz] of a drone recording."""
    file = _beside(tracks, "recordingMeta")
    if file is None:
        return FRAME_RATE
    rate = float(read_columns(file, {"recordingMeta": Layout(("frameRate",))}).numbers["frameRate"][0])
    if not 1 <= rate <= 1000:
        raise InvalidTable(f"{file}: frameRate is {rate:g} Hz; it must be 1 to 1000")
    return rate


def _meta_rows(tracks: Tracks, columns: Columns, meta: Columns, id_name: str) -> np.ndarray:
    """For each row of the tracks, the row (n,) of `meta` that is about the same vehicle."""
    ids = meta.numbers[id_name]
    order = np.argsort(ids, kind="stable")
    twice = np.flatnonzero(np.diff(ids[order]) == 0)
    if len(twice):
        line, vehicle = meta.lines[order[twice[0] + 1]], ids[order[twice[0]]]
        raise InvalidTable(f"{meta.path}: line {line}: has vehicle {vehicle:.0f} again; remove one of the rows")
    rows = order[np.searchsorted(ids[order], tracks.ids).clip(max=len(ids) - 1)]
    unknown = ids[rows] != tracks.ids
    if unknown.any():
        raise InvalidTable(
            f"{meta.path}: lacks vehicle {tracks.ids[unknown][0]} of {columns.path.name}; "
            "give the file of the same recording"
        )
    return rows
