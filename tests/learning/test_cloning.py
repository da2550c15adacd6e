import math

import numpy as np
import pytest
import torch

from infogail.config.config import Config
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.move_to_beacon import MoveToBeaconEnvironment, record
from infogail.learning.cloning import Cloning, cloning_loss, likeliest_codes, warm_start
from infogail.learning.learner import InfoGAIL
from infogail.learning.networks import Policy
from infogail.learning.posterior import Posterior
from infogail.learning.rollout import style_nmi
from tests.learners import box_spec


def test_cloning_loss():
    # Mean 0 and deviation 1/2 for both actions: per action log(1/2) + log(2π)/2 = 0.225791, and 2a²; a = 1 and 0, 0
    # and 1/2: 0.451583 + (2 + 0.5) / 2.
    policy = Policy(box_spec(3, 2), 2, Config.of(hidden=8, initial_log_std=math.log(0.5)).policy)
    for parameter in policy.net.parameters():
        parameter.data.zero_()
    actions = torch.tensor([[1.0, 0.0], [0.0, 0.5]])
    loss = cloning_loss(policy, torch.randn(2, 3), actions, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(0.451583 + 1.25, abs=1e-6)


def new_policy(demonstrations, **changes):
    torch.manual_seed(0)
    policy = Policy(demonstrations.spec, 2, Config.of(**changes).policy)
    policy.standardise.fit(torch.from_numpy(demonstrations.observations))
    return policy


@torch.no_grad()
def means(policy, obs):
    """The mean actions (N, 2) under code 0, and those under code 1."""
    return [policy(policy.inputs(obs, torch.full((len(obs),), code))).mean for code in (0, 1)]


@pytest.mark.parametrize("learn_std", [True, False])
@pytest.mark.parametrize("left", [0, 1, None])
def test_a_warm_start_clones_each_code_s_demonstrations(recorded, left, learn_std):
    """`left` is the code of those who pass on the left; without codes, both become the same clone."""
    recording = recorded("pass")[0]
    obs, actions = (torch.from_numpy(getattr(recording.demonstrations, name)) for name in ("observations", "actions"))
    policy = new_policy(recording.demonstrations, learn_std=learn_std, initial_log_std=-1.5)
    codes = None if left is None else torch.from_numpy(recording.styles != left).long()
    config = Config.of(warm_start_steps=200).cloning
    warm_start(policy, recording.demonstrations, codes, config, torch.Generator().manual_seed(0))
    assert (policy.log_std == -1.5).all()

    # The fork: still straight and in the middle of the lane, about to pull out.
    features = get_scenario("pass").features
    offset, heading, gap = (obs[:, features.index(name)] for name in ("lane_offset", "heading", "lead_gap"))
    fork = (offset.abs() < 0.1) & (heading.abs() < 0.1) & (gap > 0.7) & (gap < 0.95)
    steering = [mean[fork, 1].mean().item() for mean in means(policy, obs)]
    if left is None:
        one, other = means(policy, obs)
        assert (one - other).abs().mean() < 0.03
        assert max(abs(mean) for mean in steering) < 0.15
        for mean in (one, other):
            assert 1 - (actions - mean)[:, 0].square().mean() / actions[:, 0].var() > 0.5
    else:
        assert steering[left] < -0.2 and steering[1 - left] > 0.2


def test_the_learning_rate_falls_linearly_to_zero(recorded):
    demonstrations = recorded("pass")[0].demonstrations
    policy, config = new_policy(demonstrations, hidden=8), Config.of(bc_learning_rate=0.4, bc_batch=8).cloning
    cloning, rates = Cloning(policy, demonstrations, 4, config, torch.Generator().manual_seed(0)), []
    for number in range(5):
        before = policy.net[0].weight.clone()
        cloning.step(number)
        rates.append(cloning.optimiser.param_groups[0]["lr"])
        assert torch.equal(before, policy.net[0].weight) == (number == 4)
    assert rates == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0])


def test_none_is_none(recorded):
    demonstrations = recorded("pass")[0].demonstrations
    policy = new_policy(demonstrations, hidden=8)
    before = [parameter.clone() for parameter in policy.parameters()]
    generator = torch.Generator().manual_seed(0)
    codes = torch.zeros(demonstrations.num_episodes, dtype=torch.int64)
    torch_random = torch.get_rng_state()
    warm_start(policy, demonstrations, codes, Config.of(warm_start_steps=0).cloning, generator)
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())
    assert torch.equal(torch.get_rng_state(), torch_random)


def test_each_demonstration_goes_to_the_code_under_which_the_policy_would_have_done_it():
    # Code 0 acts 0, code 1 acts 1, with a standard deviation of e^-1; one wild action does not decide.
    spec = box_spec(2, 1)
    policy = Policy(spec, 2, Config.of(hidden=4, initial_log_std=-1.0).policy)
    for parameter in policy.net.parameters():
        parameter.data.zero_()
    policy.net[0].weight.data[0, -1], policy.net[2].weight.data[0, 0], policy.net[4].weight.data[0, 0] = 1.0, 1.0, 1.0
    actions = np.array([0.1, -0.2, 0.3, 0.9, 1.0, 0.8, 0.9, 1.0, -9.0, 0.2], np.float32)[:, None]
    demonstrations = Demonstrations(spec, np.zeros((10, 2), np.float32), actions, np.array([0, 3, 5, 9, 10]))
    assert likeliest_codes(policy, demonstrations).tolist() == [0, 1, 1, 0]


def test_refinement_divides_by_actions_what_states_do_not_show():
    # Which way an axis is taken first is seen in the path; the posterior, from few steps, divides it only partly.
    episodes = record(60, styled=True)
    settings = {"num_envs": 8, "warm_start_steps": 300, "rim_tries": 4, "threads": 1}
    nmi, posteriors = [], []
    for refinements in (0, 4):
        config = Config.of(**settings, refinements=refinements)
        learner = InfoGAIL(MoveToBeaconEnvironment(8, styled=True), episodes.demonstrations, config)
        learner.start()
        nmi.append(style_nmi(learner.posterior.demonstration_codes().numpy(), episodes.styles))
        posteriors.append(learner.posterior)
    cloned = likeliest_codes(learner.policy, episodes.demonstrations)
    assert style_nmi(cloned.numpy(), episodes.styles) > 0.95 and nmi[0] < 0.65 < nmi[1], nmi
    # A resumed run still knows what was learned from the actions.
    plain, refined = (posterior.parts() for posterior in posteriors)
    assert "posterior_known" not in plain
    other = Posterior(episodes.demonstrations, config, torch.Generator())
    assert not len(other.known.codes)
    other.parts()["posterior_known"].load_state_dict(refined["posterior_known"].state_dict())
    assert torch.equal(other.known.codes, posteriors[1].known.codes) and len(other.known.codes) == 60
