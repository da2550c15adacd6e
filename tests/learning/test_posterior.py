import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from infogail.config.config import Config
from infogail.config.presets import settings
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.recordings.record import record
from infogail.learning.posterior import (
    Evidence,
    Posterior,
    belief,
    entropy,
    info_reward,
    last_cross_entropy,
    polyak_update,
    posterior_features,
    rim_loss,
    share_out,
    spread_out,
    step_info_reward,
)
from infogail.learning.rollout import Rollout, style_nmi
from tests.learners import box_spec

LOG2, SPEC = math.log(2), get_scenario("pass").spec
EVEN = torch.full((2,), 0.5)
# Two steps, the first three times as likely under code 0, the second twice as likely: from 1/2 the belief in code 0
# goes to 3/4 (odds 3 : 1) and to 6/7 (odds 6 : 1). One trajectory, (T, n, K) = (2, 1, 2).
EVIDENCE = torch.tensor([[[math.log(3), 0.0]], [[math.log(2), 0.0]]])
ONE, TWO = torch.tensor([[True], [False]]), torch.tensor([[True], [True]])  # first steps of one episode, and of two


def test_belief():
    assert belief(EVIDENCE).exp().squeeze(1).tolist() == [pytest.approx([3 / 4, 1 / 4]), pytest.approx([6 / 7, 1 / 7])]


@pytest.mark.parametrize(("code", "expected"), [(0, [3 / 2, 8 / 7]), (1, [1 / 2, 4 / 7])])
def test_info_reward(code, expected):
    # What each step multiplies the code's probability by: 3/4 : 1/2, 6/7 : 3/4; 1/4 : 1/2, 1/7 : 1/4.
    reward = info_reward(belief(EVIDENCE), torch.tensor([code]), EVEN, ONE)
    assert reward.exp().squeeze(1).tolist() == pytest.approx(expected)


def test_the_next_episode_starts_from_the_prior_with_a_code_of_its_own():
    # Odds of 1 : 3 at first; the evidence makes them 3 : 3, and, from 1 : 3 again, 2 : 3.
    prior = torch.tensor([0.25, 0.75])
    beliefs = belief(EVIDENCE, prior=prior, starts=TWO)
    assert beliefs.exp().squeeze(1).tolist() == [pytest.approx([0.5, 0.5]), pytest.approx([0.4, 0.6])]
    codes = torch.tensor([[0], [1]])
    reward = info_reward(beliefs, codes, prior, TWO)
    assert reward.exp().squeeze(1).tolist() == pytest.approx([2.0, 0.8])  # 0.5 : 0.25, and 0.6 : 0.75
    loss = last_cross_entropy(beliefs, codes, TWO)
    assert loss.item() == pytest.approx(-(math.log(0.5) + math.log(0.6)) / 2)  # both steps end an episode
    assert last_cross_entropy(beliefs, codes, ONE).item() == pytest.approx(-math.log(0.6))


def test_a_rare_code_starts_from_its_prior():
    # Odds of 1 : 4 at first, 3 : 4 and 6 : 4 then; a code that was rare earns more by being recognised.
    prior = torch.tensor([0.2, 0.8])
    beliefs = belief(EVIDENCE, prior=prior)
    assert beliefs.exp().squeeze(1).tolist() == [pytest.approx([3 / 7, 4 / 7]), pytest.approx([0.6, 0.4])]
    reward = info_reward(beliefs, torch.tensor([0]), prior, ONE)
    assert reward.exp().squeeze(1).tolist() == pytest.approx([15 / 7, 7 / 5])  # 3/7 : 1/5, 3/5 : 3/7


def test_codes_are_shared_out_as_the_prior_says():
    assert share_out(torch.tensor([0.2, 0.5, 0.3]), 10).tolist() == [0] * 2 + [1] * 5 + [2] * 3
    assert share_out(torch.full((3,), 1 / 3), 4).bincount().min() >= 1


def test_exemplars_are_spread_out():
    # Ninety points here, ten far away: by chance alone both ends were met in 18 % of pairs.
    points = torch.cat((torch.randn(90, 3), 100 + torch.randn(10, 3)))
    rng = torch.Generator().manual_seed(0)
    pairs = [spread_out(points, 2, rng) for _ in range(50)]
    assert sum(int((pair < 90).sum() == 1) for pair in pairs) >= 45


def test_graded_evidence_adds_up_to_a_gaussian():
    # A slope of 0.5 tanh(1) and a precision of 0.5 / 2, three times: mean 4 tanh(1) / 2, cut off at ±1.
    evidence = Evidence([0], 5, Config.of(hidden=4, graded_code=True))
    for parameter in evidence.net.parameters():
        parameter.data.zero_()
    evidence.net[-1].bias.data[0] = 1.0
    logits = belief(evidence(torch.zeros(3, 1, 1)))[-1, 0]
    levels = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
    expected = 3 * (0.380797 * levels - 0.125 * levels**2)
    torch.testing.assert_close(logits - logits[2], expected, atol=1e-5, rtol=0)


def test_steps_after_the_first_episode_say_and_earn_nothing():
    alive = torch.tensor([[True], [False]])
    assert belief(EVIDENCE, alive)[1].exp().tolist() == [pytest.approx([3 / 4, 1 / 4])]
    reward = info_reward(belief(EVIDENCE, alive), torch.tensor([0]), EVEN, ONE)
    assert reward.squeeze(1).tolist() == pytest.approx([math.log(3 / 2), 0.0])


def test_info_reward_adds_up_to_the_bound():
    rng = torch.Generator().manual_seed(0)
    evidence, codes = torch.randn(9, 7, 3, generator=rng), torch.randint(3, (7,), generator=rng)
    alive = torch.arange(9)[:, None] < torch.tensor([1, 9, 4, 9, 2, 7, 9])
    first = torch.arange(9)[:, None].expand(9, 7) == 0
    for mask in (None, alive):
        total = info_reward(belief(evidence, mask), codes, torch.full((3,), 1 / 3), first).sum(0)
        # log Q(c|τ) + log K: the product over the steps seen, normalised in plain probabilities
        odds = (evidence if mask is None else evidence * mask[..., None]).double().exp().prod(0)
        expected = (odds[range(7), codes] / odds.sum(-1) * 3).log()
        torch.testing.assert_close(total.double(), expected, atol=1e-5, rtol=0)


def test_uninformative_evidence_earns_nothing():
    evidence = torch.randn(6, 4, 1).expand(6, 4, 3)  # however much, the same for each code
    first = torch.arange(6)[:, None].expand(6, 4) == 0
    assert info_reward(belief(evidence), torch.tensor([0, 1, 2, 0]), torch.full((3,), 1 / 3), first).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("code", "expected"),
    # log(3/4 · 2) / 2 and log(2/3 · 2) / 2; log(1/4 · 2) / 2 and log(1/3 · 2) / 2: each step by itself, of two.
    [(0, [0.202733, 0.143841]), (1, [-0.346574, -0.202733])],
)
def test_step_info_reward(code, expected):
    reward = step_info_reward(EVIDENCE, torch.tensor([code]), max_evidence=None)
    assert reward.squeeze(1).tolist() == pytest.approx(expected, abs=1e-6)


def test_step_info_reward_of_an_episode_is_log_k_at_most():
    # Evidence of ±0.1 makes Q = 1 / (1 + e^-0.2) = 0.549834 and log 2Q = 0.095008, which is scaled to log 2. The other
    # code's log 2Q = -0.104992 then is -0.104992 · 0.693147 / 0.095008.
    evidence = torch.tensor([0.1, -0.1]).expand(60, 2, 2)
    total = step_info_reward(evidence, torch.tensor([0, 1]), max_evidence=0.1).sum(0)
    assert total.tolist() == pytest.approx([LOG2, -0.765987], abs=1e-5)
    sure = 50 * torch.eye(3)[None].expand(7, 3, 3)
    total = step_info_reward(sure, torch.arange(3), max_evidence=None).sum(0)
    assert total.tolist() == pytest.approx([math.log(3)] * 3)
    assert step_info_reward(torch.randn(4, 2, 1), torch.tensor([0, 0]), 0.1).tolist() == [[0.0, 0.0]] * 4


def test_polyak_update():
    target, module = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    target.weight.data, module.weight.data = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -2.0]])
    polyak_update(target, module, 0.25)
    assert target.weight.tolist() == [[1.5, 1.0]] and module.weight.tolist() == [[3.0, -2.0]]


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


def test_rim_loss_of_a_code_that_is_surely_nowhere_is_finite():
    log_q = torch.tensor([[0.0, -200.0], [0.0, -200.0]])  # e^-200 is 0 in float32
    assert rim_loss(log_q, log_q).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("labels", "expected"), [({}, 0.0), ({0: 0, 1: 1}, LOG2)])
def test_labels_cost_their_cross_entropy(labels, expected):
    # Without any evidence all is even: log 2 - log 2 for all demonstrations, and log 2 for those labelled.
    observations = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)
    demonstrations = Demonstrations(SPEC, observations, np.zeros((40, 2), np.float32), np.array([0, 20, 40]), labels)
    posterior = Posterior(demonstrations, Config.of(num_codes=2), torch.Generator())
    for parameter in posterior.evidence.net.parameters():
        nn.init.zeros_(parameter)
    assert posterior.demonstrations_loss(8).item() == pytest.approx(expected, abs=1e-6)


def seen(evidence, demonstrations):
    """Belief (E, K) after each whole demonstration."""
    return belief(evidence(torch.from_numpy(demonstrations.padded_observations()).transpose(0, 1)))[-1].exp()


def divide(demonstrations, scenario, seed, **changes):
    torch.manual_seed(seed)
    config = settings(get_scenario(scenario), overrides={"seed": seed, **changes})
    posterior = Posterior(demonstrations, config, torch.Generator().manual_seed(seed))
    posterior.divide_demonstrations()
    return posterior


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scenario", ["pass", "turn"])
@torch.no_grad()
def test_it_tells_the_styles_apart_by_demonstrations_alone(recorded, scenario, seed):
    training, held_out = recorded(scenario)
    with torch.enable_grad():
        posterior = divide(training.demonstrations, scenario, seed)
    beliefs = seen(posterior.evidence, held_out.demonstrations).numpy()
    right = [beliefs[np.arange(len(beliefs)), styles] for styles in (held_out.styles, 1 - held_out.styles)]
    best = max(right, key=np.mean)
    assert (best > 0.5).mean() >= 0.95
    assert best.mean() >= 0.9  # and is sure of it


@pytest.mark.parametrize("scenario", ["pass-pace", "pass-follow", "pass-unbalanced"])
def test_it_divides_more_styles_and_rare_ones(scenario):
    recording, _ = record(get_scenario(scenario), 160, seed=2)
    num_styles, right = len(get_scenario(scenario).styles), 0
    for seed in range(3):
        evidence = divide(recording.demonstrations, scenario, seed).evidence
        found = seen(evidence, recording.demonstrations).argmax(1).numpy()
        table = np.zeros((num_styles, num_styles))
        np.add.at(table, (found, recording.styles), 1)
        if table.max(1).sum() >= 0.95 * 160 and (table.max(0) > 0).all():  # each code is a style, each style has a code
            right += 1
            shares = np.sort(np.bincount(recording.styles)) / 160
            np.testing.assert_allclose(np.sort(evidence.prior.numpy()), shares, atol=0.05)
    assert right >= 2  # now and then every try misses a rare style


def test_labels_name_the_codes(recorded):
    recording = recorded("pass")[0]
    for styles in (recording.styles, 1 - recording.styles):
        demonstrations = replace(recording, styles=styles).with_labels(0.01)
        assert len(demonstrations.labels) == 2
        found = seen(divide(demonstrations, "pass", 0).evidence, demonstrations).argmax(1).numpy()
        assert (found == styles).mean() > 0.95


def test_a_graded_code_follows_the_line():
    recording, _ = record(get_scenario("turn-line"), 60, seed=2)
    scenario = get_scenario("turn-line")
    beliefs = seen(divide(recording.demonstrations, "turn-line", 0).evidence, recording.demonstrations).detach().numpy()
    values = [float(scenario.style_value(recording.trajectory(k), recording.scene(k))) for k in range(60)]
    assert abs(spearmanr(beliefs @ np.arange(7), values).statistic) > 0.9


def test_undivided_it_is_unsure(recorded):
    training, held_out = recorded("pass")
    beliefs = seen(divide(training.demonstrations, "pass", 0, rim_steps=0).evidence, held_out.demonstrations)
    assert beliefs.max(-1).values.mean() < 0.8


@pytest.mark.parametrize("scenario", ["pass", "turn"])
def test_it_reads_style_features_and_nothing_else(recorded, scenario):
    demonstrations = recorded(scenario)[0].demonstrations
    other_actions = replace(demonstrations, actions=-demonstrations.actions)
    one, other = (divide(shown, scenario, 0, rim_steps=3).evidence for shown in (demonstrations, other_actions))
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
        read = posterior_features(definition.spec, "style")
        assert [definition.features[k] for k in read] == list(definition.style_features)


def test_each_step_says_little():
    evidence = Evidence([0, 1], 3, Config.of(hidden=8))
    obs = 1e3 * torch.randn(200, 2)
    assert (evidence(obs).max(-1).values - evidence(obs).min(-1).values).max() <= 1.0  # a factor of e at most


def test_evidence_may_be_sharper_where_styles_lie_near_each_other():
    torch.manual_seed(0)
    evidence = Evidence([0, 1], 3, Config.of(hidden=8), tolerance=0.25)
    with torch.no_grad():
        evidence.net[-1].weight.mul_(100.0)
    assert evidence(1e3 * torch.randn(200, 2)).abs().max().item() == pytest.approx(0.4, rel=1e-3)  # 0.1 nats / 0.25


@pytest.mark.parametrize(
    ("num_codes", "graded", "tries"), [(2, False, 12), (3, False, 18), (4, False, 24), (7, True, 12)]
)
def test_more_codes_take_more_tries(recorded, num_codes, graded, tries):
    config = Config.of(num_codes=num_codes, graded_code=graded)
    assert Posterior(recorded("pass")[0].demonstrations, config, torch.Generator()).num_tries == tries


def test_a_code_that_no_demonstration_has_keeps_a_prior(recorded):
    # Every demonstration is labelled with code 0. Code 1 keeps 0.1 of its even share: 0.05 beside 1, in sum 1.
    demonstrations = recorded("pass")[0].demonstrations
    demonstrations = replace(demonstrations, labels=dict.fromkeys(range(demonstrations.num_episodes), 0))
    prior = divide(demonstrations, "pass", 0, rim_steps=1).evidence.prior
    assert prior.tolist() == pytest.approx([1 / 1.05, 0.05 / 1.05], rel=0.01)


def test_trajectories_are_moved_by_what_the_scenario_tolerates(highway_recording, recorded):
    for demonstrations, expected in (
        (highway_recording.demonstrations, 0.3),
        (recorded("pass")[0].demonstrations, 1.0),
    ):
        posterior = Posterior(demonstrations, Config.of(num_codes=2), torch.Generator().manual_seed(0))
        still = torch.zeros(5, 4000, demonstrations.observations.shape[1])
        moved = posterior.altered(still) - posterior.evidence.inputs(still)
        assert moved.std().item() == pytest.approx(expected, rel=0.03)
        torch.testing.assert_close(moved, moved[:1].expand_as(moved))  # all of a trajectory by the same


def test_unbounded_evidence_says_what_the_network_says():
    evidence = Evidence([0, 1], 3, Config.of(hidden=8, max_evidence=None))
    obs = torch.randn(200, 2)
    torch.testing.assert_close(evidence(1e3 * obs), evidence.net(evidence.standardise(1e3 * obs)))
    assert evidence(1e3 * obs).abs().max() > 1.0


@pytest.mark.parametrize("posterior_input", ["state", "pair"])
def test_it_may_read_all_of_the_state_or_the_action_too(recorded, posterior_input):
    demonstrations = recorded("pass")[0].demonstrations
    evidence = divide(demonstrations, "pass", 0, rim_steps=3, posterior_input=posterior_input).evidence
    pairs = torch.from_numpy(demonstrations.pairs()[::50])
    read = []
    for k in range(pairs.shape[-1]):
        moved = pairs.clone()
        moved[:, k] += 1.0
        read.append(not torch.equal(evidence(moved), evidence(pairs)))
    assert read == [True] * 7 + [posterior_input == "pair"] * 2


def distinguished_by(feature):
    """A rollout of two codes in `pass` where observation `feature` is 1 under code 0 and -1 under code 1, + noise."""
    codes = torch.arange(64) % 2
    obs = 0.5 * torch.randn(20, 64, 7)
    obs[..., feature] += 1.0 - 2.0 * codes
    never, zero = torch.zeros(20, 64, dtype=torch.bool), torch.zeros(20, 64)
    first = torch.zeros_like(obs)  # only what an action led to is read
    return Rollout(first, torch.zeros(20, 64, 2), zero, obs, never, never, codes.expand(20, 64))


class ReadsFeature:
    """Stands in for `Evidence`: what feature 0 says, from -1 (level 0) to 1 (the highest level)."""

    def __init__(self, num_codes):
        self.levels, self.prior = torch.linspace(-1, 1, num_codes), torch.full((num_codes,), 1 / num_codes)

    def __call__(self, obs):
        return -(obs[..., :1] - self.levels).square()


def reading_feature(num_codes, *episodes, **changes):
    """A posterior of demonstrations that each consist of the numbers given, which it takes for the evidence."""
    bounds = np.cumsum([0, *map(len, episodes)])
    observations = np.zeros((bounds[-1], 7), np.float32)
    observations[:, 0] = np.concatenate(episodes)
    demonstrations = Demonstrations(SPEC, observations, np.zeros((bounds[-1], 2), np.float32), bounds)
    posterior = Posterior(demonstrations, Config.of(num_codes=num_codes, **changes), torch.Generator())
    posterior.evidence = ReadsFeature(num_codes)
    return posterior


def rollout_saying(says, codes, done, terminated):
    """Of two steps; all arguments but codes (B,) are lists of columns (2,), one per environment."""
    says, done, terminated = (torch.tensor(columns).T for columns in (says, done, terminated))
    obs = torch.zeros(*says.shape, 7)
    obs[..., 0] = says
    codes = torch.tensor(codes).expand(says.shape)
    return Rollout(torch.zeros_like(obs), torch.zeros(*says.shape, 2), says, obs, terminated, done, codes)


@pytest.mark.parametrize(
    ("early_end", "expected"),
    [
        ("failure", [True, False, True, True, False, False]),
        ("success", [False, False, False, False, False, True]),  # the others are out of time
        ("neither", [True, False, True, True, False, True]),
    ],
)
def test_a_rollouts_codes_are_recognised_in_first_episodes_without_failure(early_end, expected):
    posterior = reading_feature(2, [0.5, 0.5], [-0.5, -0.5])
    posterior.spec = replace(SPEC, early_end=early_end)
    says = [[-1.0, -1.0], [1.0, 1.0], [1.0, 1.0], [0.5, -1.0], [0.5, -1.0], [-1.0, -1.0]]
    codes = [0, 0, 1, 1, 1, 0]
    done = [[False, True]] * 3 + [[True, True], [False, True], [False, True]]  # the fourth has a second episode
    failed = [[False, False]] * 5 + [[False, True]]
    found = posterior.recognises(rollout_saying(says, codes, done, failed)).tolist()
    assert found == expected


def test_a_graded_code_is_recognised_to_the_next_level():
    says, codes = [[0.0, 0.0]] * 5, [0, 1, 2, 3, 4]
    rollout = rollout_saying(says, codes, [[False, True]] * 5, [[False, False]] * 5)
    for graded, expected in ((True, [False, True, True, True, False]), (False, [False, False, True, False, False])):
        posterior = reading_feature(5, [0.5, 0.5], [-0.5, -0.5], graded_code=graded)
        assert posterior.recognises(rollout).tolist() == expected


def test_demonstrations_have_the_codes_that_they_show():
    episodes = [0.9, 0.8, -0.7], [-0.2, -0.1], [0.1, 0.1, 0.1, 0.1], [-1.0]
    codes = reading_feature(2, *episodes).demonstration_codes()
    assert codes.tolist() == [1, 0, 1, 0] and codes.dtype == torch.int64
    assert reading_feature(2, *episodes, rim_steps=0).demonstration_codes() is None  # what it says means nothing yet


def test_it_learns_to_read_the_policys_code():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    demonstrations = Demonstrations(
        SPEC, rng.normal(size=(40, 7)).astype(np.float32), np.zeros((40, 2), np.float32), np.array([0, 20, 40])
    )
    posterior = Posterior(demonstrations, Config.of(num_codes=2, rim_coef=0.0), torch.Generator().manual_seed(0))
    rollout = distinguished_by(feature=2)
    assert posterior.reward(rollout).sum(0).mean() < 0.3
    for _ in range(15):
        posterior.update(rollout)
    assert posterior.reward(rollout).sum(0).mean() > 0.8 * LOG2
    assert posterior.reward(replace(rollout, codes=1 - rollout.codes)).sum(0).max() < -1.0


def test_as_published_it_learns_each_steps_code():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(40, 7)).astype(np.float32)
    demonstrations = Demonstrations(SPEC, observations, np.zeros((40, 2), np.float32), np.array([0, 20, 40]))
    config = Config.of(num_codes=2, rim_coef=0.0, info_reward="step", max_evidence=None, posterior_input="pair")
    posterior = Posterior(demonstrations, config, torch.Generator().manual_seed(0))
    rollout = distinguished_by(feature=2)
    rollout = replace(rollout, observations=rollout.next_observations)  # pairs begin with what was seen before
    for _ in range(15):
        log = posterior.update(rollout)
    # Means of ±1 with a deviation of 1/2: log odds of 8x, an optimal cross-entropy of 0.055 a step.
    assert log["posterior/cross_entropy"] < 0.15
    assert posterior.reward(rollout).sum(0).mean() > 0.8 * LOG2
    evidence = posterior.evidence(rollout.pairs())
    expected = (evidence.softmax(-1)[:, torch.arange(64), rollout.codes[0]] * 2).log() / 20
    torch.testing.assert_close(posterior.reward(rollout), expected.detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("one_episode", [True, False])
def test_codes_of_later_episodes_are_learned_where_they_count(one_episode):
    # From the middle of the rollout on, after an end, the feature shows the other code, which is then the true one only
    # where later episodes have codes of their own.
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    spec = replace(SPEC, one_episode=one_episode)
    demonstrations = Demonstrations(
        spec, rng.normal(size=(40, 7)).astype(np.float32), np.zeros((40, 2), np.float32), np.array([0, 20, 40])
    )
    rollout = distinguished_by(feature=2)
    ended = torch.zeros(20, 64, dtype=torch.bool).index_fill(0, torch.tensor([9]), True)
    flips = torch.ones(20, 1, 1).index_fill(0, torch.arange(10, 20), -1.0)
    codes = rollout.codes if one_episode else torch.where(flips.squeeze(-1) > 0, rollout.codes, 1 - rollout.codes)
    rollout = replace(rollout, done=ended, next_observations=flips * rollout.next_observations, codes=codes)
    posterior = Posterior(demonstrations, Config.of(num_codes=2, rim_coef=0.0), torch.Generator().manual_seed(0))
    for _ in range(15):
        log = posterior.update(rollout)
    earned = [half.sum(0).mean().item() for half in posterior.reward(rollout).chunk(2)]
    assert earned[0] > 0.4 and log["posterior/cross_entropy"] < 0.4
    assert earned[1] == pytest.approx(0.0, abs=1e-6) if one_episode else earned[1] > 0.4


def test_the_reward_is_the_targets_which_follows_slowly():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(40, 7)).astype(np.float32)
    demonstrations = Demonstrations(SPEC, observations, np.zeros((40, 2), np.float32), np.array([0, 20, 40]))
    rollout, earned = distinguished_by(feature=2), {}
    for share in (None, 0.01, 1.0):
        torch.manual_seed(1)
        config = Config.of(num_codes=2, rim_coef=0.0, posterior_target=share)
        posterior = Posterior(demonstrations, config, torch.Generator().manual_seed(0))
        for _ in range(5):
            posterior.update(rollout)
        earned[share] = posterior.reward(rollout).sum(0)
        assert ("posterior_target" in posterior.parts()) == (share is not None)
    torch.testing.assert_close(earned[1.0], earned[None])
    assert earned[0.01].mean() < 0.5 * earned[None].mean()


def test_a_reflected_trajectory_has_the_same_style():
    # The style is which of two features stays near 0; the signs, which chance sets, would divide them, too.
    rng = np.random.default_rng(0)
    signs, styles = rng.choice([-1.0, 1.0], (80, 2)), np.arange(80) % 2
    rows = np.repeat(signs * (1.0 + 2.0 * np.eye(2)[styles]), 20, axis=0)
    observations = (rows + 0.1 * rng.normal(size=rows.shape)).astype(np.float32)
    found = {}
    for reflections in ((), ((0,), (1,))):
        spec = box_spec(2, 2, horizon=20)
        spec = replace(spec, reflections=reflections, style_tolerance=0.3)
        demonstrations = Demonstrations(spec, observations, np.zeros((1600, 2), np.float32), np.arange(0, 1601, 20))
        torch.manual_seed(0)
        posterior = Posterior(demonstrations, Config.of(num_codes=2, rim_steps=150), torch.Generator().manual_seed(0))
        posterior.divide_demonstrations()
        found[reflections] = style_nmi(posterior.demonstration_codes().numpy(), styles)
    assert found[()] < 0.5 and found[((0,), (1,))] > 0.9
