"""Read obstacles that stand in the area of recorded paths, as line segments.

Three kinds:

- columns: CSV, also gzip, whose header names x1, y1, x2, y2 in any order.
- OpenTraj's XML map: `Line` elements with these four attributes.
- a picture whose dark pixels are obstacles, stretched over a given rectangle.

Files are untrusted: every value that is used is checked.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from infogail.envs.errors import BadInput, one_line
from infogail.envs.recordings.columns import LARGEST, open_table

ENDS = ("x1", "y1", "x2", "y2")
MOST = 100_000
"""Segments."""
PICTURES = (".png", ".webp", ".jpg", ".jpeg", ".bmp", ".gif")
MOST_PIXELS = 4_000_000
DARK = 128
"""A pixel is dark if it is darker than this, of 255."""
FINE = 500
"""At least so many rows of segments has a picture, so that none of them miss a cell in between."""
MOST_BYTES = 2**24


def read_obstacles(path: Path, area: tuple[float, float, float, float] | None, points: np.ndarray) -> np.ndarray:
    """(O, 4): the segments x1, y1, x2, y2 in a file.

    Args:
        area: of a picture: left, bottom, right and top, in the unit of the paths; None for other files.
        points: (N, 2) of paths, in whose area some obstacle must be.

    Raises:
        BadInput: the file cannot be used; one line that says what, where, and the remedy.
    """
    is_picture = path.suffix.lower() in PICTURES
    if is_picture != (area is not None):
        advice = "give --area LEFT BOTTOM RIGHT TOP, which it covers" if is_picture else "leave --area out"
        raise BadInput(f"--obstacles {path}: {'a picture' if is_picture else 'not a picture'}; {advice}")
    if not path.is_file():
        raise BadInput(f"{path}: no such file; give a table, an XML map or a picture of obstacles")
    if area is not None:
        found = _of_picture(path, area)
    else:
        found = _of_map(path) if path.suffix.lower() == ".xml" else _of_table(path)
    low, high = np.minimum(found[:, :2], found[:, 2:]), np.maximum(found[:, :2], found[:, 2:])
    if not ((low <= points.max(0)) & (high >= points.min(0))).all(1).any():
        raise BadInput(f"{path}: no obstacle is in the area of the paths; give the obstacles in the unit of the paths")
    return found


def _of_table(path: Path) -> np.ndarray:
    with open_table(path) as (header, rows):
        names = [name.strip().lower() for name in header]
        if lacking := [name for name in ENDS if name not in names]:
            raise BadInput(f"{path}: line 1 lacks {', '.join(lacking)}; give columns x1, y1, x2, y2")
        columns = [names.index(name) for name in ENDS]
        cells = [
            (f"line {line}", [row[k] if k < len(row) else "" for k in columns])
            for line, row in rows
            if any(cell.strip() for cell in row)
        ]
    return _segments(path, cells)


def _of_map(path: Path) -> np.ndarray:
    if path.stat().st_size > MOST_BYTES:
        raise BadInput(f"{path}: holds more than {MOST_BYTES:,} bytes; give a smaller map")
    content = path.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise BadInput(f"{path}: declares a document type, which is not allowed; remove its DOCTYPE")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise BadInput(f"{path}: not XML, or damaged ({one_line(error)}); give a map as in OpenTraj") from error
    lines = enumerate(root.iterfind(".//{*}Line"), 1)
    return _segments(path, [(f"Line {k}", [line.get(name, "") for name in ENDS]) for k, line in lines])


def _segments(path: Path, rows: list[tuple[str, list[str]]]) -> np.ndarray:
    """(O, 4) from where each row is, and its four cells."""
    if not 0 < len(rows) <= MOST:
        raise BadInput(f"{path}: has {len(rows):,} segments; give 1 to {MOST:,}")
    found = np.empty((len(rows), 4))
    for k, (where, cells) in enumerate(rows):
        for j, (name, cell) in enumerate(zip(ENDS, cells, strict=True)):
            try:
                found[k, j] = float(cell)
            except ValueError:
                found[k, j] = math.nan
            if not abs(found[k, j]) <= LARGEST:
                problem = f"{name} is {cell[:40]!r}, not a finite number"
                raise BadInput(f"{path}: {where}: {problem}; correct or remove it")
    return found


def _of_picture(path: Path, area: tuple[float, float, float, float]) -> np.ndarray:
    """Horizontal segments through the dark pixels."""
    left, bottom, right, top = area
    if not (left < right and bottom < top and all(abs(side) <= LARGEST for side in area)):
        raise BadInput(f"--area {' '.join(f'{side:g}' for side in area)}: give left < right and bottom < top")
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                size = f"{picture.width} x {picture.height} pixels"
                raise BadInput(f"{path}: has {size}, more than {MOST_PIXELS:,}; give a smaller picture")
            shades = Image.new("L", picture.size, 255)
            opaque = picture.convert("RGBA")
            shades.paste(opaque.convert("L"), mask=opaque.getchannel("A"))  # what is transparent is free
    except BadInput:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInput(f"{path}: not a readable picture, or a damaged one; save it as PNG") from error
    dark = np.asarray(shades) < DARK
    dark = dark.repeat(-(-FINE // len(dark)), axis=0)
    row, column = np.diff(np.pad(dark, ((0, 0), (1, 1))).astype(np.int8), axis=1).nonzero()
    starts, stops = column[::2], column[1::2]  # along a row, dark begins and ends by turns
    if not 0 < len(starts) <= MOST:
        raise BadInput(f"{path}: has {len(starts):,} runs of dark pixels; give a picture with 1 to {MOST:,}")
    x = left + np.stack((starts, stops)) * (right - left) / dark.shape[1]
    y = top - (row[::2] + 0.5) * (top - bottom) / len(dark)
    return np.stack((x[0], y, x[1], y), -1)
