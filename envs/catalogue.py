"""The scenarios by name: nothing else lists them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from infogail.envs.scenarios.scenario import Scenario

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


def get_scenario(name: str, **road: Any) -> Scenario:
    """The scenario called `name`, one of `SCENARIO_NAMES`; a highway with what `road` says of it, a replay with its
    `recording`, a file from `infogail import`; without one it only tells what it observes.

    Raises:
        KeyError: there is no such scenario.
        InvalidDemonstrations: the recording is malformed.
        TypeError: `road` says what the scenario does not know.
    """
    from infogail.envs.scenarios.highway import Highway
    from infogail.envs.scenarios.manners import Manners
    from infogail.envs.scenarios.passing import Pass
    from infogail.envs.scenarios.turning import Turn

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
        from infogail.envs.data.demonstrations import Recording
        from infogail.envs.scenarios.replay import Replay

        return Replay(Recording.load(Path(road["recording"]), name) if road else None)
    if road:
        raise TypeError(f"{name} knows nothing of {', '.join(road)}")
    return {scenario.name: scenario for scenario in scenarios}[name]


def environment_id(name: str) -> str:
    """Gymnasium's id of the scenario `name`: `infogail/Pass-v0` for `pass`, `infogail/TurnLine-v0` for `turn-line`."""
    return f"infogail/{name.title().replace('-', '')}-v0"


def register() -> None:
    """Register every scenario with Gymnasium, in both forms."""
    for name in SCENARIO_NAMES:
        if environment_id(name) not in gymnasium.registry:
            gymnasium.register(
                environment_id(name),
                entry_point="infogail.envs.reference:DrivingEnv",
                vector_entry_point="infogail.envs.twin:DrivingVectorEnv",
                kwargs={"scenario": name},
            )
