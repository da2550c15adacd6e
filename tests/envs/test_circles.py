"""Circles: geometry, expert, both forms, and a short training that finds the three styles."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from infogail.benchmark.circles import SETTINGS, drive
from infogail.config.config import Config
from infogail.envs.circles import CENTRES, HORIZON, STEP, CirclesEnvironment, distances, expert_action, record
from infogail.learning.learner import InfoGAIL
from infogail.learning.rollout import style_nmi


def test_distances_are_measured_from_each_circle():
    # (1, 1) is on the first circle, √5 - 1 outside the second, whose centre is (0, -1), and √2 from the third's centre.
    assert distances(np.array([[1.0, 1.0]])).tolist() == pytest.approx([0.0, 5**0.5 - 1, 2 - 2**0.5])
    assert distances(np.zeros((4, 2))).tolist() == pytest.approx([0.0] * 3)  # all touch in the origin


def test_experts_run_round_their_circles():
    episodes = record(30, seed=5)
    assert episodes.styles.tolist() == [0, 1, 2] * 10 and np.diff(episodes.episode_bounds).tolist() == [HORIZON] * 30
    paths = episodes.demonstrations.observations[:, :2].reshape(30, HORIZON, 2)
    assert (distances(paths).argmin(-1) == episodes.styles).all() and distances(paths).min(-1).max() < 0.1
    moves, offsets = np.diff(paths, axis=1), (paths - CENTRES[episodes.styles][:, None])[:, :-1]
    turned = offsets[..., 0] * moves[..., 1] - offsets[..., 1] * moves[..., 0]  # positive: counterclockwise
    assert (np.sign(turned.mean(-1)) == np.array([1, -1, 1] * 10)).all()


def test_both_forms_move_alike():
    env, batch, rng = gym.make("infogail/Circles-v0"), CirclesEnvironment(2), np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    assert batch.reset().tolist() == [observation.tolist()] * 2
    for t in range(HORIZON):
        action = rng.uniform(-1.5, 1.5, 2).astype(np.float32).clip(-1, 1)
        observation, _, terminated, truncated, _ = env.step(action)
        step = batch.step(torch.tensor(np.stack([action, 2.0 * action])))
        np.testing.assert_allclose(step.final_observations[0], observation, atol=1e-5)
        assert not terminated and truncated == (t == HORIZON - 1) == bool(step.truncated[0])
    assert (step.observations == 0).all()  # the next episode
    assert np.linalg.norm(observation[:2] - observation[2:4]) <= STEP * 2**0.5


def test_an_expert_off_its_circle_returns():
    rng = np.random.default_rng(0)
    outside = np.mean([expert_action(np.array([1.5, 1.0]), 0, rng) for _ in range(200)], 0)
    assert outside[0] < -0.5 and outside[1] > 0.4  # inwards, and counterclockwise


def test_infogail_learns_a_circle_for_each_code():
    shown = record(30, seed=2)
    config = Config.of(**SETTINGS, num_envs=64, iterations=2, warm_start_steps=500, settling_iterations=None, threads=1)
    learner = InfoGAIL(CirclesEnvironment(64), shown.demonstrations, config)
    for _ in range(2):
        learner.iterate()
    path, codes = drive(learner.policy)
    assert style_nmi(codes, distances(path).argmin(-1)) == 1.0 and distances(path).min(-1).mean() < 0.1
