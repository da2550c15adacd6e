"""Behavioural cloning with codes: InfoGAIL without driving.

The posterior divides the unlabelled demonstrations by code, as for InfoGAIL, and the policy clones each demonstration
with its code. This is how InfoGAIL starts by default; the difference between the two is what driving adds.
"""

from __future__ import annotations

from typing import Any

import torch

from infogail.baselines.bc import STEPS_PER_ITERATION
from infogail.config.config import Config
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.environment import Environment
from infogail.learning.cloning import Cloning
from infogail.learning.devices import read_log
from infogail.learning.networks import Policy, seeded
from infogail.learning.posterior import Posterior
from infogail.learning.schedule import Schedule


class CodedBC:
    """Maximise the likelihood of the demonstrations given their inferred codes. Does not use the environment."""

    def __init__(self, env: Environment, demonstrations: Demonstrations, config: Config) -> None:
        torch.manual_seed(config.run.seed)
        seed, device = config.run.seed, config.run.device
        self.generator = seeded(seed, device)
        spec, codes, cloning = demonstrations.spec, config.codes, config.cloning
        self.policy = Policy(spec, codes.num_codes, config.policy, codes.graded_code)
        self.policy.to(device)
        self.policy.standardise.fit(torch.from_numpy(demonstrations.observations).to(device))
        self.posterior = Posterior(demonstrations, config, seeded(seed, device))
        self.iteration, self.started = 0, False
        self.schedule = Schedule.fixed(cloning.steps // STEPS_PER_ITERATION)
        steps = self.schedule.iterations * STEPS_PER_ITERATION
        self.cloning = Cloning(self.policy, demonstrations, steps, cloning, self.generator)

    def start(self) -> None:
        """Divide the demonstrations by code."""
        self.posterior.divide_demonstrations()
        self.started = True

    def iterate(self) -> dict[str, float]:
        """`STEPS_PER_ITERATION` gradient steps; returns what to log."""
        if self.iteration == 0 and not self.started:
            self.start()
        self.cloning.assign(self.posterior.demonstration_codes())
        loss = self.cloning.advance(self.iteration * STEPS_PER_ITERATION, STEPS_PER_ITERATION)
        self.iteration += 1
        return read_log({"bc/negative_log_likelihood": loss})

    def parts(self) -> dict[str, Any]:
        """The state that iterations change, for checkpoints."""
        cloned = {"policy": self.policy, "optimiser": self.cloning.optimiser, "generator": self.generator}
        return cloned | self.posterior.parts()
