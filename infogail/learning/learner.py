"""InfoGAIL (Li, Song & Ermon 2017, arXiv 1703.08840): the loop, on one screen."""

from __future__ import annotations

from typing import Any

import torch

from infogail.config.config import Config
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.environment import Environment
from infogail.learning.adversaries import adversaries
from infogail.learning.cloning import likeliest_codes, warm_start
from infogail.learning.devices import read_log
from infogail.learning.memory import RolloutMemory
from infogail.learning.networks import Policy, seeded
from infogail.learning.older_selves import OlderSelves
from infogail.learning.posterior import Posterior
from infogail.learning.rollout import collect
from infogail.learning.schedule import Schedule


class InfoGAIL:
    """Each `iterate()` collects a rollout, then updates the discriminator, the posterior and the policy."""

    def __init__(self, env: Environment, demonstrations: Demonstrations, config: Config) -> None:
        torch.manual_seed(config.run.seed)
        self.env, self.config = env, config
        self.env.reset(seed=config.run.seed)
        seed, device = config.run.seed, config.run.device
        self.demonstrations, self.pairs = demonstrations, torch.from_numpy(demonstrations.pairs()).to(device)
        self.memory, self.generator = RolloutMemory(config.run.replay_iterations, device), seeded(seed, device)
        num_codes = config.codes.num_codes
        self.actor_critic, self.discriminator = adversaries(demonstrations, num_codes, config, self.generator)
        self.posterior = Posterior(demonstrations, config, seeded(seed, device))
        share = config.run.older_selves
        self.selves = OlderSelves(self.policy, share) if share else None
        self.iteration, self.started, self.schedule = 0, False, Schedule(config.run, config.codes.num_codes)

    @property
    def policy(self) -> Policy:
        """π(a|s,c)"""
        return self.actor_critic.policy

    def start(self) -> None:
        """Divide the demonstrations by code, and clone them; no driving yet."""
        self.posterior.divide_demonstrations()
        codes = self.posterior.demonstration_codes()
        warm_start(self.policy, self.demonstrations, codes, self.config.cloning, self.generator)
        for _ in range(self.config.cloning.refinements if codes is not None else 0):
            codes = likeliest_codes(self.policy, self.demonstrations)
            self.posterior.learn(codes)
            warm_start(self.policy, self.demonstrations, codes, self.config.cloning, self.generator)
        if codes is not None and self.config.discriminator.reads_code and not self.config.cloning.refinements:
            self.posterior.learn(codes)  # which the refinements did already
        self.started = True

    def iterate(self) -> dict[str, float]:
        """Run one iteration; returns the log."""
        if self.iteration == 0 and not self.started:
            self.start()
        if self.selves is not None:
            self.selves.choose(self.iteration, self.generator)
        rollout = collect(self.env, self.policy, self.posterior.codes, self.generator, self.selves)
        seen = self.memory.add(rollout)
        log = self.discriminator.update(seen, self.pairs, self.posterior.row_codes()) | self.posterior.update(seen)
        imitation, information = self.discriminator.reward(rollout), self.posterior.reward(rollout)
        charged = rollout.charged(self.config.policy.failure_penalty)
        reward = imitation + self.config.codes.info_coef * information - charged
        self.schedule.observe(self.iteration, self.posterior.recognises(rollout))
        progress, hold = self.schedule.progress(self.iteration), self.iteration < self.config.policy.held_iterations
        log |= self.actor_critic.update(rollout, reward, progress, hold)
        self.iteration += 1
        log |= {"reward/imitation": imitation.mean(), "reward/information": information.sum(0).mean()}
        return read_log(log) | rollout.summary()

    def parts(self) -> dict[str, Any]:
        """The state that iterations change, for checkpoints."""
        common = {"env": self.env, "generator": self.generator, "memory": self.memory, "schedule": self.schedule}
        common |= {"older_selves": self.selves} if self.selves else {}
        return common | self.actor_critic.parts() | self.discriminator.parts() | self.posterior.parts()
