"""Any Gymnasium environment, as learners see it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from torch import Tensor

from infogail.envs.data.episodes import Episodes
from infogail.envs.data.recording import source_problem
from infogail.envs.environment import EarlyEnd, Step
from infogail.envs.errors import BadInput
from infogail.envs.interface import Interface

Policy = Callable[[Any], Any]
"""Maps an observation of the environment to an action in its own action space."""
WORTH_A_PROCESS, TIMED_STEPS = 1e-3, 20  # [s]: of a step, from which on a process for each copy pays


class GymEnvironment:
    """B copies of a Gymnasium environment that step together, an `infogail.envs.environment.Environment`.

    Args:
        make: an environment's id or `EnvSpec`, or a function that makes one, such as its class.
        num_envs: B.
        early_end: what a termination means; see `learning.discriminator.imitation_reward`.
        device: where the tensors that it returns live.

    They are the environment's own vector form, if it has one. Otherwise they step one after another or, where a step
    is slow, in a process each, with the same results.

    Every `reset` seeds all copies anew, from the seed of the first reset and the number of resets since. So training
    resumes exactly if the environment's seed determines all that follows, which `reproducible` says of a trial.

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
        single = one()
        self.interface = Interface(single, early_end)
        self.spec = self.interface.spec
        seconds, self.reproducible = _rehearse(single, self.interface)
        self._envs: Any = _own_vector_form(single, num_envs)
        if self._envs is None:
            kind = AsyncVectorEnv if seconds > WORTH_A_PROCESS and (os.cpu_count() or 1) > 1 else SyncVectorEnv
            self._envs = kind([one] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
        single.close()
        self._next_step = self._envs.metadata.get("autoreset_mode") == AutoresetMode.NEXT_STEP
        self._ended = np.zeros(num_envs, bool)
        self._seed = self._resets = 0

    def reset(self, seed: int | None = None) -> Tensor:
        """Reset all environments; returns the first observations (B, F)."""
        if seed is not None:
            self._seed, self._resets = seed, 0
        seeds = np.random.SeedSequence((self._seed, self._resets)).generate_state(self.num_envs)
        self._resets += 1
        separate = isinstance(self._envs, SyncVectorEnv | AsyncVectorEnv)
        observations, _ = self._envs.reset(seed=[int(one) for one in seeds] if separate else int(seeds[0]))
        self._ended = np.zeros(self.num_envs, bool)
        return self._tensor(self._flat(observations))

    def step(self, actions: Tensor) -> Step:
        """Advance by one decision with `actions` (B, A)."""
        observations, _, terminated, truncated, infos = self._envs.step(self.interface.decode(actions.cpu().numpy()))
        first, done = self._flat(observations), terminated | truncated
        last, ignored = first, None
        if self._next_step:
            ignored, self._ended = self._tensor(self._ended), done
        elif done.any():
            last = first.copy()
            for b in np.flatnonzero(done):
                last[b] = self.interface.observation(infos["final_obs"][b])
        ends = self._tensor(terminated), self._tensor(truncated & ~terminated)
        return Step(self._tensor(first), self._tensor(last), *ends, ignored)

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

    def _flat(self, observations: Any) -> np.ndarray:
        """(B, F) float32, of a batch of observations."""
        if isinstance(self.interface.observation_space, spaces.Box):
            return np.asarray(observations, np.float32).reshape(self.num_envs, -1)
        rows = gym.vector.utils.iterate(self._envs.observation_space, observations)
        return np.stack([self.interface.observation(one) for one in rows])

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, device=self.device)


def _own_vector_form(env: gym.Env[Any, Any], num_envs: int) -> gym.vector.VectorEnv[Any, Any, Any] | None:
    """The environment's own vector form, if it has one that reports the last observation of each episode."""
    spec = env.spec
    if spec is None or spec.vector_entry_point is None or spec.additional_wrappers:
        return None
    envs = gym.make_vec(spec, num_envs, vectorization_mode="vector_entry_point")
    same = envs.single_observation_space == env.observation_space and envs.single_action_space == env.action_space
    if same and envs.metadata.get("autoreset_mode") in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP):
        return envs
    envs.close()
    return None


def _rehearse(env: gym.Env[Any, Any], interface: Interface) -> tuple[float, bool]:
    """Seconds per step, and whether the seed of a reset determines what random actions lead to."""
    seen: list[list[Any]] = [[], []]
    fastest = math.inf  # of all steps, since another program may interfere
    for log in seen:
        observation, _ = env.reset(seed=0)
        env.action_space.seed(0)
        log.append(interface.flatten(observation).tolist())
        for _ in range(TIMED_STEPS):
            action, start = env.action_space.sample(), time.perf_counter()
            observation, _, terminated, truncated, _ = env.step(action)
            fastest = min(fastest, time.perf_counter() - start)
            if terminated or truncated:
                observation, _ = env.reset()
            log.append(interface.flatten(observation).tolist())
    return fastest, seen[0] == seen[1]


def record_policy(
    env: gym.Env[Any, Any],
    policy: Policy,
    episodes: int,
    seed: int = 0,
    early_end: EarlyEnd | None = None,
    style: int = -1,
    progress: Callable[[], None] = lambda: None,
    min_return: float = -math.inf,
    source: str = "",
) -> Episodes:
    """What `policy` does in `env`.

    Args:
        env: with a time limit.
        episodes: E; the first starts from `env.reset(seed=seed)`, the next from `seed + 1`, and so on.
        early_end: what a termination means; None: see `Episodes.early_end`.
        style: of all these episodes, for judging only; -1 if unknown.
        progress: called after each episode.
        min_return: episodes of a smaller return are left out, and others recorded in their place.
        source: who demonstrates, in words, at most `MAX_SOURCE` characters.

    Raises:
        BadInput: see `Interface`; or an action is outside the action space, an observation is not finite, no
            episode of the first hundred has the return, or the source is too long or not printable.
    """
    if problem := source_problem({"source": source}):
        raise BadInput(problem)
    interface = Interface(env, early_end or "neither")
    kept: list[Episodes] = []
    for number in count(seed):
        episode = _record_episode(env, policy, interface, number, style)
        if episode.rewards.sum() >= min_return:
            kept.append(episode)
            progress()
        if len(kept) == episodes:
            return replace(Episodes.join(kept).interpreted(early_end), source=source)
        if not kept and number - seed >= 99:
            raise BadInput(f"no episode of a hundred has a return of {min_return:g} or more; give a smaller one")
    raise AssertionError("counting ended")


def _record_episode(env: gym.Env[Any, Any], policy: Policy, interface: Interface, seed: int, style: int) -> Episodes:
    """One episode from `env.reset(seed=seed)`."""
    observation, _ = env.reset(seed=seed)
    observations, actions, rewards, done = [interface.flatten(observation)], [], [], False
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
        done = terminated or truncated
    rows, bounds = np.stack(observations), np.array([0, len(rewards)])
    if not np.isfinite(rows).all():
        raise BadInput(f"{interface.name}: an observation holds NaN or Inf; learners need finite numbers")
    chosen, end = np.stack(actions).astype(env.action_space.dtype), np.array([bool(terminated)])
    return Episodes(interface, rows, chosen, bounds, np.array(rewards), end, np.array([seed]), np.array([style]))
