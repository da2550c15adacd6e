"""The twin as learners see it, against the Gymnasium environment that it drives."""

import numpy as np
import torch

from infogail.envs.catalogue import get_scenario
from infogail.envs.scenarios.styles import NO_STYLE
from infogail.envs.twin import DrivingEnvironment, DrivingVectorEnv

ACTIONS = torch.zeros(3, 2)
ACTIONS[0] = 1.0  # full throttle and full lock: environment 0 leaves the road again and again


def test_steps_are_the_twins_and_styles_are_judged_by_what_was_driven():
    judged = []

    def judge(states, scene):
        judged.append((states, scene))
        return np.array([0, 1, 1])

    scenario = get_scenario("pass")
    env, twin = DrivingEnvironment(scenario, 3, judge), DrivingVectorEnv(scenario, 3, tensors=True)
    for seed in (0, 1):  # the second time nothing of the first is left
        obs, _ = twin.reset(seed=seed)
        assert torch.equal(env.reset(seed=seed), obs)
        states, ends, scene = [twin.states], 0, twin.scene
        for _ in range(12):
            obs, _, terminated, truncated, infos = twin.step(ACTIONS)
            step = env.step(ACTIONS)
            final = torch.where(terminated[:, None], infos.get("final_obs", obs), obs)
            for one, other in zip(step[:4], (obs, final, terminated, truncated), strict=True):
                assert torch.equal(one, other)
            ended = infos["final_info"]["vehicle_state"] if terminated.any() else twin.states
            states.append(torch.where(terminated[:, None, None], ended, twin.states))
            ends += terminated.long()
        assert ends[0] >= 2 and ends[1:].tolist() == [0, 0]
        assert env.styles().tolist() == [NO_STYLE, 1, 1]
        np.testing.assert_array_equal(judged[-1][0], torch.stack(states))
        assert {name: values.tolist() for name, values in judged[-1][1].items()} == {
            name: values.tolist() for name, values in scene.items()
        }
    env.reset(seed=0)
    env.step(ACTIONS)
    assert env.styles().tolist() == [0, 1, 1] and len(judged[-1][0]) == 2


def test_styles_are_those_of_the_scenes_in_which_the_episodes_began():
    """Turn's style depends on which way the road bends, and the next scene bends otherwise."""
    scenario = get_scenario("turn")
    env, twin = DrivingEnvironment(scenario, 32, scenario.style), DrivingVectorEnv(scenario, 32, tensors=True)
    env.reset(seed=0)
    obs, _ = twin.reset(seed=0)
    scene, trajectory = twin.scene, [twin.vehicle_state]
    aside = torch.where(torch.arange(32) % 2 == 0, 0.5, -0.5)  # to the right or to the left of the centre line
    for _ in range(scenario.horizon):
        steering = -0.8 * (obs[:, 0] - aside) - 0.6 * obs[:, 1] + 0.6 * obs[:, 2]
        actions = torch.stack((torch.zeros(32), steering), 1)
        env.step(actions)
        obs, *_, infos = twin.step(actions)
        ended = "final_info" in infos
        trajectory.append(np.array(infos["final_info"]["vehicle_state"]) if ended else twin.vehicle_state)
    styles = scenario.style(np.stack(trajectory), scene)
    driven = env.styles().numpy()
    kept = driven != NO_STYLE
    assert kept.sum() >= 16 and len(set(driven[kept])) == 2
    np.testing.assert_array_equal(driven[kept], styles[kept])


def test_without_a_judge_there_are_no_styles():
    env = DrivingEnvironment(get_scenario("pass"), 3)
    env.reset(seed=0)
    assert env.styles() is None and env.demonstrations() is None


def test_it_goes_on_where_its_state_was_taken():
    env, other = (DrivingEnvironment(get_scenario("pass"), 3) for _ in range(2))
    env.reset(seed=0)
    env.step(ACTIONS)
    other.load_state_dict(env.state_dict())
    for _ in range(25):  # through an end, from which the streams draw the next scene
        assert all(
            torch.equal(one, same) for one, same in zip(env.step(ACTIONS)[:4], other.step(ACTIONS)[:4], strict=True)
        )
