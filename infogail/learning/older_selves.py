"""Policies of earlier iterations, who drive among those who learn."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from infogail.learning.networks import Policy

EVERY, KEPT = 10, 10  # iterations from one that is kept to the next; how many are kept


class OlderSelves:
    """The first of B environments are driven by a policy of up to `EVERY` · `KEPT` iterations ago, another in each
    rollout; nothing is learned from what they do. So the policy also meets drivers who differ from itself, as in the
    leagues of self-play (Bansal et al. 2018, arXiv 1710.03748).

    Args:
        policy: the one that learns.
        share: of the environments.
    """

    def __init__(self, policy: Policy, share: float) -> None:
        self.share, self._now, self._chosen = share, policy, copy.deepcopy(policy)
        self._kept = {name: torch.stack([x] * KEPT) for name, x in policy.state_dict().items()}

    def choose(self, iteration: int, generator: torch.Generator) -> None:
        """Keep the policy, if it is time, and choose who drives in the rollout of this iteration."""
        slot = iteration // EVERY
        if iteration % EVERY == 0:
            for name, x in self._now.state_dict().items():
                self._kept[name][slot % KEPT] = x
        number = int(torch.randint(min(slot + 1, KEPT), (), generator=generator, device=generator.device))
        self._chosen.load_state_dict({name: kept[number] for name, kept in self._kept.items()})

    def theirs(self, num_envs: int) -> slice:
        """The environments of `num_envs` that they drive."""
        return slice(round(self.share * num_envs))

    def act(self, obs: Tensor, codes: Tensor, generator: torch.Generator) -> Tensor:
        """(n, A), for observations (n, F) and codes (n,)."""
        return self._chosen(self._chosen.inputs(obs, codes)).sample(generator)

    def state_dict(self) -> dict[str, Tensor]:
        """Who is kept, (KEPT, …)."""
        return self._kept

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Resume from a state returned by `state_dict`."""
        self._kept = {name: state[name].to(x.device, copy=True) for name, x in self._kept.items()}
