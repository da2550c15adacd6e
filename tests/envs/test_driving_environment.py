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
        states, ends = [twin.states], 0
        for _ in range(12):
            obs, _, terminated, truncated, infos = twin.step(ACTIONS)
            step = env.step(ACTIONS)
            final = torch.where(terminated[:, None], infos.get("final_obs", obs), obs)
            for one, other in zip(step, (obs, final, terminated, truncated), strict=True):
                assert torch.equal(one, other)
            ended = infos["final_info"]["vehicle_state"] if terminated.any() else twin.states
            states.append(torch.where(terminated[:, None, None], ended, twin.states))
            ends += terminated.long()
        assert ends[0] >= 2 and ends[1:].tolist() == [0, 0]
        assert env.styles().tolist() == [NO_STYLE, 1, 1]
        np.testing.assert_array_equal(judged[-1][0], torch.stack(states))
        assert {name: values.tolist() for name, values in judged[-1][1].items()} == {
            name: values.tolist() for name, values in twin.scene.items()
        }
    env.reset(seed=0)
    env.step(ACTIONS)
    assert env.styles().tolist() == [0, 1, 1] and len(judged[-1][0]) == 2


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
        assert all(torch.equal(one, same) for one, same in zip(env.step(ACTIONS), other.step(ACTIONS), strict=True))
