"""Whether traffic in highway-v0 is as wide as people: the headways of a run's drivers among themselves, beside those of
the people learned from and of people held out.

People drive slower there than highway-v0's traffic, in waves. So the first car of each lane drives at the recorded
speeds of one of the people learned from, and the others, about as dense as people, all begin at its speed. Nothing of
the people held out is used but the headways to compare with.
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
from infogail.envs.data.world import NOTHING_HELD_OUT
from infogail.envs.errors import BadInput
from infogail.envs.physics.neighbours import LONGEST_HEADWAY
from infogail.envs.physics.roads import SPEED_LIMIT
from infogail.envs.scenarios.following import headway
from infogail.envs.scenarios.scenario import SIMULATION_FREQUENCY
from infogail.evaluation.metrics import wasserstein
from infogail.evaluation.peers import Parameters, fit
from infogail.parallel.terminal import print_table
from infogail.runs.driver import inferred_mix, load
from infogail.runs.folder import DEMONSTRATIONS
from infogail.traffic.followers import leader_of
from infogail.traffic.population import make_start, population, vehicle_class
from infogail.traffic.styled import drawn_codes

LANES, FOLLOWERS = 3, 8  # of drivers that steer, others have one lane; behind the first car of a lane, on average
SETTLING, SECONDS = 20, 60  # driven, and those before headways are measured
SAMPLES = 5  # [Hz]
TO_FIT = 1_000_000  # added to the seeds of the starts to which frequencies of codes are fitted
ALIKE, INFERRED, FITTED = "one IDM for all", "codes as inferred", "codes as fitted"
QUARTILES, SPREAD = (25, 50, 75), (10, 90)


@dataclass(frozen=True)
class Headways:
    """Headways of n drivers, each (m,) [s], while they followed another."""

    drivers: Sequence[np.ndarray]
    crashed: float | None = None
    """share of the drivers"""

    @property
    def all(self) -> np.ndarray:
        """Of all drivers."""
        return np.concatenate([np.empty(0), *self.drivers])

    @property
    def medians(self) -> np.ndarray:
        """One of each driver who ever followed another."""
        return np.array([np.median(each) for each in self.drivers if len(each)])


class Person(NamedTuple):
    """One recorded driver."""

    speed: np.ndarray
    """(n,) [m/s]"""
    headway: np.ndarray
    """(m,) [s], while there was a leader"""
    spacing: np.ndarray
    """(m,) [m] from the front of the one car to that of the other"""


class Width(NamedTuple):
    """The result of `measure_width`."""

    learned: Headways
    """of the people learned from"""
    held_out: Headways
    traffic: Mapping[str, Headways]
    """by the name of its drivers"""
    mix: np.ndarray | None
    """(K,): the fitted frequencies of the codes; None if codes have no effect"""


class FirstCar(Vehicle):
    """Drives at recorded speeds until the recording ends, then at the same ones backwards to its beginning, and so on.

    Args:
        speeds: (n,) [m/s].
        rate: of the recording [Hz].
    """

    def __init__(self, old: Vehicle, speeds: np.ndarray, rate: float) -> None:
        super().__init__(old.road, old.position, old.heading, old.speed)
        self.speeds, self.rate, self.steps = speeds, rate, 0

    def act(self, action: dict | str | None = None) -> None:
        """Accelerate to the speed at the end of this physics step."""
        self.steps += 1
        last = len(self.speeds) - 1
        moment = last - abs(self.steps * self.rate / SIMULATION_FREQUENCY % (2 * last) - last)
        wanted = np.interp(moment, np.arange(last + 1), self.speeds)
        self.action = {"steering": 0.0, "acceleration": float(wanted - self.speed) * SIMULATION_FREQUENCY}


class StoppingIDM(IDMVehicle):
    """Stops rather than reverses, as trained drivers do: in stop-and-go traffic, highway-env's back into others."""

    def step(self, dt: float) -> None:
        self.action["acceleration"] = max(self.action["acceleration"], -max(self.speed, 0.0) / dt)
        super().step(dt)


Make = Callable[[Vehicle, float], Vehicle]
"""The driver who takes a vehicle's place, with the code that belongs to a number from 0 to 1."""


class Start(NamedTuple):
    """How highway-v0 is filled, and the people whose speeds its first cars drive."""

    people: Sequence[Person]
    rate: float
    """[Hz], of their recording"""
    lanes: int

    def drive(self, make: Make, seed: int, speeds: Sequence[np.ndarray], numbers: np.ndarray) -> list[Course]:
        """What each driver does from the start `seed`.

        Args:
            speeds: (n,) [m/s] each, for the first car of each lane.
            numbers: (lanes * FOLLOWERS,), one for each driver.
        """
        env, _ = make_start("highway-v0", seed, self.settings())
        road: Any = env.unwrapped.road  # type: ignore[attr-defined]
        foremost = sorted(road.vehicles, key=lambda vehicle: -vehicle.position[0])
        first = {vehicle.lane_index[2]: vehicle for vehicle in reversed(foremost)}
        drawn, drivers = iter(numbers.tolist()), []
        for k, old in enumerate(road.vehicles):
            old.speed = float(speeds[old.lane_index[2]][0])
            if old is first[old.lane_index[2]]:
                road.vehicles[k] = FirstCar(old, speeds[old.lane_index[2]], self.rate)
            else:
                road.vehicles[k] = make(old, next(drawn, 0.5))  # one more driver where a lane is empty
                drivers.append(road.vehicles[k])
        seen: list[list[float]] = [[] for _ in drivers]
        for step in range(SECONDS * SIMULATION_FREQUENCY):
            road.act()
            road.step(1 / SIMULATION_FREQUENCY)
            if step >= SETTLING * SIMULATION_FREQUENCY and step % (SIMULATION_FREQUENCY // SAMPLES) == 0:
                for driver, own in zip(drivers, seen, strict=True):
                    own += headway_of(driver)
        env.close()
        return [
            Course(np.array(own), driver.crashed or not driver.on_road, getattr(driver, "code", 0))
            for own, driver in zip(seen, drivers, strict=True)
        ]

    def settings(self) -> dict[str, Any]:
        """highway-v0's: as many cars per metre as among these people while they follow."""
        spacing = float(np.concatenate([person.spacing for person in self.people]).mean())
        usual = (12.0 + 0.75 * SPEED_LIMIT) * np.exp(-5 / 40 * self.lanes)  # [m], `Vehicle.create_random`
        count = self.lanes * (FOLLOWERS + 1) - 1  # without the ego
        return {
            "lanes_count": self.lanes,
            "vehicles_count": count,
            "vehicles_density": float(self.lanes * usual / spacing),
        }


class Course(NamedTuple):
    """What one driver did."""

    headway: np.ndarray
    """(m,) [s]"""
    failed: bool
    """crashed or left the road"""
    code: int


def measure_width(
    run: Path, starts: int, seed: int = 0, progress: Callable[[str], None] = lambda message: None
) -> Width:
    """The headways of a run's drivers in highway-v0, with their codes as common as inferred, and as common as fits the
    people learned from best; and of IDM drivers who are all alike, fitted to these people, too.

    Args:
        starts: of each kind of traffic, from `seed` on.

    Raises:
        BadInput: no people were held out.
    """
    driver = load(run)
    recording = Recording.load(run / DEMONSTRATIONS, driver.scenario)
    if recording.num_training == recording.demonstrations.num_episodes:
        raise BadInput(f"{run}: {NOTHING_HELD_OUT}")
    windows = np.arange(recording.demonstrations.num_episodes)
    learned, held_out = (people(recording, part) for part in np.split(windows, [recording.num_training]))
    start = Start(learned, recording.rate, LANES if driver.scenario.steers else 1)

    def drive(name: str, make: Make, seed: int = seed) -> list[Course]:
        # Codes and people are shared out rather than drawn, so that a few starts have what many would have.
        rng = np.random.default_rng(seed)
        numbers = shared_out(rng, starts * start.lanes * FOLLOWERS).reshape(starts, -1)
        whose = (shared_out(rng, starts * start.lanes) * len(learned)).astype(int).reshape(starts, -1)
        courses = []
        for k in range(starts):
            progress(f"{name}, start {k + 1} of {starts}")
            courses += start.drive(make, seed + k, [learned[person].speed for person in whose[k]], numbers[k])
        return courses

    inferred = inferred_mix(run, driver).tolist()
    traffic = {ALIKE: drive(ALIKE, idm(fit(recording))), INFERRED: drive(INFERRED, styled(population(run, inferred)))}
    mix = None
    if driver.num_distinct > 1:
        tried = drive("each code", styled(population(run, [1.0] * driver.num_codes)), TO_FIT + seed)
        of_codes = [Headways([c.headway for c in tried if c.code == code]).all for code in range(driver.num_codes)]
        mix = fitted_mix(of_codes, np.concatenate([person.headway for person in learned]))
        traffic[FITTED] = drive(FITTED, styled(population(run, mix.tolist())))
    return Width(
        Headways([person.headway for person in learned]),
        Headways([person.headway for person in held_out]),
        {name: Headways([c.headway for c in each], failures(each)) for name, each in traffic.items()},
        mix,
    )


def failures(courses: Sequence[Course]) -> float:
    """The share of drivers that crashed or left the road."""
    return float(np.mean([course.failed for course in courses]))


def people(recording: Recording, windows: np.ndarray) -> list[Person]:
    """Those recorded in these windows, with each moment once."""
    world, scenario = recording.world, recording.scenario
    assert world is not None
    persons = []
    for track in np.unique(world.track[windows]):
        own = windows[world.track[windows] == track]
        moments = np.concatenate([world.demonstration_row[window] + np.arange(scenario.horizon + 1) for window in own])
        _, once = np.unique(moments, return_index=True)
        speed, present, gap, _ = np.concatenate([scenario.followed(int(window)) for window in own], 1)[:, once]
        behind = present > 0
        persons.append(Person(speed, headway(gap, speed)[behind], gap[behind] + Vehicle.LENGTH))
    return persons


def headway_of(driver: Vehicle) -> list[float]:
    """The headway [s] of a driver who follows another and has not crashed, as that of people; otherwise empty."""
    leader, gap = leader_of(driver)
    if leader is None or driver.crashed:
        return []
    return [float(headway(np.array(gap), np.array(driver.speed)))]


def idm(parameters: Parameters) -> Make:
    """IDM drivers with these parameters; their lane changes are highway-env's."""

    def make(old: Vehicle, number: float) -> IDMVehicle:
        driver = StoppingIDM.create_from(old)
        driver.target_speed, driver.TIME_WANTED = parameters.desired_speed, parameters.time_headway
        driver.DISTANCE_WANTED = parameters.min_gap + Vehicle.LENGTH  # between centres
        driver.COMFORT_ACC_MAX = parameters.comfortable_acceleration
        driver.COMFORT_ACC_MIN = -parameters.comfortable_deceleration
        return driver

    return make


def styled(path: str) -> Make:
    """Drivers of the class `path`, see `population`."""
    kind = vehicle_class(path)

    def make(old: Vehicle, number: float) -> Vehicle:
        code = int(drawn_codes(kind.mix, number))
        return kind(old.road, old.position, old.heading, old.speed, code=code)

    return make


def shared_out(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count,) numbers from 0 to 1, evenly spaced, in random order."""
    return (rng.permutation(count) + 0.5) / count


def fitted_mix(of_codes: Sequence[np.ndarray], wanted: np.ndarray) -> np.ndarray:
    """(K,): the shares of codes with which their headways, (m,) [s] each, are distributed most like `wanted` (n,).

    Least squares on the cumulative distributions, whose difference is the Wasserstein distance.
    """
    from scipy.optimize import nnls

    at = np.linspace(0.0, LONGEST_HEADWAY, 81)[1:-1]
    *columns, target = (np.searchsorted(np.sort(each), at) / max(len(each), 1) for each in (*of_codes, wanted))
    shares, _ = nnls(np.vstack((np.stack(columns, 1), np.full(len(columns), 1e3))), np.append(target, 1e3))
    return shares / shares.sum()


def print_width(run: Path, width: Width) -> None:
    """Print the result of `measure_width`."""
    groups = {"people learned from": width.learned, "people held out": width.held_out, **width.traffic}
    wanted = width.held_out.all
    distances = {name: wasserstein(each.all, wanted) or 0.0 for name, each in groups.items()}
    floor = distances["people learned from"]
    rows = [
        ["drivers", *(f"{len(each.drivers)}" for each in groups.values())],
        [
            "crashed or left the road",
            *("" if e.crashed is None else f"{100 * e.crashed:.1f} %" for e in groups.values()),
        ],
        ["headway, quartiles [s]", *(percentiles(each.all, QUARTILES) for each in groups.values())],
        ["drivers' medians, 10 to 90 % [s]", *(percentiles(each.medians, SPREAD) for each in groups.values())],
        ["distance from people held out [s]", *(f"{distance:.3f}" for distance in distances.values())],
        ["÷ that of people learned from", *(f"{distance / floor:.2f}" for distance in distances.values())],
    ]
    print_table(f"Headways of {run} in highway-v0", ["", *groups], rows)


def percentiles(sample: np.ndarray, which: Sequence[int]) -> str:
    """Of a sample (n,), as text."""
    return ", ".join(f"{value:.2f}" for value in np.percentile(sample, which)) if len(sample) else "–"
