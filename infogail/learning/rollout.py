"""Driving the batched twin with the policy, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from infogail.envs.scenarios.scenario import EPISODE_STEPS, NO_STYLE, Characters, Scene
from infogail.envs.twin import DrivingVectorEnv
from infogail.evaluation.metrics import style_nmi
from infogail.learning.heads import Gaussian
from infogail.learning.networks import Policy
from infogail.parallel.distributed import all_gather


@dataclass
class Rollout:
    """T decisions in B environments, from a common start at the beginning of an episode."""

    observations: Tensor
    """(T, B, F)"""
    actions: Tensor
    """(T, B, A), as the policy drew them"""
    log_probs: Tensor
    """(T, B), of the actions under the policy that drew them"""
    next_observations: Tensor
    """(T, B, F): what each action led to; where an episode ended, its final observation"""
    terminated: Tensor
    """(T, B) bool: crash or road exit"""
    done: Tensor
    """(T, B) bool: terminated or out of time"""
    codes: Tensor
    """(B,) int64"""
    styles: np.ndarray
    """(B,) int64: style of each environment's first episode, `NO_STYLE` where it failed. For judging only."""

    @property
    def size(self) -> int:
        """Environment steps, T · B."""
        return self.done.numel()

    def pairs(self) -> Tensor:
        """(T, B, F + A): observations beside the actions that were carried out, within [-1, 1]."""
        return torch.cat((self.observations, self.actions.clamp(-1.0, 1.0)), -1)

    def first_episode(self) -> Tensor:
        """(T, B) bool: the steps of each environment's first episode."""
        ended_before = self.done.cumsum(0) - self.done.int()
        return ended_before == 0

    def tensors(self) -> dict[str, Tensor]:
        """Every field, by name."""
        return {name: torch.as_tensor(value) for name, value in vars(self).items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Rollout:
        """What `tensors` gave."""
        return cls(**{**tensors, "styles": tensors["styles"].numpy()})  # type: ignore[arg-type] # all others are tensors

    def step_codes(self) -> Tensor:
        """(T, B): the code in force at each step."""
        return self.codes.expand(self.done.shape)

    def summary(self) -> dict[str, float]:
        """How the episodes of all processes went, for the log; learners do not look at it."""
        terminated = all_gather(self.terminated.any(0).float())
        codes, styles = all_gather(self.codes).numpy(), all_gather(torch.from_numpy(self.styles)).numpy()
        return {
            "rollout/env_steps": len(codes) * len(self.done),
            "rollout/style_nmi": style_nmi(codes, styles),
            "rollout/success_rate": float((styles != NO_STYLE).mean()),
            "rollout/terminated_rate": terminated.mean().item(),
        }


def join(rollouts: Sequence[Rollout]) -> Rollout:
    """Rollouts (T, B, …) of the same length T side by side, (T, n B, …)."""
    if len(rollouts) == 1:
        return rollouts[0]
    each = [rollout.tensors() for rollout in rollouts]
    axes = {name: min(1, tensor.dim() - 1) for name, tensor in each[0].items()}  # (T, B, …), or (B,)
    return Rollout.from_tensors({name: torch.cat([one[name] for one in each], axis) for name, axis in axes.items()})


@torch.no_grad()
def collect(
    env: DrivingVectorEnv,
    policy: Policy,
    choose_codes: Callable[[Scene], Tensor],
    generator: torch.Generator,
    characters: Characters | None = None,
) -> Rollout:
    """Start all environments anew and drive for the length of an episode, each with one code.

    Args:
        env: made with `tensors=True`.
        choose_codes: tells the codes (B,) for the scenes in which they start.
        characters: of the demonstrations, by which styles are judged where geometry alone cannot tell.
    """
    obs, _ = env.reset()
    scene = env.scene
    codes = choose_codes(scene)
    columns: dict[str, list[Tensor]] = {
        name: [] for name in ("observations", "actions", "next_observations", "terminated", "done")
    }
    labelled = not env.scenario.recorded
    means, states = [], [env.vehicle_state] if labelled else []
    for _ in range(EPISODE_STEPS):
        mean, std = policy(policy.inputs(obs, codes))
        action = mean + std * torch.randn(mean.shape, generator=generator)
        next_obs, _, terminated, truncated, infos = env.step(action)
        last = infos.get("final_obs", next_obs)
        values = (obs, action, last, terminated, terminated | truncated)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
        means.append(mean)
        if labelled:
            ended = "final_info" in infos
            states.append(np.asarray(infos["final_info"]["vehicle_state"]) if ended else env.vehicle_state)
        obs = next_obs
    stacked = {name: torch.stack(column) for name, column in columns.items()}
    styles = np.zeros(len(codes), np.int64)
    if labelled:
        by_component = {name: value.T for name, value in scene.items()}  # as scenario functions take it
        styles = env.scenario.style(np.stack(states), by_component, characters)
    styles[stacked["terminated"].any(0).numpy()] = NO_STYLE
    log_probs = Gaussian(torch.stack(means), std).log_prob(stacked["actions"])
    return Rollout(**stacked, log_probs=log_probs, codes=codes, styles=styles)
