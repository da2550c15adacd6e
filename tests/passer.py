"""A driver by rule, for the scenario pass."""

import numpy as np

from infogail.envs.scenarios.passing import Pass
from infogail.runs.driver import Driver


class Passer:
    """Keeps to a line by feedback; code 0 passes on the left, 1 on the right, and its posterior knows which is which.

    A `reckless` one keeps to the middle and the throttle down, into the lead; a `swerving` one leaves the road.
    """

    scenario, algorithm, num_codes, seed = Pass(), "infogail", 2, 7
    codes, prior, graded, labelled, names, num_distinct = (0, 1), np.array([0.5, 0.5]), False, False, (None, None), 2
    belief = Driver.belief

    def __init__(self, manner: str = "careful") -> None:
        self.manner = manner

    def act(self, obs: np.ndarray, code: int) -> np.ndarray:
        offset, heading, speed, gap = obs[0] * 4, obs[1] * 0.1, obs[2] * 5 + 22, obs[3] * 30
        if self.manner == "reckless":
            return np.array([1.0, 0.0], np.float32)
        if self.manner == "swerving":
            return np.array([0.0, 1.0], np.float32)
        line = (-4.0, 4.0)[code] if -10 < gap < 28 else 0.0
        steering = np.clip(line - offset, -2, 2) * 0.02 - 0.5 * heading
        return np.clip([(27 - speed) / 5, steering / 0.1], -1, 1).astype(np.float32)

    def log_posterior(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
        left = observations[:, 4] * observations[:, 5]  # `lead_beside` · `lead_offset`
        return np.stack([left, -left], axis=1) - np.log(np.exp(left) + np.exp(-left))[:, None]
