"""What all networks are made of, and the latent-conditioned policy."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from infogail.distributed import average_gradients, begin_alike


class Standardise(nn.Module):
    """(…, F) → (…, F): subtract the demonstrations' mean, divide by their standard deviation."""

    mean: Tensor
    scale: Tensor

    def __init__(self, sample: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", sample.mean(0))
        self.register_buffer("scale", sample.std(0).clamp(min=1e-3))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


def mlp(inputs: int, hidden: int, outputs: int, last_gain: float = 1.0) -> nn.Sequential:
    """Two hidden layers; orthogonal weights with gain √2, `last_gain` for the last, biases 0 (as PPO's baselines).

    ReLU, since on a CPU a tanh costs as much as the matrix product before it.
    """
    layers = [nn.Linear(inputs, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, outputs)]
    for layer, gain in zip(layers, (math.sqrt(2), math.sqrt(2), last_gain), strict=True):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def step_by_step(net: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`net(x)` for x (T, B, …), without gradients; what passes between its layers stays in the processor's cache."""
    with torch.no_grad():
        return torch.stack([net(step) for step in x])


def adam(modules: list[nn.Module], learning_rate: float) -> torch.optim.Adam:
    """Adam (Kingma & Ba 2014) on all parameters of `modules`, which begin alike in all processes."""
    parameters = list(nn.ModuleList(modules).parameters())
    begin_alike(parameters)
    return torch.optim.Adam(parameters, lr=learning_rate, fused=True)


def descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of `optimiser` down the gradient of `loss`, or of its mean over the processes if there are several."""
    optimiser.zero_grad()
    loss.backward()
    average_gradients(optimiser)
    optimiser.step()


class Policy(nn.Module):
    """π(a|s,c): a Gaussian whose mean is a network's, with one standard deviation per action.

    With `num_codes=1` it is code-blind: it takes codes and does not look at them.
    """

    def __init__(self, observations: Tensor, num_codes: int, hidden: int, initial_log_std: float) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.standardise = Standardise(observations)
        self.num_inputs = observations.shape[-1] + (num_codes if num_codes > 1 else 0)
        self.net = mlp(self.num_inputs, hidden, 2, last_gain=0.01)
        self.log_std = nn.Parameter(torch.full((2,), initial_log_std))

    def inputs(self, obs: Tensor, codes: Tensor) -> Tensor:
        """What the network reads, (…, num_inputs): obs (…, F) standardised, and codes (…) one-hot."""
        x = self.standardise(obs)
        if self.num_codes == 1:
            return x
        return torch.cat((x, nn.functional.one_hot(codes, self.num_codes).to(x.dtype)), -1)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (…, 2) and standard deviation (2,) of the action."""
        return self.net(inputs), self.log_std.exp()


def log_prob(actions: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log-density (…) of actions (…, 2) under a diagonal Gaussian."""
    return (-0.5 * ((actions - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)
