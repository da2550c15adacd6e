"""Which code a driver's posterior reads from driving."""

from __future__ import annotations

import numpy as np

from infogail.envs.data.demonstrations import Demonstrations
from infogail.runs.driver import Driver


def read_code(driver: Driver, observations: np.ndarray, actions: np.ndarray) -> int | None:
    """The likeliest code of one trajectory, observations (T, F) and actions (T, 2); None without a posterior."""
    belief = driver.belief(observations, actions)
    return None if belief is None else int(belief[-1].argmax())


def read_codes(driver: Driver, demonstrations: Demonstrations, part: slice = slice(None)) -> np.ndarray | None:
    """(E,): the likeliest code of each episode, or of that `part` of its decisions; None without a posterior."""
    observations, actions, bounds = demonstrations.observations, demonstrations.actions, demonstrations.episode_bounds
    episodes = [slice(*bounds[e : e + 2]) for e in range(demonstrations.num_episodes)]
    codes = [read_code(driver, observations[rows][part], actions[rows][part]) for rows in episodes]
    return None if None in codes else np.array(codes)


def read_step_codes(driver: Driver, observations: np.ndarray, actions: np.ndarray) -> np.ndarray | None:
    """(N,): the code for which each step alone is evidence, observations (N, F), actions (N, 2); None without a
    posterior.

    Without the prior, beside which the evidence of a single step is small: with it, all would be of the commonest code.
    """
    evidence = driver.log_posterior(observations, actions)
    return None if evidence is None else evidence.argmax(-1)
