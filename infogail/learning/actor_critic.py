"""The policy and its value network, with the update that the settings name."""

from __future__ import annotations

import torch

from infogail.config.config import Config
from infogail.learning.ppo import PPO
from infogail.learning.trpo import TRPO


def actor_critic(
    observation_size: int, action_size: int, num_codes: int, config: Config, generator: torch.Generator
) -> PPO | TRPO:
    """A new policy and value network, to be improved as `config.policy_update` says."""
    kind = TRPO if config.policy_update == "trpo" else PPO
    return kind(observation_size, action_size, num_codes, config, generator)
