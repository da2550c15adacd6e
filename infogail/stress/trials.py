"""Trials of a planner: one episode each, in one kind of traffic, from a start that is the same in every kind."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from highway_env.envs.common.observation import KinematicObservation
from highway_env.vehicle import behavior
from highway_env.vehicle.controller import ControlledVehicle
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.errors import BadInput, one_line
from infogail.envs.gym_environment import Policy
from infogail.envs.policies import load_policy
from infogail.runs.driver import load, usual_mix
from infogail.stress import trace as measures
from infogail.stress.trace import Trace, Witness
from infogail.traffic.population import Mix, by_code, make_start, population, vehicle_class
from infogail.traffic.styled import drawn_codes

IDM = "idm"
"""The kind of traffic that others are compared with: highway-env's own."""
MIX = "mix"
DRIVERS = {
    "idm": behavior.IDMVehicle,
    "aggressive": behavior.AggressiveVehicle,
    "defensive": behavior.DefensiveVehicle,
    "linear": behavior.LinearVehicle,
}
"""highway-env's own drivers, as planners, by name."""
SECONDS = 40.0
"""Of an episode that its environment never ends."""


@dataclass(frozen=True)
class Setting:
    """What all trials have in common."""

    environment: str
    """ID of a highway-env environment."""
    config: Mapping[str, Any]
    """Further settings of it."""
    seconds: float | None
    """Longest episode; None for that of the environment, or `SECONDS`."""


@dataclass(frozen=True)
class Traffic:
    """A kind of traffic."""

    name: str
    mix: tuple[float, ...] | None
    """Relative frequency of each code of the run that drives; None for IDM."""


@dataclass(frozen=True)
class Trial:
    """The outcome of one episode."""

    traffic: str
    seed: int
    seconds: float
    """How long it lasted."""
    error: str
    """What the planner raised, or what is wrong with its action, which ended the episode; else empty."""
    crashed: bool
    at_fault: bool
    """Whether the planner is to blame for the crash, see `trace`."""
    off_road: bool
    """Whether it was ever beside the road."""
    min_ttc: float
    """Smallest time to collision [s], see `trace.time_to_collision`."""
    hard_brake: bool
    others_hard_brake: bool
    """Whether a car behind it in its lane braked hard."""
    mean_speed: float
    """[m/s]"""
    progress: float
    """Distance driven [m]."""
    lane_changes: int
    slowest_decision: float
    """[s] of computing; differs from run to run, as nothing else here does"""

    @property
    def failed(self) -> bool:
        """Whether it crashed, or the planner raised an error."""
        return self.crashed or bool(self.error)


def kinds_of_traffic(run: Path, mixes: Sequence[Mix]) -> list[Traffic]:
    """IDM, each code by itself, the codes as frequent as in the demonstrations, and further `mixes`."""
    driver = load(run)
    codes = np.eye(driver.num_codes)
    alone = [Traffic(f"code_{k}", tuple(row)) for k, row in enumerate(codes.tolist())]
    given = [Traffic(f"{MIX}_{k}", tuple(by_code(driver, mix).tolist())) for k, mix in enumerate(mixes, 1)]
    return [Traffic(IDM, None), *alone, Traffic(MIX, tuple(usual_mix(run, driver).tolist())), *given]


def make_environment(
    setting: Setting, traffic: Traffic, run: Path, seed: int, codes: Sequence[int] | None = None
) -> gymnasium.Env[Any, Any]:
    """The environment, reset, with this traffic. Starts with the same seed differ in nothing but who drives.

    They are those of IDM's traffic, in which each car is then replaced by one in the same place at the same speed.

    Args:
        codes: of the cars at the start, instead of drawing them from the mix.

    Raises:
        BadInput: there is no such environment, or it has no other vehicles that can be replaced.
    """
    config = dict(setting.config)
    observation = config.get("observation", {})
    if "observation_shape" in observation:  # highway-env wants a tuple, which JSON does not have
        config["observation"] = {**observation, "observation_shape": tuple(observation["observation_shape"])}
    env, others = make_start(setting.environment, seed, config)
    if traffic.mix is None:
        return env
    base: Any = env.unwrapped
    vehicles, path = base.road.vehicles, population(run, traffic.mix)
    kind = vehicle_class(path)
    base.config["other_vehicles_type"] = path  # of cars that come later
    drawn = np.random.default_rng((seed, 1)).uniform(size=len(others))  # other numbers than those of the start
    for k, code in zip(others, drawn_codes(kind.mix, drawn) if codes is None else codes, strict=True):
        old = vehicles[k]
        vehicles[k] = kind(old.road, old.position, old.heading, old.speed, route=old.route, code=int(code))
        vehicles[k].crashed = old.crashed
    return env


def run_trial(
    setting: Setting,
    traffic: Traffic,
    seed: int,
    planner: str | Path,
    run: Path,
    fewer: Sequence[int] = (),
    codes: Sequence[int] | None = None,
) -> Trial:
    """Drive one episode; see `drive`."""
    return drive(setting, traffic, seed, planner, run, fewer, codes)[0]


def drive(
    setting: Setting,
    traffic: Traffic,
    seed: int,
    planner: str | Path,
    run: Path,
    fewer: Sequence[int] = (),
    codes: Sequence[int] | None = None,
) -> tuple[Trial, Trace, Any]:
    """Drive one episode; returns its outcome, what happened, and the road network.

    Args:
        planner: one of `DRIVERS`, the folder of a run, or a policy as of `load_policy`.
        run: whose drivers are the traffic.
        fewer: numbers of vehicles at the start to leave out; the planner's is 0.
        codes: of the cars at the start, instead of drawing them from the mix.
    """
    env = make_environment(setting, traffic, run, seed, codes)
    base: Any = env.unwrapped
    remove(base, fewer)
    policy = take_control(env, planner)
    witness = Witness(base)
    limit = base.config.get("duration", SECONDS) if setting.seconds is None else setting.seconds
    error, slowest, ended = "", 0.0, False
    observation = base.observation_type.observe()
    while not ended and base.time < limit:
        start = time.perf_counter()
        try:
            action = None if policy is None else checked(policy(observation), env.action_space)
        except Exception as problem:  # whatever a planner under test raises
            error = f"{type(problem).__name__}: {one_line(problem)}"
            break
        slowest = max(slowest, time.perf_counter() - start)
        observation, _, terminated, truncated, _ = env.step(action)
        ended = terminated or truncated
    trace, network = witness.trace(), base.road.network
    env.close()
    return outcome(trace, traffic.name, seed, error, slowest), trace, network


def outcome(trace: Trace, traffic: str, seed: int, error: str, slowest: float) -> Trial:
    """What a trace amounts to."""
    end = measures.until(trace)
    driven = trace.states[: end + 1, 0]
    hard_brake, others_hard_brake = measures.brakes_hard(trace)
    return Trial(
        traffic=traffic,
        seed=seed,
        seconds=end * trace.dt,
        error=error,
        crashed=bool(trace.crashed[end, 0]),
        at_fault=measures.at_fault(trace),
        off_road=bool(trace.off_road[: end + 1].any()),
        min_ttc=float(measures.time_to_collision(trace)[: end + 1].min()),
        hard_brake=hard_brake,
        others_hard_brake=others_hard_brake,
        mean_speed=float(driven[:, 3].mean()),
        progress=float(np.linalg.norm(np.diff(driven[:, :2], axis=0), axis=1).sum()),
        lane_changes=measures.lane_changes(trace),
        slowest_decision=slowest,
    )


def remove(env: Any, numbers: Sequence[int]) -> None:
    """Take these vehicles off the road, numbered as they come, the planner's being 0."""
    others = [vehicle for vehicle in env.road.vehicles if vehicle is not env.vehicle]
    gone = {id(others[number - 1]) for number in numbers}
    env.road.vehicles = [vehicle for vehicle in env.road.vehicles if id(vehicle) not in gone]


def take_control(env: gymnasium.Env[Any, Any], planner: str | Path) -> Policy | None:
    """The planner's policy, in an environment that was just reset.

    None, of highway-env's drivers and of runs: they take the place of the vehicle, and need no action.

    Raises:
        BadInput: there is no such planner, or it does not fit the environment.
    """
    base: Any = env.unwrapped
    if isinstance(planner, str) and planner in DRIVERS:
        kind: Any = DRIVERS[planner]
    elif Path(planner).is_dir():
        kind = vehicle_class(population(planner))
    else:
        return load_policy(str(planner), env, "planner")
    vehicle = base.vehicle
    if not isinstance(vehicle, ControlledVehicle):
        vehicle = ControlledVehicle(vehicle.road, vehicle.position, vehicle.heading, vehicle.speed)
    replace_planner(base, kind.create_from(vehicle))
    # Observations and rewards are of no use then, and some environments' fail with such a vehicle.
    base.observation_type = KinematicObservation(base)
    base._reward, base._rewards = lambda action: 0.0, lambda action: {}
    return None


def replace_planner(env: Any, vehicle: Vehicle) -> None:
    """Put `vehicle` in the place of the one that the environment controls."""
    env.road.vehicles[env.road.vehicles.index(env.vehicle)] = env.vehicle = vehicle


def checked(action: Any, space: spaces.Space[Any]) -> Any:
    """`action`, if it is one of `space`.

    Raises:
        ValueError: it is not.
    """
    array, shown = np.asarray(action), " ".join(str(action).split())
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"the action is {shown}, not finite")
    if isinstance(space, spaces.Box):
        if array.dtype.kind not in "fiu" or array.shape != space.shape:
            raise ValueError(f"the action is {shown}, not numbers of the shape {space.shape}")
        return array.astype(space.dtype).clip(space.low, space.high)
    number = array.reshape(()) if array.size == 1 else array
    if number.dtype.kind not in "iu" or not space.contains(number.astype(np.int64)[()]):
        raise ValueError(f"the action is {shown}, not one of {space}")
    return number.astype(np.int64)[()]


def check(planner: str | Path, setting: Setting, run: Path, kinds: Sequence[Traffic]) -> None:
    """Raise BadInput if the environment, one of these kinds of traffic, or the planner there, cannot be had."""
    for traffic in kinds:
        population(run, traffic.mix)
    traffic = kinds_of_traffic(run, ())[1]
    try:
        env = make_environment(setting, traffic, run, 0)
    except BadInput:
        raise
    except Exception as error:  # whatever highway-env raises of settings that it does not understand
        if not setting.config:
            raise
        problem = f"{setting.environment} cannot be made with these settings ({one_line(error)})"
        raise BadInput(f"{problem}; correct --config") from error
    take_control(env, planner)
    env.close()
