"""The discriminator D(s,a), which distinguishes demonstrations from the policy, and its reward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from infogail.config.parts import DiscriminatorConfig
from infogail.envs.environment import EarlyEnd, Spec
from infogail.learning.devices import Log
from infogail.learning.networks import Standardise, adam, code_size, descend, encode, mlp, rmsprop, step_by_step
from infogail.learning.rollout import Rollout, start_of_each


def discriminator_loss(demonstration_logits: Tensor, policy_logits: Tensor) -> Tensor:
    """Binary cross-entropy, demonstration = 1: mean softplus(-l_demonstration) + mean softplus(l_policy).

    GAIL's eq. 16 (Ho & Ermon 2016, arXiv 1606.03476) with D = sigmoid(l) and the labels swapped.
    """
    return softplus(-demonstration_logits).mean() + softplus(policy_logits).mean()


def wasserstein_loss(demonstration_values: Tensor, policy_values: Tensor) -> Tensor:
    """mean f(policy) - mean f(demonstrations) of a critic f: WGAN's objective (Arjovsky et al. 2017, arXiv 1701.07875,
    eq. 2), negated to be minimised; its minimum over 1-Lipschitz f is minus the earth mover's distance."""
    return policy_values.mean() - demonstration_values.mean()


def gradient_penalty(net: nn.Module, a: Tensor, b: Tensor, mix: Tensor, centre: float = 0.0) -> Tensor:
    """Mean (‖∇‖ - centre)² of the output's gradient ∇ at points a fraction `mix` (n, 1) from a (n, D) to b (n, D).

    Zero-centred, as in Mescheder et al. 2018 (arXiv 1801.04406), or one-centred, as in Gulrajani et al. 2017 (arXiv
    1704.00028), whose interpolates these are.
    """
    between = torch.lerp(a, b, mix).requires_grad_()
    (gradient,) = torch.autograd.grad(net(between).sum(), between, create_graph=True)
    squares = gradient.square().sum(-1)
    if centre == 0.0:
        return squares.mean()
    return ((squares + 1e-12).sqrt() - centre).square().mean()  # the square root has no derivative at 0


def imitation_reward(logits: Tensor, early_end: EarlyEnd) -> Tensor:
    """The reward of each step, from its logit l; D = sigmoid(l) is the probability of being a demonstration.

    A reward of constant sign is biased: it rewards or penalises every step of an episode regardless of what is done
    (Kostrikov et al. 2019, arXiv 1809.02925). So its form depends on what an early end means:

    - failure: -log(1 - D) = softplus(l) ≥ 0. Ending early forgoes reward: log 2 per step where D = 1/2. As in GAIL (Ho
      & Ermon 2016, arXiv 1606.03476), whose cost log D has demonstration and policy swapped.
    - success: log D = -softplus(-l) ≤ 0. Ending early saves cost: log 2 per step where D = 1/2.
    - neither: log D - log(1 - D) = l, of either sign. At D = 1/2 it is 0, and an early end neither forgoes nor saves
      anything; if the logits are mostly positive or mostly negative, the bias returns. As in AIRL (Fu et al. 2018,
      arXiv 1710.11248, algorithm 1).
    """
    if early_end == "failure":
        return softplus(logits)
    return logsigmoid(logits) if early_end == "success" else logits


def absorbed_share(rollout: Rollout, spec: Spec) -> Tensor:
    """(): the share of the policy's steps in the absorbing state, if each early end leads there until the time limit.

    Where an early end is followed by another episode, the rollout itself does not hold those steps.
    """
    steps = torch.arange(len(rollout.done), device=rollout.done.device)[:, None]
    start = start_of_each(rollout.starts(spec))
    lengths = steps - start + 1
    if rollout.ignored is not None:  # an episode's first step there decides nothing
        lengths = lengths - rollout.ignored.gather(0, start).int()
    absorbed = ((spec.horizon - lengths) * rollout.terminated).sum()
    return absorbed / (absorbed + rollout.decided(rollout.done).numel())


@torch.no_grad()
def clip_weights(net: nn.Module, size: float) -> None:
    """Clip every parameter to [-size, size], which bounds a critic's slope (WGAN, algorithm 1)."""
    for parameter in net.parameters():
        parameter.clamp_(-size, size)


class Discriminator(nn.Module):
    """Logits of (observation, action) pairs, high for demonstrations, and their training.

    It may read the code, too: D(s,a,c). Codes are arguments everywhere, and ignored if `num_codes` is 1.

    Args:
        spec: its `early_end` determines the reward, see `imitation_reward`; a Wasserstein critic's is its output.
        gamma: discount, for the absorbing state's reward.
        device: where its parameters live; `generator` is on it too.
        num_codes: how many codes it distinguishes; 1: it does not read them.
        graded: the code is graded.
    """

    def __init__(
        self,
        spec: Spec,
        config: DiscriminatorConfig,
        generator: torch.Generator,
        gamma: float,
        device: str = "cpu",
        num_codes: int = 1,
        graded: bool = False,
    ) -> None:
        super().__init__()
        self.config, self.generator, self.gamma, self.spec = config, generator, gamma, spec
        self.absorbing = spec.early_end == "neither" if config.absorbing is None else config.absorbing
        # Where only the first episode of a rollout counts, its later steps stand for the absorbing state instead.
        self.samples_absorbing = self.absorbing and not spec.one_episode
        self.demonstrated_absorbed = 0.0  # share of the demonstrators' steps in the absorbing state
        self.num_codes, self.graded = num_codes, graded
        pair_size = spec.observation_size + spec.action_size
        self.standardise = Standardise(pair_size)
        self.wasserstein = config.loss == "wasserstein"
        self.net = mlp(
            pair_size + code_size(num_codes, graded) + self.absorbing,
            config.hidden,
            1,
            layers=config.layers,
            activation=nn.Tanh if config.activation == "tanh" else nn.ReLU,
        )
        self.to(device)
        optimiser = adam if config.optimiser == "adam" else rmsprop
        self.optimiser = optimiser([self.net], config.learning_rate)

    def forward(self, pairs: Tensor, codes: Tensor | None = None) -> Tensor:
        """Logits (…) of pairs (…, F + A), observation, then action, and codes (…)."""
        return self.net(self.inputs(pairs, codes=codes)).squeeze(-1)

    def inputs(self, pairs: Tensor, absorbed: Tensor | None = None, codes: Tensor | None = None) -> Tensor:
        """The network's input: pairs (…, F + A), standardised, and codes (…).

        With `absorbing`, an indicator is appended; where `absorbed` (…) is true, it is 1 and the rest is 0, as in
        discriminator-actor-critic (Kostrikov et al. 2019, arXiv 1809.02925).
        """
        x = self.standardise(pairs)
        if codes is not None and self.num_codes > 1:
            x = torch.cat((x, encode(codes, self.num_codes, self.graded)), -1)
        if not self.absorbing:
            return x
        indicator = torch.zeros_like(x[..., :1]) if absorbed is None else absorbed[..., None].to(x.dtype)
        return torch.cat((x * (1.0 - indicator), indicator), -1)

    def reward(self, rollout: Rollout) -> Tensor:
        """The imitation reward, (T, B); a critic's is its output.

        With `absorbing`, a termination leads to the absorbing state forever, so the terminating step also earns that
        state's discounted reward. Whether ending early is worse than continuing is then learned.
        """
        with torch.no_grad():  # one step at a time, as `step_by_step`
            logits = [self(pairs, codes) for pairs, codes in zip(rollout.pairs(), rollout.codes, strict=True)]
        reward = self._reward(torch.stack(logits))
        if self.absorbing:
            logit = step_by_step(self.net, self._absorbing_input())
            reward += rollout.terminated * self._reward(logit) * self.gamma / (1.0 - self.gamma)
        return reward

    def parts(self) -> dict[str, Any]:
        """The state that updates change, for checkpoints."""
        return {"discriminator": self, "discriminator_optimiser": self.optimiser}

    def update(self, rollout: Rollout, demonstrations: Tensor, codes: Tensor | None = None) -> Log:
        """A few steps on random pairs of the rollout and of `demonstrations` (N, F + A); returns the log.

        Args:
            codes: (N,) int64, the code of each demonstrated pair, if it reads them.
        """
        size, demonstrations = self.config.batch, self.inputs(demonstrations, codes=codes)
        # Steps that do not count follow an early end: they are spent in the absorbing state, if used.
        policy = rollout.decided(self.inputs(rollout.pairs(), ~rollout.counted(self.spec), rollout.codes))
        absorbed = absorbed_share(rollout, self.spec) if self.samples_absorbing else 0.0
        for _ in range(self.config.steps):
            real = self._sample(demonstrations, size, self.demonstrated_absorbed)
            fake = self._sample(policy, size, absorbed)
            real_logits, fake_logits = self.net(torch.cat((real, fake))).squeeze(-1).chunk(2)
            loss = (wasserstein_loss if self.wasserstein else discriminator_loss)(real_logits, fake_logits)
            mix = torch.rand((size, 1), generator=self.generator, device=real.device)
            centre = 1.0 if self.wasserstein else 0.0
            penalty = gradient_penalty(self.net, real, fake, mix, centre)
            descend(self.optimiser, loss + self.config.gradient_penalty * penalty)
            if self.config.weight_clip is not None:
                clip_weights(self.net, self.config.weight_clip)
        return {
            "discriminator/loss": loss,
            "discriminator/gradient_penalty": penalty,
            "discriminator/demonstration_logit": real_logits.mean(),
            "discriminator/policy_logit": fake_logits.mean(),
        }

    def _reward(self, logits: Tensor) -> Tensor:
        return logits if self.wasserstein else imitation_reward(logits, self.spec.early_end)

    def _sample(self, inputs: Tensor, size: int, absorbed_share: Tensor | float) -> Tensor:
        """Random rows (size, …) of inputs (N, …); with `samples_absorbing`, about `absorbed_share` of them replaced."""
        device = inputs.device
        rows = inputs[torch.randint(len(inputs), (size,), generator=self.generator, device=device)]
        if not self.samples_absorbing:
            return rows
        absorbed = torch.rand(size, 1, generator=self.generator, device=device) < absorbed_share
        return torch.where(absorbed, self._absorbing_input(), rows)

    def _absorbing_input(self) -> Tensor:
        """(1, F + A + 1): the network's input in the absorbing state."""
        nothing = torch.zeros(1, len(self.standardise.mean), device=self.standardise.mean.device)
        code = torch.zeros(1, dtype=torch.int64, device=nothing.device)
        return self.inputs(nothing, torch.ones_like(nothing[:, 0]), code)
