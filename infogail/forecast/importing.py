"""Read tables of paths, and cut them into paths that can be learned from.

Three kinds, plain or, if text, compressed by gzip:

- columns: comma-separated, with a header that names time, id, x, y and perhaps group.
- UCY's obsmat text (Lerner, Chrysanthou and Lischinski 2007, as in OpenTraj): rows of frame, id, x, z, y, vx, vz, vy
  without a header, 25 frames a second.
- npz: `xyt` (N, 3), `bounds` (P + 1,) and perhaps `game` or `group` (P,).

Files are untrusted: every value that is used is checked.
"""

from __future__ import annotations

import contextlib
import math
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from infogail.envs.errors import BadInput
from infogail.envs.files import MAX_FILE
from infogail.envs.recordings.columns import LARGEST, MAX_ROWS, InvalidTable, open_table
from infogail.envs.recordings.report import listed
from infogail.forecast.paths import NO_GROUP, RecordedPaths

COLUMNS = ("time", "id", "x", "y")
UCY_COLUMNS = 8
UCY_RATE = 25.0  # [Hz]
GAP = 10.0  # times the usual time between two points of a file: a longer one ends a path
STILL = 0.02  # times the diagonal of the area: who stays within a box of this diagonal does not move
TEXT_NAME = re.compile(r"\.(csv|txt)(\.gz)?$", re.IGNORECASE)


class _Rows(NamedTuple):
    """The points of one file."""

    kind: str
    ids: np.ndarray  # (N,) int64
    times: np.ndarray  # (N,) [s]
    points: np.ndarray  # (N, 2)
    groups: np.ndarray  # (N,) int64


@dataclass(frozen=True)
class PathsReport:
    """The summary of an import of paths."""

    files: int
    people: int
    """Ids in all files."""
    paths: int
    """Paths that were made."""
    points: int
    """Their points."""
    grouped: int
    """Paths that have a group."""
    cut: int
    """Gaps in time at which a path was cut in two."""
    left_out: Counter[str]
    """Paths that were left out, by reason."""
    unreadable: tuple[str, ...] = ()
    """One line for each file that cannot be read and was left out."""

    def lines(self) -> list[str]:
        """The summary as human-readable lines."""
        unread = f" ({len(self.unreadable)} more cannot be read)" if self.unreadable else ""
        return [
            f"files: {self.files}{unread}, ids: {self.people:,}; gaps in time that cut a path in two: {self.cut:,}",
            f"paths: {self.paths:,} with {self.points:,} points, {self.grouped:,} of them in groups",
            f"paths left out: {listed(self.left_out)}",
        ]


def holds_paths(path: Path) -> bool:
    """Whether the name, or else the first line, shows that `path` has paths; not if it cannot be read."""
    if path.suffix.lower() in (".npz", ".safetensors"):
        return True
    if not TEXT_NAME.search(path.name) or not path.is_file():
        return False
    with contextlib.suppress(InvalidTable), open_table(path) as (header, _):
        return _is_columns(header) or _is_ucy(header)
    return False


def import_paths(files: Sequence[Path]) -> tuple[RecordedPaths, PathsReport]:
    """Read `files`, each a scene of its own, in which ids may repeat; groups are the same in all.

    Raises:
        BadInput: a file cannot be used, or no path remains; one line that says what, where, and the remedy.
    """
    tables = [_read(path) for path in files]
    left_out, points, times, scene, group = Counter[str](), [], [], [], []
    corners = np.concatenate([table.points for table in tables])
    smallest = STILL * math.dist(corners.min(0), corners.max(0))
    cuts = 0
    for k, (path, table) in enumerate(zip(files, tables, strict=True)):
        order = np.lexsort((table.times, table.ids))
        ids, moments = table.ids[order], table.times[order]
        same, steps = np.diff(ids) == 0, np.diff(moments)
        if (same & (steps == 0)).any():
            twice = int((same & (steps == 0)).argmax())
            raise InvalidTable(
                f"{path}: id {ids[twice]} is at two points at time {moments[twice]:g}; remove one of them"
            )
        gaps = same & (steps > GAP * np.median(steps[same])) if same.any() else same
        cuts += int(gaps.sum())
        for part in np.split(order, np.flatnonzero(~same | gaps) + 1):
            own = table.points[part]
            if len(part) < 2:
                left_out["with a single point"] += 1
            elif math.dist(own.min(0), own.max(0)) <= smallest:
                left_out["that do not move"] += 1
            else:
                points.append(own)
                times.append(table.times[part])
                scene.append(k)
                group.append(table.groups[part[0]])
    if not points:
        raise BadInput(f"{files[0]}: no path remains ({listed(left_out)} left out); give people who move")
    paths = RecordedPaths(
        np.concatenate(points),
        np.concatenate(times),
        np.append(0, np.cumsum([len(own) for own in points])).astype(np.int64),
        np.array(scene, np.int64),
        np.array(group, np.int64),
        tuple(path.name for path in files),
        ", ".join(sorted({table.kind for table in tables})),
    )
    people = sum(len(np.unique(table.ids)) for table in tables)
    grouped = int((paths.group != NO_GROUP).sum())
    return paths, PathsReport(len(files), people, len(paths), len(paths.points), grouped, cuts, left_out)


def _read(path: Path) -> _Rows:
    return _read_npz(path) if path.suffix.lower() == ".npz" else _read_text(path)


def _is_columns(header: Sequence[str]) -> bool:
    return set(COLUMNS) <= {name.strip().lower() for name in header}


def _is_ucy(header: Sequence[str]) -> bool:
    return len(header) == UCY_COLUMNS and all(_number(cell) is not None for cell in header)


def _number(cell: str) -> float | None:
    """The number in a cell, if there is one that is finite and in range."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if abs(number) <= LARGEST else None


def _read_text(path: Path) -> _Rows:
    with open_table(path) as (header, others):
        names = [name.strip().lower() for name in header]
        lines: list[int] = []
        values: list[list[float]] = []
        ucy = _is_ucy(header)
        if not ucy and not _is_columns(header):
            lacking = ", ".join(name for name in COLUMNS if name not in names)
            raise InvalidTable(
                f"{path}: not a table of paths: line 1 lacks {lacking}; "
                "give columns time, id, x, y, or rows as in UCY's obsmat"
            )
        wanted = dict(zip(COLUMNS, (0, 1, 2, 4), strict=True)) if ucy else {n: names.index(n) for n in COLUMNS}
        if "group" in names:
            wanted["group"] = names.index("group")
        rows = [(1, header), *others] if ucy else others
        for line, cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) < len(header):
                raise InvalidTable(
                    f"{path}: line {line}: has {len(cells)} cells, not {len(header)}; correct or remove the row"
                )
            lines.append(line)
            values.append([_checked(path, line, name, cells[at]) for name, at in wanted.items()])
            if len(lines) > MAX_ROWS:
                raise InvalidTable(f"{path}: has more than {MAX_ROWS:,} rows; cut the recording into parts")
    if not lines:
        raise InvalidTable(f"{path}: has a header but no rows; give a table of paths")
    table = np.array(values)
    groups = table[:, 4].astype(np.int64) if "group" in wanted else np.full(len(table), NO_GROUP)
    times = table[:, 0] / UCY_RATE if ucy else table[:, 0]
    return _Rows("ucy" if ucy else "columns", table[:, 1].astype(np.int64), times, table[:, 2:4], groups)


def _checked(path: Path, line: int, name: str, cell: str) -> float:
    number = _number(cell)
    if number is None:
        raise InvalidTable(
            f"{path}: line {line}: {name} is {cell[:40]!r}, not a finite number; correct or remove the row"
        )
    if name in ("id", "group") and (number != round(number) or (name == "group" and number < 0)):
        raise InvalidTable(f"{path}: line {line}: {name} is {number:g}, not a whole number; correct or remove the row")
    return number


def _read_npz(path: Path) -> _Rows:
    if not path.is_file():
        raise InvalidTable(f"{path}: no such file; give a table of paths")
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(member.file_size for member in packed.infolist())
        if size > MAX_FILE:
            raise InvalidTable(f"{path}: holds {size:,} bytes, more than {MAX_FILE:,}; cut the recording into parts")
        with np.load(path, allow_pickle=False) as arrays:
            lacking = [name for name in ("xyt", "bounds") if name not in arrays]
            if lacking:
                raise InvalidTable(f"{path}: lacks {' and '.join(lacking)}; give xyt (N, 3) and bounds (P + 1,)")
            xyt, bounds = arrays["xyt"], arrays["bounds"]
            named = next((name for name in ("game", "group") if name in arrays), None)
            of_path = arrays[named] if named else np.full(max(0, len(bounds) - 1), NO_GROUP)
    except InvalidTable:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, SyntaxError, TypeError) as error:
        raise InvalidTable(f"{path}: not a readable npz file, or a damaged one; download it again") from error
    if xyt.ndim != 2 or xyt.shape[1] != 3 or xyt.dtype.kind not in "fiu" or not len(xyt):
        raise InvalidTable(
            f"{path}: xyt is {xyt.dtype} {xyt.shape}, not numbers (N, 3); give x, y and time of each point"
        )
    xyt = xyt.astype(np.float64)
    if not (abs(xyt) <= LARGEST).all():
        row = int((~(abs(xyt) <= LARGEST)).any(1).argmax())
        raise InvalidTable(f"{path}: row {row} of xyt is not finite, or out of range; remove it")
    if (
        bounds.ndim != 1
        or bounds.dtype.kind not in "iu"
        or len(bounds) < 2
        or (bounds[0], bounds[-1]) != (0, len(xyt))
        or (bounds[1:] < bounds[:-1]).any()
    ):
        raise InvalidTable(f"{path}: bounds do not rise from 0 to the {len(xyt)} rows of xyt; correct them")
    paths = len(bounds) - 1
    if of_path.shape != (paths,) or of_path.dtype.kind not in "iu" or (named and of_path.min() < 0):
        raise InvalidTable(f"{path}: {named} is not one whole number for each of {paths} paths; correct it")
    ids = np.repeat(np.arange(paths), np.diff(bounds.astype(np.int64)))
    return _Rows("npz", ids, xyt[:, 2], xyt[:, :2], of_path.astype(np.int64)[ids])
