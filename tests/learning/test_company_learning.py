import pytest
import torch

from infogail.config.config import Config
from infogail.config.presets import settings
from infogail.envs.catalogue import get_scenario
from infogail.envs.company import Company
from infogail.envs.errors import BadInput
from infogail.envs.recordings.record import record
from infogail.envs.tasks import training_environment
from infogail.envs.twin import DrivingEnvironment
from infogail.learning.learner import InfoGAIL


@torch.no_grad()
def failed_share(policy):
    """Of 512 drivers in company who drive for 12 s without noise, each code as common."""
    env = Company(get_scenario("highway"), 512)
    obs, codes, failed = env.reset(seed=9), torch.arange(512) % 4, torch.zeros(512, dtype=torch.bool)
    for _ in range(env.spec.horizon):
        step = env.step(policy(policy.inputs(obs, codes)).mode())
        obs, failed = step.observations, failed | step.terminated
    return failed.float().mean().item()


@pytest.fixture(scope="module")
def recording():
    return record(get_scenario("highway"), 20, seed=0)[0]


def learner(recording, preset, iterations):
    overrides = {"iterations": iterations, "num_envs": 256, "minibatches": 12, "settling_iterations": None}
    config = settings(recording.scenario, preset, overrides)
    env = training_environment(recording, config.run.num_envs, "cpu", config.run.company)
    return InfoGAIL(env, recording.demonstrations, config)


def test_company_teaches_to_avoid_each_other_as_training_alone_does_not(recording):
    together, alone = learner(recording, "company", 30), learner(recording, "default", 8)
    assert isinstance(together.env, Company) and isinstance(alone.env, DrivingEnvironment)
    for one in (together, alone):
        for _ in range(one.config.run.iterations):
            one.iterate()
    assert failed_share(alone.policy) > 0.5
    assert failed_share(together.policy) < 0.42


def test_discriminator_reads_no_context_in_company(recording):
    discriminator = learner(recording, "company", 1).discriminator
    scenario, pairs = recording.scenario, torch.from_numpy(recording.demonstrations.pairs())
    codes = torch.zeros(len(pairs), dtype=torch.int64)
    other = pairs.clone()
    for name in ("left_lane", "right_leader_gap", "follower_closing"):
        other[:, scenario.features.index(name)] += 1.0
    torch.testing.assert_close(discriminator(other, codes), discriminator(pairs, codes), rtol=0, atol=1e-5)
    other[:, scenario.features.index("leader_gap")] += 1.0
    assert (discriminator(other, codes) - discriminator(pairs, codes)).abs().mean() > 0.01


@pytest.mark.parametrize("name", ["pass", "follow", "highway-manners"])
def test_company_is_for_drivers_who_observe_others(name):
    with pytest.raises(BadInput, match=f"^--company: {name} has no other drivers in lanes; leave it out"):
        Config.of(company=True).check(get_scenario(name))


def test_company_takes_people_who_steer():
    Config.of(company=True).check(get_scenario("replay"))
