"""A scenario on the batched torch twin of highway-env's physics: thousands of worlds in one step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from highway_env.vehicle.kinematics import Vehicle
from torch import Tensor

from envs import get_scenario
from envs.dynamics import Traffic, drive
from envs.reference import check_scene, feature_space
from envs.scenario import (
    ACCELERATION_RANGE,
    EPISODE_STEPS,
    POLICY_FREQUENCY,
    SIMULATION_FREQUENCY,
    Scene,
    as_float64,
    scene_from_uniform,
)


class DrivingVectorEnv(VectorEnv[Tensor, Tensor, Tensor]):
    """`gymnasium.make_vec("infogail/Pass-v0", num_envs, vectorization_mode="vector_entry_point", dtype=…, device=…)`.

    Same spaces, reward, termination and truncation as `envs.reference.DrivingEnv`, and the same motion to 1e-9 in
    float64. Observations, rewards and flags are tensors on `device`; actions may be tensors or arrays. Autoreset is
    same-step: where an episode ended, the observation is already the next episode's first, and
    `infos["final_obs"]`, `infos["final_info"]` hold what the old one ended with (rows where `infos["_final_obs"]`).

    State is kept component-major, (4, V, B) in memory behind the (B, V, 4) view, so that each operation runs over
    contiguous memory.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": [], "render_fps": POLICY_FREQUENCY}

    def __init__(self, scenario: str, num_envs: int = 1, dtype: str = "float32", device: str = "cpu") -> None:
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', not {dtype!r}")
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        self.scenario = get_scenario(scenario)
        self.num_envs = num_envs
        self.dtype, self.device = getattr(torch, dtype), torch.device(device)
        self.single_observation_space = feature_space(len(self.scenario.features), np.dtype(dtype))
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generator = torch.Generator(self.device)
        self._generator.seed()
        self._elapsed = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self._set_scene(self._draw(num_envs))
        self.traffic = self._start(self._scene)

    @property
    def vehicle_state(self) -> np.ndarray:
        """float64 (num_envs, V, 4): x [m], y [m], heading [rad], speed [m/s], the ego first."""
        return self.traffic.state.double().cpu().numpy().copy()

    @property
    def scene(self) -> Scene:
        """Everything drawn at each environment's last reset, float64 (num_envs,) each."""
        return {name: as_float64(value.cpu()) for name, value in self._scene.items()}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Start all environments anew, in `options["scene"]` (num_envs,) each if that is given.

        Raises:
            ValueError: the scene lacks a quantity, has an unknown one, or one of another shape.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._generator.manual_seed(seed)
        if options and "scene" in options:
            scene = check_scene(self.scenario, options["scene"])
            rows = [np.broadcast_to(as_float64(scene[name]), (self.num_envs,)) for name in self.scenario.draws]
            self._set_scene(torch.as_tensor(np.stack(rows), dtype=self.dtype, device=self.device))
        else:
            self._set_scene(self._draw(self.num_envs))
        self.traffic = self._start(self._scene)
        self._elapsed.zero_()
        return self._observe(self.traffic.state, self._scene), self._info()

    def step(self, actions: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Drive one decision (0.2 s) with `actions` (num_envs, 2) = acceleration, steering in [-1, 1]."""
        actions = torch.as_tensor(actions, dtype=self.dtype, device=self.device).clamp(-1.0, 1.0)
        self.traffic.acceleration[:, 0] = actions[:, 0] * ACCELERATION_RANGE[1]
        self.traffic.steering[:, 0] = actions[:, 1] * self.scenario.steering_range[1]
        drive(self.traffic, 1 / SIMULATION_FREQUENCY, SIMULATION_FREQUENCY // POLICY_FREQUENCY)
        self._elapsed += 1

        obs, infos = self._observe(self.traffic.state, self._scene), self._info()
        terminated = infos["crashed"] | infos["off_road"]
        truncated = (self._elapsed >= EPISODE_STEPS) & ~terminated
        reward = (self.traffic.state[:, 0, 3] / Vehicle.MAX_SPEED).masked_fill(terminated, 0.0)
        done = terminated | truncated
        index = done.nonzero().squeeze(-1)
        if len(index):
            final_info = infos | {"vehicle_state": self.traffic.state.clone()}
            infos = infos | {"final_obs": obs, "_final_obs": done, "final_info": final_info, "_final_info": done}
            obs = self._restart(obs.clone(), index)
        return obs, reward, terminated, truncated, infos

    def _restart(self, obs: Tensor, index: Tensor) -> Tensor:
        """Begin new episodes in the environments `index` (n,), and put their first observations into `obs`."""
        values = self._draw(len(index))
        self._values[:, index] = values
        scene = self._named(values)
        fresh = self._start(scene)
        self.traffic[index] = fresh
        self._elapsed[index] = 0
        obs[index] = self._observe(fresh.state, scene)
        return obs

    def _draw(self, count: int) -> Tensor:
        uniform = torch.rand(
            (len(self.scenario.draws), count), generator=self._generator, dtype=self.dtype, device=self.device
        )
        return scene_from_uniform(self.scenario.draws, uniform)

    def _set_scene(self, values: Tensor) -> None:
        """Keep scenes (k, num_envs) and named views on their rows."""
        self._values, self._scene = values, self._named(values)

    def _named(self, values: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.scenario.draws, values, strict=True))

    def _start(self, scene: Scene) -> Traffic:
        return Traffic.at(self.scenario.initial_states(scene).permute(2, 0, 1))

    def _observe(self, states: Tensor, scene: Scene) -> Tensor:
        return torch.stack(self.scenario.observe(states, scene), -1)

    def _info(self) -> dict[str, Any]:
        return {
            "crashed": self.traffic.crashed[:, 0].clone(),
            "off_road": self.scenario.off_road(self.traffic.state, self._scene),
        }
