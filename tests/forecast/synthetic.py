"""Made-up paths: people cross a hall to one of two doors, and all walk around the pillar in its middle."""

import numpy as np

from infogail.forecast.paths import NO_GROUP, RecordedPaths

DOORS = ((20.0, 2.0), (20.0, 8.0))
WAYS = (2.0, 8.0)  # y beside the pillar, which stands from (8, 3.5) to (12, 6.5)


def recorded(points, group=None, scene=None, start=None, step=0.4):
    """Paths with these points, each `step` seconds apart, one starting 10 s after another."""
    number = len(points)
    start = [10.0 * k for k in range(number)] if start is None else start
    return RecordedPaths(
        np.concatenate([np.asarray(own, float) for own in points]),
        np.concatenate([first + step * np.arange(len(own)) for first, own in zip(start, points, strict=True)]),
        np.append(0, np.cumsum([len(own) for own in points])).astype(np.int64),
        np.array([0] * number if scene is None else scene, np.int64),
        np.array([NO_GROUP] * number if group is None else group, np.int64),
        ("hall.csv", "street.csv"),
        "columns",
    )


def hall(number, seed=0):
    """`number` people of the hall."""
    rng = np.random.default_rng(seed)
    points = []
    for k in range(number):
        door, way = DOORS[k % 2], WAYS[rng.integers(2)]
        corners = np.array([(0.5, rng.uniform(1.5, 8.5)), (7.0, way), (13.0, way), door]) + rng.normal(
            0.0, 0.25, (4, 2)
        )
        points.append(np.stack([np.interp(np.linspace(0, 3, 40), range(4), axis) for axis in corners.T], 1))
    return recorded(points)
