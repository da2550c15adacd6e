"""One decision of a scenario in B environments at once: functions from one world to the next."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from highway_env.vehicle.kinematics import Vehicle
from torch import Tensor

from infogail.envs.physics.dynamics import Car
from infogail.envs.physics.streams import named, num_rows, random_streams, scene_from_uniform, uniform
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE, Scenario

CRASHED = Car._fields.index("crashed")


class World(NamedTuple):
    """B environments between two decisions: everything that a step changes."""

    traffic: Tensor  # (9 or more, V, B), see `infogail.envs.physics.dynamics`
    scene: Tensor  # (k, B), in the order of the scenario's draws
    elapsed: Tensor  # (B,) int64, decisions since the episode began
    episode: Tensor  # (B,) int64, index of the episode since the seed was set


class Outcome(NamedTuple):
    """The results of a step. Where an episode ended, only `features` are those of the next one."""

    features: Tensor  # (F, B)
    final_features: Tensor  # (F, B)
    final_states: Tensor  # (B, V, 4)
    reward: Tensor  # (B,)
    terminated: Tensor  # (B,) bool
    truncated: Tensor  # (B,) bool
    done: Tensor  # (B,) bool
    crashed: Tensor  # (B,) bool
    off_road: Tensor  # (B,) bool


Stepper = Callable[[World, Tensor, Tensor], tuple[World, Outcome]]
"""Maps a world, random streams (B,) and actions (A, B) to the next world and the outcome."""


def step_sparsely(scenario: Scenario, world: World, streams: Tensor, actions: Tensor) -> tuple[World, Outcome]:
    """One decision; collisions and new episodes are computed only where they occur."""
    ended, outcome = drive_decision(scenario, world, actions, thorough=False)
    index = outcome.done.nonzero().squeeze(-1)
    if not len(index):
        return ended, outcome
    fresh = next_episode(scenario, streams[index], ended.episode[index], actions.dtype)
    world = World(*(tensor.clone() for tensor in ended))
    for tensor, begun in zip(world, fresh, strict=True):
        tensor[..., index] = begun
    features = outcome.features.clone()
    features[:, index] = features_of(scenario, fresh, states_of(scenario, fresh))
    return world, outcome._replace(features=features)


def step_densely(scenario: Scenario, world: World, streams: Tensor, actions: Tensor) -> tuple[World, Outcome]:
    """As `step_sparsely`, but computes everything everywhere, without data-dependent branches: for the compiler."""
    ended, outcome = drive_decision(scenario, world, actions, thorough=True)
    fresh = next_episode(scenario, streams, ended.episode, actions.dtype)
    done, first_features = outcome.done, features_of(scenario, fresh, states_of(scenario, fresh))
    world = World(*(torch.where(done, begun, tensor) for begun, tensor in zip(fresh, ended, strict=True)))
    return world, outcome._replace(features=torch.where(done, first_features, outcome.features))


def drive_decision(scenario: Scenario, world: World, actions: Tensor, thorough: bool) -> tuple[World, Outcome]:
    """One decision, without starting new episodes where one ended."""
    clipped = actions.clamp(-1.0, 1.0)
    acceleration = clipped[0] * ACCELERATION_RANGE[1]
    steering = clipped[1] * scenario.steering_range[1] if scenario.steers else torch.zeros_like(acceleration)
    scene = named(scenario.draws, world.scene)
    traffic = scenario.move(world.traffic, acceleration, steering, scene, world.elapsed, thorough)
    ended = World(traffic, world.scene, world.elapsed + 1, world.episode)
    states = states_of(scenario, ended)
    crashed, off_road, terminated = judge_ego(scenario, ended, states)
    late = ended.elapsed >= scenario.horizon
    features = features_of(scenario, ended, states)
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


def states_of(scenario: Scenario, world: World) -> Tensor:
    """(B, V, 4), see `Scenario.states`."""
    return scenario.states(world.traffic, named(scenario.draws, world.scene), world.elapsed)


def features_of(scenario: Scenario, world: World, states: Tensor) -> Tensor:
    """(F, B): what the egos observe in `states` (B, V, 4)."""
    return torch.stack(scenario.observe(states, named(scenario.draws, world.scene)))


def judge_ego(scenario: Scenario, world: World, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B,) bool each: the ego has crashed, is off the road, or either."""
    crashed = world.traffic[CRASHED, 0] != 0
    off_road = scenario.off_road(states, named(scenario.draws, world.scene))
    return crashed, off_road, crashed | off_road


def next_episode(scenario: Scenario, streams: Tensor, episode: Tensor, dtype: torch.dtype) -> World:
    """The start of the episodes that follow the episodes numbered `episode` (B,)."""
    scene = draw_scenes(scenario, streams, episode + 1, dtype)
    return World(scenario.begin(named(scenario.draws, scene)), scene, torch.zeros_like(episode), episode + 1)


def draw_scenes(scenario: Scenario, streams: Tensor, episode: Tensor, dtype: torch.dtype) -> Tensor:
    """Scenes (k, B) of the episodes numbered `episode` (B,)."""
    count = num_rows(scenario.draws)
    number = torch.arange(count, device=episode.device)[:, None] + episode * count
    return scene_from_uniform(scenario.draws, uniform(streams, number, dtype))


@functools.cache
def compiled_step(scenario: Scenario, num_envs: int, dtype: torch.dtype, device: torch.device) -> Stepper:
    """`step_densely` as one function compiled for this `scenario`, with its settings, and worlds of this size.

    It is compiled once for each scenario object in a process. That takes ten seconds or more the first time on a
    machine, and two or three when inductor finds the code in its cache on disk (`TORCHINDUCTOR_CACHE_DIR`).

    Raises:
        RuntimeError: there is no C++ compiler, or it fails.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    if device.type == "cpu" and (missing := missing_compiler()):
        raise RuntimeError(f"compile=True needs {missing}; install it, or leave compile=False")
    streams, episode = random_streams(0, num_envs).to(device), torch.zeros(num_envs, dtype=torch.int64, device=device)
    world = next_episode(scenario, streams, episode, dtype)
    example: list[Any] = [*world, streams, torch.zeros((scenario.action_size, num_envs), dtype=dtype, device=device)]

    def flat(*tensors: Tensor) -> list[Tensor]:
        world, outcome = step_densely(scenario, World(*tensors[:4]), *tensors[4:])
        flags = torch.stack(
            [flag.to(dtype) for flag in outcome if flag.dtype == torch.bool]
        )  # inductor is slow with bool
        return [*world, *(tensor for tensor in outcome if tensor.dtype != torch.bool), flags]

    with torch.no_grad():
        # Bypasses dynamo, whose guards would take as long as the step itself.
        options = {"config_patches": {"max_fusion_size": 10_000}}
        kernel: Any = torch._inductor.standalone_compile(make_fx(flat)(*example), example, options=options)

    def step(world: World, streams: Tensor, actions: Tensor) -> tuple[World, Outcome]:
        *tensors, flags = kernel(*world, streams, actions)
        return World(*tensors[:4]), Outcome(*tensors[4:], *(flags != 0))

    return step


def missing_compiler() -> str | None:
    """What this machine lacks for compiling for the CPU, or None."""
    compiler = os.environ.get("CXX", "g++")
    return None if shutil.which(compiler) else f"a C++ compiler ({compiler})"
