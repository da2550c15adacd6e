"""The simulator suite: driving scenarios, each on highway-env's own physics and on a batched torch twin of it.

Importing this package registers `infogail/Pass-v0` and `infogail/Turn-v0` with Gymnasium. It stays light: the
simulators themselves (highway-env, torch) are imported when the first environment is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium

if TYPE_CHECKING:
    from envs.scenario import Scenario

SCENARIO_NAMES = ("pass", "turn")


class BadInput(ValueError):
    """What the user gave cannot be used: one line that says what, where, and the remedy."""


def get_scenario(name: str) -> Scenario:
    """The scenario called `name`, one of `SCENARIO_NAMES`.

    Raises:
        KeyError: there is no such scenario.
    """
    from envs.passing import Pass
    from envs.turning import Turn

    scenarios: tuple[Scenario, ...] = (Pass(), Turn())
    return {scenario.name: scenario for scenario in scenarios}[name]


def environment_id(name: str) -> str:
    """Gymnasium's id of the scenario `name`: `infogail/Pass-v0` for `pass`."""
    return f"infogail/{name.capitalize()}-v0"


for _name in SCENARIO_NAMES:
    if environment_id(_name) not in gymnasium.registry:
        gymnasium.register(
            environment_id(_name),
            entry_point="envs.reference:DrivingEnv",
            vector_entry_point="envs.vector:DrivingVectorEnv",
            kwargs={"scenario": _name},
        )
