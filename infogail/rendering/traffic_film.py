"""A film of a highway-env environment in which a run drives all other vehicles, each with a code."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.controller import ControlledVehicle
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.errors import BadInput
from infogail.envs.scenarios.scenario import SIMULATION_FREQUENCY
from infogail.rendering.camera import Camera, draw_offscreen
from infogail.rendering.captions import MARGIN, ROW, write_text
from infogail.rendering.palette import BACKGROUND, DIMMED, TRACK, WHITE, colour
from infogail.rendering.video import FPS, write_film
from infogail.traffic.population import Mix, make_populated, population
from infogail.traffic.styled import StyledVehicle

SIZE, SCALING = (1280, 560), 6.4  # maximum [px], and [px/m]
ROADSIDE = 3.0  # [m] beside the outermost lanes
SHARE = 150  # [px] of the strip per code


def film_traffic(
    run: Path,
    environment: str,
    mix: Mix | None,
    assisted: bool,
    seconds: float,
    seed: int,
    out: Path,
    progress: Callable[[str], None] = lambda message: None,
) -> list[Path]:
    """Film `environment` with the population of `run`, each vehicle in the colour of its code, the ego white.

    The ego, a stand-in for a planner, drives by IDM and MOBIL; without an action it would keep its speed and soon hit
    another vehicle.

    Returns:
        the files written into `out`; see `film_files`.

    Raises:
        BadInput: not a highway run, `mix` does not fit its codes, or `environment` has no custom vehicle types.
    """
    draw_offscreen()
    path = population(run, mix, assisted)
    config = {"policy_frequency": SIMULATION_FREQUENCY, "duration": np.inf}
    env: Any = make_populated(environment, path, seed, config, render_mode="rgb_array").unwrapped
    drivers = [vehicle for vehicle in env.road.vehicles if isinstance(vehicle, StyledVehicle)]
    for driver in drivers:
        driver.color = colour(driver.code)
    ego = _idm(env.vehicle)
    ego.color = WHITE
    env.road.vehicles[env.road.vehicles.index(env.vehicle)] = env.vehicle = ego
    mp4, gif = film_files(out, environment)
    write_film(mp4, gif, _frames(env, environment, drivers, seconds), progress)
    return [mp4, gif]


def _idm(vehicle: Vehicle) -> IDMVehicle:
    """An IDM and MOBIL vehicle with the position, heading and speed of `vehicle`, and its route if it has one."""
    if isinstance(vehicle, ControlledVehicle):
        return IDMVehicle.create_from(vehicle)
    return IDMVehicle(vehicle.road, vehicle.position, vehicle.heading, vehicle.speed)


def film_files(out: Path, environment: str) -> tuple[Path, Path]:
    """The paths of the film and of the animation of `environment`."""
    return out / f"traffic-{environment}.mp4", out / f"traffic-{environment}.gif"


def check_environment(name: str) -> None:
    """Raise BadInput if highway-env has no environment called `name`."""
    names = [key for key, spec in gymnasium.registry.items() if str(spec.entry_point).startswith("highway_env")]
    if name not in names:
        near = difflib.get_close_matches(name, names, 1, 0.3) or ["highway-v0"]
        raise BadInput(f"unknown environment '{name}'; did you mean '{near[0]}'?")


def _frames(env: Any, title: str, drivers: list[StyledVehicle], seconds: float) -> Iterator[np.ndarray]:
    edges = np.concatenate(
        [
            [lane.position(s, side * lane.width_at(s) / 2) for s in np.linspace(0, lane.length, 33) for side in (-1, 1)]
            for lane in env.road.network.lanes_list()
        ]
    )[:, 1]
    low, high = edges.min() - ROADSIDE, edges.max() + ROADSIDE
    height = min(SIZE[1], 2 * round((high - low) * SCALING / 2))
    camera = Camera(env, (SIZE[0], height), SCALING)
    for _ in range(round(seconds * FPS)):
        x, y = env.vehicle.position
        reach = height / SCALING / 2
        centre = np.array([x, np.clip(y, low + reach, high - reach) if high - low > 2 * reach else (low + high) / 2])
        yield np.vstack((shares(title, drivers), camera.picture(centre)))
        env.road.act()
        env.road.step(1 / SIMULATION_FREQUENCY)


def shares(title: str, drivers: Sequence[StyledVehicle]) -> np.ndarray:
    """A strip (h, w, 3): how many of the `drivers` have each code, by its name if it has one, how many crashed, and the
    ego's colour."""
    strip = np.full((2 * ROW + 24, SIZE[0], 3), BACKGROUND, np.uint8)
    write_text(strip, title, (MARGIN, 32), 0.85, WHITE)
    crashed = sum(driver.crashed for driver in drivers)
    write_text(strip, f"{len(drivers)} trained drivers, {crashed} crashed", (MARGIN, 64), 0.6, DIMMED)
    drawn = Counter(driver.code for driver in drivers)
    numbers, names = type(drivers[0]).labels
    left = SIZE[0] - MARGIN - SHARE * (len(numbers) + 1)
    for code, number in enumerate(numbers):
        at = left + SHARE * code
        write_text(strip, names[code] or f"code {number}", (at, 32), 0.75, colour(code))
        write_text(strip, f"{drawn[code]}  ({100 * drawn[code] / len(drivers):.0f} %)", (at, 64), 0.6, colour(code))
    write_text(strip, "ego: IDM", (SIZE[0] - MARGIN, 32), 0.75, WHITE, right=True)
    strip[-2:] = TRACK
    return strip
