"""The recorded world around the demonstrations of people: all cars, their sizes, and the road in its own frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

NOTHING_HELD_OUT = (
    "nothing is held out, every window is for training; "
    "to judge by people unseen in training, import with --held-out FILE …, or import more files"
)


@dataclass(frozen=True)
class RecordedWorld:
    """K scenes, each one file along one route; R steps of 0.1 s in all scenes, at most V cars, P reference points.

    The E demonstrations are windows of 61 states in it.
    """

    states: np.ndarray
    """(R, V, 4) float64: x, y [m], heading [rad], speed [m/s]; 0 where the car is absent"""
    present: np.ndarray
    """(R, V) bool"""
    places: np.ndarray
    """(R, V, 2) float64 [m]: s along the road, d across, positive rightwards"""
    sizes: np.ndarray
    """(K, V, 2) float64 [m]: length, width"""
    first_row: np.ndarray
    """(K + 1,) int64: scene k has the rows from `first_row[k]` up to `first_row[k + 1]`."""
    reference: np.ndarray
    """(P, 4) float64: x, y [m], heading [rad], curvature [1/m] of the reference line every `roads.SPACING`"""
    edges: np.ndarray
    """(P, M + 1) float64 [m]: d of the lane edges from left to right; the last is repeated where there are fewer"""
    first_point: np.ndarray
    """(K + 1,) int64: as `first_row`, for the reference line"""
    file: np.ndarray
    """(K,) int64: the file that each scene comes from"""
    demonstration_scene: np.ndarray
    """(E,) int64"""
    demonstration_car: np.ndarray
    """(E,) int64: the scene's car that the ego replaces"""
    demonstration_row: np.ndarray
    """(E,) int64: row of the first state"""
    track: np.ndarray
    """(E,) int64: index of the recorded car among all; windows of one car share it"""
    num_training: np.ndarray
    """(1,) int64: number of demonstrations for training, from the first on; the others are from held-out files."""
    files: tuple[str, ...]
    """Names of the files."""

    def arrays(self) -> dict[str, np.ndarray]:
        """All fields but the names of the files."""
        return {name: getattr(self, name) for name in ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], files: str) -> RecordedWorld:
        """From the result of `arrays`, and the files' names as JSON; see `problem`."""
        return cls(**arrays, files=tuple(json.loads(files)))


ARRAYS = tuple(field.name for field in fields(RecordedWorld) if field.name != "files")


def problem(arrays: Mapping[str, np.ndarray], files: str | None, episodes: int, steps: int) -> str | None:
    """What is wrong with the arrays of a world of `episodes` demonstrations of `steps` decisions each, if anything."""
    names = json.loads(files or "null")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        return f"files are {files}, not a list of names"
    rows, points, scenes = len(arrays["states"]), len(arrays["reference"]), len(arrays["sizes"])
    cars = arrays["states"].shape[1] if arrays["states"].ndim == 3 else 0
    lanes = arrays["edges"].shape[-1] if arrays["edges"].ndim == 2 else 0
    shapes: dict[str, tuple[type, tuple[int, ...]]] = {
        "states": (np.float64, (rows, cars, 4)),
        "present": (np.bool_, (rows, cars)),
        "places": (np.float64, (rows, cars, 2)),
        "sizes": (np.float64, (scenes, cars, 2)),
        "reference": (np.float64, (points, 4)),
        "edges": (np.float64, (points, max(lanes, 2))),
        "num_training": (np.int64, (1,)),
    }
    shapes |= dict.fromkeys(("first_row", "first_point"), (np.int64, (scenes + 1,)))
    shapes |= {"file": (np.int64, (scenes,))}
    shapes |= {f"demonstration_{what}": (np.int64, (episodes,)) for what in ("scene", "car", "row")}
    shapes |= {"track": (np.int64, (episodes,))}
    for name, (dtype, shape) in shapes.items():
        array = arrays[name]
        if array.dtype != dtype or array.shape != shape:
            return f"'{name}' is {array.dtype} {array.shape}, not {np.dtype(dtype)} {shape}"
        if not np.isfinite(array).all():
            return f"'{name}' holds NaN or Inf"
    for name, last in (("first_row", rows), ("first_point", points)):
        bounds = arrays[name]
        if bounds[0] != 0 or bounds[-1] != last or (np.diff(bounds) < 1).any():
            return f"'{name}' does not ascend from 0 to {last}"
    if (np.diff(arrays["edges"]) < 0).any() or (arrays["edges"][:, 1] <= arrays["edges"][:, 0]).any():
        return "'edges' do not ascend"
    scene, car, row = (arrays[f"demonstration_{what}"] for what in ("scene", "car", "row"))
    ranges = {
        "demonstration_scene": (scene, scenes),
        "demonstration_car": (car, cars),
        "file": (arrays["file"], len(names)),
    }
    for name, (index, size) in ranges.items():
        if (index < 0).any() or (index >= size).any():
            return f"'{name}' is outside 0 to {size - 1}"
    first, last = arrays["first_row"][scene], arrays["first_row"][scene + 1]
    if (row < first).any() or (row + steps >= last).any():
        return "'demonstration_row' is outside its scene"
    if not arrays["present"][row[:, None] + np.arange(steps + 1), car[:, None]].all():
        return "the car of a demonstration is absent in some of its steps"
    if (arrays["sizes"][scene, car] <= 0).any():
        return "the car of a demonstration has no size"
    if not 0 < arrays["num_training"][0] <= episodes:
        return f"'num_training' is {arrays['num_training'][0]}, not 1 to {episodes}"
    return None
