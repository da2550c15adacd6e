"""Network building blocks, and the latent-conditioned policy."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain, pairwise

import torch
from torch import Tensor, nn

from infogail.config.parts import PolicyConfig
from infogail.envs.environment import Spec
from infogail.learning.heads import Categorical, Gaussian
from infogail.parallel.distributed import Group, average_gradients, broadcast_parameters


class Standardise(nn.Module):
    """(…, F) → (…, F): subtract a sample's mean and divide by its standard deviation; the identity before `fit`."""

    mean: Tensor
    scale: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def fit(self, sample: Tensor) -> None:
        """Use the mean and standard deviation (at least 1e-3) of each column of `sample` (N, F)."""
        self.mean.copy_(sample.mean(0))
        self.scale.copy_(sample.std(0).clamp(min=1e-3))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


def mlp(
    inputs: int,
    hidden: int,
    outputs: int,
    last_gain: float = 1.0,
    layers: int = 2,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """A multilayer perceptron; orthogonal weights with gain √2 (last layer: `last_gain`) and zero biases, as in
    OpenAI Baselines' PPO.

    ReLU by default, since on a CPU a tanh costs as much as the matrix product before it.
    """
    widths = (inputs, *layers * (hidden,), outputs)
    linear = [nn.Linear(before, after) for before, after in pairwise(widths)]
    for layer, gain in zip(linear, (*layers * (math.sqrt(2),), last_gain), strict=True):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*chain.from_iterable((layer, activation()) for layer in linear[:-1]), linear[-1])


def step_by_step(net: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`net(x)` for x (T, B, …), without gradients, one step at a time so that activations fit in the CPU cache."""
    with torch.no_grad():
        return torch.stack([net(step) for step in x])


def seeded(seed: int, device: str = "cpu") -> torch.Generator:
    """A random number generator on `device`, seeded with `seed`."""
    return torch.Generator(device).manual_seed(seed)


def adam(modules: list[nn.Module], *learning_rates: float, group: Group = Group.WORLD) -> torch.optim.Adam:
    """Adam (Kingma & Ba 2014) on each of `modules` with its learning rate, after synchronising across processes."""
    broadcast_parameters(nn.ModuleList(modules).parameters(), group)
    groups = [{"params": module.parameters(), "lr": lr} for module, lr in zip(modules, learning_rates, strict=True)]
    return torch.optim.Adam(groups, fused=True)


def rmsprop(modules: list[nn.Module], learning_rate: float) -> torch.optim.RMSprop:
    """RMSprop (Tieleman & Hinton 2012) on all parameters of `modules`."""
    return torch.optim.RMSprop(nn.ModuleList(modules).parameters(), lr=learning_rate, alpha=0.9)


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, group: Group = Group.WORLD) -> None:
    """One step of `optimiser` on `loss`, with gradients averaged over the processes of `group`."""
    optimiser.zero_grad()
    loss.backward()
    average_gradients(optimiser, group)
    optimiser.step()


def levels(count: int) -> Tensor:
    """(count,) from -1 to 1: the values of a graded code."""
    return torch.linspace(-1.0, 1.0, count)


def code_size(num_codes: int, graded: bool) -> int:
    """C, the number of inputs by which a network reads a code; see `encode`."""
    return 0 if num_codes == 1 else 1 if graded else num_codes


def encode(codes: Tensor, num_codes: int, graded: bool) -> Tensor:
    """Several codes (…) as inputs (…, C) of a network: one-hot, or as one number from -1 to 1."""
    if graded:
        return (2.0 * codes / (num_codes - 1) - 1.0).float()[..., None]
    return nn.functional.one_hot(codes, num_codes).float()


class Policy(nn.Module):
    """π(a|s,c): for continuous actions a Gaussian whose mean is a network's output, with one standard deviation per
    action; for discrete ones categorical, its logits a network's output.

    With `num_codes=1` it accepts codes but ignores them. A graded code is a level from 0 to num_codes - 1, fed to the
    network as a number from -1 to 1; fractional levels are allowed.
    """

    def __init__(self, spec: Spec, num_codes: int, config: PolicyConfig, graded: bool = False) -> None:
        super().__init__()
        self.num_codes, self.graded, self.categories = num_codes, graded, spec.categories
        self.standardise = Standardise(spec.observation_size)
        self.num_inputs = spec.observation_size + code_size(num_codes, graded)
        self.net = mlp(self.num_inputs, config.hidden, spec.action_size, last_gain=0.01)
        initial = torch.full((0 if self.categories else spec.action_size,), config.initial_log_std)
        self.log_std = nn.Parameter(initial, requires_grad=config.learn_std and not self.categories)

    def inputs(self, obs: Tensor, codes: Tensor) -> Tensor:
        """The network's input (…, num_inputs): obs (…, F), standardised, and codes (…), one-hot or as a number."""
        x = self.standardise(obs)
        return x if self.num_codes == 1 else torch.cat((x, encode(codes, self.num_codes, self.graded)), -1)

    def forward(self, inputs: Tensor) -> Gaussian | Categorical:
        """The action distribution for `inputs` (…, num_inputs)."""
        if self.categories:
            return Categorical.of(self.net(inputs), self.categories)
        return Gaussian(self.net(inputs), self.log_std.exp())
