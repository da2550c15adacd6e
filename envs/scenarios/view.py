"""How a scenario is shown, as data: what a film's camera frames, what its caption says, and what a diagram plots.

`infogail.rendering` draws it. Functions take states (V, 4) or trajectories (T, V, 4) of one world, as NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from infogail.envs.physics.state import Scene

ASPHALT, PAINT = "#e6e6e6", "white"
LOOK_AHEAD = 20.0  # [m]: a camera that follows the ego is centred this far ahead of it


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    corners: np.ndarray
    """(n, 2)"""
    colour: str = ASPHALT
    on_top: bool = False
    """Covers the trajectories."""

    @classmethod
    def rectangle(
        cls, x: tuple[float, float], y: tuple[float, float], colour: str = ASPHALT, on_top: bool = False
    ) -> Area:
        """From x[0] to x[1] and from y[0] to y[1]."""
        return cls(np.array([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])]), colour, on_top)


@dataclass(frozen=True)
class Line:
    """A line through points."""

    points: np.ndarray
    """(n, 2)"""
    colour: str = PAINT
    width: float = 2.0
    """[pt]"""
    dashed: bool = False


@dataclass(frozen=True)
class Label:
    """Text that begins at a point."""

    text: str
    at: tuple[float, float]
    shift: tuple[float, float] = (0.0, 0.0)
    """[pt] from there"""
    size: float | None = None
    """[pt]"""
    centred: bool = False
    """Vertically on the point, not above it."""


@dataclass(frozen=True)
class Panel:
    """A pair of axes and what is drawn under the trajectories."""

    xlabel: str
    ylabel: str = ""
    xlim: tuple[float, float] | None = None
    """Fitted to what is plotted if None, like `ylim`."""
    ylim: tuple[float, float] | None = None
    """The first number is at the bottom."""
    yticks: tuple[float, ...] | None = None
    share: float = 1.0
    """Share of the figure's width, relative to the other panels'."""
    equal: bool = False
    """x and y have the same scale."""
    grid: bool = False
    background: tuple[Area | Line | Label, ...] = ()


Trajectories = Callable[[np.ndarray, "Scene"], Sequence[tuple[int, np.ndarray, np.ndarray]]]
"""Maps states (T, V, 4) to lines (panel index, x (T,), y (T,)) or points (panel index, (1,), (1,)), a line last."""


def _seen_from_above(states: np.ndarray, scene: Scene) -> list[tuple[int, np.ndarray, np.ndarray]]:
    return [(0, states[:, 0, 0], -states[:, 0, 1])]


@dataclass(frozen=True)
class Diagram:
    """Axes for trajectories; by default, the ego's path from above."""

    trajectories: Trajectories = _seen_from_above
    panels: tuple[Panel, ...] = (Panel("x [m]", "-y [m]\n(left is up)"),)
    height: float = 3.2
    """[in]; the width is 8 in."""
    shared_y: bool = False
    """All panels have the y axis of the first."""


def follow_ego(states: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
    """Centred on the ego, at 6 px/m."""
    return states[0, :2], 6.0


@dataclass(frozen=True)
class View:
    """How one scenario is shown."""

    size: tuple[int, int] = (1120, 240)
    """Width and height of one panel of a film [px]."""
    columns: int = 1
    """Maximum number of panels side by side."""
    camera: Callable[[np.ndarray, Scene], tuple[np.ndarray, float]] = follow_ego
    """What the panel shows, for states (V, 4): the centre (2,) [m], and the scale [px/m], which is constant."""
    heading: Callable[[np.ndarray, Scene], float] | None = None
    """Heading [rad] of the road, for states (V, 4); the picture is rotated so that the road runs from left to right."""
    detail: Callable[[np.ndarray, Scene], str] = lambda states, scene: ""
    """What the caption says about states (V, 4) besides the speed."""
    prelude: tuple[int, str] = (0, "")
    """A number of decisions, and what the caption says in place of the style for as long."""
    phrase: str = "{}"
    """Turns a style's name into a phrase that says what was done."""
    diagram: Diagram = Diagram()
