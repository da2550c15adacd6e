"""The discriminator D(s,a): which pairs are from demonstrations, which from the policy; and the reward it gives."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from infogail.networks import Discriminator


def discriminator_loss(demonstration_logits: Tensor, policy_logits: Tensor) -> Tensor:
    """Binary cross-entropy, demonstration = 1: mean softplus(-l_demonstration) + mean softplus(l_policy).

    GAIL's eq. 16 (Ho & Ermon 2016, arXiv 1606.03476) with D = sigmoid(l) and the labels exchanged.
    """
    return softplus(-demonstration_logits).mean() + softplus(policy_logits).mean()


def gradient_penalty(discriminator: Discriminator, pairs_a: Tensor, pairs_b: Tensor, mix: Tensor) -> Tensor:
    """Mean squared norm of the logit's gradient at `mix` (n, 1) between pairs (n, F + 2), in standardised units.

    Zero-centred, as in Mescheder et al. 2018 (arXiv 1801.04406), on the interpolates of Gulrajani et al. 2017.
    """
    standardise = discriminator.standardise
    between = torch.lerp(standardise(pairs_a), standardise(pairs_b), mix).requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator.net(between).sum(), between, create_graph=True)
    return gradient.square().sum(-1).mean()


def imitation_reward(logits_demonstration_is_high: Tensor) -> Tensor:
    """r = -log(1 - D) = softplus(l) ≥ 0, with D = sigmoid(l) the probability of being a demonstration.

    Positive everywhere, so it also pays for staying alive. That bias is chosen: here an episode only ends early by a
    crash or a road exit, which no demonstration has.
    """
    return softplus(logits_demonstration_is_high)


def update_discriminator(
    discriminator: Discriminator,
    optimiser: torch.optim.Optimizer,
    demonstration_pairs: Tensor,
    policy_pairs: Tensor,
    steps: int,
    batch: int,
    penalty: float,
    generator: torch.Generator,
) -> dict[str, float]:
    """`steps` updates on `batch` pairs (n, F + 2) of each kind; returns the last step's loss and logits' means."""
    for _ in range(steps):
        demonstrations = demonstration_pairs[torch.randint(len(demonstration_pairs), (batch,), generator=generator)]
        policy = policy_pairs[torch.randint(len(policy_pairs), (batch,), generator=generator)]
        demonstration_logits, policy_logits = discriminator(torch.cat((demonstrations, policy))).chunk(2)
        loss = discriminator_loss(demonstration_logits, policy_logits)
        mix = torch.rand((batch, 1), generator=generator)
        total = loss + penalty * gradient_penalty(discriminator, demonstrations, policy, mix)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    return {
        "discriminator/loss": loss.item(),
        "discriminator/demonstration_logit": demonstration_logits.mean().item(),
        "discriminator/policy_logit": policy_logits.mean().item(),
    }
