from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from passer import Passer

from infogail.envs.catalogue import environment_id, get_scenario
from infogail.envs.recordings.record import record
from infogail.envs.scenarios.styles import NO_STYLE
from infogail.evaluation.episodes import Perturbation, drive_episode


@pytest.fixture(scope="module")
def env():
    return gymnasium.make(environment_id("pass")).unwrapped


def test_an_episode_holds_what_was_seen_done_and_become(env):
    episode = drive_episode(Passer(), env, code=1, seed=5)
    assert (episode.observations.shape, episode.actions.shape) == ((60, 7), (60, 2))
    assert episode.vehicle_states.shape == (61, 2, 4)
    assert (episode.crashed, episode.off_road, str(env.scenario.styles[episode.style])) == (False, False, "right")
    obs, _ = env.reset(options={"scene": episode.scene})
    for t, action in enumerate(episode.actions):
        assert np.array_equal(obs, episode.observations[t])
        assert np.array_equal(env.vehicle_state, episode.vehicle_states[t])
        obs = env.step(action)[0]
    assert np.array_equal(env.vehicle_state, episode.vehicle_states[60])


def test_codes_part_from_the_same_start(env):
    left, right = (drive_episode(Passer(), env, code, scene=env.scene) for code in (0, 1))
    assert left.scene == right.scene
    assert (left.style, right.style) == (0, 1)


def test_a_crash_ends_the_episode_without_style(env):
    episode = drive_episode(Passer("reckless"), env, code=0, seed=5)
    assert (episode.crashed, episode.off_road, episode.style) == (True, False, NO_STYLE)
    assert len(episode.vehicle_states) == len(episode.actions) + 1 < 60


def test_leaving_the_road_ends_the_episode_without_style(env):
    episode = drive_episode(Passer("swerving"), env, code=0, seed=5)
    assert (episode.crashed, episode.off_road, episode.style) == (False, True, NO_STYLE)
    assert len(episode.actions) < 60


def test_leaving_the_road_after_the_manoeuvre_is_a_failure_all_the_same():
    env = gymnasium.make(environment_id("turn")).unwrapped
    recorded = record(get_scenario("turn"), 1, seed=0)[0]
    scene, states = recorded.scene(0), recorded.trajectory(0)
    beyond = env.scenario.distance(states[:-1], scene) > scene["radius"] * np.pi / 2 + 2.0
    actions = np.where(beyond[:, None], np.float32([0.0, 1.0]), recorded.demonstrations.actions)
    replay = iter(actions)
    driver = SimpleNamespace(act=lambda obs, code: next(replay), codes=[0])
    episode = drive_episode(driver, env, code=0, scene=scene)
    assert env.scenario.style(episode.vehicle_states, scene) == recorded.styles[0]
    assert (episode.off_road, episode.style) == (True, NO_STYLE)


def test_noise_is_added_to_the_actions_and_repeats_with_the_seed(env):
    still, one, again, other = (
        drive_episode(Passer(), env, code=1, seed=seed, perturbation=Perturbation(action_noise=noise)).actions[0]
        for seed, noise in ((5, 0.0), (5, 0.2), (5, 0.2), (6, 0.2))
    )
    # The first two normal numbers of NumPy's generator seeded with 5, times 0.2.
    np.testing.assert_allclose(one - still, (0.2 * -0.8019314, 0.2 * -1.324359), atol=1e-6)
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_starts_are_widened_around_the_middle():
    scenario = get_scenario("pass")
    wider = Perturbation(start_spread=2.0).widened(scenario)
    for name, draw in scenario.draws.items():
        low, high = wider.draws[name].low, wider.draws[name].high
        assert low + high == pytest.approx(draw.low + draw.high)
        assert high - low == pytest.approx((1.0 if draw.only_ends else 2.0) * (draw.high - draw.low))
    assert scenario.draws == get_scenario("pass").draws  # the original stays


def test_a_perturbed_evaluation_has_a_file_of_its_own():
    assert Perturbation().name == ""
    assert Perturbation(action_noise=0.1).name == "-noise-0.1"
    assert Perturbation(action_noise=0.05, start_spread=1.5).name == "-noise-0.05-spread-1.5"
