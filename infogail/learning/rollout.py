"""Rollouts: driving an environment with the policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from infogail.envs.environment import Environment, Spec
from infogail.learning.networks import Policy
from infogail.learning.older_selves import OlderSelves
from infogail.parallel.distributed import all_gather


@dataclass
class Rollout:
    """T decisions in B environments, all of which start a new episode at the first."""

    observations: Tensor
    """(T, B, F)"""
    actions: Tensor
    """(T, B, A), as sampled from the policy; discrete ones one-hot"""
    log_probs: Tensor
    """(T, B), of the actions under the policy that sampled them"""
    next_observations: Tensor
    """(T, B, F): the observation after each action; where an episode ended, its final observation"""
    terminated: Tensor
    """(T, B) bool: an early end, see `Spec.early_end`"""
    done: Tensor
    """(T, B) bool: terminated or truncated"""
    codes: Tensor
    """(T, B) int64, constant within an episode"""
    styles: Tensor | None = None
    """(B,) int64: style of each environment's first episode, -1 if it failed; see `Environment.styles`"""
    ignored: Tensor | None = None
    """(T, B) bool: see `Step.ignored`"""
    penalties: Tensor | None = None
    """(T, B): see `Step.penalties`"""

    @property
    def size(self) -> int:
        """Environment steps, T · B."""
        return self.done.numel()

    def decided(self, x: Tensor) -> Tensor:
        """(n, …): the rows of `x` (T, B, …) of steps that were not ignored."""
        rows = x.flatten(0, 1)
        return rows if self.ignored is None else rows[~self.ignored.flatten()]

    def pairs(self) -> Tensor:
        """(T, B, F + A): observations and the actions executed, clipped to [-1, 1]."""
        return torch.cat((self.observations, self.actions.clamp(-1.0, 1.0)), -1)

    def first_episode(self) -> Tensor:
        """(T, B) bool: the steps of each environment's first episode."""
        ended_before = self.done.cumsum(0) - self.done.int()
        return ended_before == 0

    def counted(self, spec: Spec) -> Tensor:
        """(T, B) bool: the steps that count for codes and discriminator; see `Spec.one_episode`."""
        if spec.one_episode:
            return self.first_episode()
        return torch.ones_like(self.done) if self.ignored is None else ~self.ignored

    def starts(self, spec: Spec) -> Tensor:
        """(T, B) bool: the first step of each episode that counts."""
        starts = torch.zeros_like(self.done) if spec.one_episode else self.done.roll(1, 0)
        starts[0] = True
        return starts

    def finished(self, spec: Spec) -> Tensor:
        """(B,) bool: environments in which no episode failed; where an early end is a success, none ran out of time."""
        if spec.early_end == "neither":
            return torch.ones_like(self.done[0])
        failed = self.terminated if spec.early_end == "failure" else self.done & ~self.terminated
        return ~failed.any(0)

    def charged(self, failure_penalty: float) -> Tensor:
        """(T, B): what is subtracted from the reward, `failure_penalty` where an episode failed, and `penalties`.

        InfoGAIL's reward augmentation (Li, Song & Ermon 2017, section 4.1), and that of RAIL (Bhattacharyya et al.
        2019, arXiv 1903.05766), which also penalises what may lead to a failure.
        """
        failed = failure_penalty * self.terminated
        return failed if self.penalties is None else failed + self.penalties

    def tensors(self) -> dict[str, Tensor]:
        """Every field that is not None, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Rollout:
        """The inverse of `tensors`."""
        return cls(**tensors)

    def summary(self) -> dict[str, float]:
        """Statistics of the episodes of all processes, for logging only."""
        terminated, codes = all_gather(self.terminated.any(0).float()), all_gather(self.codes[0]).cpu().numpy()
        log = {
            "rollout/env_steps": len(codes) * len(self.done),
            "rollout/terminated_rate": terminated.mean().item(),
        }
        if self.styles is None:
            return log
        styles = all_gather(self.styles).cpu().numpy()
        return log | {
            "rollout/style_nmi": style_nmi(codes, styles),
            "rollout/success_rate": float((styles >= 0).mean()),
        }


def style_nmi(codes: np.ndarray, styles: np.ndarray) -> float:
    """Normalised mutual information 2 I(c; s) / (H(c) + H(s)) of codes (E,) and styles (E,); scikit-learn's.

    0 if there is only one code or one style, even if both (where scikit-learn's convention gives 1): a collapsed driver
    shows no style.
    """
    from sklearn.metrics import normalized_mutual_info_score

    vary = len(np.unique(codes)) > 1 and len(np.unique(styles)) > 1
    return float(normalized_mutual_info_score(styles, codes)) if vary else 0.0


def start_of_each(starts: Tensor) -> Tensor:
    """(T, B) int64: in which step the episode that each step belongs to began, for the first steps (T, B) bool."""
    steps = torch.arange(len(starts), device=starts.device)[:, None]
    return (steps * starts).cummax(0).values


def join(rollouts: Sequence[Rollout]) -> Rollout:
    """Concatenate n rollouts (T, B, …) of the same length T along the batch axis: (T, n B, …)."""
    if len(rollouts) == 1:
        return rollouts[0]
    parts = [rollout.tensors() for rollout in rollouts]
    axes = {name: min(1, tensor.dim() - 1) for name, tensor in parts[0].items()}  # (T, B, …), or (B,)
    return Rollout.from_tensors({name: torch.cat([part[name] for part in parts], axis) for name, axis in axes.items()})


@torch.no_grad()
def collect(
    env: Environment,
    policy: Policy,
    choose_codes: Callable[[Tensor | None], Tensor],
    generator: torch.Generator,
    selves: OlderSelves | None = None,
) -> Rollout:
    """Reset all environments and drive for the length of the longest episode, each episode with one code.

    Args:
        choose_codes: returns the codes (B,), given the demonstrations (B,) whose place the episodes take, if any.
        selves: older policies that drive some of the environments; their steps are ignored.
    """
    theirs = slice(0) if selves is None else selves.theirs(env.num_envs)
    obs = env.reset()
    codes = choose_codes(env.demonstrations())
    columns: dict[str, list[Tensor]] = {
        name: [] for name in ("observations", "actions", "next_observations", "terminated", "done", "codes")
    }
    log_probs: list[Tensor] = []
    extras: dict[str, list[Tensor]] = {"ignored": [], "penalties": []}
    for _ in range(env.spec.horizon):
        distribution = policy(policy.inputs(obs, codes))
        action = distribution.sample(generator)
        if selves is not None:
            action[theirs] = selves.act(obs[theirs], codes[theirs], generator)
        step = env.step(action)
        done = step.terminated | step.truncated
        values = (obs, action, step.final_observations, step.terminated, done, codes)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
        log_probs.append(distribution.log_prob(action))
        for name, extra in extras.items():
            extra += [] if (value := getattr(step, name)) is None else [value]
        obs = step.observations
        if not env.spec.one_episode:
            order = torch.randperm(env.num_envs, generator=generator, device=codes.device)
            codes = torch.where(done, choose_codes(None)[order], codes)
    for ignored in extras["ignored"]:
        ignored[theirs] = True
    stacked = {name: torch.stack(column) for name, column in (columns | extras).items() if column}
    return Rollout(**stacked, log_probs=torch.stack(log_probs), styles=env.styles())
