"""Action distributions, parametrised by a policy network.

The rest of the learning code uses only the `ActionDistribution` protocol, so another kind of action needs one more
class here and a case in `Policy`.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor


class ActionDistribution(Protocol):
    """`π(·|s,c)` at states (…)."""

    def sample(self, generator: torch.Generator) -> Tensor:
        """One action (…, A) for each state."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-probability, or log-density, (…) of actions (…, A)."""

    def entropy(self) -> Tensor:
        """Entropy [nats] (…) of each state's distribution, or () where it is the same for all."""

    def kl(self, other: Self) -> Tensor:
        """KL(self‖other) [nats] (…) at each state."""

    def summary(self) -> dict[str, Tensor]:
        """Statistics to log, () each."""


class Gaussian(NamedTuple):
    """A diagonal Gaussian over A continuous actions, with state-independent standard deviations."""

    mean: Tensor
    """(…, A)"""
    std: Tensor
    """(A,)"""

    def sample(self, generator: torch.Generator) -> Tensor:
        """One action (…, A) for each mean, not clipped."""
        return self.mean + self.std * torch.randn(self.mean.shape, generator=generator, device=self.mean.device)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-density (…) of actions (…, A): Σ_a -((a - μ) / σ)² / 2 - log σ - log(2π) / 2."""
        standardised = (actions - self.mean) / self.std
        return (-0.5 * standardised.square() - self.std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy [nats], (), the same in all states: Σ_a (1 + log 2π) / 2 + log σ."""
        return (0.5 + 0.5 * math.log(2 * math.pi) + self.std.log()).sum()

    def kl(self, other: Gaussian) -> Tensor:
        """KL(self‖other) [nats] (…): Σ_a log(σ' / σ) + (σ² + (μ - μ')²) / 2σ'² - 1/2, where primes denote `other`."""
        variance = self.std.square() + (self.mean - other.mean).square()
        return ((other.std / self.std).log() + 0.5 * variance / other.std.square() - 0.5).sum(-1)

    def detach(self) -> Gaussian:
        """The same distribution, detached from the graph."""
        return Gaussian(self.mean.detach(), self.std.detach())

    def summary(self) -> dict[str, Tensor]:
        """Each action's standard deviation, as `std_0`, `std_1`, …"""
        return {f"std_{k}": std for k, std in enumerate(self.std)}
