import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import DQN
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from infogail.baselines.bc import BC
from infogail.config.config import Config
from infogail.envs.errors import BadInput
from infogail.envs.gym_environment import record_policy
from infogail.envs.tasks import RECOMMENDED, GymTask
from infogail.runs.driver import load
from infogail.runs.runner import train
from infogail.traffic.adapters import FrozenPolicy, StyledTraffic
from infogail.traffic.styled import StyledVehicle

SMALL = {"vehicles_count": 8, "duration": 3}


def codes(env):
    return [vehicle.code for vehicle in env.unwrapped.road.vehicles if isinstance(vehicle, StyledVehicle)]


def test_styled_traffic_is_there_after_every_reset(highway_run):
    env = StyledTraffic(gymnasium.make("highway-v0", config=SMALL), highway_run, mix=(0, 1, 0, 0))
    for seed in range(2):
        env.reset(seed=seed)
        assert codes(env) == [1] * 8
        assert env.unwrapped.config["duration"] == 3
        env.step(env.action_space.sample())
    env.reset(seed=0, options={"mix": (0, 0, 0, 1)})
    assert codes(env) == [3] * 8
    env.reset(options={"config": {"vehicles_count": 4}})
    assert codes(env) == [3] * 4
    with pytest.raises(BadInput, match="give a non-negative share for each of the 4 codes"):
        env.reset(options={"mix": (1, 1)})


def test_starts_are_those_of_the_environment(highway_run):
    bare = gymnasium.make("highway-v0", config=SMALL)
    styled = StyledTraffic(gymnasium.make("highway-v0", config=SMALL), highway_run)
    np.testing.assert_array_equal(bare.reset(seed=7)[0], styled.reset(seed=7)[0])


def test_stable_baselines_learns_in_styled_traffic(highway_run):
    env = StyledTraffic(TimeLimit(gymnasium.make("highway-v0", config=SMALL), 3), highway_run)
    model = DQN("MlpPolicy", env, learning_starts=4).learn(10)
    mean, _ = evaluate_policy(model, env, n_eval_episodes=2, warn=False)
    assert 0 < mean <= 3 and codes(env)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("parking-v0", "parking-v0 does not support custom vehicle types"),
        ("CartPole-v1", "CartPole-v1 does not support custom vehicle types"),
        ("infogail/Highway-v0", "other_vehicles_type.*not a setting of infogail/Highway-v0"),
    ],
)
def test_environments_without_such_vehicles(highway_run, name, problem):
    with pytest.raises(BadInput, match=problem):
        StyledTraffic(gymnasium.make(name), highway_run)


def test_evaluate_policy_of_a_run_in_its_environment(highway_run):
    """The same return as driving by hand."""
    env = Monitor(gymnasium.make("infogail/Highway-v0"))
    env.reset(seed=3)
    mean, std = evaluate_policy(FrozenPolicy(highway_run, code=2), env, n_eval_episodes=1)
    driver, again = load(highway_run), gymnasium.make("infogail/Highway-v0")
    again.reset(seed=3)
    obs, _ = again.reset()  # evaluate_policy resets once more, without a seed
    total, done = 0.0, False
    while not done:
        obs, reward, terminated, truncated, _ = again.step(driver.act(obs, 2))
        total, done = total + reward, terminated or truncated
    assert (mean, std) == (pytest.approx(total, abs=1e-6), 0.0) and total > 1.0


def test_codes_last_as_long_as_episodes(highway_run):
    policy, prior = FrozenPolicy(highway_run, seed=1), load(highway_run).prior
    obs = np.zeros((400, len(policy.driver.policy.standardise.mean)), np.float32)
    actions, state = policy.predict(obs)
    (drawn,) = state
    assert actions.shape == (400, 2)
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 400, prior, atol=0.1)
    np.testing.assert_allclose(actions, policy.driver.act(obs, drawn))
    start = np.arange(400) < 200
    _, (later,) = policy.predict(obs, state=state, episode_start=start)
    assert (later[200:] == drawn[200:]).all() and (later[:200] != drawn[:200]).any()
    action, _ = FrozenPolicy(highway_run, code=3).predict(obs[0])
    np.testing.assert_allclose(action, policy.driver.act(obs[0], 3))
    for code in (4, -1, 0.5):
        with pytest.raises(BadInput, match=f"code {code}: the codes of .* are 0 to 3"):
            FrozenPolicy(highway_run, code=code)


def test_a_run_of_another_environment(tmp_path):
    task = GymTask("CartPole-v1")
    episodes = record_policy(task.make(), lambda obs: int(obs @ [0.1, 0.3, 1.0, 1.0] > 0), 2)
    episodes.save(tmp_path / "demos.safetensors")
    config = Config.of(**RECOMMENDED | {"num_codes": 1, "bc_steps": 1000, "iterations": 1})
    train(BC, "bc", tmp_path / "demos.safetensors", "CartPole-v1", config, tmp_path / "run")
    policy, env = FrozenPolicy(tmp_path / "run"), task.make()
    action, _ = policy.predict(env.reset(seed=0)[0])
    assert env.action_space.contains(action)
    mean, _ = evaluate_policy(policy, Monitor(task.make()), n_eval_episodes=2)
    assert mean > 200  # random actions: 22
