"""What a follower's codes do elsewhere: as traffic in highway-v0, and as ego among IDM cars on a straight road."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle

from infogail.runs.driver import Driver
from infogail.traffic.followers import headways
from infogail.traffic.population import make_populated, population, vehicle_class

SECONDS, SETTLING = 60, 30  # driven, and those before headways are measured
RATE = 15  # [Hz], highway-env's
SPEED = 8.0  # [m/s] of the cars in front on the straight road, as on the recorded motorways
WAVE, PERIOD = 2.0, 20.0  # [m/s] and [s]: how the first car's speed changes
SPACING = 20.0  # [m]
TRAFFIC = {"lanes_count": 3, "vehicles_count": 20, "duration": SECONDS}


def transfer(driver: Driver, run: Path, seed: int = 0) -> dict[str, float | None]:
    """For each code, the median headway [s] and the share of its cars that crashed: `code_k_traffic_…` of 20 cars with
    this code in `highway-v0`, `code_k_among_idm_…` of one car between IDM cars."""
    result: dict[str, float | None] = {}
    for code in range(driver.num_distinct):
        mix = np.eye(driver.num_codes)[code]
        path = population(run, mix, assisted=False)
        for name, (headway, crashed) in (("traffic", traffic(path, seed)), ("among_idm", among_idm(path))):
            result |= {f"code_{code}_{name}_headway": headway, f"code_{code}_{name}_crashes": crashed}
    return result


def traffic(path: str, seed: int) -> tuple[float | None, float]:
    """Median headway [s] of the vehicles of the class `path` in highway-v0, and the share that crashed."""
    env = make_populated("highway-v0", path, seed=seed, config=TRAFFIC)
    road = env.unwrapped.road  # type: ignore[attr-defined]
    ego = env.unwrapped.vehicle  # type: ignore[attr-defined]
    road.vehicles[road.vehicles.index(ego)] = IDMVehicle.create_from(ego)  # which would otherwise drive blindly
    own = [vehicle for vehicle in road.vehicles if isinstance(vehicle, vehicle_class(path))]
    seen = _drive(road, own)
    env.close()
    return seen, float(np.mean([vehicle.crashed for vehicle in own]))


def among_idm(path: str) -> tuple[float | None, float]:
    """Median headway [s] of a car of the class `path`, behind three IDM cars and in front of two, on one straight lane;
    and 1 if it crashed, else 0. The first car's speed goes up and down."""
    road = Road(RoadNetwork.straight_road_network(1, length=10_000), np_random=np.random.RandomState(0))
    cars = [
        IDMVehicle(
            road, np.array([SPACING * (6 - k), 0.0]), 0.0, SPEED, target_speed=3 * SPEED, enable_lane_change=False
        )
        for k in range(6)
    ]
    ego = vehicle_class(path)(road, cars[3].position, 0.0, SPEED)
    cars[3] = ego
    road.vehicles = cars
    return _drive(road, [ego], first=cars[0]), float(ego.crashed)


def _drive(road: Road, own: list, first: IDMVehicle | None = None) -> float | None:
    """Median headway [s] of `own` after `SETTLING`, driven for `SECONDS`; `first` drives in waves."""
    seen = []
    for step in range(SECONDS * RATE):
        if first is not None:
            first.target_speed = SPEED + WAVE * np.sin(2 * np.pi * step / RATE / PERIOD)
        road.act()
        road.step(1 / RATE)
        if step >= SETTLING * RATE:
            seen.append(headways(own))
    every = np.concatenate(seen)
    return float(np.median(every)) if len(every) else None
