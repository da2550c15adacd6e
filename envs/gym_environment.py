"""Any Gymnasium environment, as learners see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

from infogail.envs.data.episodes import Episodes
from infogail.envs.environment import EarlyEnd, Step
from infogail.envs.errors import BadInput
from infogail.envs.interface import Interface

Policy = Callable[[Any], Any]
"""Maps an observation of the environment to an action in its own action space."""


class GymEnvironment:
    """B copies of a Gymnasium environment that step together, an `infogail.envs.environment.Environment`.

    Args:
        make: an environment's id or `EnvSpec`, or a function that makes one, such as its class.
        num_envs: B.
        early_end: what a termination means; see `learning.discriminator.imitation_reward`.
        device: where the tensors that it returns live.

    Every `reset` seeds all copies anew, from the seed of the first reset and the number of resets since. So training
    resumes exactly if the environment's seed determines all that follows.

    Raises:
        BadInput: see `Interface`.
    """

    def __init__(
        self,
        make: str | EnvSpec | Callable[[], gym.Env[Any, Any]],
        num_envs: int,
        early_end: EarlyEnd = "neither",
        device: str = "cpu",
    ) -> None:
        self.num_envs, self.device = num_envs, torch.device(device)
        one = (lambda: gym.make(make)) if isinstance(make, str | EnvSpec) else make
        self._envs: SyncVectorEnv = SyncVectorEnv([one] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
        self.interface = Interface(self._envs.envs[0], early_end)
        self.spec = self.interface.spec
        self._seed = self._resets = 0

    def reset(self, seed: int | None = None) -> Tensor:
        """Reset all environments; returns the first observations (B, F)."""
        if seed is not None:
            self._seed, self._resets = seed, 0
        seeds = np.random.SeedSequence((self._seed, self._resets)).generate_state(self.num_envs)
        self._resets += 1
        observations, _ = self._envs.reset(seed=[int(one) for one in seeds])
        return self._flat(list(self._split(observations)))

    def step(self, actions: Tensor) -> Step:
        """Advance by one decision with `actions` (B, A)."""
        observations, _, terminated, truncated, infos = self._envs.step(self.interface.decode(actions.cpu().numpy()))
        first = list(self._split(observations))
        last = [
            final if ended else seen
            for final, seen, ended in zip(infos.get("final_obs", first), first, terminated | truncated, strict=True)
        ]
        flags = (torch.as_tensor(flag, device=self.device) for flag in (terminated, truncated & ~terminated))
        return Step(self._flat(first), self._flat(last), *flags)

    def demonstrations(self) -> None:
        """Not known: episodes start anywhere."""

    def styles(self) -> None:
        """Not judged."""

    def state_dict(self) -> dict[str, Tensor]:
        """What determines the following resets; every iteration begins with one."""
        return {"seed": torch.tensor(self._seed), "resets": torch.tensor(self._resets)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Resume from a state returned by `state_dict`."""
        self._seed, self._resets = int(state["seed"]), int(state["resets"])

    def _split(self, observations: Any) -> Any:
        return gym.vector.utils.iterate(self._envs.observation_space, observations)

    def _flat(self, observations: list[Any]) -> Tensor:
        """(B, F), of B observations in the environment's space."""
        rows = np.stack([self.interface.observation(one) for one in observations])
        return torch.as_tensor(rows, device=self.device)


def record_policy(
    env: gym.Env[Any, Any],
    policy: Policy,
    episodes: int,
    seed: int = 0,
    early_end: EarlyEnd | None = None,
    style: int = -1,
    progress: Callable[[], None] = lambda: None,
) -> Episodes:
    """What `policy` does in `env`.

    Args:
        env: with a time limit.
        episodes: E; episode e starts from `env.reset(seed=seed + e)`.
        early_end: what a termination means; None: see `Episodes.early_end`.
        style: of all these episodes, for judging only; -1 if unknown.
        progress: called after each episode.

    Raises:
        BadInput: see `Interface`; or an action is outside the action space, or an observation is not finite.
    """
    interface = Interface(env, early_end or "neither")
    observations, actions, rewards, lengths, ends = [], [], [], [], []
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed + episode)
        observations.append(interface.flatten(observation))
        done = False
        lengths.append(0)
        while not done:
            action = policy(observation)
            if isinstance(env.action_space, spaces.Box):  # which contains nothing of a wider type, such as float64
                action = np.asarray(action, env.action_space.dtype)
            if not env.action_space.contains(action):
                raise BadInput(f"the policy's action {action!r} is not in the action space {env.action_space}")
            actions.append(action)
            observation, reward, terminated, truncated, _ = env.step(action)
            observations.append(interface.flatten(observation))
            rewards.append(float(reward))
            lengths[-1] += 1
            done = terminated or truncated
        ends.append(terminated)
        progress()
    rows, bounds = np.stack(observations), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if not np.isfinite(rows).all():
        raise BadInput(f"{interface.name}: an observation holds NaN or Inf; learners need finite numbers")
    seeds, styles = seed + np.arange(episodes), np.full(episodes, style)
    chosen = np.stack(actions).astype(env.action_space.dtype)
    recorded = Episodes(interface, rows, chosen, bounds, np.array(rewards), np.array(ends), seeds, styles)
    return recorded.interpreted(early_end)
