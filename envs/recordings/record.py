"""Recording scripted drivers in highway-env."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput
from infogail.envs.physics.state import Scene
from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.scenario import Scenario

SOURCE = "scripted experts"


def record(
    scenario: Scenario, episodes: int, seed: int, on_episode: Callable[[], None] = lambda: None
) -> tuple[Recording, int]:
    """Let a scenario's demonstrators drive in highway-env until `episodes` of them have shown their style.

    Returns:
        the recording, and the number of episodes left out because they failed (crash, road exit, manoeuvre not done).

    Raises:
        BadInput: the scenario has no scripted drivers.
    """
    if scenario.recorded:
        remedy = "import recordings of them with 'infogail import'"
        raise BadInput(f"record {scenario.name}: its drivers are people; {remedy}")
    env = DrivingEnv(scenario)
    rng = np.random.default_rng(seed)
    observations: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    states: list[np.ndarray] = []
    styles: list[int] = []
    scenes: list[Scene] = []
    failed = 0
    while len(styles) < episodes:
        obs, _ = env.reset(seed=int(rng.integers(2**31)))
        kinds, mix = len(scenario.styles), scenario.style_mix
        style = int(rng.integers(kinds) if mix is None else rng.choice(kinds, p=mix))
        driver = scenario.demonstrator(env.scene, style, rng)
        episode_obs: list[np.ndarray] = []
        episode_actions: list[np.ndarray] = []
        trajectory, terminated = [env.vehicle_state], False
        while not terminated and len(episode_actions) < scenario.horizon:
            action = driver.act(trajectory[-1]).astype(np.float32)
            episode_obs.append(obs)
            episode_actions.append(action)
            obs, _, terminated, _, _ = env.step(action)
            trajectory.append(env.vehicle_state)
        # Where the judge is fitted to demonstrations, a single one cannot be checked.
        done = bool(scenario.measures) or scenario.style(np.stack(trajectory), env.scene) == style
        if terminated or not done:
            failed += 1
            continue
        observations.append(np.stack(episode_obs))
        actions.append(np.stack(episode_actions))
        states.append(np.stack(trajectory))
        styles.append(style)
        scenes.append(env.scene)
        on_episode()
    env.close()
    return Recording.of(scenario, observations, actions, states, scenes, styles, SOURCE), failed
