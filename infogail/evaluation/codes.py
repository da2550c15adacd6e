"""The codes that a driver's posterior infers from trajectories."""

from __future__ import annotations

import numpy as np

from infogail.envs.data.demonstrations import Demonstrations
from infogail.runs.driver import Driver


def read_code(driver: Driver, observations: np.ndarray, actions: np.ndarray) -> int | None:
    """The most likely code of a trajectory of observations (T, F) and actions (T, 2); None without a posterior."""
    belief = driver.belief(observations, actions)
    return None if belief is None else int(belief[-1].argmax())


def read_codes(driver: Driver, demonstrations: Demonstrations, part: slice = slice(None)) -> np.ndarray | None:
    """(E,): the most likely code of each episode, or of `part` of its decisions; None without a posterior."""
    observations, actions, bounds = demonstrations.observations, demonstrations.actions, demonstrations.episode_bounds
    episodes = [slice(*bounds[e : e + 2]) for e in range(demonstrations.num_episodes)]
    codes = [read_code(driver, observations[rows][part], actions[rows][part]) for rows in episodes]
    return None if None in codes else np.array(codes)


def read_step_codes(driver: Driver, observations: np.ndarray, actions: np.ndarray) -> np.ndarray | None:
    """(N,): the code with the most evidence in each single step, for observations (N, F) and actions (N, 2); None
    without a posterior.

    The prior is left out: it outweighs the evidence of a single step, so every step would get the commonest code.
    """
    evidence = driver.log_posterior(observations, actions)
    return None if evidence is None else evidence.argmax(-1)
