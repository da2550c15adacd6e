"""The columns of a table of comma-separated cells, or of cells between spaces, plain or compressed by gzip.

Files are untrusted: every cell that is used is checked.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import itertools
import re
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from infogail.envs.errors import BadInput

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


class Layout(NamedTuple):
    """The columns that are read, by their published names."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    text: str = ""
    """The one of them that is text; the others are numbers."""


class Columns(NamedTuple):
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


def read_columns(path: Path, layouts: Mapping[str, Layout]) -> Columns:
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
    return Columns(path, kind, np.array(lines), numbers, np.array(codes), labels)


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
