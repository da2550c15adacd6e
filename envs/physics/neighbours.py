"""Who is next in a lane, as drivers observe it; for both physics."""

from __future__ import annotations

from array_api_compat import array_namespace

from infogail.envs.physics.state import Array

SENSOR_RANGE = 100.0  # [m], beyond which a car counts as absent
LONGEST_HEADWAY = 4.0  # [s], where there is no leader, or a longer one


def next_in_lane(
    in_lane: Array, ahead: Array, slower: Array, bodies: Array | float = 0.0
) -> list[tuple[Array, Array, Array]]:
    """Leader and follower among others (..., n): whether there is one, how far off [m] and how fast it nears [m/s].

    Args:
        in_lane: whether they are in the lane in question.
        ahead: by how much their centres are ahead [m].
        slower: by how much they are slower [m/s].
        bodies: what to take from the distance of the centres [m].
    """
    xp = array_namespace(ahead)
    found = []
    for sign in (1.0, -1.0):
        gaps = sign * ahead
        gaps = xp.where(in_lane & ((gaps >= 0) if sign > 0 else (gaps > 0)), gaps - bodies, SENSOR_RANGE)
        nearest = xp.argmin(gaps, axis=-1)[..., None]
        gap, closing = (xp.take_along_axis(values, nearest, axis=-1)[..., 0] for values in (gaps, sign * slower))
        present = gap < SENSOR_RANGE
        found.append((xp.where(present, 1.0, 0.0), gap, xp.where(present, closing, 0.0)))
    return found
