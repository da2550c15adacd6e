import math
from dataclasses import replace

import pytest
import torch
from gymnasium import spaces
from torch import nn

from infogail.config.config import Config
from infogail.config.presets import settings
from infogail.envs.catalogue import get_scenario
from infogail.learning.networks import Policy
from infogail.learning.ppo import (
    PPO,
    approximate_kl,
    clip_fraction,
    clipped_surrogate_loss,
    decay,
    value_scale,
)
from infogail.learning.rollout import Rollout
from infogail.learning.trpo import TRPO
from tests.learners import box_spec

# ρ, A, min(ρA, clip(ρ, 0.8, 1.2) A) by hand, and whether the gradient passes: not where the clipped side is the lower.
SURROGATE = [
    (0.5, 2.0, 1.0, True),
    (1.0, 2.0, 2.0, True),
    (1.5, 2.0, 2.4, False),
    (0.5, -2.0, -1.6, False),
    (1.0, -2.0, -2.0, True),
    (1.5, -2.0, -3.0, True),
]


@pytest.mark.parametrize(("ratio", "advantage", "expected", "passes"), SURROGATE)
def test_clipped_surrogate_loss(ratio, advantage, expected, passes):
    old = torch.tensor([-1.3])
    new = (old + math.log(ratio)).requires_grad_()
    loss = clipped_surrogate_loss(new, old, torch.tensor([advantage]), 0.2)
    loss.backward()
    assert loss.item() == pytest.approx(-expected, rel=1e-6)
    assert new.grad.item() == pytest.approx(-ratio * advantage if passes else 0.0, rel=1e-6)  # dρ/d log π = ρ


def test_clipped_surrogate_loss_is_the_mean():
    ratios, advantages, expected, _ = (torch.tensor(column) for column in zip(*SURROGATE, strict=True))
    loss = clipped_surrogate_loss(ratios.log(), torch.zeros(6), advantages, 0.2)
    assert loss.item() == pytest.approx(0.2, rel=1e-6)  # -(1 + 2 + 2.4 - 1.6 - 2 - 3) / 6
    assert loss.item() == pytest.approx(-expected.mean().item(), rel=1e-6)


def test_approximate_kl():
    # ρ = 1/2 and 3/2: (1/2 - 1 + log 2 + 3/2 - 1 - log 3/2) / 2
    old = torch.tensor([-1.0, 0.3])
    assert approximate_kl(old + torch.tensor([0.5, 1.5]).log(), old).item() == pytest.approx(0.143841, abs=1e-6)


def test_clip_fraction():
    old = torch.tensor([-1.0, 0.3, 2.0, 0.0])
    assert clip_fraction(old + torch.tensor([0.7, 0.9, 1.1, 1.3]).log(), old, 0.2).item() == 0.5
    assert clip_fraction(old + torch.tensor([0.7, 0.9, 1.1, 1.3]).log(), old, 0.05).item() == 1.0


def test_a_code_blind_policy_does_not_look_at_codes_and_another_does():
    obs, codes = torch.randn(50, 3), torch.arange(50) % 2
    for num_codes, moved in ((1, False), (2, True)):
        policy = Policy(box_spec(3, 2), num_codes, Config.of(hidden=8, initial_log_std=-1.0).policy)
        means = [policy(policy.inputs(obs, given)).mean for given in (codes, 1 - codes)]
        assert policy.inputs(obs, codes).shape[-1] == 3 + 2 * moved
        assert (means[0] != means[1]).any() == moved


def rollout_of(ppo, obs, next_obs, codes, terminated):
    """Actions drawn by the policy in observations obs (T, B, F), each an episode of one step, (T, B) terminated."""
    with torch.no_grad():
        driven = ppo.policy(ppo.policy.inputs(obs, codes.expand(obs.shape[:2])))
        actions = driven.sample(ppo.generator)
        log_probs = driven.log_prob(actions)
    return Rollout(
        obs, actions, log_probs, next_obs, terminated, torch.ones_like(terminated), codes.expand(obs.shape[:2])
    )


@pytest.mark.parametrize("kind", [PPO, TRPO])
def test_the_policy_moves_to_what_is_rewarded_for_each_code(kind):
    torch.manual_seed(0)
    obs, codes = torch.randn(4, 256, 3), torch.arange(256) % 2
    ends = torch.ones(4, 256, dtype=torch.bool)
    changes = {"ppo_epochs": 2, "minibatches": 4, "max_kl": 0.15, "learning_rate": 3e-3, "initial_log_std": -1.5}
    config = settings(get_scenario("pass"), overrides=changes)
    ppo = kind(box_spec(3, 2), 2, config, torch.Generator().manual_seed(0))
    wanted = torch.tensor([[-0.5, 0.3], [0.5, -0.3]])  # by code
    for _ in range(15):
        rollout = rollout_of(ppo, obs, obs, codes, ends)
        ppo.update(rollout, -(rollout.actions - wanted[codes]).square().sum(-1))
    for code in (0, 1):
        mean, std = ppo.policy(ppo.policy.inputs(obs[0], torch.full((256,), code)))
        torch.testing.assert_close(mean.mean(0), wanted[code], atol=0.1, rtol=0.0)
    assert (std < math.exp(config.policy.initial_log_std)).all()  # and grows surer of it


@pytest.mark.parametrize("kind", [PPO, TRPO])
def test_discrete_choices_move_to_what_is_rewarded_for_each_code(kind):
    torch.manual_seed(0)
    obs, codes = torch.randn(4, 256, 3), torch.arange(256) % 2
    ends = torch.ones(4, 256, dtype=torch.bool)
    spec = replace(box_spec(3, 1), action_space=spaces.MultiDiscrete([3, 2]))
    config = Config.of(ppo_epochs=2, minibatches=4, max_kl=0.15, learning_rate=3e-3, entropy_coef=0.0)
    learner = kind(spec, 2, config, torch.Generator().manual_seed(0))
    wanted = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0, 1.0]])  # by code, one-hot
    for _ in range(15):
        rollout = rollout_of(learner, obs, obs, codes, ends)
        learner.update(rollout, (rollout.actions * wanted[codes]).sum(-1))
    for code in (0, 1):
        head = learner.policy(learner.policy.inputs(obs[0], torch.full((256,), code)))
        assert (head.mode() == wanted[code]).all()
        assert head.log_prob(wanted[code]).mean() > math.log(0.9)  # at first it is 1/6


@pytest.mark.parametrize("kind", [PPO, TRPO])
@pytest.mark.parametrize("action_size", [1, 3])
def test_a_large_entropy_coefficient_widens_every_action(kind, action_size):
    torch.manual_seed(0)
    obs, codes = torch.randn(4, 64, 3), torch.zeros(64, dtype=torch.int64)
    config = Config.of(entropy_coef=10.0, minibatches=4, initial_log_std=-1.5)
    learner = kind(box_spec(3, action_size), 1, config, torch.Generator().manual_seed(0))
    rollout = rollout_of(learner, obs, obs, codes, torch.ones(4, 64, dtype=torch.bool))
    log = learner.update(rollout, torch.randn(4, 64))
    assert (learner.policy.log_std > -1.5).all() and len(learner.policy.log_std) == action_size
    stds = [log[f"{kind.__name__.lower()}/std_{k}"] for k in range(action_size)]
    assert min(stds) > math.exp(-1.5) and f"{kind.__name__.lower()}/std_{action_size}" not in log


def test_ppo_logs_what_clips_and_what_its_values_explain():
    torch.manual_seed(0)
    obs, codes = torch.randn(4, 64, 3), torch.zeros(64, dtype=torch.int64)
    ends, rewards = torch.ones(4, 64, dtype=torch.bool), obs[..., 0]
    changes = {"ppo_epochs": 2, "minibatches": 1, "learning_rate": 3e-3, "initial_log_std": -1.5}
    config = Config.of(gamma=0.5, clip=0.02, **changes)
    ppo = PPO(box_spec(3, 2), 1, config, torch.Generator().manual_seed(0))
    logs = [ppo.update(rollout_of(ppo, obs, obs, codes, ends), rewards) for _ in range(60)]
    assert logs[0]["ppo/explained_variance"] < 0.5 and logs[-1]["ppo/explained_variance"] > 0.9
    assert 0.0 < logs[-1]["ppo/clip_fraction"] < 0.5  # of two passes, the first has ratios of 1
    assert all(log["ppo/approx_kl"] >= 0.0 for log in logs)


@pytest.mark.parametrize(("target_kl", "epochs"), [(1e-6, 1), (1e3, 4)])
def test_once_the_policy_has_moved_by_the_target_kl_only_values_go_on(target_kl, epochs):
    """With one minibatch per epoch, the second is the first in which it has moved."""

    def updated(**changes):
        torch.manual_seed(0)
        obs, codes = torch.randn(4, 64, 3), torch.zeros(64, dtype=torch.int64)
        ppo = PPO(box_spec(3, 2), 1, Config.of(minibatches=1, **changes), torch.Generator().manual_seed(0))
        log = ppo.update(rollout_of(ppo, obs, obs, codes, torch.ones(4, 64, dtype=torch.bool)), obs[..., 0])
        return *(nn.utils.parameters_to_vector(net.parameters()) for net in (ppo.policy, ppo.value)), log

    policy, value, log = updated(ppo_epochs=4, target_kl=target_kl)
    assert (policy == updated(ppo_epochs=epochs)[0]).all() and (policy != updated(ppo_epochs=5 - epochs)[0]).any()
    assert (value == updated(ppo_epochs=4)[1]).all() and log["ppo/approx_kl"] > 1e-6


@pytest.mark.parametrize("kind", [PPO, TRPO])
@pytest.mark.parametrize(("terminated", "worth"), [(True, [1.0, 0.0]), (False, [4 / 3, 2 / 3])])
def test_values_go_on_beyond_a_time_limit_and_not_beyond_a_termination(terminated, worth, kind):
    # Two states lead to each other; the first pays 1, the second nothing; γ = 1/2. Every step ends its episode. If by
    # termination, that is all. If by a time limit, V0 = 1 + V1 / 2 and V1 = V0 / 2.
    torch.manual_seed(0)
    second, codes = torch.arange(64) % 2, torch.zeros(64, dtype=torch.int64)
    obs, next_obs = torch.randn(2, 4, 64, 3)
    obs[..., 0], next_obs[..., 0] = second, 1 - second
    config = Config.of(gamma=0.5, ppo_epochs=2, minibatches=1)
    ppo = kind(box_spec(3, 2), 1, config, torch.Generator().manual_seed(0))
    for _ in range(60):
        ends = torch.full((4, 64), terminated)
        ppo.update(rollout_of(ppo, obs, next_obs, codes, ends), (1.0 - second).expand(4, 64))
    values = value_scale(config.policy) * ppo.value(ppo.policy.inputs(obs, codes)).squeeze(-1)
    assert [values[:, second == s].mean().item() for s in (0, 1)] == pytest.approx(worth, abs=0.1)


@pytest.mark.parametrize(
    ("final", "expected"), [(0.1, [1.0, 0.55, 0.1]), (1.0, [1.0, 1.0, 1.0]), (0.0, [1.0, 0.5, 0.0])]
)
def test_the_learning_rates_fall_linearly_to_their_final_share(final, expected):
    policy = Config.of(final_learning_rate=final).policy
    assert [decay(policy, progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx(expected)


@pytest.mark.parametrize(("kind", "expected"), [(PPO, [1.1e-3, 2.2e-3]), (TRPO, [2.2e-3])])
def test_policy_and_value_have_learning_rates_of_their_own(kind, expected):
    config = Config.of(learning_rate=2e-3, value_learning_rate=4e-3, final_learning_rate=0.1, minibatches=1)
    learner = kind(box_spec(3, 2), 1, config, torch.Generator().manual_seed(0))
    obs, codes = torch.randn(4, 8, 3), torch.zeros(8, dtype=torch.int64)
    rollout = rollout_of(learner, obs, obs, codes, torch.ones(4, 8, dtype=torch.bool))
    learner.update(rollout, torch.randn(4, 8), progress=0.5)
    assert [group["lr"] for group in learner.optimiser.param_groups] == pytest.approx(expected)
