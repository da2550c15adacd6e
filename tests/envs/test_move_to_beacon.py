"""MoveToBeacon: both forms move alike, the experts walk as they should, and GAIL learns from them as in its paper."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from infogail.baselines.gail import GAIL
from infogail.config.config import Config
from infogail.envs.move_to_beacon import (
    MOVES,
    SCALE,
    X_FIRST,
    Y_FIRST,
    MoveToBeacon,
    MoveToBeaconEnvironment,
    expert_move,
    reached,
    record,
    shows_style,
)


@pytest.mark.parametrize(
    ("offset", "at_beacon", "style_shows"),
    [
        ((10.9, 0.0), True, False),  # (10.9 / 63)² = 0.02994
        ((10.92, 0.0), False, False),  # 0.03005
        ((6.0, 20.0), False, True),
        ((5.9, 20.0), False, False),
        ((7.0, -7.0), True, False),
    ],
)
def test_where_the_beacon_is_reached_and_where_a_style_can_show(offset, at_beacon, style_shows):
    for array in (np.array(offset), torch.tensor(offset)):
        assert (bool(reached(array)), bool(shows_style(array))) == (at_beacon, style_shows)


@pytest.mark.parametrize("styled", [False, True])
def test_the_batched_form_moves_as_the_single_one(styled):
    single, batched = MoveToBeacon(styled), MoveToBeaconEnvironment(3, styled)
    first = batched.reset(seed=4)
    single.reset(seed=0)
    single.offset = first[1].double().numpy() / SCALE
    rng, ended = np.random.default_rng(0), False
    for _ in range(100):
        wander = rng.uniform() < 0.5
        move = int(rng.integers(4)) if wander else expert_move(single.offset, None)
        step = batched.step(torch.eye(4)[[0, move, 3]])
        observation, reward, terminated, truncated, _ = single.step(move)
        np.testing.assert_allclose(step.final_observations[1], observation, atol=1e-5)
        assert (step.terminated[1].item(), reward, truncated) == (terminated, -1.0, False)
        ended = ended or terminated
        if ended:
            assert not reached(step.observations[1] / SCALE) or not styled  # another start
            break
        np.testing.assert_allclose(step.observations[1], observation, atol=1e-5)
    assert ended


def test_an_episode_is_truncated_after_a_hundred_moves():
    batched = MoveToBeaconEnvironment(2)
    batched.reset(seed=0)
    steps = [batched.step(torch.eye(4)[[k % 2, 2]]) for k in range(100)]  # the first goes to and fro
    assert [k for k, step in enumerate(steps) if step.truncated[0]] == [99]
    assert not any(step.terminated[0] for step in steps)
    assert batched.styles().tolist() == [-1, -1]


def test_experts_are_greedy_or_keep_to_their_axis_first():
    assert expert_move(np.array([10.0, -30.0]), None) == 2 and expert_move(np.array([-30.0, 10.0]), None) == 0
    assert MOVES[expert_move(np.array([10.0, -30.0]), X_FIRST)].tolist() == [-3.0, 0.0]
    assert MOVES[expert_move(np.array([10.0, -30.0]), Y_FIRST)].tolist() == [0.0, 3.0]
    assert MOVES[expert_move(np.array([1.0, -30.0]), X_FIRST)].tolist() == [0.0, 3.0]  # it is there along x
    recorded = record(50, styled=True)
    demonstrations, styles = recorded.demonstrations, recorded.styles
    starts = demonstrations.episode_bounds[:-1]
    assert set(styles) == {X_FIRST, Y_FIRST}
    assert (demonstrations.actions[starts].argmax(-1) // 2 == styles).all()
    assert shows_style(demonstrations.observations[starts] / SCALE * 1.0001).all()
    assert (record(5).styles == -1).all()


def test_it_is_registered_with_its_time_limit():
    env = gym.make("infogail/MoveToBeacon-v0")
    assert env.spec.max_episode_steps == 100
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)


def test_gail_walks_to_the_beacon_as_fast_as_its_expert():
    # As in GAIL's algorithm: TRPO, and a discriminator of three tanh layers of 20.
    paper = {"policy_update": "trpo", "discriminator_layers": 3, "discriminator_hidden": 20}
    paper |= {"discriminator_activation": "tanh", "warm_start_steps": 0, "held_iterations": 0}
    config = Config.of(**paper, num_envs=64, threads=1, iterations=30, gamma=0.99, settling_iterations=None)
    learner = GAIL(MoveToBeaconEnvironment(64), record(100).demonstrations, config)

    def mean_steps(act):
        env = MoveToBeaconEnvironment(200)
        obs, steps, walking = env.reset(seed=1000), 0.0, torch.ones(200, dtype=torch.bool)
        while walking.any():
            steps += walking.float().mean().item()
            step = env.step(act(obs))
            walking, obs = walking & ~step.terminated & ~step.truncated, step.observations
        return steps

    @torch.no_grad()
    def policy(obs):
        return learner.policy(learner.policy.inputs(obs, torch.zeros(len(obs), dtype=torch.int64))).mode()

    def expert(obs):
        return torch.eye(4)[[expert_move(offset, None) for offset in obs.double().numpy() / SCALE]]

    before = mean_steps(policy)
    for _ in range(30):
        learner.iterate()
    assert before > 50
    assert mean_steps(policy) <= 1.1 * mean_steps(expert)
