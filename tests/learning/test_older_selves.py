import numpy as np
import pytest
import torch

from infogail.config.config import Config
from infogail.config.parts import PolicyConfig
from infogail.envs.catalogue import get_scenario
from infogail.envs.company import Company
from infogail.envs.errors import BadInput
from infogail.learning.networks import Policy, seeded
from infogail.learning.older_selves import EVERY, KEPT, OlderSelves
from infogail.learning.rollout import collect


@pytest.fixture
def policy():
    return Policy(get_scenario("highway").spec, 4, PolicyConfig(initial_log_std=-8.0))


def become(policy, number):
    """Let the first action's mean be `number` (and a little more, by the observation)."""
    with torch.no_grad():
        policy.net[-1].bias[0] = number


def drives(selves, generator):
    """The number that whoever was chosen has become."""
    features = get_scenario("highway").spec.observation_size
    with torch.no_grad():
        action = selves.act(torch.zeros(1, features), torch.zeros(1, dtype=torch.int64), generator)
    return round(action[0, 0].item())


def test_those_who_drive_were_kept_lately(policy):
    selves, generator, driving = OlderSelves(policy, 0.5), seeded(0, "cpu"), []
    for number in range(400):
        become(policy, number)
        selves.choose(number, generator)
        driving.append(drives(selves, generator))
    ages = np.arange(400) - driving
    assert set(driving) <= set(range(0, 400, EVERY))
    assert (ages >= 0).all() and ages.max() < KEPT * EVERY
    later = ages[KEPT * EVERY :]
    assert np.histogram(later, KEPT, (0, KEPT * EVERY))[0].min() > 10  # each is as likely: 30 expected


def test_resumes_exactly(policy):
    one, other = OlderSelves(policy, 0.5), OlderSelves(policy, 0.5)
    generator = seeded(0, "cpu")
    for number in range(35):
        become(policy, number)
        one.choose(number, generator)
    other.load_state_dict(one.state_dict())
    driving = {}
    for selves in (one, other):
        generator, driving[selves] = seeded(1, "cpu"), []
        for number in range(35, 60):
            become(policy, number)
            selves.choose(number, generator)
            driving[selves].append(drives(selves, generator))
    assert driving[one] == driving[other] and len(set(driving[one])) > 3


def test_they_drive_their_share_in_company_and_nothing_is_learned_of_it(policy):
    env = Company(get_scenario("highway"), 64)
    selves, generator = OlderSelves(policy, 0.25), seeded(0, "cpu")
    selves.choose(0, generator)
    become(policy, -0.5)

    def codes(_):
        return torch.arange(64) % 4

    rollout = collect(env, policy, codes, generator, selves)
    first = rollout.actions[:10, :, 0].mean(0)
    assert abs(first[:16]).max() < 0.2 and abs(first[16:] + 0.5).max() < 0.2
    assert rollout.ignored[:, :16].all() and not rollout.ignored[0, 16:].any()
    assert len(rollout.decided(rollout.penalties)) == int((~rollout.ignored[:, 16:]).sum())


def test_only_in_company():
    with pytest.raises(BadInput, match="add --company"):
        Config.of(older_selves=0.2).check(get_scenario("highway"))
    Config.of(older_selves=0.2, company=True).check(get_scenario("highway"))
