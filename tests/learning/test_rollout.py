import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.distributions import Normal

from infogail.config.config import Config
from infogail.envs.environment import Spec, Step
from infogail.learning.networks import Policy
from infogail.learning.rollout import Rollout, collect

# Three decisions in two environments. The second one's episode ends early in the first decision, with 20 as its final
# observation and 7 as the first of the next episode; the first one's is out of time in the last decision.
SEEN = [[0.0, 5.0], [1.0, 7.0], [2.0, 8.0], [9.0, 9.0]]
LED_TO = [[1.0, 20.0], [2.0, 8.0], [30.0, 9.0]]
TERMINATED = [[False, True], [False, False], [False, False]]
TRUNCATED = [[False, False], [False, False], [True, False]]


class Scripted:
    """An environment that shows the above, whatever is done in it."""

    spec = Spec((1,), np.dtype("float32"), spaces.Box(-1.0, 1.0, (2,)), 3, "failure", (0,))
    num_envs = 2

    def __init__(self):
        self.carried_out = []

    def reset(self, seed=None):
        return torch.tensor(SEEN[0])[:, None]

    def step(self, actions):
        k = len(self.carried_out)
        self.carried_out.append(actions)
        seen, led_to = (torch.tensor(x)[:, None] for x in (SEEN[k + 1], LED_TO[k]))
        return Step(seen, led_to, torch.tensor(TERMINATED[k]), torch.tensor(TRUNCATED[k]))

    def demonstrations(self):
        return torch.tensor([4, -1])

    def styles(self):
        return torch.tensor([1, -1])


@pytest.mark.parametrize("one_episode", [True, False])
def test_collect_keeps_what_was_seen_done_and_led_to(one_episode):
    torch.manual_seed(0)
    env, in_place_of = Scripted(), []
    env.spec = replace(env.spec, one_episode=one_episode)
    policy = Policy(env.spec, 3, Config.of(hidden=8, initial_log_std=-1.0).policy)
    policy.net[-1].weight.data *= 100.0  # means that differ between observations and codes

    def choose_codes(demonstrations):
        in_place_of.append(demonstrations)
        return torch.tensor([2, 0] if len(in_place_of) == 1 else [1, 1])

    rollout = collect(env, policy, choose_codes, torch.Generator().manual_seed(0))
    assert rollout.observations.squeeze(-1).tolist() == SEEN[:3]
    assert rollout.next_observations.squeeze(-1).tolist() == LED_TO
    assert rollout.terminated.tolist() == TERMINATED
    assert rollout.done.tolist() == [[False, True], [False, False], [True, False]]
    assert torch.equal(rollout.actions, torch.stack(env.carried_out)) and not rollout.actions.requires_grad
    assert in_place_of[0].tolist() == [4, -1] and rollout.styles.tolist() == [1, -1]
    assert in_place_of[1:] == ([] if one_episode else [None] * 3)  # nobody's place
    assert rollout.codes.tolist() == ([[2, 0]] * 3 if one_episode else [[2, 0], [2, 1], [2, 1]])
    assert rollout.starts(env.spec).tolist() == [[True, True], [False, not one_episode], [False, False]]
    assert rollout.counted(env.spec).tolist() == [[True, True]] + [[True, not one_episode]] * 2
    with torch.no_grad():
        mean, _ = policy(policy.inputs(rollout.observations, rollout.codes))
    noise = torch.Generator().manual_seed(0)
    for t in range(3):
        if t and not one_episode:
            torch.randperm(2, generator=noise)  # who gets which of the codes
        torch.testing.assert_close(rollout.actions[t], mean[t] + math.exp(-1.0) * torch.randn(2, 2, generator=noise))
    torch.testing.assert_close(rollout.log_probs, Normal(mean, math.exp(-1.0)).log_prob(rollout.actions).sum(-1))


def rollout_of(terminated, codes, styles=None):
    """Steps (T, B) that end early where `terminated` says so, in each of which the action (2, -0.5) was drawn."""
    over = torch.tensor(terminated)
    actions, zeros = torch.tensor([2.0, -0.5]).expand(*over.shape, 2), torch.zeros(over.shape)
    obs = zeros[..., None] + 3.0
    return Rollout(obs, actions, zeros, obs, over, over, torch.tensor(codes).expand(over.shape), styles)


def test_an_episodes_last_step_is_its_own():
    rollout = rollout_of([[False, True], [True, False], [False, True]], [0, 0])
    assert rollout.first_episode().T.tolist() == [[True, True, False], [True, False, False]]


def test_pairs_hold_what_was_carried_out():
    assert rollout_of([[False]], [0]).pairs().tolist() == [[[3.0, 1.0, -0.5]]]


def test_the_summary_counts_environments():
    # Codes halve the environments: 1 bit. Styles, failure among them, as 2 : 1 : 1: 1.5 bits, of which the code is
    # known: 2 · 1 / (1 + 1.5). Environment 3 fails twice and counts once.
    terminated = [[False, False, False, True], [False] * 4, [False, False, False, True]]
    log = rollout_of(terminated, [0, 0, 1, 1], torch.tensor([0, 0, 1, -1])).summary()
    assert log == {
        "rollout/env_steps": 12,
        "rollout/terminated_rate": 0.25,
        "rollout/style_nmi": pytest.approx(0.8),
        "rollout/success_rate": 0.75,
    }
    assert set(rollout_of(terminated, [0, 0, 1, 1]).summary()) == {"rollout/env_steps", "rollout/terminated_rate"}
