"""Recorded traffic that drives again as it drove, and which of its cars are demonstrations when."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from array_api_compat import array_namespace, device

from envs.roadway import place
from envs.scenario import Array

FAR = 1e9  # [m]: where the reference points are that a scene does not have


@dataclass(frozen=True)
class Replays:
    """Recorded traffic: K scenes of at most V cars, R steps in all; E demonstrations, which begin at some of them.

    A scene is one file seen along one way through it. Scene k has the steps from `first_row[k]` to `first_row[k + 1]`.
    """

    states: np.ndarray
    """(R, V, 4) float64: x [m], y [m], heading [rad], speed [m/s] of every recorded car; 0 where it is not there"""
    present: np.ndarray
    """(R, V) bool: the car is there"""
    places: np.ndarray
    """(R, V, 2) float64: along and across [m] in the scene's frame; 0 where it is not there"""
    sizes: np.ndarray
    """(K, V, 2) float64: length and width [m]; 0 of cars that the scene does not have"""
    first_row: np.ndarray
    """(K + 1,) int64"""
    reference: np.ndarray
    """(G, 4) float64: x [m], y [m], heading [rad], curvature [1/m] of the reference lines, every `SPACING` metres"""
    edges: np.ndarray
    """(G, M + 1) float64: edges of the lanes there, across [m], ascending; where there are fewer, the last repeated"""
    first_point: np.ndarray
    """(K + 1,) int64: scene k has the points from `first_point[k]` to `first_point[k + 1]`."""
    file: np.ndarray
    """(K,) int64: index into `files`"""
    demonstration_scene: np.ndarray
    """(E,) int64"""
    demonstration_car: np.ndarray
    """(E,) int64: column in `states` of the car that is the ego"""
    demonstration_row: np.ndarray
    """(E,) int64: row in `states` of its first state"""
    track: np.ndarray
    """(E,) int64: number of the recorded car; demonstrations of one car share it"""
    num_training: np.ndarray
    """(1,) int64: so many demonstrations, from the first on, are for training; the others are from held-out files."""
    files: tuple[str, ...]
    """Names of the recordings."""

    @cached_property
    def paths(self) -> np.ndarray:
        """(K, P, 4): the reference lines one by one, the shorter ones filled up with points that nothing is near to."""
        lengths = np.diff(self.first_point)
        paths = np.zeros((len(lengths), lengths.max(), 4))
        paths[..., :2] = FAR
        for k, length in enumerate(lengths):
            paths[k, :length] = self.reference[self.first_point[k] : self.first_point[k + 1]]
        return paths

    def place(self, x: Array, y: Array, scene: Array) -> tuple[Array, Array]:
        """Along and across (...) [m] of positions x, y (...) [m] in scenes number `scene` (...); see `place`."""
        xp = array_namespace(x)
        paths = xp.asarray(self.paths, dtype=x.dtype, device=device(x))
        return place(x, y, paths[scene])
