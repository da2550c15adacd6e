"""What style a trajectory has: asked of the scenario, of whole episodes and of their beginnings."""

from __future__ import annotations

import numpy as np

from infogail.envs.scenarios.scenario import NO_STYLE, Characters, Scenario, Scene

MIN_DECISIONS = 30  # before which the mean of a measure says too little


def style_of(scenario: Scenario, characters: Characters | None, states: np.ndarray, scene: Scene) -> int:
    """The style of a trajectory (T, V, 4) that did not end in a failure.

    Args:
        characters: of the demonstrations, by which styles are judged where geometry alone cannot.
    """
    return int(scenario.style(states, scene, characters) if scenario.measures else scenario.style(states, scene))


def styles_so_far(scenario: Scenario, characters: Characters | None, states: np.ndarray, scene: Scene) -> list[int]:
    """The style of a trajectory (T, V, 4) until each of its T states."""
    first = MIN_DECISIONS if scenario.measures else 0
    styles = [style_of(scenario, characters, states[: k + 1], scene) for k in range(first, len(states))]
    return [NO_STYLE] * (len(states) - len(styles)) + styles
