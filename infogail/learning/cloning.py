"""Behavioural cloning (Pomerleau 1989): maximise the likelihood of the demonstrations' actions under the policy."""

from __future__ import annotations

import torch
from torch import Tensor

from infogail.config.parts import CloningConfig
from infogail.envs.data.demonstrations import Demonstrations
from infogail.learning.networks import Policy, adam, descend

LEAST_LOG_PROB = -5.0
"""So that no single action that a policy would hardly take decides on an episode's code."""


def cloning_loss(policy: Policy, observations: Tensor, actions: Tensor, codes: Tensor) -> Tensor:
    """-mean log π(a|s,c) [nats] of observations (n, F), actions (n, A) and codes (n,)."""
    return -policy(policy.inputs(observations, codes)).log_prob(actions).mean()


class Cloning:
    """Clones the demonstrations into a policy in `steps` steps of Adam, with a learning rate that falls to 0."""

    def __init__(
        self,
        policy: Policy,
        demonstrations: Demonstrations,
        steps: int,
        config: CloningConfig,
        generator: torch.Generator,
    ) -> None:
        self.policy, self.steps, self.config, self.generator = policy, steps, config, generator
        device = policy.log_std.device
        self.observations = torch.from_numpy(demonstrations.observations).to(device)
        self.actions = torch.from_numpy(demonstrations.actions).to(device)
        self.lengths = torch.from_numpy(demonstrations.lengths).to(device)
        self.codes: Tensor | None = torch.zeros(len(self.actions), dtype=torch.int64, device=device)
        self.optimiser = adam([policy], config.learning_rate)

    def assign(self, codes: Tensor | None) -> None:
        """Assign `codes` (E,) int64 to the demonstrations; at first they all have code 0.

        None: each pair gets a random code in each step, so that all codes become the same driver.
        """
        self.codes = None if codes is None else codes.repeat_interleave(self.lengths, output_size=len(self.actions))

    def step(self, number: int) -> Tensor:
        """Step `number` of `steps`, on random pairs; returns the loss."""
        self.optimiser.param_groups[0]["lr"] = self.config.learning_rate * (1.0 - number / self.steps)
        device = self.actions.device
        rows = torch.randint(len(self.actions), (self.config.batch,), generator=self.generator, device=device)
        if self.codes is None:
            codes = torch.randint(self.policy.num_codes, rows.shape, generator=self.generator, device=device)
        else:
            codes = self.codes[rows]
        loss = cloning_loss(self.policy, self.observations[rows], self.actions[rows], codes)
        descend(self.optimiser, loss)
        return loss

    def advance(self, first: int, count: int) -> Tensor:
        """`count` steps from number `first` on; returns the last one's loss."""
        for number in range(first, first + count):
            loss = self.step(number)
        return loss


@torch.no_grad()
def likeliest_codes(policy: Policy, demonstrations: Demonstrations) -> Tensor:
    """(E,) int64: each demonstration's code c that maximises Σ log π(a|s,c), with terms of at least `LEAST_LOG_PROB`.

    With the cloning that follows, this is a step of expectation maximisation for a mixture of K policies.
    """
    device = policy.log_std.device
    observations, actions, lengths = (
        torch.from_numpy(column).to(device)
        for column in (demonstrations.observations, demonstrations.actions, demonstrations.lengths)
    )
    episodes = torch.arange(len(lengths), device=device).repeat_interleave(lengths)
    totals = torch.zeros(policy.num_codes, len(lengths), device=device)
    for code, total in enumerate(totals):
        codes = torch.full((len(observations),), code, device=device)
        log_probs = policy(policy.inputs(observations, codes)).log_prob(actions)
        total.index_add_(0, episodes, log_probs.clamp(min=LEAST_LOG_PROB))
    return totals.argmax(0)


def warm_start(
    policy: Policy,
    demonstrations: Demonstrations,
    codes: Tensor | None,
    config: CloningConfig,
    generator: torch.Generator,
) -> None:
    """Clone for `config.warm_start_steps` steps, with the demonstrations' codes (E,); see `Cloning.assign`.

    The policy's standard deviations stay as they were. Cloning would learn how much the demonstrations' actions
    scatter, but most of that is slow wandering; as independent noise in every decision it spoils the driving.
    """
    log_std = policy.log_std.detach().clone()
    cloning = Cloning(policy, demonstrations, config.warm_start_steps, config, generator)
    cloning.assign(codes)
    for number in range(config.warm_start_steps):
        cloning.step(number)
    policy.log_std.data.copy_(log_std)
