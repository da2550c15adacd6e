"""The simulator suite: driving scenarios, each on highway-env's own physics and on a batched torch twin of it.

Importing this package registers `infogail/Pass-v0`, `infogail/Turn-v0` and their variants with Gymnasium. It stays
light: the simulators themselves (highway-env, torch) are imported when the first environment is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from envs.scenario import Scenario

SCENARIO_NAMES = (
    "pass",
    "turn",
    "pass-pace",
    "pass-follow",
    "pass-unbalanced",
    "turn-line",
    "highway",
    "highway-manners",
    "replay",
)
BASIC_SCENARIOS = SCENARIO_NAMES[:2]


class BadInput(ValueError):
    """What the user gave cannot be used: one line that says what, where, and the remedy."""


def get_scenario(name: str, **road: Any) -> Scenario:
    """The scenario called `name`, one of `SCENARIO_NAMES`; a highway with what `road` says of it, a replay with its
    `recording`, a file from `infogail import`; without one it only tells what it observes.

    Raises:
        KeyError: there is no such scenario.
        InvalidDemonstrations: the recording is malformed.
        TypeError: `road` says what the scenario does not know.
    """
    from envs.highway import Highway
    from envs.manners import Manners
    from envs.passing import Pass
    from envs.turning import Turn

    sides = ("left", "right")
    scenarios: tuple[Scenario, ...] = (
        Pass(),
        Turn(),
        Pass("pass-pace", tuple(f"{side} {pace}" for pace in ("brisk", "calm") for side in sides)),
        Pass("pass-follow", (*sides, "behind")),
        Pass("pass-unbalanced", style_mix=(0.8, 0.2)),
        Turn("turn-line", graded=True),
    )
    if name == "highway":
        return Highway(**road)
    if name == "highway-manners":
        return Manners(**road)
    if name == "replay" and set(road) <= {"recording"}:
        from envs.demonstrations import Recording
        from envs.replay import Replay

        return Replay(Recording.load(Path(road["recording"]), name) if road else None)
    if road:
        raise TypeError(f"{name} knows nothing of {', '.join(road)}")
    return {scenario.name: scenario for scenario in scenarios}[name]


def environment_id(name: str) -> str:
    """Gymnasium's id of the scenario `name`: `infogail/Pass-v0` for `pass`, `infogail/TurnLine-v0` for `turn-line`."""
    return f"infogail/{name.title().replace('-', '')}-v0"


for _name in SCENARIO_NAMES:
    if environment_id(_name) not in gymnasium.registry:
        gymnasium.register(
            environment_id(_name),
            entry_point="envs.reference:DrivingEnv",
            vector_entry_point="envs.vector:DrivingVectorEnv",
            kwargs={"scenario": _name},
        )
