import math

import pytest
import torch

from infogail.config.config import Config
from infogail.learning.cloning import cloning_loss, warm_start
from infogail.learning.networks import Policy


def test_cloning_loss():
    # Mean 0 and deviation 1/2 for both actions: per action log(1/2) + log(2π)/2 = 0.225791, and 2a²; a = 1 and 0, 0
    # and 1/2: 0.451583 + (2 + 0.5) / 2.
    policy = Policy(3, 2, 2, Config.of(hidden=8, initial_log_std=math.log(0.5)).policy)
    for parameter in policy.net.parameters():
        parameter.data.zero_()
    actions = torch.tensor([[1.0, 0.0], [0.0, 0.5]])
    loss = cloning_loss(policy, torch.randn(2, 3), actions, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(0.451583 + 1.25, abs=1e-6)


@pytest.mark.parametrize("learn_std", [True, False])
def test_a_warm_start_makes_all_codes_the_same_clone(recorded, learn_std):
    demonstrations = recorded("pass")[0].demonstrations
    torch.manual_seed(0)
    obs, actions = torch.from_numpy(demonstrations.observations), torch.from_numpy(demonstrations.actions)
    policy = Policy(obs.shape[1], 2, 2, Config.of(learn_std=learn_std, initial_log_std=-1.5).policy)
    policy.standardise.fit(obs)
    warm_start(policy, demonstrations, Config.of(warm_start_steps=200), torch.Generator().manual_seed(0))
    one, other = (policy(policy.inputs(obs, torch.full((len(obs),), code)))[0] for code in (0, 1))
    for mean in (one, other):
        assert 1 - (actions - mean)[:, 0].square().mean() / actions[:, 0].var() > 0.5
    assert (one - other).abs().mean() < 0.03
    assert (policy.log_std == -1.5).all() == (not learn_std)


def test_none_is_none(recorded):
    demonstrations = recorded("pass")[0].demonstrations
    policy = Policy(demonstrations.observations.shape[1], 2, 2, Config.of(hidden=8).policy)
    before = [parameter.clone() for parameter in policy.parameters()]
    generator = torch.Generator().manual_seed(0)
    warm_start(policy, demonstrations, Config(), generator)
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())
