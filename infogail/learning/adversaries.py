"""The two sides of adversarial imitation: a policy with its value network, and the discriminator."""

from __future__ import annotations

import torch

from infogail.config.config import Config
from infogail.envs.data.demonstrations import Demonstrations
from infogail.learning.discriminator import Discriminator
from infogail.learning.ppo import PPO
from infogail.learning.trpo import TRPO


def actor_critic(
    observation_size: int, action_size: int, num_codes: int, config: Config, generator: torch.Generator
) -> PPO | TRPO:
    """A new policy and value network with the optimisation method `config.policy.update`."""
    kind = TRPO if config.policy.update == "trpo" else PPO
    return kind(observation_size, action_size, num_codes, config, generator)


def adversaries(
    demonstrations: Demonstrations, num_codes: int, config: Config, generator: torch.Generator
) -> tuple[PPO | TRPO, Discriminator]:
    """New networks sized for the demonstrations; inputs are standardised by the demonstrations' statistics."""
    spec = demonstrations.spec
    improver = actor_critic(spec.observation_size, spec.action_size, num_codes, config, generator)
    device = config.run.device
    improver.policy.standardise.fit(torch.from_numpy(demonstrations.observations).to(device))
    discriminator = Discriminator(
        spec.observation_size,
        spec.action_size,
        config.discriminator,
        generator,
        config.policy.gamma,
        spec.early_end,
        device,
    )
    discriminator.standardise.fit(torch.from_numpy(demonstrations.pairs()).to(device))
    return improver, discriminator
