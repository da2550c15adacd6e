"""PointOnMap: its moves, and how a point follows a track."""

import gymnasium as gym
import numpy as np
import pytest

from infogail.envs.point_on_map import HORIZON, NAME, STEPS, episodes_of


def test_it_moves_and_sees_the_time():
    env = gym.make(NAME)
    observation, _ = env.reset(seed=0)
    assert observation.tolist() == [0, 0, 0]
    for t in range(HORIZON):
        observation, reward, terminated, truncated, _ = env.step(np.array([6, 2]))
        assert (reward, terminated, truncated) == (0.0, False, t == HORIZON - 1)
        moved = [min(0.24 * (t + 1), 1.5), max(-0.04 * (t + 1), -1.0), (t + 1) / HORIZON]
        assert observation.tolist() == pytest.approx(moved, abs=1e-6)


def test_a_point_waits_and_then_follows_as_fast_as_it_can():
    track = np.full((1, HORIZON + 1, 2), np.nan)
    track[0, 10:] = [0.49, 0.13]
    episodes = episodes_of(track)
    path = episodes.observations.reshape(HORIZON + 1, 3)
    assert not path[:10, :2].any()
    assert path[10:13, 0].tolist() == pytest.approx([0.24, 0.48, 0.48]) and path[10:, 1] == pytest.approx(0.12)
    assert STEPS[episodes.actions[9]].tolist() == [0.24, 0.12]
    env = gym.make(NAME)
    env.reset()
    for t, action in enumerate(episodes.actions):
        assert env.step(action)[0].tolist() == path[t + 1].tolist()


def test_tracks_are_followed_to_within_half_a_step():
    rng = np.random.default_rng(0)
    tracks = np.cumsum(rng.uniform(-0.03, 0.05, (20, HORIZON + 1, 2)), 1) * [1.0, 0.4]
    paths = episodes_of(tracks).observations.reshape(20, HORIZON + 1, 3)[..., :2]
    assert abs(paths - tracks)[:, 1:].max() <= 0.0400001
