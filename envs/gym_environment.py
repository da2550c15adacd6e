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
from gymnasium.wrappers import TimeLimit
from torch import Tensor

from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.data.episodes import Episodes
from infogail.envs.environment import EarlyEnd, Spec, Step
from infogail.envs.errors import BadInput

Policy = Callable[[Any], Any]
"""Maps an observation of the environment to an action in its own action space."""
FLATTENED = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


class Interface:
    """Translates between an environment's spaces and the arrays that learners see.

    Observations are flattened to float32; discrete entries become one-hot. A Box of actions is scaled to [-1, 1];
    discrete actions are one-hot, see `Spec.action_size`.

    Args:
        env: its spaces are translated, and its time limit is the horizon.
        early_end: how to interpret a termination.

    Raises:
        BadInput: the environment has no time limit, or a space that learners cannot use.
    """

    def __init__(self, env: gym.Env[Any, Any], early_end: EarlyEnd) -> None:
        self.observation_space, self.action_space = env.observation_space, env.action_space
        name = self.name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
        _check_observations(self.observation_space, name)
        self._check_actions(name)
        horizon = _time_limit(env)
        if horizon is None:
            remedy = "wrap it in gymnasium.wrappers.TimeLimit, or register it with max_episode_steps"
            raise BadInput(f"{name}: has no time limit, by which the length of a rollout is set; {remedy}")
        size, box = spaces.flatdim(self.observation_space), isinstance(self.action_space, spaces.Box)
        learned = spaces.Box(-1.0, 1.0, self.action_space.shape, np.float32) if box else self.action_space
        self.spec = Spec((size,), np.dtype(np.float32), learned, horizon, early_end, tuple(range(size)))

    def _check_actions(self, name: str) -> None:
        space = self.action_space
        if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            return
        if not isinstance(space, spaces.Box):
            raise BadInput(f"{name}: actions are {space}; learners choose from a Box, a Discrete or a MultiDiscrete")
        if not space.is_bounded():
            remedy = "wrap it in gymnasium.wrappers.RescaleAction or ClipAction"
            raise BadInput(f"{name}: actions are unbounded ({space}); {remedy}")

    def observation(self, observation: Any) -> np.ndarray:
        """(F,) float32, from an observation in the environment's space."""
        return np.asarray(spaces.flatten(self.observation_space, observation), dtype=np.float32)

    def encode(self, action: Any) -> np.ndarray:
        """(A,) float32, as a learner sees it, of an action in the environment's space."""
        space = self.action_space
        if isinstance(space, spaces.Box):
            low, high = space.low.astype(np.float64), space.high.astype(np.float64)
            scaled = (np.asarray(action, np.float64) - low) / (high - low) * 2.0 - 1.0
            return scaled.astype(np.float32).reshape(-1)
        return np.asarray(spaces.flatten(space, action), dtype=np.float32)

    def decode(self, actions: np.ndarray) -> np.ndarray:
        """Actions of the environment, (B, …), from those of a learner (B, A); a Box's are clipped to its bounds."""
        space = self.action_space
        if isinstance(space, spaces.Box):
            low, high = space.low.astype(np.float64), space.high.astype(np.float64)
            share = (actions.reshape(-1, *space.shape).clip(-1.0, 1.0) + 1.0) / 2.0
            return (low + share * (high - low)).astype(space.dtype)
        ends = np.cumsum(self.spec.categories)[:-1]
        chosen = np.stack([part.argmax(-1) for part in np.split(actions, ends, axis=-1)], -1)
        if isinstance(space, spaces.Discrete):
            return (chosen[:, 0] + space.start).astype(space.dtype)
        assert isinstance(space, spaces.MultiDiscrete)
        return (chosen.reshape(-1, *space.shape) + space.start).astype(space.dtype)


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
        done = False
        lengths.append(0)
        while not done:
            action = policy(observation)
            if isinstance(env.action_space, spaces.Box):  # which contains nothing of a wider type, such as float64
                action = np.asarray(action, env.action_space.dtype)
            if not env.action_space.contains(action):
                raise BadInput(f"the policy's action {action!r} is not in the action space {env.action_space}")
            observations.append(interface.observation(observation))
            actions.append(interface.encode(action))
            observation, reward, terminated, truncated, _ = env.step(action)
            rewards.append(float(reward))
            lengths[-1] += 1
            done = terminated or truncated
        ends.append(terminated)
        progress()
    rows, bounds = np.stack(observations), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if not np.isfinite(rows).all():
        raise BadInput(f"{interface.name}: an observation holds NaN or Inf; learners need finite numbers")
    demonstrations = Demonstrations(interface.spec, rows, np.stack(actions), bounds)
    seeds, styles = seed + np.arange(episodes), np.full(episodes, style)
    recorded = Episodes(interface.name, demonstrations, np.array(rewards), np.array(ends), seeds, styles)
    return recorded.interpreted(early_end)


def _time_limit(env: gym.Env[Any, Any]) -> int | None:
    """Steps after which the outermost time limit truncates an episode."""
    if env.spec is not None and env.spec.max_episode_steps is not None:
        return env.spec.max_episode_steps
    while isinstance(env, gym.Wrapper):
        if isinstance(env, TimeLimit):
            return env._max_episode_steps
        env = env.env
    return None


def _check_observations(space: spaces.Space[Any], name: str) -> None:
    """Raise BadInput unless `space` and all its parts can be flattened to a fixed size."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for part in space.values() if isinstance(space, spaces.Dict) else space:
            _check_observations(part, name)
    elif not isinstance(space, FLATTENED):
        raise BadInput(f"{name}: observations hold {space}, whose size varies; learners need a Box, Discrete or Dict")
