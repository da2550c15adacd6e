"""Proximal policy optimisation with a clipped surrogate (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from infogail.config.config import Config
from infogail.config.parts import PolicyConfig
from infogail.envs.environment import Spec
from infogail.learning.devices import Log
from infogail.learning.gae import explained_variance, gae
from infogail.learning.networks import Policy, adam, descend, mlp, step_by_step
from infogail.learning.rollout import Rollout
from infogail.parallel.distributed import all_gather, mean


def clipped_surrogate_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """-mean min(ρA, clip(ρ, 1 - ε, 1 + ε)A) with ρ = exp(log_probs - old_log_probs), all (n,); eq. 7."""
    ratio = (log_probs - old_log_probs).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1.0 - clip, 1.0 + clip) * advantages).mean()


def approximate_kl(log_probs: Tensor, old_log_probs: Tensor) -> Tensor:
    """mean (ρ - 1) - log ρ over samples (n,) from the old policy: a non-negative estimate of the KL divergence [nats]
    from the old policy to the new (Schulman 2020, http://joschu.net/blog/kl-approx.html)."""
    log_ratio = log_probs - old_log_probs
    return (log_ratio.exp() - 1.0 - log_ratio).mean()


def clip_fraction(log_probs: Tensor, old_log_probs: Tensor, clip: float) -> Tensor:
    """Fraction of samples (n,) whose ratio ρ is outside [1 - ε, 1 + ε]."""
    return (((log_probs - old_log_probs).exp() - 1.0).abs() > clip).float().mean()


@torch.no_grad()
def standardised_advantages(
    policy: Policy, value: nn.Module, rollout: Rollout, rewards: Tensor, config: PolicyConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Standardised advantages, returns and values of a rollout with its rewards, (T, B) each.

    Args:
        value: V(s,c) / `value_scale`.
    """
    values, next_values = (
        value_scale(config) * step_by_step(value, policy.inputs(obs, rollout.codes)).squeeze(-1)
        for obs in (rollout.observations, rollout.next_observations)
    )
    advantages = gae(rewards, values, next_values, rollout.terminated, rollout.done, config.gamma, config.gae_lambda)
    total = all_gather(advantages)
    if rollout.ignored is not None:
        total = total[~all_gather(rollout.ignored)]
    return (advantages - total.mean()) / (total.std() + 1e-8), advantages + values, values


def value_scale(config: PolicyConfig) -> float:
    """The unit in which values are learned, 1 / (1 - γ), so that the network's outputs are of order 1."""
    return 1.0 / (1.0 - config.gamma)


def decay(config: PolicyConfig, progress: float) -> float:
    """The learning rates of policy and value, relative to the initial ones; see `Schedule.progress`."""
    return 1.0 - (1.0 - config.final_learning_rate) * progress


class PPO:
    """The policy, a value network V(s,c), and the optimiser of both."""

    def __init__(self, spec: Spec, num_codes: int, config: Config, generator: torch.Generator) -> None:
        self.config, self.generator = config.policy, generator
        self.policy = Policy(spec, num_codes, config.policy, config.codes.graded_code)
        self.policy.to(config.run.device)
        self.value = mlp(self.policy.num_inputs, config.policy.hidden, 1).to(config.run.device)
        self.learning_rates = config.policy.learning_rate, config.policy.value_learning_rate
        self.optimiser = adam([self.policy, self.value], *self.learning_rates)

    def parts(self) -> dict[str, Any]:
        """The state that updates change, for checkpoints."""
        return {"policy": self.policy, "value": self.value, "ppo_optimiser": self.optimiser}

    def update(self, rollout: Rollout, rewards: Tensor, progress: float = 0.0, hold: bool = False) -> Log:
        """Several epochs of minibatches over one rollout with its rewards (T, B); returns the log.

        Args:
            progress: how far the learning rate has fallen, from 0 to 1.
            hold: whether the policy stays as it is, and only the value network learns.
        """
        for group, initial in zip(self.optimiser.param_groups, self.learning_rates, strict=True):
            group["lr"] = initial * decay(self.config, progress)
        config, inputs = self.config, self.policy.inputs(rollout.observations, rollout.codes)
        advantages, returns, values = standardised_advantages(self.policy, self.value, rollout, rewards, config)
        per_step = (rollout.log_probs, advantages, returns)
        columns = (inputs, rollout.actions, *(column.unsqueeze(-1) for column in per_step))
        # Concatenated, so that each minibatch takes one gather.
        samples, widths = rollout.decided(torch.cat(columns, -1)), [column.shape[-1] for column in columns]
        clipped, stays = [], hold
        for rows in self._minibatches(samples):
            x, actions, *scalars = samples.index_select(0, rows).split(widths, -1)
            old_log_probs, advantage, target = (scalar.squeeze(-1) for scalar in scalars)
            distribution = self.policy(x)
            log_probs = distribution.log_prob(actions)
            clipped.append(clip_fraction(log_probs.detach(), old_log_probs, config.clip))
            moved = approximate_kl(log_probs.detach(), old_log_probs)
            policy_loss = clipped_surrogate_loss(log_probs, old_log_probs, advantage, config.clip)
            value_loss = (self.value(x).squeeze(-1) - target / value_scale(config)).square().mean()
            if config.target_kl is not None and mean(moved) > config.target_kl:
                stays = True
            loss = value_loss if hold else 0.5 * value_loss
            if not stays:
                loss = policy_loss + loss - config.entropy_coef * distribution.entropy().mean()
            descend(self.optimiser, loss)
        # Values are from the last minibatch, except the clip fraction, which is averaged over all, as in CleanRL.
        return {
            "ppo/policy_loss": policy_loss,
            "ppo/value_loss": value_loss,
            "ppo/approx_kl": moved,
            "ppo/clip_fraction": torch.stack(clipped).mean(),
            "ppo/explained_variance": explained_variance(rollout.decided(values), rollout.decided(returns)),
        } | {f"ppo/{name}": value for name, value in distribution.summary().items()}

    def _minibatches(self, samples: Tensor) -> Iterator[Tensor]:
        """Rows of `samples` (n, …), in another random order in each epoch."""
        for _ in range(self.config.epochs):
            order = torch.randperm(len(samples), generator=self.generator, device=samples.device)
            yield from order.chunk(self.config.minibatches)
