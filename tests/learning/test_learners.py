from dataclasses import replace

import numpy as np
import pytest
import torch

from infogail.baselines.bc import BC
from infogail.baselines.coded_bc import CodedBC
from infogail.baselines.gail import GAIL
from infogail.config.config import Config
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import Recording
from infogail.learning.learner import InfoGAIL
from infogail.runs.mean_action import MeanActionCheck
from tests.learners import FROM_RANDOM_WEIGHTS, make_learner

TINY = Config.of(
    num_envs=16,
    threads=1,
    ppo_epochs=1,
    discriminator_batch=64,
    discriminator_steps=2,
    rim_steps=3,
    posterior_batch=8,
    warm_start_steps=3,
    held_iterations=0,
)


def run(kind, recording, config, iterations):
    learner = make_learner(kind, recording, config)
    logs = [learner.iterate() for _ in range(iterations)]
    return learner, logs


def state(learner, *parts):
    """Everything learned, by name; `parts` say of what."""
    modules = {"policy": learner.policy, "value": learner.actor_critic.value, "discriminator": learner.discriminator}
    if learner.posterior is not None:
        modules["evidence"] = learner.posterior.evidence
    return {
        f"{part}.{name}": tensor
        for part in parts or modules
        for name, tensor in modules[part].state_dict().items()
        if "standardise" not in name
    }


def differing(one, other):
    assert one.keys() == other.keys() and one
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize("scenario", ["pass", "turn"])
def test_gail_is_infogail_with_one_code_and_no_information_reward(recorded, scenario):
    recording = recorded(scenario)[0]
    shared = "policy", "value", "discriminator"
    gail, infogail, start = (
        run(kind, recording, TINY.with_(num_codes=1, info_coef=0.0), iterations)[0]
        for kind, iterations in ((GAIL, 3), (InfoGAIL, 3), (GAIL, 0))
    )
    assert not differing(state(gail, *shared), state(infogail, *shared))
    assert differing(state(gail, *shared), state(start, *shared)) == set(state(gail, *shared))  # all of it learns


def test_gails_codes_are_dummies(recorded):
    one, three = (run(GAIL, recorded("pass")[0], TINY.with_(num_codes=k), 2)[0] for k in (1, 3))
    assert not differing(state(one), state(three))


def test_the_information_reward_reaches_the_policy_and_nothing_else(recorded):
    recording = recorded("pass")[0]
    paid, unpaid = (run(InfoGAIL, recording, TINY.with_(info_coef=x), 1)[0] for x in (3.0, 0.0))
    learned_by_ppo = set(state(paid, "policy", "value"))
    assert differing(state(paid), state(unpaid)) == learned_by_ppo


def test_same_seed_same_bits(recorded):
    recording = recorded("pass")[0]
    (one, logs), (again, same_logs), (other, _) = (
        run(InfoGAIL, recording, TINY.with_(seed=seed), 2) for seed in (0, 0, 1)
    )
    assert not differing(state(one), state(again)) and logs == same_logs
    assert differing(state(one), state(other)) == set(state(one)) - {"evidence.features"}


def test_labels_change_nothing(recorded, tmp_path):
    recording, _ = recorded("pass")
    mixed = np.random.default_rng(0).permutation(recording.styles)
    assert (mixed != recording.styles).any()
    states = []
    for name, styles in (("told", recording.styles), ("mixed", mixed)):
        replace(recording, styles=styles).save(tmp_path / name)
        loaded = Recording.load(tmp_path / name, recording.scenario)
        fields = vars(loaded.demonstrations)
        assert not loaded.demonstrations.labels and not [field for field in fields if "style" in field]
        states.append(state(run(InfoGAIL, loaded, TINY, 2)[0]))
    assert not differing(*states)


def test_the_policys_actions_are_judged_and_rewarded_as_logged(recorded):
    log = run(InfoGAIL, recorded("pass")[0], TINY, 1)[1][0]
    assert log["rollout/env_steps"] == 16 * 60
    assert log["reward/imitation"] > 0.0
    assert log["reward/information"] <= np.log(2) + 1e-6  # log Q + log K, per episode


@pytest.mark.parametrize("kind", [InfoGAIL, GAIL])
@pytest.mark.parametrize("update", ["ppo", "trpo"])
def test_a_held_policy_stays_while_value_and_discriminator_learn(recorded, kind, update):
    config = TINY.with_(held_iterations=2, policy_update=update, warm_start_steps=0)
    learner = make_learner(kind, recorded("pass")[0], config)

    def known():
        return {name: tensor.clone() for name, tensor in state(learner).items()}

    states = [known()]
    for _ in range(3):
        learner.iterate()
        states.append(known())
    own = set(state(learner, "policy"))
    for before, after, moved in zip(states, states[1:], [set(), set(), own], strict=False):
        shared = {name for name in before if not name.startswith("evidence.")}
        assert {name for name in differing(before, after) if name in shared} == shared - own | moved


def last(logs, key):
    """Mean of the last three iterations, so that one unlucky rollout does not decide."""
    return np.mean([log[f"rollout/{key}"] for log in logs[-3:]])


def test_infogail_gives_each_code_its_style(recorded):
    _, logs = run(InfoGAIL, recorded("pass")[0], FROM_RANDOM_WEIGHTS, 20)
    assert logs[0]["rollout/success_rate"] < 0.2
    assert last(logs, "success_rate") > 0.7
    assert last(logs, "style_nmi") > 0.6


def test_gail_learns_to_drive_but_its_codes_say_nothing(recorded):
    _, logs = run(GAIL, recorded("pass")[0], FROM_RANDOM_WEIGHTS, 20)
    assert logs[0]["rollout/success_rate"] < 0.2
    assert last(logs, "success_rate") > 0.7
    assert last(logs, "style_nmi") < 0.2  # the control: the threshold above asks for more than driving well


def test_coded_bc_gives_each_code_its_style_and_bc_has_none(recorded):
    recording, found = recorded("pass")[0], {}
    check = MeanActionCheck(recording.scenario, recording.scenario.fit_judge(recording), 2)
    for kind in (CodedBC, BC):
        learner = make_learner(kind, recording, Config.of(threads=1, bc_steps=300))
        while learner.iteration < learner.schedule.iterations:
            learner.iterate()
        assert learner.iteration == 3
        random = torch.get_rng_state()
        found[kind] = check.style_nmi(learner.policy)
        assert check.style_nmi(learner.policy) == found[kind] and torch.equal(torch.get_rng_state(), random)
    assert found[CodedBC] > 0.8 and found[BC] < 0.1
    assert learner.posterior is None


def test_bc_fits_held_out_demonstrations_and_goes_between_their_ways(recorded):
    training, held_out = recorded("pass")
    learner = make_learner(BC, training, Config.of(threads=1))
    obs, actions = (torch.from_numpy(getattr(held_out.demonstrations, name)) for name in ("observations", "actions"))

    @torch.no_grad()
    def judge():
        """Negative log-likelihood, share (2,) of each action's variance that the mean explains, mean (N, 2)."""
        driven = learner.policy(learner.policy.inputs(obs, torch.zeros(len(obs), dtype=torch.int64)))
        explained = 1 - (actions - driven.mean).square().mean(0) / actions.var(0)
        return -driven.log_prob(actions).mean(), explained, driven.mean

    before, unexplained, _ = judge()
    for _ in range(5):
        learner.iterate()
    after, explained, mean = judge()
    assert after < before - 0.8
    assert (unexplained < 0.1).all()
    # The wander of hands and feet cannot be predicted, nor can the moment when each driver pulls out, nor the side.
    assert (explained > torch.tensor([0.5, 0.25])).all()

    # The fork: still straight and in the middle of the lane, about to pull out. Left and right cancel out in the mean.
    features = get_scenario("pass").features
    offset, heading, gap = (obs[:, features.index(name)] for name in ("lane_offset", "heading", "lead_gap"))
    fork = (offset.abs() < 0.1) & (heading.abs() < 0.1) & (gap > 0.7) & (gap < 0.95)
    right = torch.from_numpy(np.repeat(held_out.styles, np.diff(held_out.demonstrations.episode_bounds))) == 1
    assert actions[fork & ~right, 1].mean() < -0.3 and actions[fork & right, 1].mean() > 0.3
    assert mean[fork, 1].abs().mean() < 0.15
