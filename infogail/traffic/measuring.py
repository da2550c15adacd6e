"""How a run's drivers get on in traffic of their own: crashes, styles, speeds, and whether they leave a standstill.

Everything is measured in highway-env. The same starts are also given to the demonstrators, IDM and MOBIL drivers with
the parameters of the styles: what they do not achieve there, those who imitate them can hardly be expected to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.data.recording import Recording
from infogail.envs.environment import NO_STYLE
from infogail.envs.errors import BadInput
from infogail.envs.scenarios.highway import Highway, IDMStyle
from infogail.envs.scenarios.safety import too_close
from infogail.envs.scenarios.scenario import SIMULATION_FREQUENCY, Scenario
from infogail.envs.scenarios.styles import CentroidJudge, StyleCentroids
from infogail.learning.rollout import style_nmi
from infogail.parallel.progress import progress_bar
from infogail.parallel.terminal import print_table
from infogail.parallel.workers import workers
from infogail.runs.driver import load
from infogail.runs.folder import DEMONSTRATIONS
from infogail.traffic.population import make_start, population, vehicle_class
from infogail.traffic.styled import observe

MOVING, MOST = 5.0, 0.9  # a standstill has dissolved once this share of the drivers is faster than this [m/s]
SOON = 10.0  # [s]
KINDS = ("unassisted", "assisted", "demonstrators")
SPEED, HEADWAY = (Highway.features.index(name) for name in ("speed", "headway"))


@dataclass(frozen=True)
class Measured:
    """The drivers of several starts in one environment."""

    drivers: int
    failed: float
    """share that crashed or left the road"""
    interval: tuple[float, float]
    """of `failed`, 95 %, by bootstrapping the starts"""
    overruled: float
    """share of the decisions that the assistant overruled, or would have, see `too_close`"""
    overruled_since_start: float
    """part of `overruled`: without a break since the start, where highway-env had placed the driver too close"""
    speed: float
    """[m/s], mean over the time until a driver fails or reaches the end of the road"""
    lane_changes: float
    """of a driver, per minute"""
    nmi: float
    """of codes and styles by the nearest centroid of the run's demonstrations; who failed has a style of its own"""
    dissolved: float
    """share of the starts in which a standstill has dissolved within `SOON`"""

    @classmethod
    def of(
        cls, courses: Sequence[tuple[Course, Course]], centroids: StyleCentroids, horizon: int, frequency: int
    ) -> Measured:
        """Of the courses from each start: at highway-env's speeds, and from a standstill.

        Args:
            centroids: of the demonstrations' `Highway.measures`.
            horizon: decisions of a demonstration; the styles are judged by as many.
            frequency: decisions per second.
        """
        usual = [moving for moving, _ in courses]
        there, overruled, since_start, speed, changes = (
            np.concatenate([getattr(course, name).ravel() for course in usual])
            for name in ("there", "overruled", "overruled_since_start", "speed", "changes")
        )
        failed, codes = (np.concatenate([getattr(course, name) for course in usual]) for name in ("failed", "codes"))
        styles = np.concatenate([centroids.nearest(course.measures(horizon, frequency)) for course in usual])
        return cls(
            drivers=len(failed),
            failed=float(failed.mean()),
            interval=_interval([course.failed for course in usual]),
            overruled=float(overruled[there].mean()),
            overruled_since_start=float(since_start[there].mean()),
            speed=float(speed[there].mean()),
            lane_changes=float(60 * frequency * changes[there].mean()),
            nmi=style_nmi(codes, np.where(failed, NO_STYLE, styles)),
            dissolved=float(np.mean([still.dissolved(frequency) <= SOON for _, still in courses])),
        )


def _interval(failed: Sequence[np.ndarray]) -> tuple[float, float]:
    """95 % interval of the share that failed, from that of each start (n,) bool; all starts have as many drivers."""
    shares = np.mean(failed, axis=1)
    resampled = np.random.default_rng(0).choice(shares, (10_000, len(shares))).mean(1)
    low, high = np.quantile(resampled, (0.025, 0.975)).tolist()
    return low, high


@dataclass
class Start:
    """One start of highway-env's own traffic, with other drivers in the same places at the same speeds."""

    env: Any
    drivers: list[Vehicle]
    codes: np.ndarray
    """(N,)"""

    @classmethod
    def of(cls, environment: str, seed: int, drivers: Drivers, still: bool) -> Start:
        """The start number `seed` of `environment`, with `drivers` in the place of all vehicles but the ego.

        Args:
            still: all begin at a standstill.

        Raises:
            BadInput: there is no such environment, or it has no other vehicles that can be replaced.
        """
        env, others = make_start(environment, seed, {})
        base: Any = env.unwrapped
        vehicles = base.road.vehicles
        for vehicle in vehicles if still else ():
            vehicle.speed = 0.0
        codes = np.random.default_rng((seed, 1)).choice(len(drivers.mix), len(others), p=drivers.mix)
        for k, code in zip(others, codes.tolist(), strict=True):
            vehicles[k] = drivers.make(vehicles[k], code)
        ego = vehicles.index(base.vehicle)
        vehicles[ego] = base.vehicle = IDMVehicle.create_from(base.vehicle)
        return cls(env, [vehicles[k] for k in others], codes)


@dataclass(frozen=True)
class Course:
    """What N drivers did in T decisions from one start."""

    there: np.ndarray
    """(T, N) bool: neither failed nor at the end of the road"""
    speed: np.ndarray
    """(T, N) [m/s]"""
    headway: np.ndarray
    """(T, N) [s]"""
    changes: np.ndarray
    """(T, N) bool: changed lanes since the decision before"""
    overruled: np.ndarray
    """(T, N) bool"""
    failed: np.ndarray
    """(N,) bool"""
    codes: np.ndarray
    """(N,)"""

    @property
    def overruled_since_start(self) -> np.ndarray:
        """(T, N) bool: in every decision so far"""
        return np.logical_and.accumulate(self.overruled, axis=0)

    def measures(self, horizon: int, frequency: int) -> np.ndarray:
        """(M, N): `Highway.measures` of the first `horizon` decisions, as far as a driver was there."""
        there, speed, headway, changes = (row[:horizon] for row in (self.there, self.speed, self.headway, self.changes))
        time = np.maximum(there.sum(0), 1)
        acceleration = abs(np.diff(speed, axis=0, prepend=speed[:1])) * frequency
        means = [np.where(there, row, 0.0).sum(0) / time for row in (speed, headway, acceleration)]
        return np.stack((*means, (changes & there).sum(0)))

    def dissolved(self, frequency: int) -> float:
        """[s] until `MOST` drivers were `MOVING`; infinite if that never was."""
        moving = (self.speed > MOVING).mean(1) >= MOST
        return float(moving.argmax() / frequency) if moving.any() else np.inf


def drive(start: Start, seconds: float, frequency: int) -> Course:
    """Drive for `seconds`; what the drivers do is observed `frequency` times a second."""
    road, drivers = start.env.unwrapped.road, start.drivers
    failed, gone = (np.zeros(len(drivers), dtype=bool) for _ in range(2))
    rows: list[tuple[Any, ...]] = []
    lanes = [driver.lane_index for driver in drivers]
    for step in range(round(seconds * SIMULATION_FREQUENCY)):
        road.act()
        if step % (SIMULATION_FREQUENCY // frequency) == 0:
            seen, now = observe(drivers), [driver.lane_index for driver in drivers]
            # A new segment of road is not a change of lanes.
            changed = [old[:2] == new[:2] and old != new for old, new in zip(lanes, now, strict=True)]
            there, lanes, overruled = ~(failed | gone), now, too_close(seen).any(0)
            speed, headway = 20.0 + 10.0 * seen[:, SPEED], 2.0 * seen[:, HEADWAY]
            rows.append((there, speed, headway, changed, overruled))
        road.step(1 / SIMULATION_FREQUENCY)
        for k, driver in enumerate(drivers):
            if not gone[k] and not failed[k] and has_arrived(driver):
                gone[k] = True
                road.vehicles.remove(driver)
        failed |= [driver.crashed or not driver.on_road for driver in drivers] & ~gone
    there, speed, headway, changes, overruled = (np.array(column) for column in zip(*rows, strict=True))
    return Course(there, speed, headway, changes, overruled, failed, start.codes)


def has_arrived(vehicle: Vehicle) -> bool:
    """Whether the road ends within the vehicle's length."""
    along, _ = vehicle.lane.local_coordinates(vehicle.position)
    return vehicle.lane_index[1] not in vehicle.road.network.graph and along > vehicle.lane.length - Vehicle.LENGTH


class Drivers(NamedTuple):
    """A kind of drivers, with codes 0 to K - 1."""

    mix: np.ndarray
    """(K,) probability of each code"""
    make: Callable[[Vehicle, int], Vehicle]
    """The driver with a code that takes a vehicle's place."""


def drivers_of(run: Path, assisted: bool) -> Drivers:
    """Those that a run trained."""
    kind = vehicle_class(population(run, assisted=assisted))
    return Drivers(kind.mix, lambda old, code: kind(old.road, old.position, old.heading, old.speed, code=code))


def idm_styles(scenario: Scenario) -> list[IDMStyle]:
    """Those of its styles by which IDM drivers can drive."""
    return [style for style in scenario.styles if isinstance(style, IDMStyle)]


def demonstrators(styles: Sequence[IDMStyle]) -> Drivers:
    """IDM and MOBIL drivers of these styles, each with the style's number as its code, all equally common."""

    def make(old: Vehicle, code: int) -> Vehicle:
        style, driver = styles[code], IDMVehicle.create_from(old)
        driver.target_speed, driver.TIME_WANTED, driver.COMFORT_ACC_MAX = style.speed, style.headway, style.acceleration
        return driver

    return Drivers(np.full(len(styles), 1 / len(styles)), make)


def measure_traffic(
    run: Path, environment: str, starts: int, seconds: float = 20.0, seed: int = 0, processes: int = 1
) -> dict[str, Measured]:
    """The drivers of `run` among themselves, with and without the assistant, and their demonstrators, by name.

    Args:
        environment: ID of a highway-env environment.
        starts: number of its starts, from `seed` on.
        seconds: for how long they are driven, at least `SOON`.

    Raises:
        BadInput: the run's demonstrators are not IDM drivers; or see `Start.of`.
    """
    scenario = load(run).scenario
    if not idm_styles(scenario) or not scenario.usable_as_traffic:
        raise BadInput(f"{run}: trained on {scenario.name}; give a run of highway")
    judge = scenario.fit_judge(Recording.load(run / DEMONSTRATIONS, scenario))
    assert isinstance(judge, CentroidJudge)
    jobs = [(run, kind, environment, seed + number, seconds) for kind in KINDS for number in range(starts)]
    with progress_bar(f"driving {starts} starts of {environment}", len(jobs)) as advance, workers(processes) as mapped:
        pairs = []
        for pair in mapped(drive_start, *zip(*jobs, strict=True)):
            pairs.append(pair)
            advance(1)
    horizon, frequency = scenario.horizon, scenario.policy_frequency
    return {
        kind: Measured.of(pairs[k * starts : (k + 1) * starts], judge.centroids, horizon, frequency)
        for k, kind in enumerate(KINDS)
    }


def drive_start(run: Path, kind: str, environment: str, seed: int, seconds: float) -> tuple[Course, Course]:
    """The courses of one of `KINDS` from one start: at highway-env's speeds, and from a standstill."""
    scenario = load(run).scenario
    drivers = (
        demonstrators(idm_styles(scenario)) if kind == "demonstrators" else drivers_of(run, assisted=kind == "assisted")
    )
    moving, still = (
        drive(Start.of(environment, seed, drivers, how), seconds, scenario.policy_frequency) for how in (False, True)
    )
    return moving, still


def print_measured(environment: str, measured: Mapping[str, Measured]) -> None:
    """Print the result of `measure_traffic`."""
    rows = [
        ["crashed or left the road", *(f"{100 * m.failed:.1f} %" for m in measured.values())],
        ["  95 % interval", *(" to ".join(f"{100 * end:.1f}" for end in m.interval) for m in measured.values())],
        ["decisions (to be) overruled", *(f"{100 * m.overruled:.1f} %" for m in measured.values())],
        ["  of them since the start", *(f"{100 * m.overruled_since_start:.1f} %" for m in measured.values())],
        ["mean speed [m/s]", *(f"{m.speed:.1f}" for m in measured.values())],
        ["lane changes per minute", *(f"{m.lane_changes:.1f}" for m in measured.values())],
        ["style NMI", *(f"{m.nmi:.2f}" for m in measured.values())],
        [f"standstill dissolved in {SOON:.0f} s", *(f"{100 * m.dissolved:.0f} %" for m in measured.values())],
    ]
    count = next(iter(measured.values())).drivers
    print_table(f"{count:,} drivers each in {environment}", ["", *measured], rows)
