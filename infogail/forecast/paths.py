"""Recorded paths of people, or of anything else that moves over an area, in one sealed file."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from infogail.envs.errors import BadInput
from infogail.envs.files import UnreadableFile, seal, unseal, write_atomically

SCHEMA = "infogail-paths-1"
NO_GROUP = -1
HELD_OUT = 0.2
"""Share of the paths, or of the groups, that is held out."""


@dataclass(frozen=True)
class RecordedPaths:
    """P paths with N points in all, path by path.

    Raises:
        ValueError: shapes, types or values do not fit; the message says which.
    """

    points: np.ndarray
    """(N, 2) float64: x and y, in the unit of the files"""
    times: np.ndarray
    """(N,) float64 [s], increasing within each path"""
    bounds: np.ndarray
    """(P + 1,) int64: path k has the points bounds[k] to bounds[k + 1], at least two"""
    scene: np.ndarray
    """(P,) int64: the file that each path is from"""
    group: np.ndarray
    """(P,) int64: paths that belong together, such as those of one game; or `NO_GROUP`"""
    files: tuple[str, ...]
    """Names of the files."""
    source: str
    """Their kind; of driving, the scenario."""
    obstacles: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))
    """(O, 4) float64: segments from x1, y1 to x2, y2"""
    axes: tuple[str, str] = ("x", "y")
    """Names of x and y."""
    stretch: float = 1.0
    """How many times as long (along x) as wide the cells of a grid should be."""
    lanes: np.ndarray = field(default_factory=lambda: np.empty((0, 5)))
    """(K, 5) float64: borders of lanes, lane by lane, along each: its number, x and y left, x and y right"""

    def __post_init__(self) -> None:
        number, paths = len(self.times), len(self.scene)
        for name, kind, shape in (
            ("points", np.float64, (number, 2)),
            ("times", np.float64, (number,)),
            ("bounds", np.int64, (paths + 1,)),
            ("scene", np.int64, (paths,)),
            ("group", np.int64, (paths,)),
            ("obstacles", np.float64, (len(self.obstacles), 4)),
            ("lanes", np.float64, (len(self.lanes), 5)),
        ):
            array = getattr(self, name)
            if array.dtype != kind or array.shape != shape:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, not {np.dtype(kind)} {shape}")
        if not paths:
            raise ValueError("it holds no paths")
        if not (np.isfinite(self.points).all() and np.isfinite(self.times).all()):
            raise ValueError("points or times are not finite")
        if not np.isfinite(self.obstacles).all():
            raise ValueError("obstacles are not finite")
        _, sections = np.unique(self.lanes[:, 0], return_counts=True)
        if not np.isfinite(self.lanes).all() or (np.diff(self.lanes[:, 0]) < 0).any() or (sections < 2).any():
            raise ValueError("lanes are not finite, not in order, or have fewer than two points at a border")
        if self.bounds[0] != 0 or self.bounds[-1] != number or np.diff(self.bounds).min() < 2:
            raise ValueError(f"bounds do not cut {number} points into paths of at least two")
        within = np.delete(np.diff(self.times), self.bounds[1:-1] - 1)
        if within.min() <= 0:
            raise ValueError("times do not increase within each path")
        if self.scene.min() < 0 or self.scene.max() >= len(self.files) or self.group.min() < NO_GROUP:
            raise ValueError("a scene has no file, or a group is negative")
        if len(self.axes) != 2 or not 0 < self.stretch < math.inf:
            raise ValueError(f"axes are {self.axes}, not two, or stretch is {self.stretch}, not above 0")

    def __len__(self) -> int:
        return len(self.scene)

    def path(self, k: int) -> np.ndarray:
        """(n, 2): the points of path `k`."""
        return self.points[self.bounds[k] : self.bounds[k + 1]]

    def seconds(self, k: int) -> np.ndarray:
        """(n,) [s]: the times of path `k`, from its first point on."""
        times = self.times[self.bounds[k] : self.bounds[k + 1]]
        return times - times[0]

    def held_out(self) -> np.ndarray:
        """(P,) bool: the last fifth of the groups, by number, where all have one; else of each scene, by start."""
        held_out = np.zeros(len(self), bool)
        if (self.group != NO_GROUP).all():
            groups = np.unique(self.group)
            return np.isin(self.group, groups[len(groups) - int(HELD_OUT * len(groups)) :])
        for scene in np.unique(self.scene):
            own = np.flatnonzero(self.scene == scene)
            own = own[np.argsort(self.times[self.bounds[own]], kind="stable")]
            held_out[own[len(own) - int(HELD_OUT * len(own)) :]] = True
        return held_out

    def save(self, path: Path) -> None:
        """Write the file `path`.

        Raises:
            OSError: it cannot be written.
        """
        names = ("points", "times", "bounds", "scene", "group", "obstacles", "lanes")
        metadata = {"schema": SCHEMA, "files": json.dumps(self.files), "source": self.source}
        metadata |= {"axes": json.dumps(self.axes), "stretch": str(self.stretch)}
        write_atomically(path, seal({name: getattr(self, name) for name in names}, metadata))

    @staticmethod
    def load(path: Path) -> RecordedPaths:
        """Read and validate the file `path`.

        Raises:
            BadInput: it is missing, is no such file, or was damaged.
        """
        remedy = "import the paths again with 'infogail import FILE --kind paths'"
        if not path.is_file():
            raise BadInput(f"{path}: no such file; {remedy}")
        try:
            arrays, metadata = unseal(path, SCHEMA)
            files = tuple(json.loads(metadata["files"]))
            axes = tuple(json.loads(metadata.get("axes", '["x", "y"]')))
            stretch = float(metadata.get("stretch", 1.0))
            return RecordedPaths(**arrays, files=files, source=metadata["source"], axes=axes, stretch=stretch)
        except (UnreadableFile, ValueError, TypeError, KeyError) as error:
            raise BadInput(f"{path}: {error}; {remedy}") from error
