"""Trained drivers as traffic: vehicles of mixed styles for any environment of highway-env.

    config = {"other_vehicles_type": population("runs/highway", mix=(0.1, 0.2, 0.3, 0.4))}
    env = gymnasium.make("highway-v0", config=config)

`make_populated` does the same, and raises an error if the environment has no such vehicles.

In training, the drivers never encountered bends and crossing or oncoming traffic, nor, without the preset `company`,
each other, fewer or more than three lanes, ramps and obstacles. They see a road as straight along their own lane, and
steer relative to its bends. They stay within the lanes that are open to lane changes, and treat an obstacle as a
stationary car. They ignore routes, priorities and `enable_lane_change`.

Those who learned among drivers that yield to them collide with each other, unassisted; those trained in company do so
less often. A driver assistant brakes or keeps the lane for them where Responsibility-Sensitive Safety (Shalev-Shwartz,
Shammah and Shashua, arXiv:1708.06374) demands it, or where they are about to leave the road; otherwise it does not
intervene.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import gymnasium
import numpy as np
from highway_env.vehicle.behavior import IDMVehicle

from infogail.envs.errors import BadInput
from infogail.runs.driver import Driver, load, usual_mix
from infogail.traffic.followers import StyledFollower
from infogail.traffic.styled import StyledVehicle

PREFIX = "driven by "


Mix = Sequence[float] | Mapping[str, float]
"""Relative frequency of each code, (K,), or of codes by name; those that are not named do not drive."""


def population(run: str | Path, mix: Mix | None = None, assisted: bool = True) -> str:
    """The class path, for `other_vehicles_type`, of vehicles driven by the policy of `run`.

    It encodes all the arguments, so any process that can read the run can create the class.

    Args:
        run: trained on `highway` or `replay`, or on `follow`, whose drivers keep their lane; `highway-manners` has only
            one lane.
        mix: relative frequency of each code; by default `usual_mix`.
        assisted: whether the assistant is on.

    Raises:
        BadInput: `run` is of none of them, or `mix` does not fit its codes.
    """
    driver = load(run)
    scenario = driver.scenario
    if not scenario.usable_as_traffic:
        raise BadInput(
            f"{run}: trained on {scenario.name}, which has no other drivers in lanes; "
            "give a run of highway, follow or replay"
        )
    shares = usual_mix(run, driver) if mix is None else by_code(driver, mix)
    if shares.shape != (driver.num_codes,) or not (np.isfinite(shares) & (shares >= 0)).all() or not shares.any():
        shown = " ".join(f"{share:g}" for share in np.ravel(shares))
        raise BadInput(f"mix {shown}: give a non-negative share for each of the {driver.num_codes} codes of {run}")
    shown = f"{Path(run).resolve()} {','.join(map(repr, shares.tolist()))} {'assisted' if assisted else 'alone'}"
    name = PREFIX + quote(shown, "/, ", errors="surrogateescape").replace(".", "%2E")
    members = {
        "policy": staticmethod(driver.fast_policy()),
        "scenario": scenario,
        "mix": shares / shares.sum(),
        "labels": driver.labels,
        "assisted": assisted,
        "steering_range": scenario.steering_range,
        "period": 1 / scenario.policy_frequency,
        "__module__": __name__,
    }
    globals()[name] = type(name, (StyledVehicle if scenario.steers else StyledFollower,), members)
    return f"{__name__}.{name}"


def by_code(driver: Driver, mix: Mix) -> np.ndarray:
    """`mix` (K,) as numbers alone.

    Raises:
        BadInput: the `driver` has no code with one of its names.
    """
    if isinstance(mix, Mapping):
        given = {driver.number(name): share for name, share in mix.items()}
        mix = [given.get(code, 0.0) for code in range(driver.num_codes)]
    return np.asarray(mix, dtype=np.float64)


def vehicle_class(path: str) -> type[StyledVehicle]:
    """The class called `path`, as `population` returned it."""
    return getattr(sys.modules[__name__], path.removeprefix(f"{__name__}."))


def make_populated(
    environment: str, path: str, seed: int | None = None, config: Mapping[str, Any] | None = None, **options: Any
) -> gymnasium.Env:
    """Create and reset the environment with the ID `environment`, with traffic from `population`.

    `gymnasium.make` does the same, but gives no warning if an environment ignores `other_vehicles_type`.

    Args:
        path: from `population`.
        seed: for the reset.
        config: further settings of highway-env.
        options: further arguments of `gymnasium.make`, such as `render_mode`.

    Raises:
        BadInput: the environment does not exist, or none of its vehicles is of the class `path`.
    """
    env = make_configured(environment, {"other_vehicles_type": path, **(config or {})}, **options)
    env.reset(seed=seed)
    road = getattr(env.unwrapped, "road", None)
    if not any(isinstance(vehicle, StyledVehicle) for vehicle in getattr(road, "vehicles", ())):
        env.close()
        raise unsupported(environment)
    return env


def make_configured(environment: str, config: Mapping[str, Any], **options: Any) -> gymnasium.Env:
    """Create the environment with the ID `environment` and settings `config` of highway-env.

    Raises:
        BadInput: it does not exist, or has no settings.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the environment may have a newer version
            return gymnasium.make(environment, config=dict(config), **options)
    except gymnasium.error.UnregisteredEnv as error:
        raise BadInput(f"unknown environment '{environment}'; give highway-v0, merge-v0 or the like") from error
    except TypeError as error:
        if "unexpected keyword argument" in str(error):  # lane-keeping-v0 and others take no config or render mode
            raise unsupported(environment) from error
        raise


def make_start(environment: str, seed: int, config: Mapping[str, Any]) -> tuple[gymnasium.Env, list[int]]:
    """The environment with IDM drivers, reset, and the places in its `road.vehicles` of those that can be replaced.

    Starts that differ in nothing but who drives are this one, with other vehicles put in these places.

    Raises:
        BadInput: there is no such environment, or nobody in it can be replaced.
    """
    idm = f"{IDMVehicle.__module__}.{IDMVehicle.__name__}"
    env = make_configured(environment, {**config, "other_vehicles_type": idm}, disable_env_checker=True)
    env.reset(seed=seed)
    vehicles = getattr(getattr(env.unwrapped, "road", None), "vehicles", [])
    places = [k for k, vehicle in enumerate(vehicles) if isinstance(vehicle, IDMVehicle)]
    if not places:
        env.close()
        raise unsupported(environment)
    return env, places


def unsupported(environment: str) -> BadInput:
    """The error that other vehicles of `environment` cannot be replaced."""
    return BadInput(f"{environment} does not support custom vehicle types; give highway-v0, merge-v0 or the like")


def __getattr__(name: str) -> type[StyledVehicle]:
    """Recreate the class called `name`, a name that may come from another process."""
    if not name.startswith(PREFIX):
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    run, shares, how = unquote(name.removeprefix(PREFIX), errors="surrogateescape").rsplit(" ", 2)
    population(run, [float(share) for share in shares.split(",")], how == "assisted")
    return globals()[name]
