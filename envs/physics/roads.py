"""Road geometry: batched road coordinates for a bend or along any line, and the highway-env lanes that show them."""

from __future__ import annotations

import math

from array_api_compat import array_namespace
from highway_env.road.lane import AbstractLane, CircularLane, LineType, StraightLane
from highway_env.road.road import RoadNetwork

from infogail.envs.physics.state import Array

LANE_WIDTH = AbstractLane.DEFAULT_WIDTH  # [m]
SPEED_LIMIT = 30.0  # [m/s], on highways
SPACING = 1.0  # [m] between the points of a reference line


def bend_coordinates(x: Array, y: Array, radius: Array, direction: Array) -> tuple[Array, Array, Array]:
    """Road coordinates on a straight along x, a quarter circle that begins at the origin, and another straight.

    The bend's centre is (0, direction · radius); direction is 1 for a bend toward positive y, -1 toward negative y.

    Args:
        x, y: (...) position [m].
        radius, direction: (...) [m], ±1.

    Returns:
        distance (...) [m] along the centre line, 0 where the bend begins;
        inside (...) [m], offset from the centre line, positive toward the inside;
        turned (...) [rad], how far the road has turned there, from 0 to π/2.
    """
    xp = array_namespace(x)
    ahead, below = xp.clip(x, 0.0, None), radius - direction * y
    inner = xp.clip(below, 0.0, None)
    turned = xp.atan2(ahead, inner)
    inside = radius - xp.hypot(ahead, inner)
    distance = xp.clip(x, None, 0.0) + radius * turned - xp.clip(below, None, 0.0)
    return distance, inside, turned


def place(x: Array, y: Array, reference: Array) -> tuple[Array, Array]:
    """Distances (...) [m] along and across `reference` lines (..., P, 4), of positions x, y (...) [m].

    Measured from the nearest reference point: its distance along the line, and the position's components along its
    heading and across it.
    """
    xp = array_namespace(x)
    dx, dy = x[..., None] - reference[..., 0], y[..., None] - reference[..., 1]
    nearest = xp.argmin(dx * dx + dy * dy, axis=-1)[..., None]

    def at_nearest(values: Array) -> Array:
        return xp.take_along_axis(xp.broadcast_to(values, dx.shape), nearest, axis=-1)[..., 0]

    heading, dx, dy = at_nearest(reference[..., 2]), at_nearest(dx), at_nearest(dy)
    cos, sin = xp.cos(heading), xp.sin(heading)
    return SPACING * nearest[..., 0] + cos * dx + sin * dy, cos * dy - sin * dx


def straight_network(start: float, end: float, offsets: list[float]) -> RoadNetwork:
    """Parallel lanes along x, from `start` to `end` [m], with centres at y = `offsets` [m], from left to right."""
    network = RoadNetwork()
    for lines, y in zip(_line_types(len(offsets)), offsets, strict=True):
        network.add_lane("start", "end", StraightLane((start, y), (end, y), line_types=lines))
    return network


def bend_network(radius: float, direction: float, straight: float, offsets: list[float]) -> RoadNetwork:
    """The road of `bend_coordinates`, with straights of `straight` [m]; lanes `offsets` [m] right of the centre."""
    network = RoadNetwork()
    end = (radius, direction * radius)  # of the centre line's bend
    straights, arcs = _line_types(len(offsets)), _line_types(len(offsets), LineType.CONTINUOUS)
    for lines, arc_lines, right in zip(straights, arcs, offsets, strict=True):
        lane_x, lane_radius = end[0] - direction * right, radius - direction * right
        bend = CircularLane(
            (0.0, end[1]), lane_radius, -direction * math.pi / 2, 0.0, clockwise=direction > 0, line_types=arc_lines
        )
        network.add_lane("start", "bend", StraightLane((-straight, right), (0.0, right), line_types=lines))
        network.add_lane("bend", "exit", bend)
        exit_lane = StraightLane((lane_x, end[1]), (lane_x, end[1] + direction * straight), line_types=lines)
        network.add_lane("exit", "end", exit_lane)
    return network


def _line_types(num_lanes: int, edge: int = LineType.CONTINUOUS_LINE) -> list[tuple[int, int]]:
    """(left, right) of each lane. highway-env draws `CONTINUOUS_LINE` as a chord: an arc needs `CONTINUOUS`."""
    middle = LineType.STRIPED
    return [(edge if k == 0 else middle, edge if k == num_lanes - 1 else LineType.NONE) for k in range(num_lanes)]
