"""The recorded world around the demonstrations of people: the other cars, their sizes, and the road."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

NOTHING_HELD_OUT = (
    "nothing is held out, every window is for training; "
    "to judge by people unseen in training, import with --held-out FILE …, or import more files"
)


@dataclass(frozen=True)
class World(ABC):
    """What all recorded worlds have in common; the E demonstrations are windows in it."""

    track: np.ndarray
    """(E,) int64: index of the recorded driver among all; windows of one driver share it"""
    demonstration_row: np.ndarray
    """(E,) int64: row of the first state"""
    num_training: np.ndarray
    """(1,) int64: number of demonstrations for training, from the first on; the others are from held-out files."""
    files: tuple[str, ...]
    """Names of the files."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """All fields but the names of the files."""
        return tuple(field.name for field in fields(cls) if field.name != "files")

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields called `names`."""
        return {name: getattr(self, name) for name in self.names()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], files: str) -> Self:
        """From the result of `arrays`, and the files' names as JSON; see `problem`."""
        return cls(**arrays, files=tuple(json.loads(files)))

    @classmethod
    def problem(cls, arrays: Mapping[str, np.ndarray], files: str | None, episodes: int, steps: int) -> str | None:
        """What is wrong with the arrays of a world of `episodes` demonstrations of `steps` decisions each, if anything.

        `arrays` has the `names`.
        """
        try:
            names = json.loads(files or "null")
        except ValueError:
            names = None
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            return f"files are {files}, not a list of names"
        for name in cls.names():
            if not arrays[name].ndim:
                return f"'{name}' is a single number"
        shapes = {**cls.shapes(arrays), "num_training": (np.int64, (1,))}
        shapes |= dict.fromkeys(("track", "demonstration_row"), (np.int64, (episodes,)))
        for name, (dtype, shape) in shapes.items():
            array, sizes = arrays[name], tuple(episodes if size is None else size for size in shape)
            if array.dtype != dtype or array.shape != sizes:
                return f"'{name}' is {array.dtype} {array.shape}, not {np.dtype(dtype)} {sizes}"
            if not np.isfinite(array).all():
                return f"'{name}' holds NaN or Inf"
        if not 0 < arrays["num_training"][0] <= episodes:
            return f"'num_training' is {arrays['num_training'][0]}, not 1 to {episodes}"
        if (arrays["file"] < 0).any() or (arrays["file"] >= len(names)).any():
            return f"'file' is outside 0 to {len(names) - 1}"
        return cls.inconsistency(arrays, steps)

    @classmethod
    @abstractmethod
    def shapes(cls, arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[type, tuple[int | None, ...]]]:
        """Type and shape that each array should have; None stands for E."""

    @classmethod
    @abstractmethod
    def inconsistency(cls, arrays: Mapping[str, np.ndarray], steps: int) -> str | None:
        """What is wrong with arrays of these shapes, if anything."""


def bounds_problem(name: str, bounds: np.ndarray, last: int) -> str | None:
    """What is wrong with ascending `bounds` (n + 1,) from 0 to `last`, if anything."""
    if bounds[0] != 0 or bounds[-1] != last or (np.diff(bounds) < 1).any():
        return f"'{name}' does not ascend from 0 to {last}"
    return None


@dataclass(frozen=True)
class RecordedWorld(World):
    """K scenes, each one file along one route; R steps of 0.1 s in all scenes, at most V cars, P reference points.

    Demonstrations are windows of 61 states.
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

    @classmethod
    def shapes(cls, arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[type, tuple[int | None, ...]]]:
        rows, points, scenes = len(arrays["states"]), len(arrays["reference"]), len(arrays["sizes"])
        cars = arrays["states"].shape[1] if arrays["states"].ndim == 3 else 0
        lanes = arrays["edges"].shape[-1] if arrays["edges"].ndim == 2 else 0
        return {
            "states": (np.float64, (rows, cars, 4)),
            "present": (np.bool_, (rows, cars)),
            "places": (np.float64, (rows, cars, 2)),
            "sizes": (np.float64, (scenes, cars, 2)),
            "reference": (np.float64, (points, 4)),
            "edges": (np.float64, (points, max(lanes, 2))),
            "first_row": (np.int64, (scenes + 1,)),
            "first_point": (np.int64, (scenes + 1,)),
            "file": (np.int64, (scenes,)),
            "demonstration_scene": (np.int64, (None,)),
            "demonstration_car": (np.int64, (None,)),
        }

    @classmethod
    def inconsistency(cls, arrays: Mapping[str, np.ndarray], steps: int) -> str | None:
        rows, points, (scenes, cars, _) = len(arrays["states"]), len(arrays["reference"]), arrays["sizes"].shape
        for name, last in (("first_row", rows), ("first_point", points)):
            if wrong := bounds_problem(name, arrays[name], last):
                return wrong
        if (np.diff(arrays["edges"]) < 0).any() or (arrays["edges"][:, 1] <= arrays["edges"][:, 0]).any():
            return "'edges' do not ascend"
        scene, car, row = (arrays[f"demonstration_{what}"] for what in ("scene", "car", "row"))
        for name, (index, size) in {"demonstration_scene": (scene, scenes), "demonstration_car": (car, cars)}.items():
            if (index < 0).any() or (index >= size).any():
                return f"'{name}' is outside 0 to {size - 1}"
        first, last = arrays["first_row"][scene], arrays["first_row"][scene + 1]
        if (row < first).any() or (row + steps >= last).any():
            return "'demonstration_row' is outside its scene"
        if not arrays["present"][row[:, None] + np.arange(steps + 1), car[:, None]].all():
            return "the car of a demonstration is absent in some of its steps"
        if (arrays["sizes"][scene, car] <= 0).any():
            return "the car of a demonstration has no size"
        return None


@dataclass(frozen=True)
class FollowedLeaders(World):
    """P drivers, each behind one leader in one lane; R steps of 0.1 s of all of them, one driver's after the other's.

    Demonstrations are windows of 301 states.
    """

    leader: np.ndarray
    """(R, 2) float64: x [m] of the leader's centre along the lane, speed [m/s]"""
    follower: np.ndarray
    """(R, 3) float64: the driver's x [m], speed [m/s], and acceleration [m/s²] since the step before, 0 at first"""
    lengths: np.ndarray
    """(P, 2) float64 [m]: of the follower and of the leader"""
    first_row: np.ndarray
    """(P + 1,) int64: driver p has the rows from `first_row[p]` up to `first_row[p + 1]`."""
    file: np.ndarray
    """(P,) int64: the file that each driver comes from"""

    def gaps(self, driver: int, rows: slice) -> np.ndarray:
        """(n,) [m] from bumper to bumper, as recorded in `rows` of a driver."""
        return self.leader[rows, 0] - self.follower[rows, 0] - self.lengths[driver].mean()

    @classmethod
    def shapes(cls, arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[type, tuple[int | None, ...]]]:
        rows, drivers = len(arrays["leader"]), len(arrays["lengths"])
        return {
            "leader": (np.float64, (rows, 2)),
            "follower": (np.float64, (rows, 3)),
            "lengths": (np.float64, (drivers, 2)),
            "first_row": (np.int64, (drivers + 1,)),
            "file": (np.int64, (drivers,)),
        }

    @classmethod
    def inconsistency(cls, arrays: Mapping[str, np.ndarray], steps: int) -> str | None:
        drivers, track, row = len(arrays["lengths"]), arrays["track"], arrays["demonstration_row"]
        if wrong := bounds_problem("first_row", arrays["first_row"], len(arrays["leader"])):
            return wrong
        if (track < 0).any() or (track >= drivers).any():
            return f"'track' is outside 0 to {drivers - 1}"
        if (row < arrays["first_row"][track]).any() or (row + steps >= arrays["first_row"][track + 1]).any():
            return "'demonstration_row' is outside its driver's rows"
        if (arrays["lengths"] <= 0).any():
            return "a car has no length"
        return None
