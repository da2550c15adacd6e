import numpy as np
import pytest
import torch

import infogail
from infogail.baselines.gail import GAIL
from infogail.config.config import Config
from infogail.config.presets import PRESETS, settings
from infogail.envs.catalogue import SCENARIO_NAMES, get_scenario
from infogail.envs.data.recording import Recording
from infogail.learning.learner import InfoGAIL
from infogail.learning.posterior import Posterior
from infogail.runs import checkpoint
from infogail.runs.runner import train
from tests.learners import make_learner

LEARNERS = {"infogail": InfoGAIL, "gail": GAIL}
TINY = {"num_envs": 8, "iterations": 5, "hidden": 8, "discriminator_batch": 32, "posterior_steps": 2, "rim_steps": 2}


def tiny(name, **changes):
    """The preset with little of everything that it has."""
    known = Config.of(checkpoint_interval=1, **PRESETS[name].changes).flat()
    few = TINY | {"warm_start_steps": 3, "held_iterations": 1, "replay_iterations": 2, "rim_tries": 1}
    return Config.of(**known | {setting: min(few[setting], known[setting]) for setting in few} | changes)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_resumes_exactly(name, file):
    """What an iteration made, put into a learner of another seed, goes on as it did: every tensor and number."""
    kind = LEARNERS[PRESETS[name].algorithm]
    one, other = (make_learner(kind, file, tiny(name, seed=seed)) for seed in (1, 2))
    one.iterate()
    kept = {key: tensor.clone() for key, tensor in checkpoint.state_of(one.parts()).items()}
    expected = one.iterate()
    torch.manual_seed(99)
    other.iteration = 1
    checkpoint.restore(other.parts(), kept)
    assert other.iterate() == expected
    after, resumed = (checkpoint.state_of(some.parts()) for some in (one, other))
    assert list(resumed) == list(after) and all(torch.equal(resumed[key], after[key]) for key in after)
    assert checkpoint.first_not_finite(expected | after) is None


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_differs_from_the_default_in_what_it_says(name):
    preset = PRESETS[name]
    assert preset.summary and "\n" not in preset.summary
    usual = Config().flat()
    recommended = {setting for scenario in SCENARIO_NAMES for setting in get_scenario(scenario).recommended}
    changed = {k: v for k, v in Config.of(**preset.changes).flat().items() if v != usual[k]}
    assert preset.algorithm == "gail" or changed or name == "default"
    assert changed.items() <= dict(preset.changes).items()
    if name not in ("paper", "gail-trpo"):
        # A scenario may recommend another value than the default; a preset that cannot have it says so.
        assert changed == {k: v for k, v in preset.changes.items() if v != usual[k] or k not in recommended}


def test_a_driver_with_a_posterior_of_pairs_comes_back_from_its_folder(file, tmp_path):
    trained = train(InfoGAIL, "infogail", file, "pass", tiny("paper", iterations=1), tmp_path / "run")
    driver = infogail.load(tmp_path / "run")
    rng = np.random.default_rng(0)
    obs, actions = rng.normal(size=(5, 7)).astype(np.float32), rng.normal(size=(5, 2)).astype(np.float32)
    log_q = driver.log_posterior(obs, actions)
    np.testing.assert_array_equal(log_q, trained.log_posterior(obs, actions))
    np.testing.assert_array_equal(driver.act(obs, 1), trained.act(obs, 1))
    assert (driver.log_posterior(obs, -actions) != log_q).any()
    assert driver.evidence.max_evidence is None


@pytest.mark.parametrize("kind", [InfoGAIL, GAIL])
def test_a_failure_costs_the_penalty_where_it_happens(kind, file, monkeypatch):
    rewards = {}
    for penalty in (0.0, 3.0):
        learner = make_learner(kind, file, tiny("failure-penalty", failure_penalty=penalty, num_envs=64))

        def keep(rollout, reward, progress, hold, penalty=penalty):
            rewards[penalty] = rollout.terminated, reward
            return {}

        monkeypatch.setattr(learner.actor_critic, "update", keep)
        learner.iterate()
    terminated, reward = rewards[3.0]
    assert terminated.any() and not terminated.all()
    torch.testing.assert_close(reward, rewards[0.0][1] - 3.0 * terminated)


@pytest.mark.parametrize("kind", [InfoGAIL, GAIL])
def test_earlier_rollouts_are_replayed_to_discriminator_and_posterior_alone(kind, file, monkeypatch):
    learner, widths = make_learner(kind, file, tiny("replay", replay_iterations=2)), []
    for part in ("discriminator", "posterior", "actor_critic"):
        if (inner := getattr(learner, part)) is not None:

            def update(rollout, *more, part=part, known=inner.update):
                widths.append((part, rollout.done.shape[1]))
                return known(rollout, *more)

            monkeypatch.setattr(inner, "update", update)
    for _ in range(4):
        learner.iterate()
    of = {part: [width for name, width in widths if name == part] for part, _ in widths}
    assert of.pop("actor_critic") == [8, 8, 8, 8]
    assert len(of) == (2 if kind is InfoGAIL else 1) and all(seen == [8, 16, 24, 24] for seen in of.values())


def test_without_rim_nothing_is_divided(file):
    recording = Recording.load(file, get_scenario("pass"))
    config = settings(recording.scenario, "no-rim")
    posterior = Posterior(recording.demonstrations, config, torch.Generator().manual_seed(0))
    before = {key: tensor.clone() for key, tensor in posterior.evidence.state_dict().items()}
    posterior.divide_demonstrations()
    assert all(torch.equal(tensor, before[key]) for key, tensor in posterior.evidence.state_dict().items())
