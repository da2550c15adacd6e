"""Proximal policy optimisation with a clipped surrogate (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from infogail.config import Config
from infogail.distributed import gather
from infogail.gae import gae
from infogail.networks import Policy, adam, descend, log_prob, mlp, step_by_step
from infogail.rollout import Rollout


def clipped_surrogate_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """-mean min(ρA, clip(ρ, 1 - ε, 1 + ε)A) with ρ = exp(log_probs - old_log_probs), all (n,); eq. 7."""
    ratio = (log_probs - old_log_probs).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1.0 - clip, 1.0 + clip) * advantages).mean()


def gaussian_entropy(std: Tensor) -> Tensor:
    """Entropy [nats] of a diagonal Gaussian with standard deviations (n,)."""
    return (0.5 + 0.5 * math.log(2 * math.pi) + std.log()).sum()


class PPO:
    """The policy, a value network V(s,c), and the optimiser of both."""

    def __init__(self, observations: Tensor, num_codes: int, config: Config, generator: torch.Generator) -> None:
        self.config, self.generator = config, generator
        self.policy = Policy(observations, num_codes, config.hidden, config.initial_log_std)
        self.value = mlp(self.policy.num_inputs, config.hidden, 1)
        # Values are learned in these units, so that the network works near 1.
        self.value_scale = 1.0 / (1.0 - config.gamma)
        self.optimiser = adam([self.policy, self.value], config.learning_rate)

    def parts(self) -> dict[str, Any]:
        """All that an update changes, for a checkpoint."""
        return {"policy": self.policy, "value": self.value, "ppo_optimiser": self.optimiser}

    def update(self, rollout: Rollout, rewards: Tensor, progress: float = 0.0) -> dict[str, float]:
        """Several epochs of minibatches over one rollout with its rewards (T, B); returns what to log.

        Args:
            progress: the share of training that is done, in [0, 1].
        """
        # Falls linearly, to a tenth: large steps find the styles, small ones drive them precisely.
        self.optimiser.param_groups[0]["lr"] = (1.0 - 0.9 * progress) * self.config.learning_rate
        config, inputs = self.config, self.policy.inputs(rollout.observations, rollout.step_codes())
        advantages, returns = self._advantages(rollout, inputs, rewards)
        per_step = (rollout.log_probs, advantages, returns)
        columns = (inputs, rollout.actions, *(column.unsqueeze(-1) for column in per_step))
        # Side by side, so that a minibatch is gathered at once.
        samples, widths = torch.cat(columns, -1).flatten(0, 1), [column.shape[-1] for column in columns]
        for _ in range(config.ppo_epochs):
            order = torch.randperm(rollout.size, generator=self.generator)
            for rows in order.chunk(config.minibatches):
                x, actions, *scalars = samples.index_select(0, rows).split(widths, -1)
                old_log_probs, advantage, target = (scalar.squeeze(-1) for scalar in scalars)
                mean, std = self.policy(x)
                log_probs = log_prob(actions, mean, std)
                policy_loss = clipped_surrogate_loss(log_probs, old_log_probs, advantage, config.clip)
                value_loss = (self.value(x).squeeze(-1) - target / self.value_scale).square().mean()
                entropy = gaussian_entropy(std)
                descend(self.optimiser, policy_loss + 0.5 * value_loss - config.entropy_coef * entropy)
        return {
            "ppo/policy_loss": policy_loss.item(),
            "ppo/value_loss": value_loss.item(),
            "ppo/kl": (old_log_probs - log_probs).mean().item(),
            "ppo/std_acceleration": std[0].item(),
            "ppo/std_steering": std[1].item(),
        }

    @torch.no_grad()
    def _advantages(self, rollout: Rollout, inputs: Tensor, rewards: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised advantages and returns, (T, B) each."""
        last_inputs = self.policy.inputs(rollout.next_observations, rollout.step_codes())
        values, next_values = (
            self.value_scale * step_by_step(self.value, x).squeeze(-1) for x in (inputs, last_inputs)
        )
        advantages = gae(
            rewards,
            values,
            next_values,
            rollout.terminated,
            rollout.done,
            self.config.gamma,
            self.config.gae_lambda,
        )
        total = gather(advantages)
        return (advantages - total.mean()) / (total.std() + 1e-8), advantages + values
