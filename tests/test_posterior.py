import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from envs import get_scenario
from envs.demonstrations import Demonstrations
from infogail.config import Config
from infogail.posterior import Evidence, Posterior, belief, entropy, info_reward, rim_loss, style_features
from infogail.rollout import Rollout

LOG2 = math.log(2)
# Two steps, the first three times as likely under code 0, the second twice as likely: from 1/2 the belief in code 0
# goes to 3/4 (odds 3 : 1) and to 6/7 (odds 6 : 1). One trajectory, (T, n, K) = (2, 1, 2).
EVIDENCE = torch.tensor([[[math.log(3), 0.0]], [[math.log(2), 0.0]]])


def test_belief():
    assert belief(EVIDENCE).exp().squeeze(1).tolist() == [pytest.approx([3 / 4, 1 / 4]), pytest.approx([6 / 7, 1 / 7])]


@pytest.mark.parametrize(("code", "expected"), [(0, [3 / 2, 8 / 7]), (1, [1 / 2, 4 / 7])])
def test_info_reward(code, expected):
    # What each step multiplies the code's probability by: 3/4 : 1/2, 6/7 : 3/4; 1/4 : 1/2, 1/7 : 1/4.
    reward = info_reward(belief(EVIDENCE), torch.tensor([code]))
    assert reward.exp().squeeze(1).tolist() == pytest.approx(expected)


def test_steps_after_the_first_episode_say_and_earn_nothing():
    alive = torch.tensor([[True], [False]])
    assert belief(EVIDENCE, alive)[1].exp().tolist() == [pytest.approx([3 / 4, 1 / 4])]
    reward = info_reward(belief(EVIDENCE, alive), torch.tensor([0]))
    assert reward.squeeze(1).tolist() == pytest.approx([math.log(3 / 2), 0.0])


def test_info_reward_adds_up_to_the_bound():
    rng = torch.Generator().manual_seed(0)
    evidence, codes = torch.randn(9, 7, 3, generator=rng), torch.randint(3, (7,), generator=rng)
    alive = torch.arange(9)[:, None] < torch.tensor([1, 9, 4, 9, 2, 7, 9])
    for mask in (None, alive):
        total = info_reward(belief(evidence, mask), codes).sum(0)
        # log Q(c|τ) + log K: the product over the steps seen, normalised in plain probabilities
        odds = (evidence if mask is None else evidence * mask[..., None]).double().exp().prod(0)
        expected = (odds[range(7), codes] / odds.sum(-1) * 3).log()
        torch.testing.assert_close(total.double(), expected, atol=1e-5, rtol=0)


def test_uninformative_evidence_earns_nothing():
    evidence = torch.randn(6, 4, 1).expand(6, 4, 3)  # however much, the same for each code
    assert info_reward(belief(evidence), torch.tensor([0, 1, 2, 0])).abs().max() < 1e-5


def test_entropy():
    assert entropy(torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log()).tolist() == pytest.approx([LOG2, 0.562335])


SPLIT, COLLAPSE, UNSURE = [[1, 0], [0, 1]], [[1, 0], [1, 0]], [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("q", "moved", "expected"),
    [
        (SPLIT, SPLIT, -LOG2),  # sure of each, balanced over all: 0 - log 2
        (COLLAPSE, COLLAPSE, 0.0),  # sure of each, all the same: 0 - 0
        (UNSURE, UNSURE, 0.0),  # balanced, but unsure: log 2 - log 2
        (SPLIT, UNSURE, 0.0),  # sure, but not of what is near
        (UNSURE, SPLIT, math.inf),  # a boundary through the middle of them: sure of both at once
        # -(.9 ln .6 + .1 ln .4 + .2 ln .3 + .8 ln .7) / 2 = 0.538754; of the mean, (.55, .45): entropy 0.688139
        ([[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.3, 0.7]], 0.538754 - 0.688139),
    ],
)
def test_rim_loss(q, moved, expected):
    log_q, log_q_moved = (torch.tensor(x, dtype=torch.float32).clamp(min=1e-30).log() for x in (q, moved))
    loss = rim_loss(log_q, log_q_moved).item()
    assert loss > 10 if expected == math.inf else loss == pytest.approx(expected, abs=1e-6)


def seen(evidence, demonstrations):
    """Belief (E, K) after each whole demonstration."""
    return belief(evidence(torch.from_numpy(demonstrations.padded_observations()).transpose(0, 1)))[-1].exp()


def divide(demonstrations, seed, **settings):
    torch.manual_seed(seed)
    posterior = Posterior(demonstrations, Config(seed=seed, **settings), torch.Generator().manual_seed(seed))
    posterior.divide_demonstrations()
    return posterior


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scenario", ["pass", "turn"])
@torch.no_grad()
def test_it_tells_the_styles_apart_by_demonstrations_alone(recorded, scenario, seed):
    training, held_out = recorded(scenario)
    with torch.enable_grad():
        posterior = divide(training.demonstrations, seed)
    beliefs = seen(posterior.evidence, held_out.demonstrations).numpy()
    right = [beliefs[np.arange(len(beliefs)), styles] for styles in (held_out.styles, 1 - held_out.styles)]
    best = max(right, key=np.mean)
    assert (best > 0.5).mean() >= 0.95
    assert best.mean() >= 0.9  # and is sure of it


def test_undivided_it_is_unsure(recorded):
    training, held_out = recorded("pass")
    beliefs = seen(divide(training.demonstrations, 0, rim_steps=0).evidence, held_out.demonstrations)
    assert beliefs.max(-1).values.mean() < 0.8


@pytest.mark.parametrize("scenario", ["pass", "turn"])
def test_it_reads_style_features_and_nothing_else(recorded, scenario):
    demonstrations = recorded(scenario)[0].demonstrations
    other_actions = replace(demonstrations, actions=-demonstrations.actions)
    one, other = (divide(some, 0, rim_steps=3).evidence for some in (demonstrations, other_actions))
    obs = torch.from_numpy(demonstrations.observations[::50])
    assert torch.equal(one(obs), other(obs))
    definition = get_scenario(scenario)
    for k, name in enumerate(definition.features):
        moved = obs.clone()
        moved[:, k] += 1.0
        assert torch.equal(one(moved), one(obs)) == (name not in definition.style_features), name


def test_style_features_are_found_by_name():
    for scenario in ("pass", "turn"):
        definition = get_scenario(scenario)
        assert [definition.features[k] for k in style_features(scenario)] == list(definition.style_features)


def test_each_step_says_little():
    evidence = Evidence(torch.randn(50, 2), [0, 1], 3, 8)
    obs = 1e3 * torch.randn(200, 2)
    assert (evidence(obs).max(-1).values - evidence(obs).min(-1).values).max() <= 1.0  # a factor of e at most


def told_apart_by(feature):
    """A rollout of two codes in `pass` where observation `feature` is 1 under code 0 and -1 under code 1, + noise."""
    codes = torch.arange(64) % 2
    obs = 0.5 * torch.randn(20, 64, 7)
    obs[..., feature] += 1.0 - 2.0 * codes
    never, zero = torch.zeros(20, 64, dtype=torch.bool), torch.zeros(20, 64)
    first = torch.zeros_like(obs)  # only what an action led to is read
    return Rollout(first, torch.zeros(20, 64, 2), zero, obs, never, never, codes, np.zeros(64, np.int64))


def test_it_learns_to_read_the_policys_code():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    demonstrations = Demonstrations(
        "pass", rng.normal(size=(40, 7)).astype(np.float32), np.zeros((40, 2), np.float32), np.array([0, 20, 40])
    )
    posterior = Posterior(demonstrations, Config(rim_coef=0.0), torch.Generator().manual_seed(0))
    rollout = told_apart_by(feature=2)
    assert posterior.reward(rollout).sum(0).mean() < 0.3
    for _ in range(15):
        posterior.update(rollout)
    assert posterior.reward(rollout).sum(0).mean() > 0.8 * LOG2
    assert posterior.reward(replace(rollout, codes=1 - rollout.codes)).sum(0).max() < -1.0
