"""Validate highway-env's own settings: those that a scenario does not support are rejected by name."""

from __future__ import annotations

from difflib import get_close_matches
from inspect import signature
from numbers import Real
from typing import Any

import numpy as np
from highway_env.envs.common.abstract import AbstractEnv
from highway_env.envs.common.action import ContinuousAction, DiscreteAction, DiscreteMetaAction
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.catalogue import environment_id
from infogail.envs.errors import BadInput
from infogail.envs.scenarios.scenario import EPISODE_STEPS, Scenario

ACTION_TYPES = {kind.__name__: kind for kind in (ContinuousAction, DiscreteAction, DiscreteMetaAction)}
OBSERVATION_TYPES = (
    "Kinematics",
    "OccupancyGrid",
    "TimeToCollision",
    "GrayscaleObservation",
    "AttributesObservation",
    "LidarObservation",
    "TupleObservation",
)
"""highway-env's observation types that need neither an exit, nor a goal, nor several egos."""
REMEDIES = {
    "lanes_count": "a highway takes lanes=… instead",
    "vehicles_count": "a highway takes vehicles=… instead",
    "vehicles_density": "a highway takes density=… instead",
    "duration": f"an episode is {EPISODE_STEPS} decisions; set policy_frequency to change its length",
    "other_vehicles_type": "the scenario determines the other drivers; highway-env's own environments take it",
}
"""Remedies for settings that only highway-env's own environments take."""


def check_settings(
    scenario: Scenario, config: dict[str, Any], defaults: dict[str, Any], current: dict[str, Any]
) -> None:
    """Check that each of highway-env's settings in `config` is supported; `complete_action` checks those in `action`.

    Args:
        defaults: the scenario's default settings.
        current: all settings before `config` changes them.

    Raises:
        BadInput: a setting is unknown or unsupported; names it.
    """
    name, known = environment_id(scenario.name), AbstractEnv.default_config().keys() - {"other_vehicles_type"}
    for key, value in config.items():
        if key not in known:
            raise BadInput(f"config['{key}']: not a setting of {name}; {REMEDIES.get(key) or _suggest(key, known)}")
        if key in scenario.fixed_settings and value != defaults[key]:
            raise BadInput(f"config['{key}']: always {defaults[key]} in {name}, not {value}")
        if key in ("action", "observation") and not isinstance(value, dict):
            raise BadInput(f"config['{key}']: must be a dict, not {value!r}")
    rates: dict[str, Any] = {key: config.get(key, current[key]) for key in ("simulation_frequency", "policy_frequency")}
    for key, rate in rates.items():
        if not isinstance(rate, Real) or not 0 < float(rate) < np.inf:
            raise BadInput(f"config['{key}']: must be a positive number per second, not {rate!r}")
    physics, decisions = rates.values()
    if physics % decisions:
        raise BadInput(
            f"config['policy_frequency']: {decisions} does not divide simulation_frequency, {physics}; "
            "each decision takes a whole number of physics steps"
        )


def complete_action(scenario: Scenario, action: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The setting `action`, completed from `defaults` with the settings that its type takes.

    Raises:
        BadInput: a setting in it is unknown or unsupported; names it.
    """
    kind = ACTION_TYPES.get(action.get("type", defaults["type"]))
    if kind is None:
        raise BadInput(f"config['action']['type']: must be one of {', '.join(ACTION_TYPES)}, not {action['type']!r}")
    known = {"type", *signature(kind).parameters} - {"env", "kwargs"}
    for key, value in action.items():
        if key not in known:
            raise BadInput(f"config['action']['{key}']: not a setting of {kind.__name__}; {_suggest(key, known)}")
        if key.endswith("_range") and not (np.shape(value) == (2,) and -np.inf < value[0] < value[1] < np.inf):
            raise BadInput(f"config['action']['{key}']: must be two ascending numbers, not {value!r}")
    action = {key: value for key, value in defaults.items() if key in known} | action
    try:
        made = kind(None, **action)
    except (TypeError, ValueError) as error:
        raise BadInput(f"config['action']: {error}") from error
    if "vehicle_class" in scenario.fixed_settings and made.vehicle_class is not Vehicle:
        raise BadInput(
            f"config['action']: {kind.__name__}{' with dynamical=True' if 'dynamical' in action else ''} cannot drive "
            f"the cars of {environment_id(scenario.name)}, which keep their recorded sizes; use plain ContinuousAction"
        )
    return action


def check_observation(observation: dict[str, Any], action: dict[str, Any]) -> None:
    """Check that the setting `observation` is supported and compatible with the setting `action`.

    Raises:
        BadInput: it is not.
    """
    kind = observation.get("type")
    if kind not in OBSERVATION_TYPES:
        raise BadInput(f"config['observation']['type']: must be one of {', '.join(OBSERVATION_TYPES)}, not {kind!r}")
    if kind == "TimeToCollision" and action["type"] != "DiscreteMetaAction":
        raise BadInput(f"config['observation']: {kind} requires DiscreteMetaAction, not {action['type']}")
    for part in observation.get("observation_configs", ()):
        check_observation(part, action)


def _suggest(key: str, known: set[str]) -> str:
    close = get_close_matches(key, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"its settings are {', '.join(sorted(known))}"
