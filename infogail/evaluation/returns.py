"""`infogail evaluate` for runs in any Gymnasium environment: returns, lengths, and what the codes change."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from infogail.envs.data.episodes import Episodes
from infogail.envs.environment import NO_STYLE
from infogail.envs.files import versions, write_atomically
from infogail.envs.interface import Interface
from infogail.envs.tasks import GymTask, load_recording
from infogail.evaluation.metrics import occupancy_mmd, styles_of_codes
from infogail.evaluation.protocol import EVALUATION, training_cost
from infogail.learning.rollout import style_nmi
from infogail.runs.driver import Driver, load
from infogail.runs.folder import DEMONSTRATIONS

SUCCESS = ("is_success", "success")
"""Entries of `info` by which environments tell whether an episode succeeded, if they do."""


@dataclass(frozen=True)
class Trajectory:
    """An episode of T steps."""

    observations: np.ndarray
    """(T + 1, F) as the environment gave them, flattened"""
    actions: np.ndarray
    """(T, …) as the environment took them"""
    rewards: np.ndarray
    """(T,)"""
    terminated: bool
    success: bool | None
    """None if the environment does not tell."""
    pairs: np.ndarray
    """(T, F + A): observations and actions as the driver saw them"""
    belief: np.ndarray | None
    """(T + 1, K), see `Driver.belief`"""


StyleOf = Callable[[Trajectory], Any]
"""A trajectory's style: a label (int, str or bool), or how much of it there is (float)."""


def evaluate_returns(
    run: Path,
    episodes: int = 200,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
    style: StyleOf | None = None,
) -> dict[str, Any]:
    """Drive the mean or likeliest action for `episodes` episodes, and write the run's `metrics.json`.

    Episode e has code e modulo K, and all codes start from the same resets.

    Args:
        style: judges a trajectory.

    Returns:
        plain numbers, None where undefined: `return_*` and `length_mean`; `return_ratio` to the demonstrations' mean;
        by code, a list each: `return_by_code`, `length_by_code`; `terminated_rate`; `success_rate` if the environment
        tells; `posterior_accuracy`: how often the posterior reads an episode's code back; `code_distance`: the smallest
        squared MMD between two codes' (s, a) pairs, and `code_distance_floor`: the largest between two halves of one
        code's. `style_nmi`: of codes and `style`'s labels, with `code_names`, see
        `protocol.code_names`, or `style_by_code` and `style_explained` of its numbers:
        each code's mean, and the share of their variance that lies between codes. `demonstrations_style_nmi`: of the
        codes that the posterior reads from the demonstrations and the styles in their file.

    Raises:
        InvalidRun: the folder is not a run.
        InvalidDemonstrations: its copy of the demonstrations is damaged.
    """
    driver = load(run)
    task = driver.task
    assert isinstance(task, GymTask)
    recording = load_recording(run / DEMONSTRATIONS, task)
    assert isinstance(recording, Episodes)
    num_codes = driver.num_codes if driver.evidence is not None else 1
    seeds = np.random.SeedSequence([seed, EVALUATION]).generate_state(-(-episodes // num_codes))
    env, driven = task.make(), []
    for episode in range(episodes):
        code = driver.codes[episode % num_codes]
        driven.append(drive(driver, env, task.interface, code, int(seeds[episode // num_codes])))
        progress(1)
    env.close()
    codes = np.arange(episodes) % num_codes
    returns, lengths = np.array([d.rewards.sum() for d in driven]), np.array([len(d.rewards) for d in driven])
    expert, successes = float(recording.returns.mean()), [d.success for d in driven]
    beliefs = [d.belief for d in driven]
    result = {
        "scenario": task.name,
        "algorithm": driver.algorithm,
        "num_codes": num_codes,
        "training_seed": driver.seed,
        "seed": seed,
        "episodes": episodes,
        "return_mean": float(returns.mean()),
        "return_std": float(returns.std()),
        "return_min": float(returns.min()),
        "demonstrated_return_mean": expert,
        "return_ratio": float(returns.mean()) / expert if expert else None,
        "length_mean": float(lengths.mean()),
        "terminated_rate": float(np.mean([d.terminated for d in driven])),
        "success_rate": None if None in successes else float(np.mean([bool(each) for each in successes])),
        "return_by_code": [float(returns[codes == code].mean()) for code in range(num_codes)],
        "length_by_code": [float(lengths[codes == code].mean()) for code in range(num_codes)],
        "posterior_accuracy": _accuracy(beliefs, codes),
        **_code_distances([[d.pairs for d in driven[code::num_codes]] for code in range(num_codes)]),
        **({} if style is None else _styles(codes, [style(each) for each in driven], num_codes)),
        "demonstrations_style_nmi": _demonstrations_nmi(driver, recording),
        **training_cost(run),
        "versions": versions(),
    }
    write_atomically(run / "metrics.json", (json.dumps(result, indent=2, allow_nan=False) + "\n").encode())
    return result


def drive(
    driver: Driver,
    env: gymnasium.Env[Any, Any],
    interface: Interface,
    code: float,
    seed: int,
    watch: Callable[[], None] = lambda: None,
) -> Trajectory:
    """One episode from `env.reset(seed=seed)`; `watch` is called at its start and after each step."""
    observation, info = env.reset(seed=seed)
    observations, seen, actions, chosen, rewards, done = [interface.flatten(observation)], [], [], [], [], False
    watch()
    while not done:
        seen.append(interface.observation(observation))
        chosen.append(driver.act(seen[-1], code))
        actions.append(interface.decode(chosen[-1][None])[0])
        observation, reward, terminated, truncated, info = env.step(actions[-1])
        observations.append(interface.flatten(observation))
        rewards.append(float(reward))
        done = terminated or truncated
        watch()
    success = next((bool(info[key]) for key in SUCCESS if key in info), None)
    states, choices = np.stack(seen), np.stack(chosen)
    pairs, belief = np.concatenate((states, choices), 1), driver.belief(states, choices)
    arrays = np.stack(observations), np.stack(actions), np.array(rewards)
    return Trajectory(*arrays, bool(terminated), success, pairs, belief)


def _accuracy(beliefs: list[np.ndarray | None], codes: np.ndarray) -> float | None:
    """How often the last of the beliefs (T + 1, K) favours the episode's code (E,)."""
    read = [belief[-1].argmax() for belief in beliefs if belief is not None]
    return float(np.mean(read == codes)) if read else None


def _styles(codes: np.ndarray, judged: list[Any], num_codes: int) -> dict[str, Any]:
    """What the codes (E,) have to do with the labels or numbers (E,) of a style function."""
    if not all(isinstance(each, float | np.floating) for each in judged):
        labels, styles = np.unique([str(each) for each in judged], return_inverse=True)
        found = styles_of_codes(codes, styles, num_codes) if num_codes > 1 else [NO_STYLE]
        names = [None if style == NO_STYLE else str(labels[style]) for style in found]
        return {"style_nmi": style_nmi(codes, styles), "code_names": names}
    numbers = np.array(judged, np.float64)
    means = np.array([numbers[codes == code].mean() for code in np.unique(codes)])
    between, total = np.square(means[codes] - numbers.mean()).sum(), np.square(numbers - numbers.mean()).sum()
    return {"style_by_code": means.tolist(), "style_explained": float(between / total) if total else None}


def _demonstrations_nmi(driver: Driver, recording: Episodes) -> float | None:
    """NMI of the codes read from the demonstrations and their known styles; None if there are none or no codes."""
    known = np.flatnonzero(recording.styles >= 0)
    if driver.evidence is None or not len(known):
        return None
    demonstrations, read = recording.demonstrations, []
    for e in known:
        one = demonstrations.episodes(slice(e, e + 1))
        belief = driver.belief(one.observations, one.actions)
        assert belief is not None
        read.append(int(belief[-1].argmax()))
    return style_nmi(np.array(read), recording.styles[known])


def _code_distances(by_code: list[list[np.ndarray]]) -> dict[str, float | None]:
    """How far apart the codes' occupancies are, for each code's episodes of pairs (T, F + A)."""
    if len(by_code) < 2 or min(len(episodes) for episodes in by_code) < 2:
        return {"code_distance": None, "code_distance_floor": None}
    whole = [np.concatenate(episodes) for episodes in by_code]
    halves = [(np.concatenate(episodes[::2]), np.concatenate(episodes[1::2])) for episodes in by_code]
    between, within = ([occupancy_mmd(a, b) for a, b in pairs] for pairs in (combinations(whole, 2), halves))
    return {
        "code_distance": min((d for d in between if d is not None), default=None),
        "code_distance_floor": max((d for d in within if d is not None), default=None),
    }
