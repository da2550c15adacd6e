"""The two sides of adversarial imitation: a policy with its value network, and the discriminator."""

from __future__ import annotations

import torch

from infogail.config.config import Config
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.environment import Spec
from infogail.learning.discriminator import Discriminator
from infogail.learning.ppo import PPO
from infogail.learning.trpo import TRPO

UNREAD = 1e9  # standard deviation that leaves nothing of an input


def actor_critic(spec: Spec, num_codes: int, config: Config, generator: torch.Generator) -> PPO | TRPO:
    """A new policy and value network with the optimisation method `config.policy.update`."""
    kind = TRPO if config.policy.update == "trpo" else PPO
    return kind(spec, num_codes, config, generator)


def adversaries(
    demonstrations: Demonstrations, num_codes: int, config: Config, generator: torch.Generator
) -> tuple[PPO | TRPO, Discriminator]:
    """New networks sized for the demonstrations; inputs are standardised by the demonstrations' statistics."""
    spec = demonstrations.spec
    improver, device = actor_critic(spec, num_codes, config, generator), config.run.device
    improver.policy.standardise.fit(torch.from_numpy(demonstrations.observations).to(device))
    read = num_codes if config.discriminator.reads_code else 1
    discriminator = Discriminator(
        spec, config.discriminator, generator, config.policy.gamma, device, read, config.codes.graded_code
    )
    discriminator.standardise.fit(torch.from_numpy(demonstrations.pairs()).to(device))
    if not config.discriminator.reads_context:
        discriminator.standardise.scale[list(spec.context)] = UNREAD
    driven, possible = len(demonstrations.observations), demonstrations.num_episodes * spec.horizon
    discriminator.demonstrated_absorbed = 1.0 - driven / possible
    return improver, discriminator
