"""GAIL (Ho & Ermon 2016, arXiv 1606.03476): InfoGAIL without a code, so nothing to read back."""

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
from infogail.learning.rollout import collect


class GAIL:
    """Drive, tell policy from demonstrations, improve. The codes are dummies that only judging looks at."""

    posterior = None

    def __init__(self, demonstrations: Demonstrations, config: Config) -> None:
        torch.manual_seed(config.seed)
        config = config.for_scenario(demonstrations.scenario)
        self.config, self.demonstrations = config, demonstrations
        self.generator = torch.Generator().manual_seed(config.seed)
        self.env = DrivingVectorEnv(demonstrations.scenario, config.num_envs, tensors=True, **demonstrations.road)
        self.env.reset(seed=config.seed)
        self.replay = RolloutMemory(config.replay_iterations)
        self.codes = torch.arange(config.num_envs) % config.num_codes
        observations = torch.from_numpy(demonstrations.observations)
        self.pairs = torch.from_numpy(demonstrations.pairs())
        sizes = observations.shape[-1], demonstrations.actions.shape[-1]
        self.actor_critic = actor_critic(*sizes, 1, config, self.generator)
        self.policy.standardise.fit(observations)
        self.discriminator = Discriminator(*sizes, config, self.generator)
        self.discriminator.standardise.fit(self.pairs)
        self.iteration, self.iterations = 0, config.iterations

    @property
    def policy(self) -> Policy:
        """π(a|s)"""
        return self.actor_critic.policy

    def iterate(self) -> dict[str, float]:
        """One iteration; returns what to log."""
        if self.iteration == 0:
            warm_start(self.policy, self.demonstrations, self.config, self.generator)
        rollout = collect(self.env, self.policy, lambda _: self.codes, self.generator, self.demonstrations.characters)
        log = self.discriminator.update(self.replay.add(rollout), self.pairs)
        imitation = self.discriminator.reward(rollout)
        reward = imitation - self.config.failure_penalty * rollout.terminated
        log |= self.actor_critic.update(rollout, reward, min(self.iteration / self.config.iterations, 1.0))
        self.iteration += 1
        return log | {"reward/imitation": imitation.mean().item()} | rollout.summary()

    def parts(self) -> dict[str, Any]:
        """All that changes from one iteration to the next; a checkpoint holds it."""
        here = {"env": self.env, "generator": self.generator, "replay": self.replay}
        return here | self.actor_critic.parts() | self.discriminator.parts()
