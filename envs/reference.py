"""A scenario on highway-env's own physics, in which all published numbers and videos are evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from highway_env.envs.common.abstract import AbstractEnv
from highway_env.envs.common.observation import ObservationType
from highway_env.road.road import Road
from highway_env.vehicle.graphics import VehicleGraphics
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.catalogue import get_scenario
from infogail.envs.errors import BadInput
from infogail.envs.physics.state import Scene, as_float64
from infogail.envs.physics.streams import named, num_rows, scene_from_uniform
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE, POLICY_FREQUENCY, Scenario
from infogail.envs.settings import check_observation, check_settings, complete_action


class DrivingEnv(AbstractEnv):
    """`gymnasium.make("infogail/Pass-v0")`: road, vehicles, collisions and renderer are highway-env's.

    The reward is the ego's speed as a fraction of highway-env's limit, 0 after a crash or road exit; imitation learning
    does not use it. Crashes and road exits terminate an episode; it is truncated after 60 decisions (12 s).
    Observations are the scenario's features, unless `config` selects one of highway-env's observation types
    (`{"observation": {"type": "Kinematics"}}`). `settings` are the scenario's own: lanes, vehicles, density and
    decisions per second of a highway, the recording of a replay.

    `config` takes the settings of highway-env's `AbstractEnv.default_config()` apart from `other_vehicles_type`. A
    partial `action` is completed from the scenario's; frequencies change the duration of an episode, not its 60
    decisions. The ego is an `MDPVehicle` with `DiscreteMetaAction`, and a `BicycleVehicle` with `dynamical=True`. The
    batched twin supports the default settings only.

    Raises:
        BadInput: a setting is unknown or unsupported; names it.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": POLICY_FREQUENCY}

    def __init__(
        self,
        scenario: str | Scenario,
        config: dict | None = None,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        self.scenario = scenario if isinstance(scenario, Scenario) else get_scenario(scenario, **settings)
        self._scene: Scene = {}
        self._requested_scene: Scene | None = None
        self._observes_features = True
        self.metadata = dict(self.metadata)  # `update_metadata` mutates it
        self._defaults: dict[str, Any] = {
            "action": {
                "type": "ContinuousAction",
                "acceleration_range": ACCELERATION_RANGE,
                "steering_range": self.scenario.steering_range,
                "lateral": self.scenario.steers,
            },
            "simulation_frequency": self.scenario.simulation_frequency,
            "policy_frequency": self.scenario.policy_frequency,
            "screen_width": self.scenario.screen[0],
            "screen_height": self.scenario.screen[1],
            "centering_position": [0.5, 0.5],
            "show_trajectories": False,
        }
        super().__init__(self._defaults | (config or {}), render_mode)

    @property
    def vehicle_state(self) -> np.ndarray:
        """float64 (V, 4): x [m], y [m], heading [rad], speed [m/s], the ego first."""
        return self.scenario.states_of(self.road.vehicles, self._scene)

    @property
    def scene(self) -> Scene:
        """The quantities drawn at the last reset, named as in `scenario.draws`: float64 copies of shape (), or (size,)
        for per-vehicle quantities. `reset(options={"scene": scene})` starts from them again, here and in the twin."""
        return {name: value.copy() for name, value in self._scene.items()}

    def configure(self, config: dict | None) -> None:
        """Change settings; they take effect at the next reset.

        Raises:
            BadInput: a setting is unknown or unsupported; names it, and changes nothing.
        """
        config = dict(config or {})
        check_settings(self.scenario, config, self._defaults, self.config)
        if "action" in config:
            config["action"] = complete_action(self.scenario, config["action"], self._defaults["action"])
        settings = self.config | config
        check_observation(settings["observation"], settings["action"])
        self._observes_features &= "observation" not in config
        super().configure(config)
        self.viewer = None  # recreated when needed: a viewer keeps its initial size

    def update_metadata(self, video_real_time_ratio: int = 1) -> None:
        """Record videos in real time; highway-env's default is twice as fast."""
        super().update_metadata(video_real_time_ratio)

    def define_spaces(self) -> None:
        try:
            super().define_spaces()
        except (TypeError, ValueError) as error:  # the action has already been validated
            raise BadInput(f"config['observation']: {error}") from error
        if self._observes_features:
            self.observation_type = _FeatureObservation(self)
            self.observation_space = self.observation_type.space()

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        """As in Gymnasium. `options={"scene": scene}` starts from a given scene instead of a drawn one, and
        `options={"config": config}` changes settings from this episode on.

        Raises:
            ValueError: an option is unknown; the scene lacks a quantity, or has an unknown one.
            BadInput: a setting is unknown or unsupported.
        """
        options = options or {}
        for name in options:
            if name not in ("scene", "config"):
                raise ValueError(f"options['{name}']: reset takes 'scene' and 'config' only")
        self._requested_scene = check_scene(self.scenario, options["scene"]) if "scene" in options else None
        for name, value in (self._requested_scene or {}).items():
            draw = self.scenario.draws[name]
            if np.size(value) != (draw.size or 1):
                raise ValueError(f"scene['{name}'] has shape {np.shape(value)}, but must have {draw.shape}")
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """As in Gymnasium.

        Args:
            action: acceleration and steering in [-1, 1], shape (2,), or acceleration alone, shape (1,), clipped if
                outside and mapped in float64 whatever their dtype; `config` may select another action type.

        Raises:
            ValueError: the action has the wrong shape, is not finite, or is not in the discrete action space.
        """
        space = self.action_space
        if isinstance(space, spaces.Box):
            action = as_float64(action)
            if action.shape != space.shape:
                raise ValueError(f"action {action.tolist()}: has shape {action.shape}, but must have {space.shape}")
            if not np.isfinite(action).all():
                raise ValueError(f"action {action.tolist()}: must be finite")
        elif not space.contains(action):
            raise ValueError(f"action {action}: must be a whole number from 0 to {space.n - 1}")
        return super().step(action)

    def _reset(self) -> None:
        draws = self.scenario.draws
        scene = self._requested_scene
        if scene is None:
            scene = named(draws, scene_from_uniform(draws, self.np_random.random(num_rows(draws))))
        self._scene = {name: as_float64(scene[name]).reshape(draw.shape) for name, draw in draws.items()}
        network = self.scenario.road_network(self._scene)
        self.road = Road(network, np_random=self.np_random, record_history=self.config["show_trajectories"])
        ego, *others = self.scenario.vehicles(self.road, self._scene)
        vehicle_class = self.action_type.vehicle_class
        if vehicle_class is not Vehicle:
            ego = vehicle_class(self.road, ego.position, ego.heading, ego.speed)
        self.road.vehicles = [ego, *others]
        self.vehicle = ego
        self.vehicle.color = VehicleGraphics.EGO_COLOR

    def _reward(self, action: np.ndarray) -> float:
        return 0.0 if self._is_terminated() else float(self.vehicle.speed / Vehicle.MAX_SPEED)

    def _off_road(self) -> bool:
        return bool(self.scenario.off_road(self.vehicle_state, self._scene))

    def _is_terminated(self) -> bool:
        return bool(self.vehicle.crashed or self._off_road())

    def _is_truncated(self) -> bool:
        steps_per_decision = self.config["simulation_frequency"] // self.config["policy_frequency"]
        return self.steps >= self.scenario.horizon * steps_per_decision and not self._is_terminated()

    def _info(self, obs: np.ndarray, action: np.ndarray | None = None) -> dict[str, Any]:
        return {"crashed": bool(self.vehicle.crashed), "off_road": self._off_road()}


class _FeatureObservation(ObservationType):
    """The scenario's features, in place of highway-env's `Kinematics`, which builds pandas data frames."""

    env: DrivingEnv

    def space(self) -> spaces.Box:
        return feature_space(len(self.env.scenario.features), np.dtype(np.float32))

    def observe(self) -> np.ndarray:
        return np.array(self.env.scenario.observe(self.env.vehicle_state, self.env._scene), dtype=np.float32)


def feature_space(num_features: int, dtype: np.dtype) -> spaces.Box:
    """Features are scaled to about [-1, 1] but not bounded."""
    return spaces.Box(-np.inf, np.inf, (num_features,), dtype.type)


def check_scene(scenario: Scenario, scene: Scene) -> Scene:
    """Return `scene` if it has exactly the quantities that the scenario draws, all finite.

    Raises:
        ValueError: it does not; names the quantity.
    """
    if not isinstance(scene, Mapping):
        raise ValueError(f"scene is {scene!r}, not a dict of {', '.join(scenario.draws)}")
    for name in scenario.draws:
        if name not in scene:
            raise ValueError(f"scene lacks '{name}'; {scenario.name} needs {', '.join(scenario.draws)}")
        if not np.isfinite(as_float64(scene[name])).all():
            raise ValueError(f"scene['{name}'] is not finite")
    for name in scene:
        if name not in scenario.draws:
            raise ValueError(
                f"scene has the unknown quantity '{name}'; {scenario.name} needs {', '.join(scenario.draws)}"
            )
    return scene
