"""Proximal policy optimisation with a clipped surrogate (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

import torch
from torch import Tensor

from infogail.config import Config
from infogail.networks import Policy, Value
from infogail.rollout import Rollout, log_prob


def clipped_surrogate_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """-mean min(ρA, clip(ρ, 1 - ε, 1 + ε)A) with ρ = exp(log_probs - old_log_probs), all (n,); eq. 7."""
    ratio = (log_probs - old_log_probs).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1.0 - clip, 1.0 + clip) * advantages).mean()


def gaussian_entropy(std: Tensor) -> Tensor:
    """Entropy [nats] of a diagonal Gaussian with standard deviations (n,)."""
    return (0.5 + 0.5 * torch.log(torch.tensor(2 * torch.pi)) + std.log()).sum()


def update_policy(
    policy: Policy,
    value: Value,
    optimiser: torch.optim.Optimizer,
    rollout: Rollout,
    advantages: Tensor,
    returns: Tensor,
    config: Config,
    generator: torch.Generator,
) -> dict[str, float]:
    """Several epochs of minibatches over one rollout; advantages (T, B) are standardised here, returns are (T, B)."""
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    columns = [rollout.observations, rollout.actions, rollout.log_probs, rollout.step_codes(), advantages, returns]
    flat = [column.flatten(0, 1) for column in columns]
    parameters = [*policy.parameters(), *value.parameters()]
    for _ in range(config.ppo_epochs):
        order = torch.randperm(rollout.size, generator=generator)
        for rows in order.chunk(config.minibatches):
            obs, actions, old_log_probs, codes, advantage, target = (column[rows] for column in flat)
            mean, std = policy(obs, codes)
            log_probs = log_prob(actions, mean, std)
            policy_loss = clipped_surrogate_loss(log_probs, old_log_probs, advantage, config.clip)
            value_loss = ((value(obs, codes) - target) / value.scale).square().mean()
            loss = policy_loss + 0.5 * value_loss - config.entropy_coef * gaussian_entropy(std)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 0.5)
            optimiser.step()
    return {
        "ppo/policy_loss": policy_loss.item(),
        "ppo/value_loss": value_loss.item(),
        "ppo/kl": (old_log_probs - log_probs).mean().item(),
        "ppo/std_acceleration": std[0].item(),
        "ppo/std_steering": std[1].item(),
    }
