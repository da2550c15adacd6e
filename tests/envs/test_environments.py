"""Both forms of each environment keep Gymnasium's contracts."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordVideo
from highway_env.envs.common.abstract import AbstractEnv
from highway_env.vehicle.controller import MDPVehicle
from highway_env.vehicle.dynamics import BicycleVehicle
from highway_env.vehicle.kinematics import Vehicle
from moviepy import VideoFileClip

from infogail.envs.catalogue import SCENARIO_NAMES, environment_id, get_scenario
from infogail.envs.physics.dynamics import drive, initial_traffic, vehicle_states
from infogail.envs.physics.state import VehicleState

SCENARIOS = ("pass", "turn", "highway")
CALM = {"pass": [-0.4, 0.0], "turn": [-1.0, 0.0], "highway": [-0.4, 0.0]}


def make_twin(scenario: str, num_envs: int, dtype: str = "float32"):
    return gymnasium.make_vec(environment_id(scenario), num_envs, vectorization_mode="vector_entry_point", dtype=dtype)


@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
@pytest.mark.parametrize("scenario", [name for name in SCENARIO_NAMES if name not in ("replay", "follow")])
def test_reference_passes_gymnasiums_checker(scenario, render_mode):
    env = gymnasium.make(environment_id(scenario), render_mode=render_mode)
    check_env(env.unwrapped, skip_render_check=True)  # its render check opens a window
    if render_mode is None:
        return
    env.reset(seed=0)
    frame = env.render()
    assert frame.dtype == np.uint8 and frame.shape[2] == 3 and len(np.unique(frame)) > 5


def test_the_reference_offers_highway_envs_own_observations():
    observation = {"type": "Kinematics", "vehicles_count": 2, "features": ["x", "y", "heading"], "absolute": True}
    env = gymnasium.make("infogail/Pass-v0", config={"observation": observation | {"normalize": False}})
    obs, _ = env.reset(seed=0)
    assert env.observation_space.shape == (2, 3)
    np.testing.assert_allclose(obs, env.unwrapped.vehicle_state[:, :3], rtol=1e-6)


def test_films_run_in_real_time(tmp_path):
    def make(name, **settings):
        return gymnasium.make(environment_id(name), render_mode="rgb_array", **settings)

    envs = make("pass"), make("highway", policy_frequency=15), make("pass", config={"policy_frequency": 3})
    for _ in range(2):
        assert [env.metadata["render_fps"] for env in envs] == [5, 15, 3]
        for env in envs:
            env.reset(seed=0)
    assert envs[0].unwrapped.metadata is not type(envs[0].unwrapped).metadata
    for number, env in enumerate(envs[:2]):
        film = RecordVideo(env, str(tmp_path / str(number)), episode_trigger=lambda _: True)
        film.reset(seed=0)
        seconds, done = 0.0, False
        while not done:
            *_, terminated, truncated, _ = film.step(np.array([-0.4, 0.0], np.float32))
            done, seconds = terminated or truncated, seconds + 1 / (5, 15)[number]
        film.close()
        (path,) = (tmp_path / str(number)).glob("*.mp4")
        with VideoFileClip(str(path)) as clip:
            assert clip.fps == (5, 15)[number]
            assert clip.duration == pytest.approx(seconds, abs=1.1 / clip.fps)  # the start is a frame as well


def test_films_of_every_physics_step_run_in_real_time(tmp_path):
    """As highway-env's documentation has it."""
    env = RecordVideo(gymnasium.make("infogail/Pass-v0", render_mode="rgb_array"), str(tmp_path / "film"))
    env.unwrapped.set_record_video_wrapper(env)
    env.reset(seed=0)
    for _ in range(4):
        env.step(np.zeros(2, np.float32))
    assert env.frames_per_sec == 15 and len(env.recorded_frames) == 1 + 4 * 3
    env.close()


REFUSED = {
    "lanes_count": (
        {"lanes_count": 4},
        "config['lanes_count']: not a setting of infogail/Pass-v0; a highway takes lanes=… instead",
    ),
    "vehicles_count": ({"vehicles_count": 4}, "a highway takes vehicles=… instead"),
    "vehicles_density": ({"vehicles_density": 2}, "a highway takes density=… instead"),
    "duration": ({"duration": 20}, "config['duration']: not a setting of infogail/Pass-v0; an episode is 60 decisions"),
    "other vehicles": ({"other_vehicles_type": "x.Y"}, "config['other_vehicles_type']: not a setting"),
    "a slip": ({"scalling": 3.0}, "config['scalling']: not a setting of infogail/Pass-v0; did you mean 'scaling'?"),
    "unknown": (
        {"right_lane_reward": 1},
        "not a setting of infogail/Pass-v0; its settings are action, centering",
    ),
    "frequency": ({"policy_frequency": 4}, "config['policy_frequency']: 4 does not divide simulation_frequency, 15"),
    "physics": ({"simulation_frequency": 12}, "5 does not divide simulation_frequency, 12"),
    "zero": ({"policy_frequency": 0}, "config['policy_frequency']: must be a positive number per second, not 0"),
    "nan": ({"simulation_frequency": float("nan")}, "config['simulation_frequency']: must be a positive number"),
    "action": ({"action": "ContinuousAction"}, "config['action']: must be a dict, not 'ContinuousAction'"),
    "action type": (
        {"action": {"type": "MultiAgentAction"}},
        "config['action']['type']: must be one of ContinuousAction",
    ),
    "action key": ({"action": {"steering_rnge": [0, 1]}}, "of ContinuousAction; did you mean 'steering_range'?"),
    "meta key": (
        {"action": {"type": "DiscreteMetaAction", "steering_range": [0, 1]}},
        "config['action']['steering_range']: not a setting of DiscreteMetaAction",
    ),
    "range": (
        {"action": {"steering_range": [0.1]}},
        "config['action']['steering_range']: must be two ascending numbers",
    ),
    "no action": ({"action": {"lateral": False, "longitudinal": False}}, "config['action']: Either longitudinal"),
    "no observation": (
        {"observation": {"features": ["x"]}},
        "config['observation']['type']: must be one of Kinematics",
    ),
    "observation": ({"observation": {"type": "ExitObservation"}}, "not 'ExitObservation'"),
    "its weights": ({"observation": {"type": "GrayscaleObservation"}}, "config['observation']: Grayscale"),
    "no speeds": ({"observation": {"type": "TimeToCollision"}}, "TimeToCollision requires DiscreteMetaAction"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_cannot_be_heeded_are_refused_by_name(case):
    config, message = REFUSED[case]
    env = gymnasium.make("infogail/Pass-v0")
    for refuse in (
        lambda: gymnasium.make("infogail/Pass-v0", config=config),
        lambda: env.reset(options={"config": config}),
    ):
        with pytest.raises(ValueError) as raised:
            refuse()
        assert message in str(raised.value) and "\n" not in str(raised.value)


def test_every_setting_of_highway_env_is_heeded_or_refused():
    settings = AbstractEnv.default_config()
    assert settings.pop("other_vehicles_type")  # refused above
    settings |= {"policy_frequency": 5, "action": {}}
    env = gymnasium.make("infogail/Pass-v0", config=settings)
    heeded = {key: env.unwrapped.config[key] for key in settings.keys() - {"action", "offscreen_rendering"}}
    assert heeded.items() <= settings.items() and env.unwrapped.config["offscreen_rendering"] is True


def test_settings_of_the_picture_are_heeded():
    def picture(**config):
        env = gymnasium.make("infogail/Pass-v0", config=config, render_mode="rgb_array")
        env.reset(seed=0)
        for _ in range(10):
            env.step(np.zeros(2, np.float32))
        return env.render()

    usual = picture()
    assert usual.shape == (150, 600, 3)
    assert picture(screen_width=300, screen_height=100).shape == (100, 300, 3)
    for config in ({"scaling": 3.0}, {"centering_position": [0.3, 0.5]}, {"show_trajectories": True}):
        assert (picture(**config) != usual).any()


def test_manual_control_overrides_actions():
    ends = []
    for action in ([1.0, 1.0], [-1.0, -1.0]):
        env = gymnasium.make("infogail/Pass-v0", config={"manual_control": True})
        env.reset(seed=0)
        env.step(np.array(action, np.float32))
        ends.append(env.unwrapped.vehicle_state)
    np.testing.assert_array_equal(*ends)


@pytest.mark.parametrize(
    ("action", "usual"),
    [
        ({"type": "ContinuousAction"}, {}),
        ({"acceleration_range": [-5.0, 5.0]}, {}),
        ({"steering_range": [-0.2, 0.2]}, {"scale": [1.0, 2.0]}),
    ],
)
def test_a_partial_action_is_completed_from_the_scenarios(action, usual):
    ends = []
    for config, scale in (({"action": action}, 1.0), ({}, usual.get("scale", 1.0))):
        env = gymnasium.make("infogail/Pass-v0", config=config)
        env.reset(seed=0)
        env.step(np.array([0.5, 0.25]) * scale)
        ends.append(env.unwrapped.vehicle_state)
    np.testing.assert_allclose(*ends, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(
    ("action", "space", "vehicle"),
    [
        ({"type": "DiscreteMetaAction"}, spaces.Discrete(5), MDPVehicle),
        ({"type": "DiscreteAction", "actions_per_axis": 5}, spaces.Discrete(25), Vehicle),
        ({"lateral": False}, spaces.Box(-1.0, 1.0, (1,)), Vehicle),
        ({"dynamical": True}, spaces.Box(-1.0, 1.0, (2,)), BicycleVehicle),
    ],
)
def test_other_actions_of_highway_env(scenario, action, space, vehicle):
    env = gymnasium.make(environment_id(scenario), config={"action": action})
    check_env(env.unwrapped, skip_render_check=True)
    assert env.action_space == space
    env.reset(seed=0)
    assert type(env.unwrapped.vehicle) is vehicle
    if isinstance(space, spaces.Discrete):
        for wrong in (space.n, -1, 0.5):
            with pytest.raises(ValueError, match=f"action {wrong}: must be a whole number from 0 to {space.n - 1}"):
                env.step(wrong)


def test_meta_actions_change_lane_and_speed():
    env = gymnasium.make("infogail/Pass-v0", config={"action": {"type": "DiscreteMetaAction"}})
    env.reset(seed=0)
    left, faster = 0, 3
    for action in (left, *[faster] * 59):
        _, _, terminated, truncated, _ = env.step(action)
    ego, lead = env.unwrapped.vehicle_state
    assert truncated and not terminated and ego[0] > lead[0]
    assert ego[1] == pytest.approx(-4.0, abs=0.1) and ego[3] == pytest.approx(30.0, abs=0.1)


def test_settings_may_change_at_a_reset():
    env = gymnasium.make("infogail/Pass-v0", render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (150, 600, 3)
    config = {"policy_frequency": 3, "screen_width": 300, "action": {"type": "DiscreteAction"}}
    obs, _ = env.reset(options={"config": config})
    assert env.metadata["render_fps"] == 3 and env.action_space.n == 9 and env.render().shape == (150, 300, 3)
    assert obs in env.observation_space and len(obs) == 7


def test_unknown_options_are_refused_by_name():
    env = gymnasium.make("infogail/Pass-v0")
    with pytest.raises(ValueError, match=r"options\['sceen'\]: reset takes 'scene' and 'config' only"):
        env.reset(options={"sceen": {}})
    env.reset(options={})


def test_actions_must_be_finite_and_of_the_spaces_shape():
    env = gymnasium.make("infogail/Pass-v0")
    env.reset(seed=0)
    before = env.unwrapped.vehicle_state
    for action, message in (
        ([np.nan, 0.0], r"action \[nan, 0.0\]: must be finite"),
        ([0.0, -np.inf], r"action \[0.0, -inf\]: must be finite"),
        ([0.0, 0.0, 0.0], r"action \[0.0, 0.0, 0.0\]: has shape \(3,\), but must have \(2,\)"),
        ([[0.0, 0.0]], r"has shape \(1, 2\), but must have \(2,\)"),
        (0.0, r"has shape \(\), but must have \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(np.array(action, np.float32))
    np.testing.assert_array_equal(env.unwrapped.vehicle_state, before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_vector_form(scenario, dtype):
    envs = make_twin(scenario, 32, dtype)
    assert envs.metadata["autoreset_mode"] == gymnasium.vector.AutoresetMode.SAME_STEP
    obs, _ = envs.reset(seed=1)
    features = len(get_scenario(scenario).features)
    assert envs.observation_space.shape == tuple(obs.shape) == (32, features)
    assert envs.single_observation_space.shape == (features,) and envs.action_space.shape == (32, 2)
    assert obs.dtype == envs.observation_space.dtype == np.dtype(dtype)
    rng = np.random.default_rng(0)
    age, ended_early = np.zeros(32, int), 0
    for _ in range(150):
        before = obs.copy()
        obs, reward, terminated, truncated, infos = envs.step(rng.uniform(-1, 1, (32, 2)).astype(np.float32))
        assert obs in envs.observation_space and reward.shape == terminated.shape == truncated.shape == (32,)
        assert terminated.dtype == truncated.dtype == np.bool_ and not (terminated & truncated).any()
        age += 1
        done = terminated | truncated
        assert ((age == 60) >= truncated).all() and (age <= 60).all()
        if done.any():
            assert (infos["_final_obs"] == done).all()
            # The observation is already the next episode's: far from the last one, which is close to the one before.
            moved = abs(infos["final_obs"] - before).sum(-1)[done]
            jumped = abs(obs - infos["final_obs"]).sum(-1)[done]
            assert (jumped > moved).mean() > 0.9
            assert not infos["crashed"][truncated].any() and not infos["off_road"][truncated].any()
            ended_early += terminated.sum()
        age[done] = 0
    assert ended_early > 10


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_seeds(scenario):
    def play(seed, num_envs=8, dtype="float64"):
        envs = make_twin(scenario, num_envs, dtype)
        seen = [envs.reset(seed=seed)[0]]
        scenes = [np.column_stack(list(envs.unwrapped.scene.values()))]
        for k in range(70):
            seen.append(envs.step(np.full((num_envs, 2), np.sin(k)))[0])
            scenes.append(np.column_stack(list(envs.unwrapped.scene.values())))
        return np.stack(seen), np.stack(scenes)

    (seen, scenes), (same, _) = play(3), play(3)
    np.testing.assert_array_equal(seen, same)
    assert (seen[0] != play(4)[0][0]).any()
    assert (scenes[0] != scenes[-1]).all(0).any()  # episodes ended
    among_others, their_scenes = play(3, num_envs=20)
    np.testing.assert_allclose(seen, among_others[:, :8], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(scenes, their_scenes[:, :8])
    np.testing.assert_allclose(scenes[0], play(3, dtype="float32")[1][0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scenario", [name for name in SCENARIO_NAMES if name not in ("replay", "follow")])
def test_scene_round_trip(scenario):
    env, envs = gymnasium.make(environment_id(scenario)).unwrapped, make_twin(scenario, 5, "float64").unwrapped
    envs.reset(seed=2)
    scene, states = envs.scene, envs.vehicle_state
    assert states.dtype == np.float64 and states.shape == (5, get_scenario(scenario).num_vehicles, 4)
    for k in range(5):
        env.reset(options={"scene": {name: values[k] for name, values in scene.items()}})
        np.testing.assert_allclose(env.vehicle_state, states[k], rtol=0, atol=1e-12)
        assert env.scene.keys() == scene.keys()
    envs.reset(seed=3)
    envs.reset(options={"scene": scene})
    assert np.array_equal(envs.vehicle_state, states)
    name = next(iter(scene))
    for broken in (
        scene | {"wings": scene[name]},
        {k: v for k, v in scene.items() if k != name},
        scene | {name: np.full(5, np.nan)},
    ):
        with pytest.raises(ValueError, match=r"wings|" + name):
            envs.reset(options={"scene": broken})
        with pytest.raises(ValueError, match=r"wings|" + name):
            env.reset(options={"scene": {key: values[..., 0] for key, values in broken.items()}})
    with pytest.raises(ValueError, match=rf"scene\['{name}'\] has shape \(3,\), but must have \(\)"):
        env.reset(options={"scene": {key: values[..., 0] for key, values in scene.items()} | {name: np.ones(3)}})


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_time_limit_is_sixty_decisions(scenario):
    for config in ({}, {"simulation_frequency": 30}, {"policy_frequency": 15}):
        env = gymnasium.make(environment_id(scenario), config=config)
        env.reset(seed=0)
        for step in range(1, 61):
            action = CALM[scenario] if env.unwrapped.vehicle_state[0, 3] > 0.5 else [0.0, 0.0]
            _, _, terminated, truncated, _ = env.step(np.array(action, np.float32))
            assert not terminated and truncated == (step == 60)


def test_bicycle_step_by_hand():
    # tan δ = 2 tan β; here tan δ = 1, so tan β = 1/2, sin β = 1/√5, cos β = 2/√5. v = 10 m/s, heading 0, dt = 0.1 s:
    # x += v cos β dt, y += v sin β dt, heading += v sin β / 2.5 m · dt, v += a dt with a = 3 m/s².
    traffic = initial_traffic(torch.tensor([0.0, 0.0, 0.0, 10.0], dtype=torch.float64).reshape(4, 1, 1))
    steering = torch.atan(torch.ones(1, dtype=torch.float64))
    after = drive(traffic, torch.full((1,), 3.0, dtype=torch.float64), steering, 0.1, 1)
    root = 5**0.5
    np.testing.assert_allclose(vehicle_states(after)[0, 0], [2 / root, 1 / root, 0.4 / root, 10.3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["pass", "turn", "highway"])
def test_placement_has_every_vehicle_as_distance_and_lane_offset_have_the_ego(name):
    env = gymnasium.make(environment_id(name)).unwrapped
    env.reset(seed=0)
    states, scene, scenario = env.vehicle_state, env.scene, env.scenario
    along, across = scenario.placement(VehicleState(*states.T), scene)
    assert along.shape == across.shape == (scenario.num_vehicles,)
    assert (along[0], across[0]) == (scenario.distance(states, scene), scenario.lane_offset(states, scene))
    for k in range(scenario.num_vehicles):
        assert along[k] == scenario.distance(states[k:], scene)
