"""Behavioural cloning (Pomerleau 1989): supervised learning of a Gaussian policy without codes.

If half of the demonstrations pass on the left and half on the right, the most likely mean is in between: into the lead.
"""

from __future__ import annotations

from typing import Any

import torch

from infogail.config.config import Config
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.environment import Environment
from infogail.learning.cloning import clone_step
from infogail.learning.networks import Policy, adam, seeded


class BC:
    """Maximise the likelihood of the demonstrations. Uses neither the environment nor codes."""

    posterior = None
    STEPS_PER_ITERATION = 100

    def __init__(self, env: Environment, demonstrations: Demonstrations, config: Config) -> None:
        torch.manual_seed(config.run.seed)
        self.config, self.generator = config, seeded(config.run.seed)
        self.observations = torch.from_numpy(demonstrations.observations)
        self.actions = torch.from_numpy(demonstrations.actions)
        self.policy = Policy(self.observations.shape[-1], self.actions.shape[-1], 1, config.policy)
        self.policy.standardise.fit(self.observations)
        self.optimiser = adam([self.policy], config.policy.learning_rate)
        self.iteration, self.iterations = 0, max(1, config.cloning.steps // self.STEPS_PER_ITERATION)

    def iterate(self) -> dict[str, float]:
        """`STEPS_PER_ITERATION` gradient steps; returns what to log."""
        for _ in range(self.STEPS_PER_ITERATION):
            batch = self.config.cloning.batch
            loss = clone_step(self.policy, self.optimiser, self.observations, self.actions, batch, self.generator)
        self.iteration += 1
        return {"bc/negative_log_likelihood": loss.item()}

    def parts(self) -> dict[str, Any]:
        """Everything that changes between iterations, for checkpoints."""
        return {"policy": self.policy, "optimiser": self.optimiser, "generator": self.generator}
