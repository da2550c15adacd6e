"""Behavioural cloning (Pomerleau 1989): maximise the likelihood of the demonstrations' actions under the policy."""

from __future__ import annotations

import torch
from torch import Tensor

from infogail.config.config import Config
from infogail.envs.data.demonstrations import Demonstrations
from infogail.learning.networks import Policy, adam, descend


def cloning_loss(policy: Policy, observations: Tensor, actions: Tensor, codes: Tensor) -> Tensor:
    """-mean log π(a|s,c) [nats] of observations (n, F), actions (n, A) and codes (n,)."""
    return -policy(policy.inputs(observations, codes)).log_prob(actions).mean()


def clone_step(
    policy: Policy,
    optimiser: torch.optim.Optimizer,
    observations: Tensor,
    actions: Tensor,
    batch: int,
    generator: torch.Generator,
) -> Tensor:
    """One step of `optimiser` on random pairs from demonstrations (N, F) and (N, A); returns the loss.

    The demonstrations' codes are unknown, so each pair gets a random one, and all codes start as the same driver.
    """
    rows = torch.randint(len(actions), (batch,), generator=generator)
    codes = torch.zeros_like(rows)
    if policy.num_codes > 1:
        codes = torch.randint(policy.num_codes, (batch,), generator=generator)
    loss = cloning_loss(policy, observations[rows], actions[rows], codes)
    descend(optimiser, loss)
    return loss


def warm_start(policy: Policy, demonstrations: Demonstrations, config: Config, generator: torch.Generator) -> None:
    """Clone the demonstrations for `config.cloning.warm_start_steps` steps, with a separate optimiser."""
    observations, actions = (torch.from_numpy(x) for x in (demonstrations.observations, demonstrations.actions))
    optimiser = adam([policy], config.policy.learning_rate)
    for _ in range(config.cloning.warm_start_steps):
        clone_step(policy, optimiser, observations, actions, config.cloning.batch, generator)
