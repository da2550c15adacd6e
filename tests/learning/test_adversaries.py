from dataclasses import replace

import numpy as np
import pytest
import torch

from infogail.config.config import Config
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.demonstrations import Demonstrations
from infogail.learning.adversaries import adversaries
from infogail.learning.ppo import PPO
from infogail.learning.trpo import TRPO


@pytest.mark.parametrize(("update", "kind"), [("ppo", PPO), ("trpo", TRPO)])
def test_both_sides_read_standardised_demonstrations_and_pay_as_configured(update, kind):
    rng = np.random.default_rng(0)
    observations = rng.normal(5.0, 20.0, (40, 7)).astype(np.float32)
    actions = rng.uniform(-0.1, 0.3, (40, 2)).astype(np.float32)
    spec = replace(get_scenario("pass").spec, early_end="success")
    demonstrations = Demonstrations(spec, observations, actions, np.array([0, 20, 40]))
    config = Config.of(policy_update=update, gamma=0.8)
    improver, discriminator = adversaries(demonstrations, 3, config, torch.Generator())
    assert type(improver) is kind
    assert improver.policy.inputs(torch.zeros(1, 7), torch.tensor([2])).shape == (1, 10)
    assert (discriminator.gamma, discriminator.spec.early_end) == (0.8, "success")
    pairs = np.concatenate((observations, actions), 1)
    for net, sample in ((improver.policy, observations), (discriminator, pairs)):
        standardised = net.standardise(torch.from_numpy(sample))
        torch.testing.assert_close(standardised.mean(0), torch.zeros(sample.shape[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(standardised.std(0), torch.ones(sample.shape[1]), atol=1e-5, rtol=0)
