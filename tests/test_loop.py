"""The pieces of the loop against literal values, and the loop against itself."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from baselines.bc import BC
from baselines.gail import GAIL
from envs.demonstrations import Recording, record
from infogail.config import Config
from infogail.discriminator import discriminator_loss, gradient_penalty, imitation_reward
from infogail.gae import gae
from infogail.learner import InfoGAIL
from infogail.networks import log_prob
from infogail.posterior import Posterior, belief, info_reward, rim_loss
from infogail.ppo import clipped_surrogate_loss, gaussian_entropy

LOG2 = math.log(2.0)
TINY = Config(num_envs=16, iterations=2, discriminator_batch=64, rim_steps=3, posterior_batch=8, threads=1)


@pytest.fixture(scope="module")
def recordings() -> dict[str, Recording]:
    torch.set_num_threads(1)
    return {name: record(name, 40, seed=5)[0] for name in ("pass", "turn")}


def parameters(module: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_gae_by_hand():
    # One environment, γ = 0.5, λ = 0.5: a time limit after the second step, then a crash after the fourth.
    column = lambda *values: torch.tensor(values)[:, None]  # noqa: E731
    rewards, values = column(1.0, 2.0, 3.0, 4.0), column(0.5, 1.0, 1.5, 2.0)
    next_values = column(1.0, 10.0, 2.0, 99.0)
    terminated = column(False, False, False, True)
    done = column(False, True, False, True)
    # δ = 1 + .5·1 - .5 = 1; 2 + .5·10 - 1 = 6; 3 + .5·2 - 1.5 = 2.5; 4 + 0 - 2 = 2.
    # A4 = 2; A3 = 2.5 + .25·2 = 3; A2 = 6 (an episode ends); A1 = 1 + .25·6 = 2.5.
    advantages = gae(rewards, values, next_values, terminated, done, 0.5, 0.5)
    torch.testing.assert_close(advantages, column(2.5, 6.0, 3.0, 2.0))


def test_clipped_surrogate_by_hand():
    # Ratios 2 and 1/2, clip 0.2. A = 1: min(2, 1.2) = 1.2 and min(.5, .8) = .5.
    # A = -1: min(-2, -1.2) = -2 and min(-.5, -.8) = -.8.
    log_probs = torch.tensor([LOG2, -LOG2, LOG2, -LOG2])
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    loss = clipped_surrogate_loss(log_probs, torch.zeros(4), advantages, 0.2)
    assert loss.item() == pytest.approx(-(1.2 + 0.5 - 2.0 - 0.8) / 4)


def test_gaussian_against_scipy():
    from scipy.stats import multivariate_normal

    mean, std, action = np.array([0.3, -0.2]), np.array([0.5, 2.0]), np.array([1.0, 1.0])
    expected = multivariate_normal(mean, np.diag(std**2))
    got = log_prob(*(torch.tensor(x) for x in (action, mean, std)))
    assert got.item() == pytest.approx(expected.logpdf(action))
    assert gaussian_entropy(torch.tensor(std)).item() == pytest.approx(expected.entropy())


def test_discriminator_loss_by_hand():
    # D = sigmoid(0) = 1/2 for both: -log(1/2) twice. D = 0.8 and 0.25: -log 0.8 - log 0.75.
    zero = torch.zeros(3)
    assert discriminator_loss(zero, zero).item() == pytest.approx(2 * LOG2)
    logits = torch.tensor([math.log(4.0)]), torch.tensor([math.log(1 / 3)])
    assert discriminator_loss(*logits).item() == pytest.approx(-math.log(0.8) - math.log(0.75))
    # r = -log(1 - D): a pair that is surely a demonstration pays more.
    assert imitation_reward(logits[0]).item() == pytest.approx(-math.log(0.2), rel=1e-5)


def test_gradient_penalty_of_a_linear_net():
    net = torch.nn.Linear(3, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, -2.0, 3.0]]))
    a, b, mix = torch.randn(5, 3), torch.randn(5, 3), torch.rand(5, 1)
    assert gradient_penalty(net, a, b, mix).item() == pytest.approx(1 + 4 + 9)


def test_information_reward_telescopes():
    evidence = torch.randn(7, 5, 3, generator=torch.Generator().manual_seed(0))
    codes = torch.tensor([0, 1, 2, 0, 1])
    rewards = info_reward(belief(evidence), codes)
    whole = evidence.sum(0).log_softmax(-1)[torch.arange(5), codes] + math.log(3)
    torch.testing.assert_close(rewards.sum(0), whole)
    alive = torch.ones(7, 5, dtype=torch.bool)
    alive[3:] = False
    assert info_reward(belief(evidence, alive), codes)[3:].abs().max() < 1e-6
    assert info_reward(belief(torch.ones(7, 5, 3)), codes).abs().max() < 1e-6


def test_rim_loss_by_hand():
    sure = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).clamp(1e-9, 1 - 1e-9).log()
    one_sided = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).clamp(1e-9, 1 - 1e-9).log()
    unsure = torch.full((2, 2), 0.5).log()
    assert rim_loss(sure, sure).item() == pytest.approx(-LOG2, abs=1e-6)
    assert rim_loss(one_sided, one_sided).item() == pytest.approx(0.0, abs=1e-6)
    assert rim_loss(unsure, unsure).item() == pytest.approx(0.0, abs=1e-6)
    assert rim_loss(sure, unsure).item() == pytest.approx(0.0, abs=1e-6)  # log 2 - log 2: a shift unsettles it


@pytest.mark.parametrize("scenario", ["pass", "turn"])
def test_gail_is_infogail_with_one_code(recordings, scenario):
    config = dataclasses.replace(TINY, num_codes=1, info_coef=0.0)
    ours, theirs = (kind(recordings[scenario].demonstrations, config) for kind in (InfoGAIL, GAIL))
    for _ in range(3):
        ours.iterate(), theirs.iterate()
    pairs = zip(
        parameters(ours.policy) + parameters(ours.discriminator),
        parameters(theirs.policy) + parameters(theirs.discriminator),
        strict=True,
    )
    assert all(torch.equal(a, b) for a, b in pairs)


def test_same_seed_same_bits(recordings):
    learners = [InfoGAIL(recordings["pass"].demonstrations, dataclasses.replace(TINY, seed=s)) for s in (0, 0, 1)]
    first, again, other = (learner.iterate() and parameters(learner.policy) for learner in learners)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("scenario", ["pass", "turn"])
def test_posterior_divides_unlabelled_demonstrations(recordings, scenario):
    recording = recordings[scenario]
    assert not hasattr(recording.demonstrations, "styles")
    posterior = Posterior(recording.demonstrations, Config(threads=1), torch.Generator().manual_seed(0))
    posterior.divide_demonstrations()
    fresh = record(scenario, 20, seed=77)[0]
    evidence = posterior.evidence(torch.from_numpy(fresh.demonstrations.padded_observations())).sum(1)
    right = float((evidence.argmax(-1).numpy() == fresh.styles).mean())
    assert max(right, 1 - right) >= 0.95


def test_infogail_finds_the_styles(recordings):
    config = Config(num_envs=256, iterations=26, threads=1)
    untrained, learner = (InfoGAIL(recordings["pass"].demonstrations, config) for _ in range(2))
    before = untrained.iterate()
    for _ in range(config.iterations):
        after = learner.iterate()
    assert before["rollout/success_rate"] < 0.1 and before["rollout/style_nmi"] < 0.3
    assert after["rollout/success_rate"] > 0.7 and after["rollout/style_nmi"] > 0.6


def test_bc_learns_and_goes_between(recordings):
    recording = recordings["pass"]
    learner = BC(recording.demonstrations, dataclasses.replace(TINY, bc_steps=600))
    losses = [learner.iterate()["bc/negative_log_likelihood"] for _ in range(learner.iterations)]
    assert losses[-1] < losses[0] - 0.3
    # At the fork, 22 m behind the lead, demonstrators steer hard to either side; their mean is near straight on.
    observations = torch.from_numpy(recording.demonstrations.observations)
    gap = observations[:, 3] * 30
    fork = (gap > 18) & (gap < 24)
    demonstrated = torch.from_numpy(recording.demonstrations.actions)[fork, 1]
    straight = observations[fork].clone()
    straight[:, [0, 1, 5]] = 0.0  # still in the middle of the lane
    steering = learner.policy(learner.policy.standardise(straight))[0][:, 1].detach()
    assert steering.abs().mean() < 0.6 * demonstrated.abs().mean()
