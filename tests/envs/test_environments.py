"""Both forms of each environment keep Gymnasium's contracts."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from infogail.envs.catalogue import environment_id, get_scenario
from infogail.envs.physics.dynamics import drive, undamaged, vehicle_states
from infogail.envs.scenarios.scenario import VehicleState

SCENARIOS = ("pass", "turn", "highway")


def make_twin(scenario: str, num_envs: int, dtype: str = "float32"):
    return gymnasium.make_vec(environment_id(scenario), num_envs, vectorization_mode="vector_entry_point", dtype=dtype)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_reference_passes_gymnasiums_checker(scenario):
    env = gymnasium.make(environment_id(scenario), render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=True)  # its render check opens a window
    env.reset(seed=0)
    frame = env.render()
    assert frame.dtype == np.uint8 and frame.shape[2] == 3 and len(np.unique(frame)) > 5


def test_the_reference_offers_highway_envs_own_observations():
    observation = {"type": "Kinematics", "vehicles_count": 2, "features": ["x", "y", "heading"], "absolute": True}
    env = gymnasium.make("infogail/Pass-v0", config={"observation": observation | {"normalize": False}})
    obs, _ = env.reset(seed=0)
    assert env.observation_space.shape == (2, 3)
    np.testing.assert_allclose(obs, env.unwrapped.vehicle_state[:, :3], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_vector_form(scenario, dtype):
    envs = make_twin(scenario, 32, dtype)
    assert envs.metadata["autoreset_mode"] == gymnasium.vector.AutoresetMode.SAME_STEP
    obs, _ = envs.reset(seed=1)
    features = len(get_scenario(scenario).features)
    assert envs.observation_space.shape == tuple(obs.shape) == (32, features)
    assert envs.single_observation_space.shape == (features,) and envs.action_space.shape == (32, 2)
    assert obs.numpy().dtype == envs.observation_space.dtype == np.dtype(dtype)
    rng = np.random.default_rng(0)
    age, ended_early = np.zeros(32, int), 0
    for _ in range(150):
        before = obs.clone()
        obs, reward, terminated, truncated, infos = envs.step(rng.uniform(-1, 1, (32, 2)).astype(np.float32))
        assert obs.numpy() in envs.observation_space and reward.shape == terminated.shape == truncated.shape == (32,)
        assert terminated.dtype == truncated.dtype == torch.bool and not (terminated & truncated).any()
        age += 1
        done = (terminated | truncated).numpy()
        assert ((age == 60) >= truncated.numpy()).all() and (age <= 60).all()
        if done.any():
            assert (infos["_final_obs"].numpy() == done).all()
            # The observation is already the next episode's: far from the last one, which is close to the one before.
            moved = (infos["final_obs"] - before).abs().sum(-1)[done]
            jumped = (obs - infos["final_obs"]).abs().sum(-1)[done]
            assert (jumped > moved).float().mean() > 0.9
            assert not infos["crashed"][truncated].any() and not infos["off_road"][truncated].any()
            ended_early += terminated.sum().item()
        age[done] = 0
    assert ended_early > 10


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_seeds(scenario):
    def play(seed, num_envs=8, steps=70):
        envs = make_twin(scenario, num_envs)
        seen = [envs.reset(seed=seed)[0]]
        for k in range(steps):
            action = torch.full((num_envs, 2), np.sin(k).item())
            seen.append(envs.step(action)[0])
        return torch.stack(seen)

    assert torch.equal(play(3), play(3))
    assert not torch.equal(play(3)[0], play(4)[0])
    assert torch.equal(play(3, num_envs=8), play(3, num_envs=20)[:, :8])  # others change nothing


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scene_round_trip(scenario):
    env, envs = gymnasium.make(environment_id(scenario)).unwrapped, make_twin(scenario, 5, "float64").unwrapped
    envs.reset(seed=2)
    scene, states = envs.scene, envs.vehicle_state
    assert states.dtype == np.float64 and states.shape == (5, get_scenario(scenario).num_vehicles, 4)
    for k in range(5):
        env.reset(options={"scene": {name: values[..., k] for name, values in scene.items()}})
        np.testing.assert_allclose(env.vehicle_state, states[k], rtol=0, atol=1e-12)
        assert env.scene.keys() == scene.keys()
    envs.reset(seed=3)
    envs.reset(options={"scene": scene})
    assert np.array_equal(envs.vehicle_state, states)
    name = next(iter(scene))
    for broken in (
        scene | {"wings": scene[name]},
        {k: v for k, v in scene.items() if k != name},
        scene | {name: np.nan},
    ):
        with pytest.raises(ValueError, match=r"wings|" + name):
            envs.reset(options={"scene": broken})


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_time_limit_is_sixty_decisions(scenario):
    env = gymnasium.make(environment_id(scenario))
    env.reset(seed=0)
    calm = {"pass": [-0.4, 0.0], "turn": [-1.0, 0.0], "highway": [-0.4, 0.0]}[scenario]
    for step in range(1, 61):
        action = calm if env.unwrapped.vehicle_state[0, 3] > 0.5 else [0.0, 0.0]
        _, _, terminated, truncated, _ = env.step(np.array(action, np.float32))
        assert not terminated and truncated == (step == 60)


def test_bicycle_step_by_hand():
    # tan δ = 2 tan β; here tan δ = 1, so tan β = 1/2, sin β = 1/√5, cos β = 2/√5. v = 10 m/s, heading 0, dt = 0.1 s:
    # x += v cos β dt, y += v sin β dt, heading += v sin β / 2.5 m · dt, v += a dt with a = 3 m/s².
    traffic = undamaged(torch.tensor([0.0, 0.0, 0.0, 10.0], dtype=torch.float64).reshape(4, 1, 1))
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
