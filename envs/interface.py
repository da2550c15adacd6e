"""How learners see an environment: its spaces as arrays."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from infogail.envs.environment import EarlyEnd, Spec
from infogail.envs.errors import BadInput

FLATTENED = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


class Interface:
    """Translates between an environment's spaces and the arrays that learners see.

    Observations are flattened; discrete entries become one-hot. A Box of actions is scaled to [-1, 1]; discrete actions
    are one-hot, see `Spec.action_size`.

    Args:
        env: its spaces are translated, and its time limit is the horizon. If the unwrapped environment has an attribute
            `learner_spec`, a `Spec`, that says what an early end means and in what a style can show.
        early_end: how to interpret a termination, unless the environment says so.

    Raises:
        BadInput: the environment has no time limit, or a space that learners cannot use.
    """

    def __init__(self, env: gym.Env[Any, Any], early_end: EarlyEnd) -> None:
        self.observation_space = env.observation_space
        self.action_space: Any = env.action_space  # a Box, Discrete or MultiDiscrete
        name = self.name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
        _check_observations(self.observation_space, name)
        _check_actions(self.action_space, name)
        horizon = _time_limit(env)
        if horizon is None:
            remedy = "wrap it in gymnasium.wrappers.TimeLimit, or register it with max_episode_steps"
            raise BadInput(f"{name}: has no time limit, by which the length of a rollout is set; {remedy}")
        size, box = spaces.flatdim(self.observation_space), isinstance(self.action_space, spaces.Box)
        learned = spaces.Box(-1.0, 1.0, self.action_space.shape, np.float32) if box else self.action_space
        declared: Spec | None = getattr(env.unwrapped, "learner_spec", None)
        self.declared = declared is not None
        self.spec = Spec((size,), np.dtype(np.float32), learned, horizon, early_end, tuple(range(size)))
        if declared is not None:
            spaces_and_time = {
                name: getattr(self.spec, name) for name in ("observation_shape", "action_space", "horizon")
            }
            self.spec = replace(declared, **spaces_and_time)

    def interpreted(self, early_end: EarlyEnd) -> Interface:
        """The same, with another meaning of a termination."""
        other = copy(self)
        other.spec = replace(self.spec, early_end=early_end)
        return other

    @property
    def dtype(self) -> np.dtype:
        """Of flattened observations."""
        return np.dtype(spaces.flatten_space(self.observation_space).dtype)

    def flatten(self, observation: Any) -> np.ndarray:
        """(F,) `dtype`, from an observation in the environment's space, which `unflatten` gives back exactly."""
        return np.asarray(spaces.flatten(self.observation_space, observation), self.dtype)

    def unflatten(self, row: np.ndarray) -> Any:
        """The observation in the environment's space, from (F,)."""
        return spaces.unflatten(self.observation_space, row)

    def observation(self, observation: Any) -> np.ndarray:
        """(F,) float32, as a learner sees it, from an observation in the environment's space."""
        return self.flatten(observation).astype(np.float32)

    def allowed(self, actions: np.ndarray) -> np.ndarray:
        """(N,) bool: which of the actions (N, …) are in the action space."""
        space, rows = self.action_space, actions.reshape(len(actions), -1)
        if isinstance(space, spaces.Box):
            low, high = space.low.ravel(), space.high.ravel()
        else:
            low = np.ravel(space.start)
            high = low + self.spec.categories - 1
        inside: np.ndarray = (rows >= low) & (rows <= high)
        return np.logical_and.reduce(inside, axis=-1)

    def encode(self, actions: np.ndarray) -> np.ndarray:
        """(N, A) float32, as a learner sees them, of actions (N, …) in the environment's space."""
        space, rows = self.action_space, actions.reshape(len(actions), -1)
        if isinstance(space, spaces.Box):
            low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
            return ((rows - low) / (high - low) * 2.0 - 1.0).astype(np.float32)
        choices = (rows - np.ravel(space.start)).T
        one_hot = [np.eye(count, dtype=np.float32)[x] for count, x in zip(self.spec.categories, choices, strict=True)]
        return np.concatenate(one_hot, -1)

    def decode(self, actions: np.ndarray) -> np.ndarray:
        """Actions of the environment, (B, …), from those of a learner (B, A); a Box's are clipped to its bounds."""
        space = self.action_space
        if isinstance(space, spaces.Box):
            low, high = space.low.astype(np.float64), space.high.astype(np.float64)
            share = (actions.reshape(-1, *space.shape).clip(-1.0, 1.0).astype(np.float64) + 1.0) / 2.0
            return (low + share * (high - low)).astype(space.dtype)
        ends = np.cumsum(self.spec.categories)[:-1]
        chosen = np.stack([part.argmax(-1) for part in np.split(actions, ends, axis=-1)], -1)
        return (chosen.reshape(-1, *space.shape) + space.start).astype(space.dtype)


def _time_limit(env: gym.Env[Any, Any]) -> int | None:
    """Steps after which the outermost time limit truncates an episode."""
    if env.spec is not None and env.spec.max_episode_steps is not None:
        return env.spec.max_episode_steps
    while isinstance(env, gym.Wrapper):
        if isinstance(env, TimeLimit):
            return env._max_episode_steps
        env = env.env
    return None


def _check_actions(space: spaces.Space[Any], name: str) -> None:
    """Raise BadInput unless learners can choose from `space`."""
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return
    if not isinstance(space, spaces.Box):
        raise BadInput(f"{name}: actions are {space}; learners choose from a Box, a Discrete or a MultiDiscrete")
    if not space.is_bounded():
        remedy = "wrap it in gymnasium.wrappers.RescaleAction or ClipAction"
        raise BadInput(f"{name}: actions are unbounded ({space}); {remedy}")


def _check_observations(space: spaces.Space[Any], name: str) -> None:
    """Raise BadInput unless `space` and all its parts can be flattened to a fixed size."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for part in space.values() if isinstance(space, spaces.Dict) else space:
            _check_observations(part, name)
    elif not isinstance(space, FLATTENED):
        raise BadInput(f"{name}: observations hold {space}, whose size varies; learners need a Box, Discrete or Dict")
