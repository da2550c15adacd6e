"""The scenarios by name. To add one, write a class in a file of its own and add a row here."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import gymnasium

from infogail.envs.errors import BadInput

if TYPE_CHECKING:
    from infogail.envs.scenarios.scenario import Scenario

ROOM = "infogail.envs.scenarios"
SCENARIOS = {
    "pass": f"{ROOM}.passing:Pass",
    "turn": f"{ROOM}.turning:Turn",
    "pass-pace": f"{ROOM}.passing:pass_pace",
    "pass-follow": f"{ROOM}.passing:pass_follow",
    "pass-unbalanced": f"{ROOM}.passing:pass_unbalanced",
    "turn-line": f"{ROOM}.turning:turn_line",
    "highway": f"{ROOM}.highway:Highway",
    "highway-manners": f"{ROOM}.manners:Manners",
    "replay": f"{ROOM}.replay:Replay",
    "follow": f"{ROOM}.following:Follow",
}
"""Name → `module:Class` (or function) that makes it; as strings, since the simulators take seconds to import."""
SCENARIO_NAMES = tuple(SCENARIOS)
BASIC_SCENARIOS = SCENARIO_NAMES[:2]

imported_here: list[str] = []
"""The user's modules that `import_here` has imported, for processes that must import them, too."""


def get_scenario(name: str, **settings: Any) -> Scenario:
    """The scenario called `name`: one of `SCENARIOS`, or `module:Class` of an importable module.

    Args:
        settings: the scenario's own, such as `lanes` of a highway or the `recording` of a replay.

    Raises:
        BadInput: there is no such scenario, or no such module.
        TypeError: the scenario does not accept one of `settings`.
    """
    module, separator, attribute = check_scenario(name).partition(":")
    if not separator:
        module, _, attribute = SCENARIOS[name].partition(":")
        return getattr(importlib.import_module(module), attribute)(**settings)
    imported = import_here(module, f"scenario '{name}'")
    if not hasattr(imported, attribute):
        raise BadInput(f"scenario '{name}': {module} has no '{attribute}'; name its class after the colon")
    make = getattr(imported, attribute)
    from infogail.envs.scenarios.scenario import Scenario

    missing = sorted(getattr(make, "__abstractmethods__", ()))
    if not missing:
        scenario = make(**settings)
        if not isinstance(scenario, Scenario):
            raise BadInput(f"scenario '{name}': '{attribute}' does not make a Scenario; name a subclass of it")
        missing = [field for field in Scenario.__annotations__ if not hasattr(scenario, field)]
    if missing:
        raise BadInput(f"scenario '{name}': {attribute} lacks {', '.join(missing)}; define what Scenario requires")
    scenario.name = name
    return scenario


def import_here(module: str, named: str) -> ModuleType:
    """Import a module of the user's, also from the current folder.

    Args:
        named: where its name was given, for the error.

    Raises:
        BadInput: there is no such module.
    """
    if (folder := os.getcwd()) not in sys.path:
        sys.path.append(folder)  # for scripts, it holds the script's folder, not the current one
    try:
        imported = importlib.import_module(module)
    except (ImportError, ValueError) as error:
        raise BadInput(f"{named}: {error}; run in the folder of {module}.py, or install it") from error
    imported_here.append(module)
    return imported


def check_scenario(name: str) -> str:
    """Return `name` if it is one of `SCENARIOS` or has the form `module:Class`.

    Raises:
        BadInput: it is neither; suggests the closest match.
    """
    if name in SCENARIOS or (all(part.isidentifier() for part in name.replace(":", ".", 1).split(".")) and ":" in name):
        return name
    near = difflib.get_close_matches(name.lower(), SCENARIO_NAMES, 1, 0.3)
    names = f"{', '.join(SCENARIO_NAMES[:-1])} and {SCENARIO_NAMES[-1]}"
    others = f"give module:Class, an environment's id such as CartPole-v1, or one of {names}"
    remedy = f"did you mean '{near[0]}'?" if near else others
    raise BadInput(f"unknown scenario '{name}'; {remedy}")


def is_environment(name: str) -> bool:
    """Whether `name` is an environment's id in Gymnasium's form, such as CartPole-v1.

    Its `module:` is not accepted: opening a run must not import a module that the run names.
    """
    return re.fullmatch(r"[\w./-]+-v\d+", name) is not None


def environment_id(name: str) -> str:
    """Gymnasium's id of the scenario `name`: `infogail/Pass-v0` for `pass`, `infogail/TurnLine-v0` for `turn-line`."""
    return f"infogail/{name.title().replace('-', '')}-v0"


def register() -> None:
    """Register every scenario with Gymnasium, for `make` and `make_vec`, and three simpler environments for `make`."""
    points = (("MoveToBeacon", "move_to_beacon", 100), ("Circles", "circles", 64), ("PointOnMap", "point_on_map", 48))
    for name, module, horizon in points:
        if f"infogail/{name}-v0" not in gymnasium.registry:
            entry_point = f"infogail.envs.{module}:{name}"
            gymnasium.register(f"infogail/{name}-v0", entry_point=entry_point, max_episode_steps=horizon)
    for name in SCENARIOS:
        if environment_id(name) not in gymnasium.registry:
            gymnasium.register(
                environment_id(name),
                entry_point="infogail.envs.reference:DrivingEnv",
                vector_entry_point="infogail.envs.twin:DrivingVectorEnv",
                kwargs={"scenario": name},
            )
