"""The nearest vehicles in a lane, as drivers observe them; for both physics."""

from __future__ import annotations

from array_api_compat import array_namespace

from infogail.envs.physics.state import Array

SENSOR_RANGE = 100.0  # [m], beyond which a car counts as absent
LONGEST_HEADWAY = 4.0  # [s], an upper bound, and the value without a leader


def next_in_lane(
    in_lane: Array, ahead: Array, slower: Array, bodies: Array | float = 0.0
) -> list[tuple[Array, Array, Array]]:
    """Leader and follower among others (..., n), each as presence (0 or 1), gap [m] and closing speed [m/s].

    Args:
        in_lane: whether they are in the lane.
        ahead: how far their centres are ahead of the ego's [m].
        slower: how much slower they are than the ego [m/s].
        bodies: length to subtract from the distance between the centres [m].
    """
    xp = array_namespace(ahead)
    neighbours = []
    for sign in (1.0, -1.0):
        gaps = sign * ahead
        gaps = xp.where(in_lane & ((gaps >= 0) if sign > 0 else (gaps > 0)), gaps - bodies, SENSOR_RANGE)
        nearest = xp.argmin(gaps, axis=-1)[..., None]
        gap, closing = (xp.take_along_axis(values, nearest, axis=-1)[..., 0] for values in (gaps, sign * slower))
        present = gap < SENSOR_RANGE
        neighbours.append((xp.where(present, 1.0, 0.0), gap, xp.where(present, closing, 0.0)))
    return neighbours
