"""Action distributions, parametrised by a policy network.

The rest of the learning code uses only the `ActionDistribution` protocol, so another kind of action needs one more
class here and a case in `Policy`. Everywhere but in the environment itself, discrete actions are one-hot.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor
from torch.nn.functional import one_hot


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

    def mode(self) -> Tensor:
        """The most likely action (…, A) at each state."""

    def detach(self) -> Self:
        """The same distribution, detached from the graph."""

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

    def mode(self) -> Tensor:
        """The mean."""
        return self.mean

    def detach(self) -> Gaussian:
        """The same distribution, detached from the graph."""
        return Gaussian(self.mean.detach(), self.std.detach())

    def summary(self) -> dict[str, Tensor]:
        """Each action's standard deviation, as `std_0`, `std_1`, …"""
        return {f"std_{k}": std for k, std in enumerate(self.std)}


class Categorical(NamedTuple):
    """Independent choices; actions (…, A) are one-hot for each choice, one after another, A being the sum of counts."""

    log_probabilities: Tensor
    """(…, A), normalised within each choice"""
    counts: tuple[int, ...]
    """how many alternatives each choice has"""

    @classmethod
    def of(cls, logits: Tensor, counts: tuple[int, ...]) -> Categorical:
        """The distribution with unnormalised log-probabilities `logits` (…, A)."""
        return cls(torch.cat([part.log_softmax(-1) for part in logits.split(counts, -1)], -1), counts)

    def sample(self, generator: torch.Generator) -> Tensor:
        """One action (…, A) for each state, by Gumbel-max: argmax log p - log(-log u), u uniform on (0, 1)."""
        x = self.log_probabilities
        uniform = torch.rand(x.shape, generator=generator, device=x.device).clamp(min=torch.finfo(x.dtype).tiny)
        return self._largest(x - (-uniform.log()).log())

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-probability (…) of one-hot actions (…, A): Σ_a log p_a of those chosen."""
        return (self.log_probabilities * actions).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy [nats] (…): -Σ_a p_a log p_a."""
        return -(self.log_probabilities.exp() * self.log_probabilities).sum(-1)

    def kl(self, other: Categorical) -> Tensor:
        """KL(self‖other) [nats] (…): Σ_a p_a (log p_a - log p'_a), where primes denote `other`."""
        return (self.log_probabilities.exp() * (self.log_probabilities - other.log_probabilities)).sum(-1)

    def mode(self) -> Tensor:
        """The most likely alternative of each choice, (…, A)."""
        return self._largest(self.log_probabilities)

    def detach(self) -> Categorical:
        """The same distribution, detached from the graph."""
        return Categorical(self.log_probabilities.detach(), self.counts)

    def summary(self) -> dict[str, Tensor]:
        """The mean entropy [nats]."""
        return {"entropy": self.entropy().mean()}

    def _largest(self, scores: Tensor) -> Tensor:
        """(…, A): one-hot, the largest of each choice's `scores` (…, A)."""
        parts = [one_hot(part.argmax(-1), part.shape[-1]) for part in scores.split(self.counts, -1)]
        return torch.cat(parts, -1).to(scores.dtype)
