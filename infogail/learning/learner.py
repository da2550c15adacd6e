"""InfoGAIL (Li, Song & Ermon 2017, arXiv 1703.08840): the loop, on one screen."""

from __future__ import annotations

from typing import Any

import torch

from infogail.config.config import Config
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.twin import DrivingVectorEnv
from infogail.learning.actor_critic import actor_critic
from infogail.learning.cloning import warm_start
from infogail.learning.discriminator import Discriminator
from infogail.learning.memory import RolloutMemory
from infogail.learning.networks import Policy
from infogail.learning.posterior import Posterior
from infogail.learning.rollout import collect


class InfoGAIL:
    """Drive, tell policy from demonstrations, read the codes back, improve: `iterate()` does each once."""

    def __init__(self, demonstrations: Demonstrations, config: Config) -> None:
        torch.manual_seed(config.seed)
        self.config = config = config.for_scenario(demonstrations.scenario)
        self.demonstrations, self.replay = demonstrations, RolloutMemory(config.replay_iterations)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.env = DrivingVectorEnv(demonstrations.scenario, config.num_envs, tensors=True, **demonstrations.road)
        self.env.reset(seed=config.seed)
        observations = torch.from_numpy(demonstrations.observations)
        self.pairs = torch.from_numpy(demonstrations.pairs())
        sizes = observations.shape[-1], demonstrations.actions.shape[-1]
        self.actor_critic = actor_critic(*sizes, config.num_codes, config, self.generator)
        self.policy.standardise.fit(observations)
        self.discriminator = Discriminator(*sizes, config, self.generator)
        self.discriminator.standardise.fit(self.pairs)
        self.posterior = Posterior(demonstrations, config, torch.Generator().manual_seed(config.seed))
        self.iteration, self.iterations = 0, config.iterations

    @property
    def policy(self) -> Policy:
        """π(a|s,c)"""
        return self.actor_critic.policy

    def iterate(self) -> dict[str, float]:
        """One iteration; returns what to log."""
        if self.iteration == 0:
            self.posterior.divide_demonstrations()
            warm_start(self.policy, self.demonstrations, self.config, self.generator)
        rollout = collect(self.env, self.policy, self.posterior.codes, self.generator, self.demonstrations.characters)
        seen = self.replay.add(rollout)
        log = self.discriminator.update(seen, self.pairs) | self.posterior.update(seen)
        imitation, information = self.discriminator.reward(rollout), self.posterior.reward(rollout)
        reward = imitation + self.config.info_coef * information - self.config.failure_penalty * rollout.terminated
        log |= self.actor_critic.update(rollout, reward, min(self.iteration / self.config.iterations, 1.0))
        self.iteration += 1
        log |= {"reward/imitation": imitation.mean().item(), "reward/information": information.sum(0).mean().item()}
        return log | rollout.summary()

    def parts(self) -> dict[str, Any]:
        """All that changes from one iteration to the next; a checkpoint holds it."""
        here = {"env": self.env, "generator": self.generator, "replay": self.replay}
        return here | self.actor_critic.parts() | self.discriminator.parts() | self.posterior.parts()
