"""GAIL (Ho & Ermon 2016, arXiv 1606.03476): InfoGAIL without codes, and so without a posterior."""

from __future__ import annotations

from typing import Any

import torch

from infogail.config.config import Config
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.environment import Environment
from infogail.learning.adversaries import adversaries
from infogail.learning.cloning import warm_start
from infogail.learning.devices import read_log
from infogail.learning.memory import RolloutMemory
from infogail.learning.networks import Policy, seeded
from infogail.learning.rollout import collect
from infogail.learning.schedule import Schedule


class GAIL:
    """Collect rollouts, update the discriminator, improve the policy. The codes are dummies, used only for judging."""

    posterior = None

    def __init__(self, env: Environment, demonstrations: Demonstrations, config: Config) -> None:
        torch.manual_seed(config.run.seed)
        self.env, self.config = env, config
        self.env.reset(seed=config.run.seed)
        seed, device = config.run.seed, config.run.device
        self.demonstrations, self.pairs = demonstrations, torch.from_numpy(demonstrations.pairs()).to(device)
        self.memory, self.generator = RolloutMemory(config.run.replay_iterations, device), seeded(seed, device)
        self.actor_critic, self.discriminator = adversaries(demonstrations, 1, config, self.generator)
        self.codes = torch.arange(config.run.num_envs, device=device) % config.codes.num_codes
        self.iteration, self.started, self.schedule = 0, False, Schedule(config.run, config.codes.num_codes)

    @property
    def policy(self) -> Policy:
        """π(a|s)"""
        return self.actor_critic.policy

    def start(self) -> None:
        """Clone the demonstrations; no driving yet."""
        codes = torch.zeros(self.demonstrations.num_episodes, dtype=torch.int64, device=self.pairs.device)
        warm_start(self.policy, self.demonstrations, codes, self.config.cloning, self.generator)
        self.started = True

    def iterate(self) -> dict[str, float]:
        """One iteration; returns what to log."""
        if self.iteration == 0 and not self.started:
            self.start()
        rollout = collect(self.env, self.policy, lambda _: self.codes, self.generator)
        log = self.discriminator.update(self.memory.add(rollout), self.pairs)
        imitation = self.discriminator.reward(rollout)
        reward = imitation - rollout.charged(self.config.policy.failure_penalty)
        self.schedule.observe(self.iteration, rollout.finished(self.env.spec))
        progress, hold = self.schedule.progress(self.iteration), self.iteration < self.config.policy.held_iterations
        log |= self.actor_critic.update(rollout, reward, progress, hold)
        self.iteration += 1
        return read_log(log | {"reward/imitation": imitation.mean()}) | rollout.summary()

    def parts(self) -> dict[str, Any]:
        """Everything that changes between iterations, for checkpoints."""
        outside = {"env": self.env, "generator": self.generator, "memory": self.memory, "schedule": self.schedule}
        return outside | self.actor_critic.parts() | self.discriminator.parts()
