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

import contextlib
import csv
import functools
import gzip
import itertools
import math
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from highway_env.vehicle.kinematics import Vehicle
from scipy.spatial import cKDTree

from infogail.envs.errors import BadInput

KINDS = ("ngsim", "highd", "ind", "exid")
RATE = 10  # [Hz] of pairs
FRAME_RATE = 25.0  # [Hz] of drone recordings without a recordingMeta file
FOOT = 0.3048  # [m]
SHORTEST = 50  # steps in a pair
SMALLEST_GAP = 0.3  # [m] from bumper to bumper: closer, one of the two is recorded in the wrong place
ABSENT = 60.0  # [s]: an id that returns after longer than this was given to another vehicle
MOTORCYCLE = 1  # v_Class of NGSIM
CARS = {"car", "van", "truck", "bus", "truck_bus", "trailer"}  # classes of inD and exiD
STILL = 0.1  # [m/s]: a driver never faster than this is parked
PATH_SPACING = 1.0  # [m] between points of a path, so that its direction is not that of noise
EXTENSION = 1000.0  # [m] by which a path goes straight on beyond its end
NEAR_PATH, FARTHEST_LEADER, SAME_DIRECTION = 1.5, 100.0, math.radians(45)  # [m] [m] [rad] of an inD leader
TINY = 1e-9  # [m]
MAX_ROWS, MAX_LINE = 20_000_000, 100_000  # [rows] [characters]
LARGEST = 2.0**53  # whole numbers up to this are exact
WHOLE = {  # columns of whole numbers
    *("Vehicle_ID", "Frame_ID", "Global_Time", "v_Class", "Lane_ID", "Preceding", "Following"),
    *("frame", "id", "precedingId", "laneId", "drivingDirection", "trackId", "leadId"),
}
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
NGSIM_TEXT = [  # the columns of NGSIM's text files, which have no header
    *("Vehicle_ID", "Frame_ID", "Total_Frames", "Global_Time", "Local_X", "Local_Y", "Global_X", "Global_Y"),
    *("v_Length", "v_Width", "v_Class", "v_Vel", "v_Acc", "Lane_ID"),
    *("Preceding", "Following", "Space_Headway", "Time_Headway"),
]


class InvalidTable(BadInput):
    """A trajectory table is missing, malformed or incomplete; the message says what is wrong with it, and where."""


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


class Table(NamedTuple):
    """The contents of one file."""

    kind: str
    """One of `KINDS`."""
    vehicles: int
    """Number of recorded vehicles; in inD and exiD, of the classes `CARS`."""
    pairs: list[Pair]
    left_out: Counter[str]
    """What was left out: vehicles ("motorcycles", "not cars"), pairs, or steps, by reason."""


class _Layout(NamedTuple):
    """The columns that are read, by their published names."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    text: str = ""
    """The one of them that is text; the others are numbers."""


_DRONE = ("trackId", "frame", "xCenter", "yCenter", "heading", "length", "lonVelocity")
_TRACKS = {
    "ngsim": _Layout(
        ("Vehicle_ID", "Frame_ID", "Local_Y", "v_length", "v_Vel", "Preceding"),
        ("Global_Time", "v_Class", "Lane_ID", "Following", "Location"),
        text="Location",
    ),
    "highd": _Layout(("frame", "id", "x", "width", "xVelocity", "precedingId", "laneId")),
    "ind": _Layout(_DRONE),
    "exid": _Layout((*_DRONE, "leadId"), ("laneChange",)),
}
_META = {
    "highd": _Layout(("id", "drivingDirection")),
    "ind": _Layout(("trackId", "class"), text="class"),
    "exid": _Layout(("trackId", "class"), text="class"),
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
    columns = _read(path, _TRACKS if kind is None else {kind: _TRACKS[kind]})
    if columns.kind == "ngsim":
        return _ngsim(columns)
    meta = Path(meta) if meta is not None else _beside(path, "tracksMeta")
    if meta is None:
        raise InvalidTable(
            f"{path}: its tracksMeta file, with the vehicles' classes and directions, is not beside it; "
            "put it there, or name it"
        )
    of_vehicles = _read(meta, {f"{columns.kind} tracksMeta": _META[columns.kind]})
    rate = _frame_rate(path)
    return _highd(columns, of_vehicles, rate) if columns.kind == "highd" else _drone(columns, of_vehicles, rate)


# The kinds of tables


def _ngsim(columns: _Columns) -> Table:
    numbers = columns.numbers
    times = numbers["Frame_ID"]  # counted anew in each quarter of an hour, unlike Global_Time [ms]
    if "Global_Time" in numbers:
        times = np.rint(numbers["Global_Time"] / 100)
        times -= times.min()
    tracks = _Tracks(columns, "Vehicle_ID", times)
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
    rows = _Rows(tracks, leaders, lengths, float(RATE))
    joined = tracks.joined & _unchanged(column["Preceding"]) & _unchanged(lanes)
    left_out = Counter({"motorcycles": tracks.count(motorcycles, RATE)})
    states = np.stack((centres, column["v_Vel"] * FOOT), -1)
    pairs = rows.pairs(following, joined, lambda start, end: (states[start:end], states[leaders[start:end]]), left_out)
    return Table(columns.kind, tracks.count(np.ones(len(lengths), bool), RATE), pairs, +left_out)


def _highd(columns: _Columns, meta: _Columns, rate: float) -> Table:
    tracks = _Tracks(columns, "id", columns.numbers["frame"])
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
    joined = tracks.joined & _unchanged(column["precedingId"]) & _unchanged(lanes)
    left_out = Counter[str]()
    rows = _Rows(tracks, leaders, lengths, rate)
    pairs = rows.pairs(following, joined, lambda start, end: (states[start:end], states[leaders[start:end]]), left_out)
    return Table(columns.kind, tracks.count(np.ones(len(lengths), bool), rate), pairs, +left_out)


def _drone(columns: _Columns, meta: _Columns, rate: float) -> Table:
    """inD and exiD, whose roads bend: positions are along the path that the follower itself drives."""
    tracks = _Tracks(columns, "trackId", columns.numbers["frame"])
    column = {name: values[tracks.order] for name, values in columns.numbers.items()}
    is_car = np.array([label.lower() in CARS for label in meta.labels])[meta.codes]
    cars = is_car[_meta_rows(tracks, columns, meta, "trackId")]
    points = np.stack((column["xCenter"], column["yCenter"]), -1)
    headings = np.radians(column["heading"])
    lengths = tracks.largest(column["length"])

    @functools.lru_cache(maxsize=1)  # runs of one track come one after another
    def path(first: int) -> _Path:
        last = tracks.ends[first]
        return _Path(points[first:last], headings[first])

    if "leadId" in column:
        leaders = tracks.find(column["leadId"])
    else:
        leaders = _leaders_on_paths(tracks, points, headings, cars, path)
    following = (leaders >= 0) & cars & cars[leaders]
    joined = tracks.joined & _unchanged(tracks.ids[leaders]) & (column.get("laneChange", np.zeros(len(cars))) == 0)

    def along(start: int, end: int) -> tuple[np.ndarray, np.ndarray] | None:
        if abs(column["lonVelocity"][start:end]).max() < STILL:
            return None
        first = int(tracks.starts[start])
        driven = path(first)
        ahead, _, _ = driven.project(points[leaders[start:end]])
        own = np.stack((driven.distances[start - first : end - first], column["lonVelocity"][start:end]), -1)
        return own, np.stack((ahead, np.gradient(ahead, 1 / rate)), -1)

    left_out = Counter({"not cars": tracks.count(~cars, rate)})
    pairs = _Rows(tracks, leaders, lengths, rate).pairs(following, joined, along, left_out)
    return Table(columns.kind, tracks.count(cars, rate), pairs, +left_out)


def _leaders_on_paths(
    tracks: _Tracks, points: np.ndarray, headings: np.ndarray, cars: np.ndarray, path: Callable[[int], _Path]
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


class _Path:
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


# From rows to pairs


class _Tracks:
    """The rows of a table, sorted by place, vehicle and frame, in arrays (n,).

    Args:
        columns: of the table, in the order of the file
        id_name: the column of ids
        frames: (n,) whole numbers, in the order of the file

    Raises:
        InvalidTable: a vehicle is recorded twice in a frame.
    """

    def __init__(self, columns: _Columns, id_name: str, frames: np.ndarray):
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
        self._same = _unchanged(vehicle)
        self.joined = self._same & (np.diff(self.frames, prepend=self.frames[:1]) == 1)
        """Whether a row continues the row before it: the same vehicle, one frame later."""
        row = np.arange(len(ids))
        self.starts = np.maximum.accumulate(np.where(self.joined, 0, row))
        """First row of the track without missing frames that a row belongs to."""
        last = ~np.append(self.joined[1:], False)
        self.ends = np.minimum.accumulate(np.where(last, row + 1, len(ids))[::-1])[::-1]
        """One more than its last row."""
        bounds = np.flatnonzero(~_unchanged(sites))
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


class _Rows(NamedTuple):
    """Rows with what a pair consists of, but for the states."""

    tracks: _Tracks
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


def _unchanged(values: np.ndarray) -> np.ndarray:
    """Whether a row's value (n,) equals that of the row before; False in the first."""
    return np.append(False, values[1:] == values[:-1])


# From files to columns


class _Columns(NamedTuple):
    """The columns of a file that are used, in arrays (n,)."""

    path: Path
    kind: str
    lines: np.ndarray
    """(n,): line of the file in which a row ends"""
    numbers: dict[str, np.ndarray]
    """By published name."""
    codes: np.ndarray
    """(n,): index of the row's text in `labels`; 0 if the file has no column of text"""
    labels: list[str]


def _read(path: Path, layouts: Mapping[str, _Layout]) -> _Columns:
    """Read the columns of the layout that the header fits best."""
    with open_table(path) as (header, rows):
        position: dict[str, int] = {}
        for k, name in enumerate(header):  # NGSIM's own files write v_Length or v_length, some Preceeding
            position.setdefault(name.strip().lower().replace("preceeding", "preceding"), k)
        missing = {
            kind: [name for name in layout.required if name.lower() not in position] for kind, layout in layouts.items()
        }
        # A table of exiD has all columns of inD: of layouts that fit equally, it is the one with the most columns.
        kind = min(layouts, key=lambda k: (len(missing[k]) / len(layouts[k].required), -len(layouts[k].required)))
        layout = layouts[kind]
        if missing[kind]:
            nearest = ", the nearest" if len(layouts) > 1 else ""
            raise InvalidTable(
                f"{path}: not a table of kind {kind}{nearest}: line 1 lacks {', '.join(missing[kind])}; "
                "give the file as it was published"
            )
        found = [name for name in layout.required + layout.optional if name.lower() in position]
        numeric = {name: position[name.lower()] for name in found if name != layout.text}
        values, codes, lines, labels = _cells(
            path, rows, numeric, position.get(layout.text.lower()) if layout.text else None
        )
    if not lines:
        raise InvalidTable(f"{path}: has a header but no rows; give a file of recorded traffic")
    table = np.frombuffer(values, np.float64).reshape(len(lines), len(numeric))
    numbers = dict(zip(numeric, np.ascontiguousarray(table.T), strict=True))
    for name, of_rows in numbers.items():
        bad = ~(abs(of_rows) <= LARGEST)
        if name in WHOLE:
            bad |= of_rows != np.rint(of_rows)
        if bad.any():
            row = int(bad.argmax())
            needed = "a whole number" if name in WHOLE else "a finite number, or out of range"
            raise InvalidTable(
                f"{path}: line {lines[row]}: {name} is {of_rows[row]:g}, not {needed}; correct or remove the row"
            )
    return _Columns(path, kind, np.array(lines), numbers, np.array(codes), labels)


def _cells(
    path: Path, rows: Iterator[tuple[int, list[str]]], numeric: Mapping[str, int], textual: int | None
) -> tuple[array[float], array[int], array[int], list[str]]:
    """Numbers, row by row, and of each row the code of its text and its line; and the texts.

    Args:
        numeric: position of each column of numbers, by name
        textual: position of the column of text
    """
    wanted, needed = list(numeric.values()), max(0, textual or 0, *numeric.values()) + 1
    values, codes, lines = array("d"), array("q"), array("q")
    labels: dict[str, int] = {}
    for line, cells in rows:
        if len(cells) < needed:
            if not any(cell.strip() for cell in cells):
                continue
            raise InvalidTable(
                f"{path}: line {line}: has {len(cells)} cells, fewer than the {needed} needed; "
                "correct or remove the row, or download the file again"
            )
        try:
            values.extend([float(cells[k]) for k in wanted])
        except ValueError:
            values.extend([_number(path, line, name, cells[k]) for name, k in numeric.items()])
        codes.append(labels.setdefault("" if textual is None else cells[textual].strip(), len(labels)))
        lines.append(line)
        if len(lines) > MAX_ROWS:
            raise InvalidTable(f"{path}: has more than {MAX_ROWS:,} rows; cut the recording into parts")
    return values, codes, lines, list(labels)


def _number(path: Path, line: int, name: str, cell: str) -> float:
    """The number in a cell, such as 1163.5 or 1,163.5."""
    try:
        return float(cell)
    except ValueError:
        if THOUSANDS.fullmatch(cell.strip()):
            return float(cell.replace(",", ""))
    raise InvalidTable(f"{path}: line {line}: {name} is {cell[:40]!r}, not a number; correct or remove the row")


@contextlib.contextmanager
def open_table(path: Path) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """The cells of the header, and an iterator over line and cells of the other rows."""
    if path.is_dir():
        raise InvalidTable(f"{path}: is a folder; give a trajectory table in it")
    if not path.is_file():
        raise InvalidTable(f"{path}: no such file; give a trajectory table")
    packed = path.suffix.lower() == ".gz"
    opener: Callable[..., TextIO] = gzip.open if packed else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
            text = _lines(path, stream)
            first = next(text, "")
            if not first.strip():
                raise InvalidTable(f"{path}: {'line 1 ' if first else ''}is empty; give a trajectory table")
            text = itertools.chain((first,), text)
            rows = _comma_separated(text) if "," in first else enumerate(map(str.split, text), 1)
            line, header = next(rows)
            if len(header) == len(NGSIM_TEXT) and all(map(_is_number, header)):
                rows, header = itertools.chain(((line, header),), rows), NGSIM_TEXT
            yield header, rows
    except UnicodeDecodeError as error:
        raise InvalidTable(
            f"{path}: is not UTF-8 text; give a table of text, with .gz in its name if packed"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidTable(f"{path}: not a gzip file, or a damaged or truncated one; download it again") from error
    except csv.Error as error:
        raise InvalidTable(f"{path}: not comma-separated cells ({error}); give the file as it was published") from error
    except OSError as error:
        raise InvalidTable(f"{path}: cannot be read ({error.strerror or error}); check the file") from error


def _lines(path: Path, stream: TextIO) -> Iterator[str]:
    for number in itertools.count(1):
        line = stream.readline(MAX_LINE)
        if len(line) == MAX_LINE:
            raise InvalidTable(f"{path}: line {number}: has {MAX_LINE:,} characters or more; give a table")
        if not line:
            return
        yield line


def _comma_separated(text: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text, skipinitialspace=True)
    for cells in reader:
        yield reader.line_num, cells


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


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
    rate = float(_read(file, {"recordingMeta": _Layout(("frameRate",))}).numbers["frameRate"][0])
    if not 1 <= rate <= 1000:
        raise InvalidTable(f"{file}: frameRate is {rate:g} Hz; it must be 1 to 1000")
    return rate


def _meta_rows(tracks: _Tracks, columns: _Columns, meta: _Columns, id_name: str) -> np.ndarray:
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
