"""`infogail evaluate` for runs in any Gymnasium environment: returns, lengths, and what the codes change."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from infogail.envs.data.episodes import Episodes
from infogail.envs.files import versions, write_atomically
from infogail.envs.interface import Interface
from infogail.envs.tasks import GymTask, load_recording
from infogail.evaluation.metrics import occupancy_mmd
from infogail.evaluation.protocol import EVALUATION, training_cost
from infogail.runs.driver import Driver, load
from infogail.runs.folder import DEMONSTRATIONS

SUCCESS = ("is_success", "success")
"""Entries of `info` by which environments tell whether an episode succeeded, if they do."""


def evaluate_returns(
    run: Path, episodes: int = 200, seed: int = 0, progress: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Drive the mean or likeliest action for `episodes` episodes, and write the run's `metrics.json`.

    Episode e has code e modulo K, and all codes start from the same resets.

    Returns:
        plain numbers, None where undefined: `return_*` and `length_mean`; `return_ratio` to the demonstrations' mean;
        by code, a list each: `return_by_code`, `length_by_code`; `terminated_rate`; `success_rate` if the environment
        tells; `posterior_accuracy`: how often the posterior reads an episode's code back; `code_distance`: the smallest
        squared MMD between two codes' (s, a) pairs, and `code_distance_floor`: the largest between two halves of one
        code's.

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
    env = task.make()
    interface, driven = Interface(env, "neither"), []
    for episode in range(episodes):
        code = episode % num_codes
        driven.append(drive_episode(driver, env, interface, driver.codes[code], int(seeds[episode // num_codes])))
        progress(1)
    env.close()
    codes = np.arange(episodes) % num_codes
    returns, lengths, ends, successes = (np.array([e[name] for e in driven]) for name in OUTCOMES)
    expert = float(recording.returns.mean())
    by_code = [[e["pairs"] for e in driven[code::num_codes]] for code in range(num_codes)]
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
        "terminated_rate": float(ends.mean()),
        "success_rate": None if None in successes else float(successes.mean()),
        "return_by_code": [float(returns[codes == code].mean()) for code in range(num_codes)],
        "length_by_code": [float(lengths[codes == code].mean()) for code in range(num_codes)],
        "posterior_accuracy": None if driver.evidence is None else float(np.mean([e["read"] for e in driven])),
        **_code_distances(by_code),
        **training_cost(run),
        "versions": versions(),
    }
    write_atomically(run / "metrics.json", (json.dumps(result, indent=2, allow_nan=False) + "\n").encode())
    return result


OUTCOMES = ("return", "length", "terminated", "success")


def drive_episode(driver: Driver, env: Any, interface: Interface, code: float, seed: int) -> dict[str, Any]:
    """One episode from `env.reset(seed=seed)`: `OUTCOMES`, `pairs` (T, F + A), and whether the code was read back."""
    observation, info = env.reset(seed=seed)
    observations, actions, total, done = [], [], 0.0, False
    while not done:
        observations.append(interface.observation(observation))
        actions.append(driver.act(observations[-1], code))
        observation, reward, terminated, truncated, info = env.step(interface.decode(actions[-1][None])[0])
        total, done = total + float(reward), terminated or truncated
    success = next((bool(info[key]) for key in SUCCESS if key in info), None)
    states, acts = np.stack(observations), np.stack(actions)
    belief = driver.belief(states, acts)
    read = None if belief is None else driver.codes[int(belief[-1].argmax())] == code
    outcome = dict(zip(OUTCOMES, (total, len(acts), terminated, success), strict=True))
    return outcome | {"pairs": np.concatenate((states, acts), 1), "read": read}


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
