"""CommonRoad files: recorded driving on a map of lanelets, as plain arrays in this suite's world.

https://commonroad.in.tum.de says what is in such a file; `commonroad-io` reads it. A file is somebody else's, so
nothing in it is believed: first a parser that follows no entity and no address looks whether it is plain XML of
bearable size.
CommonRoad's y points to the left of x, here it points to the right: y and headings are turned round on reading.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from infogail.envs.errors import BadInput

TIME_STEP = 0.1  # [s] between two states
MAX_FILE = 200 * 2**20  # [bytes]
MAX_LANELETS, MAX_CARS, MAX_STATES = 10_000, 10_000, 2_000_000  # in one file
FARTHEST = 1e7  # [m] from the origin, beyond what maps of the earth have
NEAR = 1e4  # [m]: where the lanelets are farther than that from the origin, they are moved there
LONGEST, WIDEST, FASTEST = 50.0, 10.0, 100.0  # [m] [m] [m/s] of cars
VEHICLES = ("car", "truck", "bus", "motorcycle", "taxi", "priorityVehicle")
NOT_FOR_CARS = {"sidewalk", "crosswalk", "bicycleLane"}  # types of lanelets


class InvalidScenario(BadInput):
    """A CommonRoad file is missing, malformed, or not of the kind that can be replayed; says what is wrong with it."""


class Lanelet(NamedTuple):
    """A piece of a lane; its lines run in the direction of driving, from the same first to the same last place."""

    id: int
    left: np.ndarray
    """(n, 2) [m]: the line on the driver's left"""
    right: np.ndarray
    """(n, 2) [m]"""
    centre: np.ndarray
    """(n, 2) [m]"""
    predecessors: tuple[int, ...]
    successors: tuple[int, ...]
    left_neighbour: int | None
    """The lanelet beside it, if one drives the same way there."""
    right_neighbour: int | None


class Car(NamedTuple):
    """One recorded vehicle."""

    id: int
    kind: str
    """One of `VEHICLES`."""
    length: float  # [m]
    width: float  # [m]
    first_step: int
    """Of the file's time, at which it appears."""
    states: np.ndarray
    """(T, 4): x [m], y [m], heading [rad], speed [m/s] of its middle at `first_step` and after"""


class RecordedScene(NamedTuple):
    """What one file holds."""

    name: str
    """Of the file, without folder."""
    lanelets: dict[int, Lanelet]
    """By id."""
    cars: list[Car]
    left_out: Mapping[str, int]
    """How many obstacles are no cars, or not recorded as needed, by the reason."""


def read_commonroad(path: Path) -> RecordedScene:
    """The CommonRoad file (2018b or 2020a XML) at `path`.

    Raises:
        InvalidScenario: one line that says what is wrong with it, and the remedy.
    """
    raw = _plain_xml(Path(path))
    # Not `commonroad.common.file_reader`: that needs a protobuf so old that Ray cannot live with it.
    from commonroad.common.reader.file_reader_xml import XMLFileReader

    try:
        with warnings.catch_warnings(action="ignore"):  # what matters is checked below
            scenario, _ = XMLFileReader(raw).open()
        lanelets = {
            lanelet.lanelet_id: _lanelet(lanelet)
            for lanelet in scenario.lanelet_network.lanelets
            if not {kind.value for kind in lanelet.lanelet_type} & NOT_FOR_CARS
        }
        cars, left_out = _cars(scenario)
    except Exception as error:  # of any type: commonroad-io has none of its own
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise InvalidScenario(
            f"{path}: not a CommonRoad scenario that can be read ({reason}); convert it anew"
        ) from error
    if not math.isclose(scenario.dt, TIME_STEP, rel_tol=1e-6):
        raise InvalidScenario(
            f"{path}: its time step is {scenario.dt:g} s, not {TIME_STEP} s; convert it with a step of {TIME_STEP} s"
        )
    if not lanelets:
        raise InvalidScenario(f"{path}: has no lanelets for cars; give a file with a map of the road")
    if not cars:
        raise InvalidScenario(f"{path}: has no recorded cars; give a file of recorded driving")
    _check_numbers(path, lanelets, cars)
    return _near_origin(RecordedScene(Path(path).name, lanelets, cars, left_out))


def _plain_xml(path: Path) -> bytes:
    """The file's XML, written anew without comments, and without anything that a parser may expand or look up."""
    try:
        import commonroad  # noqa: F401
        from lxml import etree
    except ImportError as error:
        raise InvalidScenario(f"{path}: to read it, commonroad-io is needed: pip install 'infogail[data]'") from error
    if path.is_dir():
        raise InvalidScenario(f"{path}: is a folder; give the CommonRoad files in it")
    if not path.is_file():
        raise InvalidScenario(f"{path}: no such file; give CommonRoad files")
    size = path.stat().st_size
    if size > MAX_FILE:
        raise InvalidScenario(f"{path}: holds {size:,} bytes, more than {MAX_FILE:,}; cut the recording into parts")
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(path.read_bytes(), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InvalidScenario(f"{path}: not XML, or damaged ({reason}); give a CommonRoad file") from error
    if root.getroottree().docinfo.doctype:
        raise InvalidScenario(f"{path}: declares a document type, which may hide anything; remove its DOCTYPE")
    if root.tag != "commonRoad":
        raise InvalidScenario(f"{path}: is XML of <{root.tag}>, not of <commonRoad>; give a CommonRoad file")
    for what, most, tags in (
        ("lanelets", MAX_LANELETS, ("lanelet",)),
        ("obstacles", MAX_CARS, ("obstacle", "dynamicObstacle", "staticObstacle")),
        ("states", MAX_STATES, ("state",)),
    ):
        count = sum(1 for _ in root.iter(*tags))
        if count > most:
            raise InvalidScenario(f"{path}: has {count:,} {what}, more than {most:,}; cut the recording into parts")
    return etree.tostring(root, encoding="utf-8")


def _lanelet(lanelet: Any) -> Lanelet:
    def beside(neighbour: int | None, same_direction: bool | None) -> int | None:
        return neighbour if same_direction else None

    return Lanelet(
        lanelet.lanelet_id,
        _turned(lanelet.left_vertices),
        _turned(lanelet.right_vertices),
        _turned(lanelet.center_vertices),
        tuple(lanelet.predecessor),
        tuple(lanelet.successor),
        beside(lanelet.adj_left, lanelet.adj_left_same_direction),
        beside(lanelet.adj_right, lanelet.adj_right_same_direction),
    )


def _turned(points: Any) -> np.ndarray:
    """Points (n, 2) with y to the right."""
    return np.array(points, dtype=np.float64)[:, :2] * (1.0, -1.0)


def _cars(scenario: Any) -> tuple[list[Car], Counter[str]]:
    cars, left_out = [], Counter[str]()
    for obstacle in scenario.dynamic_obstacles:
        if obstacle.obstacle_type.value not in VEHICLES:
            left_out["not a vehicle"] += 1
        elif (car := _car(obstacle)) is None:
            left_out["not a rectangle with exact states"] += 1
        else:
            cars.append(car)
    if standing := len(scenario.static_obstacles):
        left_out["standing obstacle"] = standing
    return cars, left_out


def _car(obstacle: Any) -> Car | None:
    """The obstacle, if it is a rectangle of which every state is known exactly, step by step."""
    shape, prediction = obstacle.obstacle_shape, obstacle.prediction
    trajectory = getattr(prediction, "trajectory", None)
    if not hasattr(shape, "length") or not hasattr(shape, "width") or (prediction is not None and trajectory is None):
        return None
    states = [obstacle.initial_state, *(trajectory.state_list if trajectory is not None else ())]
    first = states[0].time_step
    if not isinstance(first, int):
        return None
    rows = np.zeros((len(states), 4))
    for k, (row, state) in enumerate(zip(rows, states, strict=True)):
        known = (getattr(state, "orientation", None), getattr(state, "velocity", None))
        if not all(isinstance(number, int | float) for number in known) or not isinstance(state.position, np.ndarray):
            return None
        if state.time_step != first + k:
            return None
        row[:] = *state.position[:2], *known
    shift = getattr(shape, "origin_x_shift", 0.0)  # of the point whose position is recorded, ahead of the middle
    rows[:, :2] -= shift * np.stack((np.cos(rows[:, 2]), np.sin(rows[:, 2])), -1)
    rows[:, 1:3] *= -1.0
    return Car(obstacle.obstacle_id, obstacle.obstacle_type.value, shape.length, shape.width, first, rows)


def _check_numbers(path: Path, lanelets: dict[int, Lanelet], cars: list[Car]) -> None:
    def require(holds: bool | np.bool_, problem: str) -> None:
        if not holds:
            raise InvalidScenario(f"{path}: {problem}; convert it anew")

    for lanelet in lanelets.values():
        for line in (lanelet.left, lanelet.right):
            require(np.isfinite(line).all(), f"lanelet {lanelet.id} holds NaN or Inf")
            require((abs(line) <= FARTHEST).all(), f"lanelet {lanelet.id} is more than {FARTHEST:g} m from the origin")
            require(np.ptp(line, axis=0).max() > 0, f"lanelet {lanelet.id} has no length")
    for car in cars:
        require(np.isfinite(car.states).all(), f"car {car.id} holds NaN or Inf")
        require((abs(car.states[:, :2]) <= FARTHEST).all(), f"car {car.id} is more than {FARTHEST:g} m from the origin")
        require((abs(car.states[:, 3]) <= FASTEST).all(), f"car {car.id} is faster than {FASTEST:g} m/s")
        size = f"car {car.id} is {car.length:g} m long and {car.width:g} m wide"
        require(0 < car.length <= LONGEST and 0 < car.width <= WIDEST, size)
        require(0 <= car.first_step <= MAX_STATES, f"car {car.id} appears at step {car.first_step}")
        hops = np.hypot(*np.diff(car.states[:, :2], axis=0).T)
        require((hops <= 2 * FASTEST * TIME_STEP).all(), f"car {car.id} jumps")


def _near_origin(scene: RecordedScene) -> RecordedScene:
    """Moved to the origin, if it is so far away (as maps of whole countries are) that single precision would suffer."""
    first = next(iter(scene.lanelets.values())).centre[0]
    if abs(first).max() <= NEAR:
        return scene
    origin = np.round(first)
    lanelets = {
        key: lanelet._replace(left=lanelet.left - origin, right=lanelet.right - origin, centre=lanelet.centre - origin)
        for key, lanelet in scene.lanelets.items()
    }
    cars = [car._replace(states=car.states - (*origin, 0.0, 0.0)) for car in scene.cars]
    return scene._replace(lanelets=lanelets, cars=cars)
