"""A scenario on the batched torch twin of highway-env's physics: thousands of worlds in one step."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from highway_env.vehicle.kinematics import Vehicle
from torch import Tensor

from infogail.envs.catalogue import get_scenario
from infogail.envs.physics.dynamics import Car
from infogail.envs.reference import check_scene, feature_space
from infogail.envs.scenarios.scenario import (
    ACCELERATION_RANGE,
    EPISODE_STEPS,
    Scenario,
    Scene,
    as_float64,
    named,
    num_rows,
    scene_from_uniform,
)

CRASHED = Car._fields.index("crashed")


class World(NamedTuple):
    """B environments between two decisions: all that a step changes."""

    traffic: Tensor  # (9 or more, V, B), see `infogail.envs.physics.dynamics`
    scene: Tensor  # (k, B), in the order of the scenario's draws
    elapsed: Tensor  # (B,) int64, decisions since the episode began
    episode: Tensor  # (B,) int64, how many episodes have begun since the seed was set


class Outcome(NamedTuple):
    """What a step tells. Where an episode ended, only `features` are those of the next one."""

    features: Tensor  # (F, B)
    final_features: Tensor  # (F, B)
    final_states: Tensor  # (B, V, 4)
    reward: Tensor  # (B,)
    terminated: Tensor  # (B,) bool
    truncated: Tensor  # (B,) bool
    done: Tensor  # (B,) bool
    crashed: Tensor  # (B,) bool
    off_road: Tensor  # (B,) bool


Step = Callable[[World, Tensor, Tensor], tuple[World, Outcome]]
"""From a world, random streams (B,) and actions (2, B) to the next world and what to tell of it."""


class DrivingVectorEnv(VectorEnv[Any, Any, Any]):
    """`gymnasium.make_vec("infogail/Pass-v0", num_envs, vectorization_mode="vector_entry_point", dtype=…, device=…)`.

    Same spaces, reward, termination and truncation as `reference.DrivingEnv`, and the same motion to 1e-9 in
    float64. Observations (num_envs, F) and rewards (num_envs,) have the dtype `dtype`, flags (num_envs,) are bool. All
    are NumPy arrays, as Gymnasium's wrappers expect; with `tensors=True` they are torch tensors on `device`, and the
    values of actions are not checked. Actions may be either. No gradient is recorded.

    Autoreset is same-step: where an episode ended, the observation is already the first of the next one. Gymnasium's
    wrappers of rewards, actions and infos support this; those of observations (`NormalizeObservation`) refuse it.
    Entries of `infos`, each with a mask (num_envs,) bool under its name with `_` before it:

    - `crashed`, `off_road` (num_envs,) bool: the ego has touched another vehicle, has left the road. Where an episode
      ended, as it was at the end.
    - `final_obs` (num_envs, F), `final_info`: only if an episode ended in this step. The last observation, and a dict
      of `crashed`, `off_road` and `vehicle_state` (num_envs, V, 4) at the end; rows of environments that go on hold
      the present ones.

    The scenes that environment i draws follow from the seed, i, and how many episodes it has begun: bit-identical
    whatever happens in the others and however many there are, and equal to rounding in the other dtype. Observations
    and motion do not depend on the others either, but only to rounding: which of torch's vector and scalar functions
    computes an environment depends on `num_envs` and the processor, and they may differ in the last bit.

    With `compile=True` torch's inductor makes one fused function of the whole step, for this scenario, `num_envs` and
    `dtype`. That needs a C++ compiler and takes some ten seconds the first time.

    Internally, tensors are kept component by component, (4, V, B) in memory behind states (B, V, 4), (F, B) behind
    observations (B, F), so that each operation runs over contiguous memory. A step makes new ones and never writes
    into the old, so what was returned stays as it is.

    Raises:
        ValueError: `dtype` or `num_envs` is none that is known, or a `render_mode` is given: pictures come from
            `gymnasium.make`.
        RuntimeError: `compile=True`, and compiling is not possible on this machine.
    """

    def __init__(
        self,
        scenario: str,
        num_envs: int = 1,
        dtype: str = "float32",
        device: str = "cpu",
        compile: bool = False,
        tensors: bool = False,
        render_mode: str | None = None,
        **road: Any,
    ) -> None:
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', not {dtype!r}")
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        if render_mode is not None:
            raise ValueError(
                f"render_mode={render_mode!r}: the batched environment cannot render; use gymnasium.make for pictures"
            )
        self.scenario = get_scenario(scenario, **road)
        if compile and not self.scenario.compilable:
            raise ValueError(f"compile=True: traffic as in {scenario} is not for compiling; leave it out")
        self.metadata = {
            "autoreset_mode": AutoresetMode.SAME_STEP,
            "render_modes": [],
            "render_fps": self.scenario.policy_frequency,
        }
        self.num_envs, self.tensors = num_envs, tensors
        self.dtype, self.device = getattr(torch, dtype), torch.device(device)
        self.single_observation_space = feature_space(len(self.scenario.features), np.dtype(dtype))
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._streams = random_streams(int(self.np_random.integers(2**63)), num_envs).to(self.device)
        self._world = self._begin(self._streams, torch.zeros_like(self._streams))
        self._step: Step = functools.partial(step_sparsely, self.scenario)
        if compile:
            self._step = compiled_step(scenario, num_envs, self.dtype, self.device)

    @property
    def vehicle_state(self) -> np.ndarray:
        """float64 (num_envs, V, 4): x [m], y [m], heading [rad], speed [m/s], the ego first."""
        return np.array(_states(self.scenario, self._world).cpu(), dtype=np.float64)

    @property
    def scene(self) -> Scene:
        """Everything drawn at each environment's last reset, float64 (num_envs,) or (num_envs, size) each.

        Row k of each makes a scene for `infogail.envs.reference.DrivingEnv`.
        """
        scene = named(self.scenario.draws, self._world.scene)
        return {name: as_float64(value.cpu()).T for name, value in scene.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """All that decides what comes next, as in torch's modules: vehicles, scenes, clocks, random streams."""
        return {**self._world._asdict(), "streams": self._streams}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from where `state_dict` was taken, of as many environments of the same scenario and dtype.

        Raises:
            KeyError: the state lacks something.
            RuntimeError: it is of other environments.
        """
        for name, tensor in self.state_dict().items():
            if state[name].shape != tensor.shape or state[name].dtype != tensor.dtype:
                raise RuntimeError(f"'{name}' is {state[name].dtype} {tuple(state[name].shape)}, unlike here")
        self._world = World(*(state[name].to(self.device) for name in World._fields))
        self._streams = state["streams"].to(self.device)

    @property
    def bytes_per_environment(self) -> float:
        """Memory that one environment's state takes."""
        return sum(tensor.nbytes for tensor in (*self._world, self._streams)) / self.num_envs

    @torch.no_grad()
    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start all environments anew.

        Args:
            seed: an integer for all; or one for each: environment i then starts as environment 0 does from
                `reset(seed=seed[i])`. None goes on with the random stream that an environment has.
            options: `"scene"`: what `scene` returned, or one scene for all: where to start. `"reset_mask"`: (num_envs,)
                bool: which environments to start; the others, their scenes and seeds stay as they are.

        Raises:
            ValueError: the scene lacks a quantity, has an unknown one, or one of another shape; a seed or the mask is
                malformed; an option is unknown.
        """
        options = options or {}
        if unknown := ", ".join(repr(name) for name in options if name not in ("scene", "reset_mask")):
            raise ValueError(f"unknown reset options: {unknown}; known are 'scene' and 'reset_mask'")
        mask = self._checked_mask(options["reset_mask"] if "reset_mask" in options else np.ones(self.num_envs, bool))
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
        states = _states(self.scenario, self._world)
        crashed, off_road, _ = _judge(self.scenario, self._world, states)
        infos = {"crashed": crashed, "_crashed": mask, "off_road": off_road, "_off_road": mask}
        return self._returned(_features(self.scenario, self._world, states).T), self._returned(infos)

    @torch.no_grad()
    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Drive one decision with `actions` (num_envs, 2) = acceleration, steering in [-1, 1]; beyond, it is clipped.

        Raises:
            ValueError: the actions have another shape, or, unless `tensors=True`, are not finite.
        """
        self._world, outcome = self._step(self._world, self._streams, self._checked_actions(actions))
        every = torch.ones_like(outcome.done)
        infos: dict[str, Any] = {
            "crashed": outcome.crashed,
            "_crashed": every,
            "off_road": outcome.off_road,
            "_off_road": every,
        }
        if (done := outcome.done).any():
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
        """A tensor, or a dict of them, as the user wants it."""
        if self.tensors:
            return value
        if isinstance(value, dict):
            return {name: self._returned(entry) for name, entry in value.items()}
        return value.cpu().numpy()

    def _checked_actions(self, actions: Any) -> Tensor:
        """(2, B) of actions (B, 2)."""
        actions = actions if isinstance(actions, Tensor) else np.array(actions)  # a copy: it may be read-only
        actions = torch.as_tensor(actions, dtype=self.dtype, device=self.device)
        shape = (self.num_envs, 2)
        if actions.shape != shape:
            raise ValueError(f"actions have the shape {tuple(actions.shape)}, but must have (num_envs, 2) = {shape}")
        if not self.tensors and not (finite := actions.isfinite()).all():
            wrong = (~finite).any(-1).nonzero().squeeze(-1).tolist()
            others = f" (and so in {len(wrong) - 1} more environments)" if len(wrong) > 1 else ""
            raise ValueError(f"actions[{wrong[0]}] is {actions[wrong[0]].tolist()}{others}: actions must be finite")
        return actions.T.contiguous()

    def _checked_mask(self, mask: Any) -> Tensor:
        """(B,) bool"""
        array = np.asarray(mask)
        if array.shape != (self.num_envs,) or array.dtype != np.bool_:
            raise ValueError(f"reset_mask must be bool ({self.num_envs},), not {array.dtype} {array.shape}")
        if not array.any():
            raise ValueError("reset_mask is False everywhere: it must name an environment to reset")
        return torch.tensor(array, device=self.device)

    def _checked_scene(self, scene: Scene) -> Tensor:
        """(k, B) of a scene (num_envs, …), or of one for all (…)."""
        given, blocks = check_scene(self.scenario, scene), []
        for name, draw in self.scenario.draws.items():
            value, shape = as_float64(given[name]), (self.num_envs, *draw.shape)
            if value.shape not in (shape, draw.shape):
                raise ValueError(f"scene['{name}'] has the shape {value.shape}, but must have {shape}, or {draw.shape}")
            blocks.append(np.broadcast_to(value, shape).reshape(self.num_envs, -1))
        return torch.as_tensor(np.concatenate(blocks, 1).T.copy(), dtype=self.dtype, device=self.device)

    def _seeded_one_by_one(self, seeds: Sequence[int | None] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Random streams and numbers of the next episodes (B,) each."""
        if len(seeds) != self.num_envs:
            raise ValueError(f"a list of seeds needs one for each of {self.num_envs} environments, not {len(seeds)}")
        streams, episode = self._streams.clone(), self._world.episode + 1
        for k, seed in enumerate(seeds):
            if seed is None:
                continue
            if not isinstance(seed, int | np.integer) or seed < 0:
                raise ValueError(f"seed[{k}] is {seed!r}, not an integer from 0 or None")
            streams[k], episode[k] = random_streams(int(seed), 1)[0], 0
        return streams, episode

    def _begin(self, streams: Tensor, episode: Tensor, scene: Tensor | None = None) -> World:
        if scene is None:
            scene = _draw(self.scenario, streams, episode, self.dtype)
        return World(self.scenario.begin(named(self.scenario.draws, scene)), scene, torch.zeros_like(episode), episode)


def step_sparsely(scenario: Scenario, world: World, streams: Tensor, actions: Tensor) -> tuple[World, Outcome]:
    """One decision; collisions and new episodes are computed only where there are some."""
    ended, outcome = _drive(scenario, world, actions, thorough=False)
    index = outcome.done.nonzero().squeeze(-1)
    if not len(index):
        return ended, outcome
    fresh = _next_episode(scenario, streams[index], ended.episode[index], actions.dtype)
    world = World(*(tensor.clone() for tensor in ended))
    for tensor, begun in zip(world, fresh, strict=True):
        tensor[..., index] = begun
    features = outcome.features.clone()
    features[:, index] = _features(scenario, fresh, _states(scenario, fresh))
    return world, outcome._replace(features=features)


def step_densely(scenario: Scenario, world: World, streams: Tensor, actions: Tensor) -> tuple[World, Outcome]:
    """The same with all of it computed in every environment, and no branch that depends on data: for the compiler."""
    ended, outcome = _drive(scenario, world, actions, thorough=True)
    fresh = _next_episode(scenario, streams, ended.episode, actions.dtype)
    done, first_features = outcome.done, _features(scenario, fresh, _states(scenario, fresh))
    world = World(*(torch.where(done, begun, tensor) for begun, tensor in zip(fresh, ended, strict=True)))
    return world, outcome._replace(features=torch.where(done, first_features, outcome.features))


def _drive(scenario: Scenario, world: World, actions: Tensor, thorough: bool) -> tuple[World, Outcome]:
    """One decision without what comes after an episode's end."""
    acceleration, steering = actions.clamp(-1.0, 1.0)
    acceleration, steering = acceleration * ACCELERATION_RANGE[1], steering * scenario.steering_range[1]
    scene = named(scenario.draws, world.scene)
    traffic = scenario.move(world.traffic, acceleration, steering, scene, world.elapsed, thorough)
    ended = World(traffic, world.scene, world.elapsed + 1, world.episode)
    states = _states(scenario, ended)
    crashed, off_road, terminated = _judge(scenario, ended, states)
    late = ended.elapsed >= EPISODE_STEPS
    features = _features(scenario, ended, states)
    return ended, Outcome(
        features,
        reward=(traffic[3, 0] / Vehicle.MAX_SPEED).masked_fill(terminated, 0.0),
        terminated=terminated,
        truncated=late & ~terminated,
        done=late | terminated,
        crashed=crashed,
        off_road=off_road,
        final_features=features,
        final_states=states,
    )


def _states(scenario: Scenario, world: World) -> Tensor:
    return scenario.states(world.traffic, named(scenario.draws, world.scene), world.elapsed)


def _features(scenario: Scenario, world: World, states: Tensor) -> Tensor:
    return torch.stack(scenario.observe(states, named(scenario.draws, world.scene)))


def _judge(scenario: Scenario, world: World, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B,) bool each: the ego has crashed, is off the road, is either."""
    crashed = world.traffic[CRASHED, 0] != 0
    off_road = scenario.off_road(states, named(scenario.draws, world.scene))
    return crashed, off_road, crashed | off_road


def _next_episode(scenario: Scenario, streams: Tensor, episode: Tensor, dtype: torch.dtype) -> World:
    scene = _draw(scenario, streams, episode + 1, dtype)
    return World(scenario.begin(named(scenario.draws, scene)), scene, torch.zeros_like(episode), episode + 1)


def _draw(scenario: Scenario, streams: Tensor, episode: Tensor, dtype: torch.dtype) -> Tensor:
    """Scenes (k, B) of episodes number `episode` (B,)."""
    count = num_rows(scenario.draws)
    number = torch.arange(count, device=episode.device)[:, None] + episode * count
    return scene_from_uniform(scenario.draws, uniform(streams, number, dtype))


GOLDEN_RATIO = 0x9E3779B97F4A7C15  # 2⁶⁴ / φ, the increment of SplitMix64


def uniform(streams: Tensor, number: Tensor, dtype: torch.dtype) -> Tensor:
    """The numbers in [0, 1) at places `number` (..., B) int64 of the random `streams` (B,): 24 bits each.

    SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators") has no state to carry.
    """
    bits = _mix(streams + (number + 1) * _signed(GOLDEN_RATIO))
    return (bits >> 40 & 2**24 - 1).to(dtype) * 2.0**-24


def random_streams(seed: int, count: int) -> Tensor:
    """Where the streams of environments 0 to `count` begin, (count,) int64."""
    start = _mix(torch.tensor(_signed(seed % 2**64)))
    return _mix(start + torch.arange(1, count + 1) * _signed(GOLDEN_RATIO))


def _mix(bits: Tensor) -> Tensor:
    """SplitMix64's output function, on int64 that stand for uint64."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> shift & 2 ** (64 - shift) - 1)) * _signed(factor)
    return bits ^ (bits >> 31 & 2**33 - 1)


def _signed(number: int) -> int:
    """The int64 with the bits of a uint64."""
    return number - 2**64 if number >= 2**63 else number


@functools.cache
def compiled_step(scenario: str, num_envs: int, dtype: torch.dtype, device: torch.device) -> Step:
    """`step_densely` as one function compiled for worlds of this size.

    Raises:
        RuntimeError: there is no C++ compiler, or it fails.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    if device.type == "cpu" and (missing := missing_compiler()):
        raise RuntimeError(f"compile=True needs {missing}; install it, or leave compile=False")
    task = get_scenario(scenario)
    streams, episode = random_streams(0, num_envs).to(device), torch.zeros(num_envs, dtype=torch.int64, device=device)
    world = _next_episode(task, streams, episode, dtype)
    example: list[Any] = [*world, streams, torch.zeros((2, num_envs), dtype=dtype, device=device)]

    def flat(*tensors: Tensor) -> list[Tensor]:
        world, outcome = step_densely(task, World(*tensors[:4]), *tensors[4:])
        flags = torch.stack(
            [flag.to(dtype) for flag in outcome if flag.dtype == torch.bool]
        )  # inductor is slow at bool
        return [*world, *(tensor for tensor in outcome if tensor.dtype != torch.bool), flags]

    with torch.no_grad():
        # Past dynamo: its guards would take as long as the step itself.
        kernel: Any = torch._inductor.compile(make_fx(flat)(*example), example, options={"max_fusion_size": 10_000})

    def step(world: World, streams: Tensor, actions: Tensor) -> tuple[World, Outcome]:
        *tensors, flags = kernel(*world, streams, actions)
        return World(*tensors[:4]), Outcome(*tensors[4:], *(flags != 0))

    return step


def missing_compiler() -> str | None:
    """What compiling for the CPU lacks on this machine, or None."""
    compiler = os.environ.get("CXX", "g++")
    return None if shutil.which(compiler) else f"a C++ compiler ({compiler})"
