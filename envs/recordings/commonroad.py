"""Read CommonRoad files, recorded driving on a map of lanelets, into plain arrays.

https://commonroad.in.tum.de documents the format; `commonroad-io` reads it. Files are untrusted: a parser that expands
no entities and makes no network requests first checks that they are plain XML of acceptable size.
Time steps of up to `COARSEST` are interpolated to `TIME_STEP`.
CommonRoad's y points to the left of x, here it points to the right: y and headings are negated on reading.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from infogail.envs.errors import BadInput

TIME_STEP = 0.1  # [s] between two states
COARSEST = 0.2  # [s] between two states of a file; up to this, a cubic interpolates to within centimetres
MAX_FILE = 200 * 2**20  # [bytes]
MAX_LANELETS, MAX_CARS, MAX_STATES = 10_000, 10_000, 2_000_000  # in one file
FARTHEST = 1e7  # [m] from the origin, beyond any map of the earth
NEAR = 1e4  # [m]: lanelets farther than this from the origin are moved there
LONGEST, WIDEST, FASTEST = 50.0, 10.0, 100.0  # [m] [m] [m/s] of cars
VEHICLES = ("car", "truck", "bus", "motorcycle", "taxi", "priorityVehicle")
PARKED = "parkedVehicle"
STILL = 0.5  # [m]: largest spread of a parked vehicle's recorded positions
NOT_FOR_CARS = {"sidewalk", "crosswalk", "bicycleLane"}  # lanelet types


class InvalidScenario(BadInput):
    """A CommonRoad file is missing, malformed, or cannot be replayed; the message says what is wrong with it."""


class Lanelet(NamedTuple):
    """A section of a lane; its lines run in the driving direction and begin and end side by side."""

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
    """The lanelet beside it, if it has the same driving direction."""
    right_neighbour: int | None


class Car(NamedTuple):
    """One recorded vehicle."""

    id: int
    kind: str
    """One of `VEHICLES`; for a standing obstacle, its CommonRoad type."""
    length: float  # [m]
    width: float  # [m]
    first_step: int
    """The file's time step at which it appears."""
    states: np.ndarray
    """(T, 4): x [m], y [m], heading [rad], speed [m/s] of its centre, from `first_step` on"""


class RecordedScene(NamedTuple):
    """The contents of one file."""

    name: str
    """The file's name, without the folder."""
    lanelets: dict[int, Lanelet]
    """By id."""
    cars: list[Car]
    standing: list[Car]
    """Static obstacles and parked vehicles, as rectangles, with one state each; they are present at all steps."""
    left_out: Mapping[str, int]
    """Number of obstacles that are not cars, or not recorded as needed, by reason."""
    notes: tuple[str, ...]
    """Messages of commonroad-io about the file."""


def read_commonroad(path: Path) -> RecordedScene:
    """Read the CommonRoad file (2018b or 2020a XML) at `path`.

    Raises:
        InvalidScenario: one line that says what is wrong with it, and the remedy.
    """
    raw, lacking = _plain_xml(Path(path))
    # Not `commonroad.common.file_reader`: that requires a protobuf too old for Ray.
    from commonroad.common.reader.file_reader_xml import XMLFileReader

    try:
        with _collected_notes() as notes:
            scenario, _ = XMLFileReader(raw).open()
        lanelets = {
            lanelet.lanelet_id: _lanelet(lanelet)
            for lanelet in scenario.lanelet_network.lanelets
            if not {kind.value for kind in lanelet.lanelet_type} & NOT_FOR_CARS
        }
        cars, standing, left_out = _cars(scenario, lacking)
    except Exception as error:  # of any type: commonroad-io defines none of its own
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise InvalidScenario(f"{path}: not a readable CommonRoad scenario ({reason}); convert it again") from error
    if not 0 < scenario.dt <= COARSEST * (1 + 1e-6):
        raise InvalidScenario(
            f"{path}: its time step is {scenario.dt:g} s, but must be at most {COARSEST} s; "
            "convert the recording again, with more of its frames"
        )
    if not lanelets:
        raise InvalidScenario(f"{path}: has no lanelets for cars; give a file with a map of the road")
    if not cars:
        raise InvalidScenario(f"{path}: has no recorded cars; give a file of recorded driving")
    _check_numbers(path, lanelets, cars, standing, scenario.dt)
    if not math.isclose(scenario.dt, TIME_STEP, rel_tol=1e-6):
        resampled = [_resampled(car, scenario.dt) for car in cars]
        cars = [car for car in resampled if car is not None]
        left_out["seen for less than a step"] += len(resampled) - len(cars)
    return _near_origin(RecordedScene(Path(path).name, lanelets, cars, standing, left_out, tuple(notes)))


@contextlib.contextmanager
def _collected_notes() -> Iterator[list[str]]:
    """What commonroad-io logs, warns about and prints, collected so that users do not see hundreds of lines."""
    notes: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notes.append(record.getMessage())

    logger, collector, printed = logging.getLogger("commonroad"), Collector(), io.StringIO()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(collector)
    try:
        with warnings.catch_warnings(record=True, action="always") as caught, contextlib.redirect_stdout(printed):
            yield notes
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate
    notes += [str(warning.message) for warning in caught] + printed.getvalue().splitlines()


def _plain_xml(path: Path) -> tuple[bytes, dict[int, set[str]]]:
    """The file's XML, rewritten without comments, and without anything that a parser may expand or look up.

    And what each obstacle's initial state lacks, by its id: commonroad-io would read it as 0.
    """
    try:
        import commonroad  # noqa: F401
        from lxml import etree
    except ImportError as error:
        raise InvalidScenario(f"{path}: reading it requires commonroad-io: pip install 'infogail[data]'") from error
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
        raise InvalidScenario(f"{path}: declares a document type, which is not allowed; remove its DOCTYPE")
    if root.tag != "commonRoad":
        raise InvalidScenario(f"{path}: its root element is <{root.tag}>, not <commonRoad>; give a CommonRoad file")
    for what, most, tags in (
        ("lanelets", MAX_LANELETS, ("lanelet",)),
        ("obstacles", MAX_CARS, ("obstacle", "dynamicObstacle", "staticObstacle")),
        ("states", MAX_STATES, ("state",)),
    ):
        count = sum(1 for _ in root.iter(*tags))
        if count > most:
            raise InvalidScenario(f"{path}: has {count:,} {what}, more than {most:,}; cut the recording into parts")
    lacking = {}
    for obstacle in root.iter("obstacle", "dynamicObstacle", "staticObstacle"):
        key, first = obstacle.get("id", ""), obstacle.find("initialState")
        for tag in ("type", "shape", "initialState"):
            if obstacle.find(tag) is None:
                raise InvalidScenario(f"{path}: obstacle {key or 'without id'} has no <{tag}>; convert it again")
        if key.isdecimal() and first is not None:
            lacking[int(key)] = {tag for tag in ("position", "orientation", "velocity") if first.find(tag) is None}
    return etree.tostring(root, encoding="utf-8"), lacking


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


def _cars(scenario: Any, lacking: Mapping[int, set[str]]) -> tuple[list[Car], list[Car], Counter[str]]:
    """The cars that drive, the obstacles that stand all the time, and how many are left out, by reason."""
    cars, standing, left_out = [], [], Counter[str]()
    obstacles = [(obstacle, False) for obstacle in scenario.dynamic_obstacles]
    for obstacle, static in obstacles + [(obstacle, True) for obstacle in scenario.static_obstacles]:
        kind = obstacle.obstacle_type.value
        if not static and kind not in (*VEHICLES, PARKED):
            left_out["not a vehicle"] += 1
            continue
        try:
            car = _car(obstacle, static, scenario.dt, lacking.get(obstacle.obstacle_id, set()))
        except _Unusable as reason:
            left_out[str(reason)] += 1
            continue
        if static or (kind == PARKED and np.ptp(car.states[:, :2], axis=0).max() <= STILL):
            standing.append(car._replace(states=np.append(car.states[:1, :3], [[0.0]], axis=1)))
        else:
            cars.append(car)
    return cars, standing, left_out


class _Unusable(Exception):
    """Why an obstacle is left out."""


def _car(obstacle: Any, static: bool, dt: float, lacking: set[str]) -> Car:
    """The obstacle, if its position is known exactly, step by step every `dt` [s].

    A static one may have any shape, and becomes its bounding rectangle.

    Args:
        lacking: the tags missing from its initial state.

    Raises:
        _Unusable: it cannot be used.
    """
    length, width, middle = _rectangle(obstacle.obstacle_shape, static)
    prediction = None if static else obstacle.prediction
    trajectory = getattr(prediction, "trajectory", None)
    if prediction is not None and trajectory is None:
        raise _Unusable("without a trajectory")
    states = [obstacle.initial_state, *(trajectory.state_list if trajectory is not None else ())]
    steps = [state.time_step for state in states]
    if not all(isinstance(step, int) for step in steps):
        raise _Unusable("at inexact times")
    if steps != list(range(steps[0], steps[0] + len(steps))):
        raise _Unusable("with steps missing")
    rows, unknown = np.zeros((len(states), 4)), np.zeros(len(states), bool)
    for k, (row, state) in enumerate(zip(rows, states, strict=True)):
        lacks = lacking if k == 0 else set[str]()
        heading = None if "orientation" in lacks else getattr(state, "orientation", None)
        velocity = None if "velocity" in lacks else getattr(state, "velocity", None)
        if "position" in lacks or not isinstance(state.position, np.ndarray):
            raise _Unusable("without exact positions")
        if not isinstance(heading, int | float):
            raise _Unusable("without exact headings")
        known = isinstance(velocity, int | float)
        if velocity is not None and not known:
            raise _Unusable("without exact speeds")
        if not known and len(states) == 1 and not static:
            raise _Unusable("without speeds, and seen only once")
        row[:] = *state.position[:2], heading, velocity if known else 0.0
        unknown[k] = not known
    cos, sin = np.cos(rows[:, 2]), np.sin(rows[:, 2])
    rows[:, :2] += np.stack((middle[0] * cos - middle[1] * sin, middle[0] * sin + middle[1] * cos), -1)
    rows[:, 1:3] *= -1.0
    if unknown.any() and len(rows) > 1:  # the speed is then derived from the positions, along the heading
        along = np.stack((np.cos(rows[:, 2]), np.sin(rows[:, 2])), -1)
        rows[unknown, 3] = (np.gradient(rows[:, :2], dt, axis=0) * along).sum(-1)[unknown]
    return Car(obstacle.obstacle_id, obstacle.obstacle_type.value, length, width, steps[0], rows)


def _rectangle(shape: Any, static: bool) -> tuple[float, float, tuple[float, float]]:
    """Length and width [m], and the offset of the centre from the recorded position, ahead and to the left [m]."""
    if hasattr(shape, "length") and hasattr(shape, "width"):
        length, width, middle = shape.length, shape.width, (-getattr(shape, "origin_x_shift", 0.0), 0.0)
    elif static and hasattr(shape, "radius"):
        length, width, middle = 2 * shape.radius, 2 * shape.radius, (0.0, 0.0)
    elif static and hasattr(shape, "vertices"):
        low, high = np.min(shape.vertices, axis=0), np.max(shape.vertices, axis=0)
        (length, width), middle = (high - low).tolist(), tuple(((low + high) / 2).tolist())
    else:
        raise _Unusable("not a rectangle")
    if static and (length > LONGEST or width > WIDEST):  # such as a wall whose bounding rectangle blocks the road
        raise _Unusable(f"standing, larger than {LONGEST:g} m by {WIDEST:g} m")
    return length, width, middle


def _resampled(car: Car, dt: float) -> Car | None:
    """The car at the multiples of `TIME_STEP` while it is present; None if there are none.

    Positions are on a cubic spline through those recorded every `dt` [s]; headings and speeds are linear in between.
    """
    times = dt * (car.first_step + np.arange(len(car.states)))
    first, last = math.ceil(times[0] / TIME_STEP - 1e-6), math.floor(times[-1] / TIME_STEP + 1e-6)
    if last < first:
        return None
    wanted = np.clip(TIME_STEP * np.arange(first, last + 1), times[0], times[-1])
    if len(times) == 1:
        return car._replace(first_step=first)
    states = np.empty((len(wanted), 4))
    states[:, :2] = CubicSpline(times, car.states[:, :2])(wanted)
    states[:, 2] = np.interp(wanted, times, np.unwrap(car.states[:, 2]))
    states[:, 3] = np.interp(wanted, times, car.states[:, 3])
    return car._replace(first_step=first, states=states)


def _check_numbers(path: Path, lanelets: dict[int, Lanelet], cars: list[Car], standing: list[Car], dt: float) -> None:
    def require(holds: bool | np.bool_, problem: str) -> None:
        if not holds:
            raise InvalidScenario(f"{path}: {problem}; convert it again")

    for lanelet in lanelets.values():
        for line in (lanelet.left, lanelet.right):
            require(np.isfinite(line).all(), f"lanelet {lanelet.id} holds NaN or Inf")
            require((abs(line) <= FARTHEST).all(), f"lanelet {lanelet.id} is more than {FARTHEST:g} m from the origin")
            require(np.ptp(line, axis=0).max() > 0, f"lanelet {lanelet.id} has no length")
    for car in cars + standing:
        require(np.isfinite(car.states).all(), f"car {car.id} holds NaN or Inf")
        require((abs(car.states[:, :2]) <= FARTHEST).all(), f"car {car.id} is more than {FARTHEST:g} m from the origin")
        require((abs(car.states[:, 3]) <= FASTEST).all(), f"car {car.id} is faster than {FASTEST:g} m/s")
        size = f"car {car.id} is {car.length:g} m long and {car.width:g} m wide"
        require(0 < car.length <= LONGEST and 0 < car.width <= WIDEST, size)
        require(0 <= car.first_step <= MAX_STATES, f"car {car.id} appears at step {car.first_step}")
        hops = np.hypot(*np.diff(car.states[:, :2], axis=0).T)
        require((hops <= 2 * FASTEST * dt).all(), f"car {car.id} jumps")


def _near_origin(scene: RecordedScene) -> RecordedScene:
    """Moved to the origin, if it is so far away (as in maps of whole countries) that single precision would suffer."""
    first = next(iter(scene.lanelets.values())).centre[0]
    if abs(first).max() <= NEAR:
        return scene
    origin = np.round(first)
    lanelets = {
        key: lanelet._replace(left=lanelet.left - origin, right=lanelet.right - origin, centre=lanelet.centre - origin)
        for key, lanelet in scene.lanelets.items()
    }
    cars, standing = (
        [car._replace(states=car.states - (*origin, 0.0, 0.0)) for car in obstacles]
        for obstacles in (scene.cars, scene.standing)
    )
    return scene._replace(lanelets=lanelets, cars=cars, standing=standing)
