"""The style of a trajectory up to each of its states."""

from __future__ import annotations

import numpy as np

from infogail.envs.physics.state import Scene
from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.scenarios.styles import NO_STYLE, StyleJudge

MIN_DECISIONS = 30  # fewer make the mean of a measure uninformative


def styles_so_far(scenario: Scenario, judge: StyleJudge, states: np.ndarray, scene: Scene) -> list[int]:
    """The style of a trajectory (T, V, 4) up to each of its T states."""
    first = MIN_DECISIONS if scenario.measures else 0
    styles = [int(judge(states[: k + 1], scene)) for k in range(first, len(states))]
    return [NO_STYLE] * (len(states) - len(styles)) + styles
