"""Behavioural cloning (Pomerleau 1989): supervised learning of a Gaussian policy without codes.

If half of the demonstrations pass on the left and half on the right, the most likely mean is in between: into the lead.
"""

from __future__ import annotations

from typing import Any

import torch

from infogail.config.config import Config
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.environment import Environment
from infogail.learning.cloning import Cloning
from infogail.learning.devices import read_log
from infogail.learning.networks import Policy, seeded
from infogail.learning.schedule import Schedule

STEPS_PER_ITERATION = 100


class BC:
    """Maximise the likelihood of the demonstrations. Uses neither the environment nor codes."""

    posterior = None

    def __init__(self, env: Environment, demonstrations: Demonstrations, config: Config) -> None:
        torch.manual_seed(config.run.seed)
        seed, device, spec, cloning = config.run.seed, config.run.device, demonstrations.spec, config.cloning
        self.generator = seeded(seed, device)
        self.policy = Policy(spec, 1, config.policy).to(device)
        self.policy.standardise.fit(torch.from_numpy(demonstrations.observations).to(device))
        self.iteration, self.schedule = 0, Schedule.fixed(cloning.steps // STEPS_PER_ITERATION)
        steps = self.schedule.iterations * STEPS_PER_ITERATION
        self.cloning = Cloning(self.policy, demonstrations, steps, cloning, self.generator)

    def start(self) -> None:
        """Nothing precedes the first step."""

    def iterate(self) -> dict[str, float]:
        """`STEPS_PER_ITERATION` gradient steps; returns what to log."""
        loss = self.cloning.advance(self.iteration * STEPS_PER_ITERATION, STEPS_PER_ITERATION)
        self.iteration += 1
        return read_log({"bc/negative_log_likelihood": loss})

    def parts(self) -> dict[str, Any]:
        """Everything that changes between iterations, for checkpoints."""
        return {"policy": self.policy, "optimiser": self.cloning.optimiser, "generator": self.generator}
