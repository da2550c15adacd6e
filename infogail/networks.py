"""The networks that all learners share: two tanh layers on observations standardised by the demonstrations."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """(…, F) → (…, F): subtract the demonstrations' mean, divide by their standard deviation."""

    def __init__(self, sample: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", sample.mean(0))
        self.register_buffer("scale", sample.std(0).clamp(min=1e-3))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


def mlp(inputs: int, hidden: int, outputs: int, last_gain: float = 1.0) -> nn.Sequential:
    """Two tanh layers; orthogonal weights with gain √2, `last_gain` for the last, biases 0 (as in PPO's baselines)."""
    layers = [nn.Linear(inputs, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, outputs)]
    for layer, gain in zip(layers, (math.sqrt(2), math.sqrt(2), last_gain), strict=True):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


class Policy(nn.Module):
    """π(a|s,c): a Gaussian with mean from a network and one standard deviation per action.

    A policy with `num_codes=1` is code-blind: it takes codes and does not see them.
    """

    def __init__(self, observations: Tensor, num_codes: int, hidden: int, initial_log_std: float) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.standardise = Standardise(observations)
        self.net = mlp(observations.shape[-1] + _code_inputs(num_codes), hidden, 2, last_gain=0.01)
        self.log_std = nn.Parameter(torch.full((2,), initial_log_std))

    def forward(self, obs: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (…, 2) and standard deviation (2,) for obs (…, F) and codes (…)."""
        return self.net(with_code(self.standardise(obs), codes, self.num_codes)), self.log_std.exp()


class Value(nn.Module):
    """V(s,c), (…) for obs (…, F) and codes (…), in units of `scale` so that the network works near 1."""

    def __init__(self, observations: Tensor, num_codes: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.num_codes = num_codes
        self.standardise = Standardise(observations)
        self.net = mlp(observations.shape[-1] + _code_inputs(num_codes), hidden, 1)

    def forward(self, obs: Tensor, codes: Tensor) -> Tensor:
        return self.scale * self.net(with_code(self.standardise(obs), codes, self.num_codes)).squeeze(-1)


class Discriminator(nn.Module):
    """Logits (…) of obs (…, F) and actions (…, 2); high means demonstration."""

    def __init__(self, observations: Tensor, actions: Tensor, hidden: int) -> None:
        super().__init__()
        pairs = torch.cat((observations, actions), -1)
        self.standardise = Standardise(pairs)
        self.net = mlp(pairs.shape[-1], hidden, 1)

    def forward(self, pairs: Tensor) -> Tensor:
        """Pairs are (…, F + 2): observation, then action."""
        return self.net(self.standardise(pairs)).squeeze(-1)


class Posterior(nn.Module):
    """Q(c|s): evidence (…, K) for each code from obs (…, F), read from the observation's entries `features` alone.

    Evidence is an unnormalised log-probability: log_softmax makes log Q(c|s) of one step, its sum over time log Q(c|τ).
    """

    def __init__(self, observations: Tensor, features: list[int], num_codes: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.tensor(features))
        self.standardise = Standardise(observations[:, features])
        self.net = mlp(len(features), hidden, num_codes, last_gain=0.01)

    def inputs(self, obs: Tensor) -> Tensor:
        """What the network reads, (…, number of features), standardised."""
        return self.standardise(obs[..., self.features])

    def forward(self, obs: Tensor) -> Tensor:
        return self.net(self.inputs(obs))


def with_code(obs: Tensor, codes: Tensor, num_codes: int) -> Tensor:
    """Append one-hot codes (…) to obs (…, F); with a single code there is nothing to tell apart, nor to append."""
    if num_codes == 1:
        return obs
    return torch.cat((obs, nn.functional.one_hot(codes, num_codes).to(obs.dtype)), -1)


def _code_inputs(num_codes: int) -> int:
    return num_codes if num_codes > 1 else 0
