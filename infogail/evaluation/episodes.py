"""Episodes in highway-env, driven by any driver, one by one or in parallel processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from infogail.envs.data.recording import Recording
from infogail.envs.physics.state import Scene
from infogail.envs.physics.streams import Draw
from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.scenarios.styles import NO_STYLE, StyleJudge
from infogail.parallel.workers import workers
from infogail.runs.driver import Driver

UNKNOWN_CODE = -1

Act = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""The action (2,) in [-1, 1] for an observation (F,) and states (V, 4)."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Episode:
    """One episode of T decisions in highway-env; T is smaller than usual if it ended in a crash or road exit."""

    code: int
    """Fixed over the episode; `UNKNOWN_CODE` for a demonstration."""
    observations: np.ndarray
    """(T, F) float32, before each decision"""
    actions: np.ndarray
    """(T, 2) float32 in [-1, 1]"""
    vehicle_states: np.ndarray
    """(T + 1, V, 4) float64: before each decision, and after the last"""
    scene: Scene
    crashed: bool
    off_road: bool
    style: int
    """`NO_STYLE` if it crashed, left the road or did not do the manoeuvre."""

    @property
    def failed(self) -> bool:
        """Whether it ended in a crash or road exit."""
        return self.crashed or self.off_road

    @property
    def failure(self) -> str:
        """How it failed; empty if it did not."""
        return "crashed" if self.crashed else "left the road" if self.off_road else ""


@dataclass(frozen=True)
class Perturbation:
    """How an evaluation departs from the situations that were demonstrated."""

    action_noise: float = 0.0
    """Standard deviation of the noise added to each action, independent in each decision."""
    start_spread: float = 1.0
    """Factor by which the range of every quantity drawn at reset is widened around its middle."""

    @property
    def name(self) -> str:
        """The name as part of a file name, empty without a perturbation."""
        noise = f"-noise-{self.action_noise:g}" if self.action_noise else ""
        return noise + (f"-spread-{self.start_spread:g}" if self.start_spread != 1.0 else "")

    def widened(self, scenario: Scenario) -> Scenario:
        """`scenario` with wider starts; quantities that only take either end of their range stay."""
        wider = copy(scenario)
        wider.draws = {name: self._wider(draw) for name, draw in scenario.draws.items()}
        return wider

    def _wider(self, draw: Draw) -> Draw:
        middle, half = (draw.low + draw.high) / 2, (draw.high - draw.low) / 2 * self.start_spread
        return draw if draw.only_ends else replace(draw, low=middle - half, high=middle + half)

    def noise(self, seed: int | None, size: int = 2) -> Callable[[], np.ndarray]:
        """A source of noise (size,) for the actions of the episode with this seed."""
        rng = np.random.default_rng(seed)
        return lambda: rng.normal(0.0, self.action_noise, size) if self.action_noise else np.zeros(size)


def drive_episode(
    driver: Driver,
    env: DrivingEnv,
    code: int,
    seed: int | None = None,
    scene: Scene | None = None,
    judge: StyleJudge | None = None,
    perturbation: Perturbation | None = None,
) -> Episode:
    """Let `driver` drive one episode with code number `code`, from the scene drawn with `seed`, or from `scene`.

    Args:
        env: the driver's scenario in highway-env.
        judge: the style judge, for styles not determined by geometry alone; see `Scenario.fit_judge`.
        perturbation: its noise is added to the actions; None: none.
    """
    noise = (perturbation or Perturbation()).noise(seed, env.scenario.action_size)

    def act(obs: np.ndarray, states: np.ndarray) -> np.ndarray:
        return (driver.act(obs, driver.codes[code]) + noise()).clip(-1.0, 1.0)

    episode = run_episode(env, act, seed, scene)
    if episode.failed:
        return replace(episode, code=code)
    style = (judge or env.scenario.style)(episode.vehicle_states, episode.scene)
    return replace(episode, code=code, style=int(style))


def run_episode(env: DrivingEnv, act: Act, seed: int | None = None, scene: Scene | None = None) -> Episode:
    """Run one episode with `act`, from the scene drawn with `seed`, or from `scene`; without code and style."""
    obs, info = env.reset(seed=seed, options=None if scene is None else {"scene": scene})
    observations, actions, states = [], [], [env.vehicle_state]
    terminated = truncated = False
    while not (terminated or truncated):
        action = act(obs, states[-1])
        observations.append(obs)
        actions.append(np.asarray(action, np.float32))
        obs, _, terminated, truncated, info = env.step(action)
        states.append(env.vehicle_state)
    return Episode(
        UNKNOWN_CODE,
        np.stack(observations),
        np.stack(actions),
        np.stack(states),
        env.scene,
        info["crashed"],
        info["off_road"],
        NO_STYLE,
    )


def demonstrated_episodes(recording: Recording) -> list[Episode]:
    """The demonstrations as episodes, with the style assigned to each demonstrator, or else by geometry."""
    demonstrations = recording.demonstrations
    episodes = []
    for e, style in enumerate(recording.judged_styles):
        rows = slice(*demonstrations.episode_bounds[e : e + 2])
        observations, actions = demonstrations.observations[rows], demonstrations.actions[rows]
        scene = recording.scene(e)
        states = recording.scenario.complete(recording.trajectory(e), scene)
        episodes.append(Episode(UNKNOWN_CODE, observations, actions, states, scene, False, False, int(style)))
    return episodes


def side_by_side(
    function: Callable[..., Sequence[Result]],
    tasks: Iterable[tuple[Any, ...]],
    processes: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Result]:
    """Call `function` with the arguments in each of `tasks`; returns the concatenated results.

    Args:
        function: must be picklable; runs with one torch thread, since more would compete for cores.
        processes: number of parallel processes; all cores by default. 1 means this process.
        progress: called with the number of results whenever a task is done.
    """
    tasks = list(tasks)
    processes = min(processes or os.cpu_count() or 1, len(tasks))
    results: list[Result] = []
    with workers(processes) if processes > 1 else nullcontext(map) as mapped:
        for part in mapped(partial(_on_one_thread, function), *zip(*tasks, strict=True)) if tasks else ():
            results += part
            progress(len(part))
    return results


def _on_one_thread(function: Callable[..., Sequence[Result]], *arguments: Any) -> Sequence[Result]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(*arguments)
    finally:
        torch.set_num_threads(threads)
