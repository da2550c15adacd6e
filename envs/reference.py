"""A scenario on highway-env's own physics: what every published number and video is judged in."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from highway_env.envs.common.abstract import AbstractEnv
from highway_env.envs.common.observation import ObservationType
from highway_env.road.road import Road
from highway_env.vehicle.graphics import VehicleGraphics
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.catalogue import get_scenario
from infogail.envs.scenarios.scenario import (
    ACCELERATION_RANGE,
    EPISODE_STEPS,
    POLICY_FREQUENCY,
    Scene,
    as_float64,
    named,
    num_rows,
    scene_from_uniform,
)


class DrivingEnv(AbstractEnv):
    """`gymnasium.make("infogail/Pass-v0")`: road, vehicles, collisions and renderer are highway-env's.

    The reward is the ego's speed as a share of highway-env's limit, 0 once crashed or off the road; imitation does not
    read it. Crash and road exit terminate; after 60 decisions (12 s) the episode is truncated. Observations are the
    scenario's features, unless `config` asks for one of highway-env's own (`{"observation": {"type": "Kinematics"}}`).
    `road` is for highways (lanes, vehicles, density, decisions per second) and for replays (their recording).
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": POLICY_FREQUENCY}

    def __init__(self, scenario: str, config: dict | None = None, render_mode: str | None = None, **road: Any) -> None:
        self.scenario = get_scenario(scenario, **road)
        self._scene: Scene = {}
        self._requested_scene: Scene | None = None
        self._observes_features = "observation" not in (config or {})
        settings = {
            "action": {
                "type": "ContinuousAction",
                "acceleration_range": ACCELERATION_RANGE,
                "steering_range": self.scenario.steering_range,
            },
            "simulation_frequency": self.scenario.simulation_frequency,
            "policy_frequency": self.scenario.policy_frequency,
            "screen_width": self.scenario.screen[0],
            "screen_height": self.scenario.screen[1],
            "centering_position": [0.5, 0.5],
        }
        super().__init__(settings | (config or {}), render_mode)

    @property
    def vehicle_state(self) -> np.ndarray:
        """float64 (V, 4): x [m], y [m], heading [rad], speed [m/s], the ego first."""
        return self.scenario.states_of(self.road.vehicles, self._scene)

    @property
    def scene(self) -> Scene:
        """Everything drawn at the last reset, float64 () each; give it back as `reset(options={"scene": scene})`."""
        return {name: value.copy() for name, value in self._scene.items()}

    def define_spaces(self) -> None:
        super().define_spaces()
        if self._observes_features:
            self.observation_type = _FeatureObservation(self)
            self.observation_space = self.observation_type.space()

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        """As Gymnasium's, with `options={"scene": scene}` to start in a given scene instead of a drawn one.

        Raises:
            ValueError: the scene lacks a quantity, or has one that the scenario does not know.
        """
        self._requested_scene = check_scene(self.scenario, options["scene"]) if options and "scene" in options else None
        return super().reset(seed=seed, options=options)

    def _reset(self) -> None:
        draws = self.scenario.draws
        scene = self._requested_scene
        if scene is None:
            scene = named(draws, scene_from_uniform(draws, self.np_random.random(num_rows(draws))))
        self._scene = {name: as_float64(scene[name]).reshape(draw.shape) for name, draw in draws.items()}
        self.road = Road(self.scenario.road_network(self._scene), np_random=self.np_random)
        self.road.vehicles = self.scenario.vehicles(self.road, self._scene)
        self.vehicle = self.road.vehicles[0]
        self.vehicle.color = VehicleGraphics.EGO_COLOR

    def _reward(self, action: np.ndarray) -> float:
        return 0.0 if self._is_terminated() else float(self.vehicle.speed / Vehicle.MAX_SPEED)

    def _off_road(self) -> bool:
        return bool(self.scenario.off_road(self.vehicle_state, self._scene))

    def _is_terminated(self) -> bool:
        return bool(self.vehicle.crashed or self._off_road())

    def _is_truncated(self) -> bool:
        return (
            self.steps >= EPISODE_STEPS * self.scenario.simulation_frequency // self.scenario.policy_frequency
            and not self._is_terminated()
        )

    def _info(self, obs: np.ndarray, action: np.ndarray | None = None) -> dict[str, Any]:
        return {"crashed": bool(self.vehicle.crashed), "off_road": self._off_road()}


class _FeatureObservation(ObservationType):
    """The scenario's features, in place of highway-env's `Kinematics`, which goes through pandas."""

    env: DrivingEnv

    def space(self) -> spaces.Box:
        return feature_space(len(self.env.scenario.features), np.dtype(np.float32))

    def observe(self) -> np.ndarray:
        return np.array(self.env.scenario.observe(self.env.vehicle_state, self.env._scene), dtype=np.float32)


def feature_space(num_features: int, dtype: np.dtype) -> spaces.Box:
    """Features are scaled to about [-1, 1] but not bounded."""
    return spaces.Box(-np.inf, np.inf, (num_features,), dtype.type)


def check_scene(scenario: Any, scene: Scene) -> Scene:
    """`scene` itself, if it has just the quantities that the scenario draws, all finite.

    Raises:
        ValueError: naming the quantity.
    """
    for name in scenario.draws:
        if name not in scene:
            raise ValueError(f"scene lacks '{name}'; {scenario.name} needs {', '.join(scenario.draws)}")
        if not np.isfinite(as_float64(scene[name])).all():
            raise ValueError(f"scene['{name}'] is not finite")
    for name in scene:
        if name not in scenario.draws:
            raise ValueError(
                f"scene has '{name}', which {scenario.name} does not know; it needs {', '.join(scenario.draws)}"
            )
    return scene
