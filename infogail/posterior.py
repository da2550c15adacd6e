"""The encoder posterior Q(c|s): reads the code back from where a car drives, and learns on two kinds of trajectories.

On the policy's, whose code is known, by cross-entropy: this tightens the lower bound on the mutual information of
codes and trajectories (InfoGAN, Chen et al. 2016, arXiv 1606.03657; InfoGAIL, Li et al. 2017, arXiv 1703.08840). On the
demonstrations, whose code nobody knows, by regularised information maximisation (Krause, Perona & Gomes 2010): confident about each
trajectory, balanced over all of them. So the code settles on what divides the demonstrations, and not on
some trivial bias of the policy. It reads states, not actions, for the same reason.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from infogail.networks import Posterior


def trajectory_log_posterior(step_log_posterior: Tensor) -> Tensor:
    """log Q(c|τ), (…, K) from (…, T, K): each step is one witness, the prior over codes is uniform."""
    return step_log_posterior.sum(-2).log_softmax(-1)


def rim_loss(log_posterior: Tensor) -> Tensor:
    """Negative mutual information of trajectory and code: mean entropy - entropy of the mean, for log Q(c|τ) (n, K)."""
    return entropy(log_posterior).mean() - entropy(log_posterior.exp().mean(0).clamp(min=1e-12).log())


def entropy(log_probabilities: Tensor) -> Tensor:
    """Entropy (…) [nats] of log-probabilities (…, K)."""
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def info_reward(step_log_posterior: Tensor, codes: Tensor) -> Tensor:
    """log Q(c|s) + log K for log Q (…, K) and codes (…): 0 for a posterior that cannot tell."""
    chosen = step_log_posterior.gather(-1, codes[..., None]).squeeze(-1)
    return chosen + math.log(step_log_posterior.shape[-1])


def update_posterior(
    posterior: Posterior,
    optimiser: torch.optim.Optimizer,
    observations: Tensor,
    codes: Tensor,
    demonstrations: list[Tensor] | Tensor,
    steps: int,
    batch: int,
    rim_coef: float,
    generator: torch.Generator,
) -> dict[str, float]:
    """`steps` updates on `batch` trajectories of each kind.

    Args:
        observations, codes: (T, B, F) and (B,), the policy's.
        demonstrations: (E, T, F), unlabelled.
        rim_coef: weight of `rim_loss`.
    """
    for _ in range(steps):
        chosen = torch.randint(len(codes), (batch,), generator=generator)
        log_policy = posterior(observations[:, chosen])
        cross_entropy = nll_loss(log_policy.flatten(0, 1), codes[chosen].repeat(len(observations)))
        rows = torch.randint(len(demonstrations), (batch,), generator=generator)
        rim = rim_loss(trajectory_log_posterior(posterior(demonstrations[rows])))
        optimiser.zero_grad()
        (cross_entropy + rim_coef * rim).backward()
        optimiser.step()
    return {"posterior/cross_entropy": cross_entropy.item(), "posterior/rim": rim.item()}
