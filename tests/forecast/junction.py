"""A made-up junction as CommonRoad files.

Who comes from the west goes straight on the left lane and turns right on the right lane; who comes from the south turns
left on the left lane and goes straight on the right lane.
"""

import itertools

import numpy as np
from commonroad_files import Obstacle, file_text


def line(*corners):
    """(n, 2) [m]: points about a metre apart."""
    parts = [np.linspace(a, b, int(np.hypot(*np.subtract(b, a))) + 1)[1:] for a, b in itertools.pairwise(corners)]
    return np.concatenate(([corners[0]], *parts))


def arc(centre, radius, first, last):
    """(n, 2) [m]: part of a circle between two directions [degrees]."""
    angles = np.radians(np.linspace(first, last, 12))
    return np.array(centre) + radius * np.stack((np.cos(angles), np.sin(angles)), 1)


PIECES = {  # number: centre, the next piece
    1: (line((-60, -2), (-10, -2)), 2),
    2: (line((-10, -2), (10, -2)), 3),
    3: (line((10, -2), (60, -2)), None),
    4: (line((-60, -6), (-10, -6)), 5),
    5: (arc((-10, -10), 4, 90, 0), 6),
    6: (line((-6, -10), (-6, -60)), None),
    7: (line((2, -60), (2, -10)), 8),
    8: (line((2, -10), (2, 10)), 9),
    9: (line((2, 10), (2, 60)), None),
    10: (line((-2, -60), (-2, -10)), 11),
    11: (arc((-10, -10), 8, 0, 90), 12),
    12: (line((-10, -2), (-60, -2)), None),
}
WAYS = {"east": (1, 2, 3), "right": (4, 5, 6), "north": (7, 8, 9), "left": (10, 11, 12)}


def points_of(name, points):
    return f"<{name}>{''.join(f'<point><x>{x:.4f}</x><y>{y:.4f}</y></point>' for x, y in points)}</{name}>"


def road(origin, pieces=PIECES):
    """The lanelets, 4 m wide, in a map with this origin."""
    found = ""
    for key, (centre, after) in pieces.items():
        along = np.gradient(centre, axis=0)
        aside = 2.0 * np.stack((-along[:, 1], along[:, 0]), 1) / np.linalg.norm(along, axis=1)[:, None]
        borders = points_of("leftBound", centre + aside - origin) + points_of("rightBound", centre - aside - origin)
        before = "".join(f'<predecessor ref="{k}"/>' for k, (_, then) in pieces.items() if then == key)
        link = f'<successor ref="{after}"/>' if after else ""
        found += f'<lanelet id="{key}">{borders}{before}{link}<laneletType>urban</laneletType></lanelet>'
    return found


def car(key, way, start=20.0, speed=10.0, steps=80, aside=0.0, first=0, origin=(0.0, 0.0)):
    """Drives along a way from `start` [m] on; its first `first` steps are cut off."""
    centre = np.concatenate([PIECES[k][0] for k in WAYS[way]])
    moves = np.append(True, np.hypot(*np.diff(centre, axis=0).T) > 1e-6)
    centre = centre[moves]
    along = np.append(0.0, np.hypot(*np.diff(centre, axis=0).T).cumsum())
    at = start + 0.1 * speed * np.arange(steps) + 0.5 * np.sin(0.3 * np.arange(steps) + key % 100)
    x, y = (np.interp(at, along, axis) for axis in centre.T)
    heading = np.unwrap(np.arctan2(np.gradient(y), np.gradient(x)))
    x, y = x - aside * np.sin(heading), y + aside * np.cos(heading)
    made = Obstacle(key, steps=steps - first, size=(4.5 + 0.01 * key, 1.8))
    made.states = np.column_stack((x - origin[0], y - origin[1], heading, np.full(steps, speed)))[first:]
    return made


def crowd(keys, seed, origin=(0.0, 0.0)):
    """A file of cars with these ids, whose ways take turns."""
    rng = np.random.default_rng(seed)
    ways = [list(WAYS)[key % 4] for key in keys]
    cars = [
        car(key, way, rng.uniform(0, 30), rng.uniform(9, 11), aside=rng.normal(0.0, 0.3), origin=origin)
        for key, way in zip(keys, ways, strict=True)
    ]
    return file_text(cars, road(origin))
