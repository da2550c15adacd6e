"""A scenario on the batched torch twin of highway-env's physics: thousands of environments per step."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor
from torch.utils._triton import has_triton

from infogail.envs.catalogue import get_scenario
from infogail.envs.environment import Step
from infogail.envs.physics.state import Scene, as_float64
from infogail.envs.physics.streams import named, random_streams
from infogail.envs.reference import check_scene, feature_space
from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.scenarios.styles import NO_STYLE, StyleJudge
from infogail.envs.stepping import (
    Stepper,
    World,
    compiled_step,
    draw_scenes,
    features_of,
    judge_ego,
    states_of,
    step_densely,
    step_sparsely,
)


class DrivingVectorEnv(VectorEnv[Any, Any, Any]):
    """`gymnasium.make_vec("infogail/Pass-v0", num_envs, vectorization_mode="vector_entry_point", dtype=…, device=…)`.

    Same spaces, reward, termination and truncation as `reference.DrivingEnv`, and the same motion to 1e-9 in
    float64. Observations (num_envs, F) and rewards (num_envs,) have the dtype `dtype`, flags (num_envs,) are bool. All
    are NumPy arrays, as Gymnasium's wrappers expect; with `tensors=True` they are torch tensors on `device`, and action
    values are not checked. Actions may be given as either. No gradients are recorded.

    Autoreset is same-step: where an episode ended, the observation is already the first of the next one. Gymnasium's
    reward, action and info wrappers support this; its observation wrappers (`NormalizeObservation`) reject it.
    Entries of `infos`, each with a mask (num_envs,) bool under its name prefixed with `_`:

    - `crashed`, `off_road` (num_envs,) bool: the ego has touched another vehicle, or left the road. Where an episode
      ended, the values at its end.
    - `final_obs` (num_envs, F), `final_info`: only if an episode ended in this step; with `tensors=True` always, since
      asking would wait for the device. The last observation, and a dict of `crashed`, `off_road` and `vehicle_state`
      (num_envs, V, 4) at the end; where the episode continues, rows hold the current values.

    The scenes that environment i draws depend only on the seed, i, and the number of episodes it has begun: they are
    bit-identical whatever the other environments do and however many there are, and equal up to rounding in the other
    dtype. Observations and motion do not depend on the other environments either, but only up to rounding: whether
    torch uses vectorised or scalar functions for an environment depends on `num_envs` and the processor, and they may
    differ in the last bit.

    With `compile=True`, torch's inductor compiles the whole step into one fused function for this scenario, `num_envs`
    and `dtype`. This requires a C++ compiler and takes ten seconds or more the first time on a machine, two or three
    from then on. On a device other than the CPU, a step never waits for the device, compiled or not, except in traffic
    that cannot be compiled.

    Internally, tensors are stored component-first, (4, V, B) for states (B, V, 4) and (F, B) for observations (B, F),
    so that each operation runs over contiguous memory. A step allocates new tensors and never modifies old ones, so
    returned values stay valid.

    Raises:
        ValueError: `dtype` or `num_envs` is invalid; `compile=True`, but the scenario cannot be compiled; or a
            `render_mode` is given: only `gymnasium.make` renders.
        RuntimeError: `compile=True`, but this machine cannot compile.
    """

    def __init__(
        self,
        scenario: str | Scenario,
        num_envs: int = 1,
        dtype: str = "float32",
        device: str = "cpu",
        compile: bool = False,
        tensors: bool = False,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', not {dtype!r}")
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        if render_mode is not None:
            raise ValueError(
                f"render_mode={render_mode!r}: the batched environment cannot render; use gymnasium.make for pictures"
            )
        self.scenario = scenario if isinstance(scenario, Scenario) else get_scenario(scenario, **settings)
        if compile and not self.scenario.compilable:
            raise ValueError(f"compile=True: traffic as in {self.scenario.name} cannot be compiled; leave it out")
        self.metadata = {
            "autoreset_mode": AutoresetMode.SAME_STEP,
            "render_modes": [],
            "render_fps": self.scenario.policy_frequency,
        }
        self.num_envs, self.tensors = num_envs, tensors
        self.dtype, self.device = getattr(torch, dtype), torch.device(device)
        self.single_observation_space = feature_space(len(self.scenario.features), np.dtype(dtype))
        self.single_action_space = spaces.Box(-1.0, 1.0, (self.scenario.action_size,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._streams = random_streams(int(self.np_random.integers(2**63)), num_envs).to(self.device)
        self._world = self._begin(self._streams, torch.zeros_like(self._streams))
        dense = self.device.type != "cpu" and self.scenario.compilable
        self._step: Stepper = functools.partial(step_densely if dense else step_sparsely, self.scenario)
        if compile:
            self._step = compiled_step(self.scenario, num_envs, self.dtype, self.device)

    @property
    def states(self) -> Tensor:
        """(num_envs, V, 4): `vehicle_state` as a tensor on the device, in the dtype of this environment."""
        return states_of(self.scenario, self._world)

    @property
    def scene_tensors(self) -> Scene:
        """`scene` as tensors on the device, with num_envs as the last dimension, as scenario functions take it."""
        return named(self.scenario.draws, self._world.scene)

    @property
    def vehicle_state(self) -> np.ndarray:
        """float64 (num_envs, V, 4): x [m], y [m], heading [rad], speed [m/s], the ego first."""
        return as_float64(self.states.cpu())

    @property
    def scene(self) -> Scene:
        """Everything drawn at each environment's last reset, float64 (num_envs,) or (num_envs, size) each.

        Row k of every entry is a scene for `infogail.envs.reference.DrivingEnv`.
        """
        return {name: as_float64(value.cpu()).T for name, value in self.scene_tensors.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """The complete state, as in torch's modules: vehicles, scenes, clocks, random streams."""
        return {**self._world._asdict(), "streams": self._streams}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Resume from a `state_dict` of equally many environments with the same scenario and dtype.

        Raises:
            KeyError: an entry is missing.
            RuntimeError: an entry has another shape or dtype.
        """
        for name, tensor in self.state_dict().items():
            shape, dtype = tuple(state[name].shape), state[name].dtype
            if shape != tensor.shape or dtype != tensor.dtype:
                raise RuntimeError(f"'{name}' is {dtype} {shape}, not {tensor.dtype} {tuple(tensor.shape)}")
        self._world = World(*(state[name].to(self.device) for name in World._fields))
        self._streams = state["streams"].to(self.device)

    @property
    def bytes_per_environment(self) -> float:
        """Memory [bytes] that one environment's state takes."""
        return sum(tensor.nbytes for tensor in (*self._world, self._streams)) / self.num_envs

    @torch.no_grad()
    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments.

        Args:
            seed: an integer for all, or a list of one for each: environment i then starts as environment 0 does after
                `reset(seed=seed[i])`. None continues with the environment's current random stream.
            options: `"scene"`: the scenes to start from, as returned by `scene`, or one scene for all. `"reset_mask"`:
                (num_envs,) bool, the environments to reset; the others keep their state, scenes and random streams.

        Raises:
            ValueError: the scene lacks a quantity, has an unknown one, or one of the wrong shape; a seed or the mask is
                malformed; an option is unknown.
        """
        options = options or {}
        if unknown := ", ".join(repr(name) for name in options if name not in ("scene", "reset_mask")):
            raise ValueError(f"unknown reset options: {unknown}; valid options are 'scene' and 'reset_mask'")
        mask = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        if "reset_mask" in options:
            mask = self._checked_mask(options["reset_mask"])
        scene = self._checked_scene(options["scene"]) if "scene" in options else None
        streams, episode = self._streams, self._world.episode + 1
        if isinstance(seed, Sequence | np.ndarray):
            streams, episode = self._seeded_one_by_one(seed)
        elif seed is not None:
            super().reset(seed=seed)
            streams, episode = random_streams(seed, self.num_envs).to(self.device), torch.zeros_like(episode)
        begun = self._begin(streams, episode, scene)
        self._streams = torch.where(mask, streams, self._streams)
        self._world = World(*(torch.where(mask, new, old) for new, old in zip(begun, self._world, strict=True)))
        states = states_of(self.scenario, self._world)
        crashed, off_road, _ = judge_ego(self.scenario, self._world, states)
        infos = {"crashed": crashed, "_crashed": mask, "off_road": off_road, "_off_road": mask}
        return self._returned(features_of(self.scenario, self._world, states).T), self._returned(infos)

    @torch.no_grad()
    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Advance by one decision with `actions` (num_envs, A) = acceleration, steering in [-1, 1], clipped if outside.

        Raises:
            ValueError: the actions have the wrong shape, or, unless `tensors=True`, are not finite.
        """
        self._world, outcome = self._step(self._world, self._streams, self._checked_actions(actions))
        every = torch.ones_like(outcome.done)
        infos: dict[str, Any] = {
            "crashed": outcome.crashed,
            "_crashed": every,
            "off_road": outcome.off_road,
            "_off_road": every,
        }
        if self.tensors or outcome.done.any():
            done = outcome.done
            final = {"crashed": outcome.crashed, "off_road": outcome.off_road, "vehicle_state": outcome.final_states}
            infos |= {
                "final_obs": outcome.final_features.T,
                "_final_obs": done,
                "final_info": final | {f"_{name}": done for name in final},
                "_final_info": done,
            }
        obs, reward, terminated, truncated = map(
            self._returned, (outcome.features.T, outcome.reward, outcome.terminated, outcome.truncated)
        )
        return obs, reward, terminated, truncated, self._returned(infos)

    def _returned(self, value: Any) -> Any:
        """A tensor, or a dict of tensors, converted to NumPy unless `tensors=True`."""
        if self.tensors:
            return value
        if isinstance(value, dict):
            return {name: self._returned(entry) for name, entry in value.items()}
        return value.cpu().numpy()

    def _checked_actions(self, actions: Any) -> Tensor:
        """(A, B) of actions (B, A)."""
        actions = actions if isinstance(actions, Tensor) else np.array(actions)  # a copy: it may be read-only
        actions = torch.as_tensor(actions, dtype=self.dtype, device=self.device)
        shape = (self.num_envs, self.scenario.action_size)
        if actions.shape != shape:
            expected = f"(num_envs, {shape[1]}) = {shape}"
            raise ValueError(f"actions have the shape {tuple(actions.shape)}, but must have {expected}")
        if not self.tensors and not (finite := actions.isfinite()).all():
            wrong = (~finite).any(-1).nonzero().squeeze(-1).tolist()
            others = f" (and likewise in {len(wrong) - 1} more environments)" if len(wrong) > 1 else ""
            raise ValueError(f"actions[{wrong[0]}] is {actions[wrong[0]].tolist()}{others}: actions must be finite")
        return actions.T.contiguous()

    def _checked_mask(self, mask: Any) -> Tensor:
        """(B,) bool"""
        array = np.asarray(mask)
        if array.shape != (self.num_envs,) or array.dtype != np.bool_:
            raise ValueError(f"reset_mask must be bool ({self.num_envs},), not {array.dtype} {array.shape}")
        if not array.any():
            raise ValueError("reset_mask is all False: it must select at least one environment")
        return torch.tensor(array, device=self.device)

    def _checked_scene(self, scene: Scene) -> Tensor:
        """(k, B), from a scene (num_envs, …), or from one scene for all (…)."""
        given, blocks = check_scene(self.scenario, scene), []
        for name, draw in self.scenario.draws.items():
            value, shape = as_float64(given[name]), (self.num_envs, *draw.shape)
            if value.shape not in (shape, draw.shape):
                raise ValueError(f"scene['{name}'] has the shape {value.shape}, but must have {shape}, or {draw.shape}")
            blocks.append(np.broadcast_to(value, shape).reshape(self.num_envs, -1))
        return torch.as_tensor(np.concatenate(blocks, 1).T.copy(), dtype=self.dtype, device=self.device)

    def _seeded_one_by_one(self, seeds: Sequence[int | None] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Random streams and numbers of the next episodes, (B,) each."""
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed must have one entry for each of {self.num_envs} environments, not {len(seeds)}")
        streams, episode = self._streams.clone(), self._world.episode + 1
        for k, seed in enumerate(seeds):
            if seed is None:
                continue
            if not isinstance(seed, int | np.integer) or seed < 0:
                raise ValueError(f"seed[{k}] is {seed!r}, not a non-negative integer or None")
            streams[k], episode[k] = random_streams(int(seed), 1)[0], 0
        return streams, episode

    def _begin(self, streams: Tensor, episode: Tensor, scene: Tensor | None = None) -> World:
        if scene is None:
            scene = draw_scenes(self.scenario, streams, episode, self.dtype)
        return World(self.scenario.begin(named(self.scenario.draws, scene)), scene, torch.zeros_like(episode), episode)


class DrivingEnvironment:
    """The twin as learners see it, an `infogail.envs.environment.Environment`.

    Args:
        judge: judges styles, for the log; see `Scenario.fit_judge`. None if the styles are unknown.
        device: where the twin lives. On a GPU the step is compiled if the scenario and the machine allow it, since
            otherwise it is many small kernels.
    """

    def __init__(self, scenario: Scenario, num_envs: int, judge: StyleJudge | None = None, device: str = "cpu") -> None:
        self.spec, self.num_envs = scenario.spec, num_envs
        compile = torch.device(device).type == "cuda" and scenario.compilable and has_triton()
        self._twin = DrivingVectorEnv(scenario, num_envs, device=device, compile=compile, tensors=True)
        self._judge = judge
        self._begin()

    def reset(self, seed: int | None = None) -> Tensor:
        """Reset all environments; returns the first observations (B, F)."""
        obs, _ = self._twin.reset(seed=seed)
        self._begin()
        return obs

    def _begin(self) -> None:
        """Remember what styles are judged by; scenes change where an episode ends."""
        self._scene, self._states = self._twin.scene_tensors, [self._twin.states]
        self._failed = torch.zeros(self.num_envs, dtype=torch.bool, device=self._twin.device)

    def step(self, actions: Tensor) -> Step:
        """Advance by one decision with `actions` (B, A)."""
        obs, _, terminated, truncated, infos = self._twin.step(actions)
        self._states.append(infos["final_info"]["vehicle_state"])
        self._failed = self._failed | terminated
        return Step(obs, infos["final_obs"], terminated, truncated)

    def demonstrations(self) -> Tensor | None:
        """(B,) int64: in recorded traffic, the demonstration whose driver each ego replaces."""
        return self._twin.scenario.demonstration(self._scene)

    def styles(self) -> Tensor | None:
        """(B,) int64: the judge's styles for the steps since `reset`, `NO_STYLE` where one of them failed."""
        if self._judge is None:
            return None
        states = torch.stack(self._states).to(torch.float64).cpu().numpy()
        scene = {name: as_float64(value.cpu()) for name, value in self._scene.items()}
        styles = torch.as_tensor(np.asarray(self._judge(states, scene)), device=self._twin.device)
        return styles.masked_fill(self._failed, NO_STYLE)

    def state_dict(self) -> dict[str, Tensor]:
        """The twin's; the trajectories are left out, since every iteration begins with a reset."""
        return self._twin.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Resume from a state returned by `state_dict`."""
        self._twin.load_state_dict(state)
