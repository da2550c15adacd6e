"""CommonRoad files as text, of a road whose geometry is known: for the tests of reading and importing them."""

from dataclasses import dataclass, field

import numpy as np

RADIUS = 500.0  # [m]: the road bends to the left, round (0, RADIUS) where y is to the left
LANE_END = 120.0  # [m] from the start, where the rightmost lane ends
LENGTH = 200.0  # [m], along the middle lane


def on_bend(distance, offset):
    """(n, 3): x, y, heading as CommonRoad has them, `distance` along and `offset` to the right of the middle lane."""
    angle = np.asarray(distance) / RADIUS
    reach = RADIUS + offset
    return np.stack((reach * np.sin(angle), RADIUS - reach * np.cos(angle), angle), -1)


def lanelet(key, start, end, left, right, **relations):
    distances = np.linspace(start, end, 41)

    def bound(name, offset):
        points = "".join(
            f"<point><x>{x:.4f}</x><y>{y:.4f}</y></point>" for x, y, _ in on_bend(distances, np.full(41, offset))
        )
        return f"<{name}>{points}</{name}>"

    links = "".join(
        f'<{name} ref="{other}"/>'
        if name in ("predecessor", "successor")
        else f'<{name} ref="{other}" drivingDir="same"/>'
        for name, other in relations.items()
    )
    bounds = bound("leftBound", left) + bound("rightBound", right)
    return f'<lanelet id="{key}">{bounds}{links}<laneletType>highway</laneletType></lanelet>'


ROAD = (
    lanelet(1, 0, LANE_END, -6, -2, successor=11, adjacentRight=2)
    + lanelet(2, 0, LANE_END, -2, 2, successor=12, adjacentLeft=1, adjacentRight=3)
    + lanelet(3, 0, LANE_END, 2, 6, adjacentLeft=2)
    + lanelet(11, LANE_END, LENGTH, -6, -2, predecessor=1, adjacentRight=12)
    + lanelet(12, LANE_END, LENGTH, -2, 2, predecessor=2, adjacentLeft=11)
)


@dataclass
class Obstacle:
    """Drives along the road at `speed` ± `wobble` [m/s], `offset` [m] to the right of the middle lane."""

    key: int
    steps: int = 61
    start: float = 0.0
    offset: float = 0.0
    speed: float = 14.0
    wobble: float = 1.0
    kind: str = "car"
    size: tuple[float, float] = (4.8, 1.9)
    first_step: int = 0
    shape: str = ""
    static: bool = False
    dt: float = 0.1
    states: np.ndarray = field(init=False)

    def __post_init__(self):
        time = self.dt * np.arange(self.steps)
        rate = 0.8 + 0.01 * (self.key - 50)
        along = self.start + self.speed * time + self.wobble / rate * np.sin(rate * time)
        speed = (self.speed + self.wobble * np.cos(rate * time)) * (RADIUS + self.offset) / RADIUS
        self.states = np.column_stack((on_bend(along, self.offset), speed))

    def xml(self):
        shape = self.shape or "<rectangle><length>{}</length><width>{}</width></rectangle>".format(*self.size)
        states = [state(self.first_step + k, *row) for k, row in enumerate(self.states)]
        rest = f"<trajectory>{''.join(f'<state>{each}</state>' for each in states[1:])}</trajectory>"
        first = f"<initialState>{states[0]}</initialState>"
        rest = rest if len(states) > 1 else ""
        rest = "" if self.static else rest
        body = f"<type>{self.kind}</type><shape>{shape}</shape>{first}{rest}"
        if self.static:
            return f'<staticObstacle id="{self.key}">{body}</staticObstacle>'
        return f'<dynamicObstacle id="{self.key}">{body}</dynamicObstacle>'


def state(step, x, y, heading, speed):
    return (
        f"<time><exact>{step}</exact></time><position><point><x>{x:.4f}</x><y>{y:.4f}</y></point></position>"
        f"<orientation><exact>{heading:.5f}</exact></orientation><velocity><exact>{speed:.4f}</exact></velocity>"
    )


def file_text(obstacles, road=ROAD, step=0.1, head=""):
    """The whole file."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{head}'
        f'<commonRoad timeStepSize="{step}" commonRoadVersion="2020a" author="test" affiliation="" source=""'
        ' benchmarkID="ZAM_Bend-1_1_T-1" date="2026-01-01">'
        "<location><geoNameId>-999</geoNameId><gpsLatitude>999</gpsLatitude><gpsLongitude>999</gpsLongitude></location>"
        f"<scenarioTags/>{road}{''.join(obstacle.xml() for obstacle in sorted(obstacles, key=lambda o: not o.static))}"
        "</commonRoad>"
    )
