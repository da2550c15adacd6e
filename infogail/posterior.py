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

from infogail.config import Config
from infogail.networks import Posterior


def belief(evidence: Tensor, alive: Tensor | None = None) -> Tensor:
    """log Q(c|s_1…s_t) (T, n, K) after each step: the steps' evidence (T, n, K) adds up from a uniform prior.

    Steps that are not `alive` (T, n) say nothing: an episode that ended early is followed by another, of which the
    code was told already.
    """
    if alive is not None:
        evidence = evidence * alive[..., None]
    return evidence.cumsum(0).log_softmax(-1)


def info_reward(beliefs: Tensor, codes: Tensor) -> Tensor:
    """(T, n): how much each step adds to log Q(c|τ), for `beliefs` (T, n, K) and the true codes (n,).

    Summed over an episode it is log Q(c|τ) + log K, the trajectory's part of the bound on the mutual information. A
    reward of log Q(c|s) at every step, as published, would pay for showing the code again and again, and so keep a car
    in the left lane that should return to the middle; here a style that was recognised once need not be shown again.
    """
    chosen = beliefs.gather(-1, codes.expand(beliefs.shape[:-1])[..., None]).squeeze(-1)
    prior = torch.full_like(chosen[:1], -math.log(beliefs.shape[-1]))
    return chosen.diff(dim=0, prepend=prior)


def entropy(log_probabilities: Tensor) -> Tensor:
    """Entropy (…) [nats] of log-probabilities (…, K)."""
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def rim_loss(log_q: Tensor, log_q_moved: Tensor) -> Tensor:
    """Mean cross-entropy of q and q of the same trajectories slightly moved, less the entropy of the mean; (n, K) each.

    The first term asks for confidence and for a boundary where there are few trajectories, the second for balance.
    """
    cross_entropy = -(log_q.exp() * log_q_moved).sum(-1).mean()
    return cross_entropy - entropy(log_q.exp().mean(0).clamp(min=1e-12).log())


def demonstration_loss(posterior: Posterior, observations: Tensor, shift: float, generator: torch.Generator) -> Tensor:
    """`rim_loss` of demonstrations (T, n, F), moved by one random offset per trajectory and feature."""
    x = posterior.inputs(observations)
    offset = shift * torch.randn(x.shape[1:], generator=generator)
    plain, moved = posterior.net(torch.cat((x, x + offset), 1)).sum(0).log_softmax(-1).chunk(2)
    return rim_loss(plain, moved)


def pretrain_posterior(
    posterior: Posterior,
    optimiser: torch.optim.Optimizer,
    demonstrations: Tensor,
    config: Config,
    generator: torch.Generator,
) -> None:
    """Divide the unlabelled demonstrations (T, E, F) among the codes before any driving."""
    for _ in range(config.rim_steps):
        rows = torch.randint(demonstrations.shape[1], (config.posterior_batch,), generator=generator)
        loss = demonstration_loss(posterior, demonstrations[:, rows], config.rim_shift, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def update_posterior(
    posterior: Posterior,
    optimiser: torch.optim.Optimizer,
    observations: Tensor,
    alive: Tensor,
    codes: Tensor,
    demonstrations: Tensor,
    config: Config,
    generator: torch.Generator,
) -> dict[str, float]:
    """A few updates on some trajectories of each kind.

    Args:
        observations, alive, codes: (T, B, F), (T, B), (B,), the policy's.
        demonstrations: (T, E, F), unlabelled.
    """
    for _ in range(config.posterior_steps):
        chosen = torch.randint(len(codes), (config.posterior_batch,), generator=generator)
        log_q = belief(posterior(observations[:, chosen]), alive[:, chosen])[-1]
        cross_entropy = nll_loss(log_q, codes[chosen])
        rows = torch.randint(demonstrations.shape[1], (config.posterior_batch,), generator=generator)
        rim = demonstration_loss(posterior, demonstrations[:, rows], config.rim_shift, generator)
        optimiser.zero_grad()
        (cross_entropy + config.rim_coef * rim).backward()
        optimiser.step()
    return {"posterior/cross_entropy": cross_entropy.item(), "posterior/rim": rim.item()}
