"""The discriminator that reads the code, too: what it tells apart, what stays without it, what it teaches followers."""

import hashlib
import math

import numpy as np
import pytest
import torch
from follow_world import record_followers

from infogail.baselines.gail import GAIL
from infogail.config.config import Config
from infogail.config.presets import settings
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput
from infogail.envs.scenarios.following import Follow
from infogail.evaluation.codes import read_codes
from infogail.evaluation.following import judge_following
from infogail.learning.discriminator import Discriminator
from infogail.learning.learner import InfoGAIL
from infogail.learning.posterior import Posterior
from infogail.learning.rollout import Rollout
from infogail.runs import checkpoint
from infogail.runs.folder import RunFolder
from infogail.runs.runner import resume, train
from tests.learners import box_spec, make_learner

TINY = Config.of(
    num_envs=16,
    ppo_epochs=1,
    discriminator_batch=64,
    discriminator_steps=2,
    rim_steps=3,
    rim_tries=1,
    posterior_batch=8,
    warm_start_steps=3,
    held_iterations=0,
)
READS = TINY.with_(discriminator_reads_code=True)
FOLLOW = {"num_codes": 2, "num_envs": 64, "rim_tries": 3, "warm_start_steps": 1000, "threads": 1}


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Ten followers to learn from, ten held out; every other one is 0.8 s behind, the others 2.2 s."""
    path = tmp_path_factory.mktemp("people") / "people.safetensors"
    record_followers(path, drivers=10)
    return path


def discriminator_of(num_codes, **options):
    """For observations of three and actions of two entries."""
    torch.manual_seed(0)
    config, generator = Config.of(discriminator_batch=256, gradient_penalty=0.0), torch.Generator().manual_seed(0)
    return Discriminator(box_spec(3, 2), config.discriminator, generator, 0.95, num_codes=num_codes, **options)


def rollout_of(actions, codes):
    """Actions (T, B, 2) in observations of which all entries are 0, with codes (B,)."""
    steps, width = actions.shape[:2]
    obs, ended = torch.zeros(steps, width, 3), torch.zeros(steps, width, dtype=torch.bool)
    return Rollout(obs, actions, torch.zeros(steps, width), obs, ended, ended, codes.expand(steps, width))


@pytest.mark.parametrize("graded", [False, True])
def test_it_tells_what_is_done_under_which_code(graded):
    """People accelerate under code 0 and brake under code 1; the policy does either under both.

    Of the pairs with codes, those that people do are half of theirs and a quarter of the policy's: D = 2/3, for which
    -log(1 - D) is log 3. To who does not read codes, all are as common: D = 1/2, log 2.
    """
    pedal = torch.tensor([0.5, -0.5]).repeat(200)
    shown = torch.cat((torch.zeros(400, 3), pedal[:, None], torch.zeros(400, 1)), -1)
    actions = torch.zeros(20, 40, 2)
    actions[..., 0] = torch.tensor([0.5, -0.5]).repeat(20)
    codes = torch.arange(40) // 20
    rollout, rewards = rollout_of(actions, codes), {}
    for num_codes in (1, 2):
        discriminator = discriminator_of(num_codes, graded=graded)
        for _ in range(10):
            discriminator.update(rollout, shown, (pedal < 0).long())
        reward = discriminator.reward(rollout)
        rewards[num_codes] = {
            (code, pressed): reward[:, (codes == code) & (actions[0, :, 0] == pressed)].mean().item()
            for code in (0, 1)
            for pressed in (0.5, -0.5)
        }
        torch.testing.assert_close(discriminator(rollout.pairs(), rollout.codes).sigmoid(), 1 - (-reward).exp())
    plain, reads = rewards[1], rewards[2]
    assert all(plain[0, pressed] == plain[1, pressed] == pytest.approx(math.log(2), abs=0.1) for pressed in (0.5, -0.5))
    assert [reads[0, 0.5], reads[1, -0.5]] == pytest.approx([math.log(3)] * 2, abs=0.1)
    assert [reads[0, -0.5], reads[1, 0.5]] == pytest.approx([0.0, 0.0], abs=0.1)


def test_what_it_reads():
    pairs, codes = torch.arange(10.0).reshape(2, 5), torch.tensor([2, 0])
    one_hot = [[0, 1, 2, 3, 4, 0, 0, 1], [5, 6, 7, 8, 9, 1, 0, 0]]
    assert discriminator_of(3).inputs(pairs, codes=codes).tolist() == one_hot
    graded = [[0, 1, 2, 3, 4, 1], [5, 6, 7, 8, 9, -1]]
    assert discriminator_of(3, graded=True).inputs(pairs, codes=codes).tolist() == graded
    assert discriminator_of(1).inputs(pairs, codes=codes).tolist() == pairs.tolist()
    torch.manual_seed(0)
    config = Config.of(absorbing=True).discriminator
    absorbing = Discriminator(box_spec(3, 2), config, torch.Generator(), 0.95, num_codes=3)
    inputs = absorbing.inputs(pairs, torch.tensor([False, True]), codes)
    assert inputs.tolist() == [[*one_hot[0], 0], [0] * 8 + [1]]  # the absorbing state is the same under all codes


def test_with_one_code_it_is_as_it_was():
    shown = torch.randn(100, 5, generator=torch.Generator().manual_seed(1))
    rollout = rollout_of(torch.linspace(-1, 1, 40).reshape(2, 10, 2), torch.zeros(10, dtype=torch.int64))
    told, untold = discriminator_of(1), discriminator_of(1)
    logs = told.update(rollout, shown, torch.zeros(100, dtype=torch.int64)), untold.update(rollout, shown)
    assert logs[0] == logs[1]
    assert torch.equal(told.reward(rollout), untold.reward(rollout))
    for one, other in zip(told.parameters(), untold.parameters(), strict=True):
        assert torch.equal(one, other)


def after_two(kind, recording, config):
    """Policy, value and discriminator after two iterations, by name, and the log."""
    learner = make_learner(kind, recording, config)
    logs = [learner.iterate() for _ in range(2)]
    modules = learner.policy, learner.actor_critic.value, learner.discriminator
    state = {f"{k}.{name}": tensor for k, module in enumerate(modules) for name, tensor in module.state_dict().items()}
    return state, logs


@pytest.mark.parametrize(("kind", "num_codes"), [(InfoGAIL, 1), (GAIL, 1), (GAIL, 3)])
def test_with_one_code_or_none_the_setting_changes_nothing(recorded, kind, num_codes):
    recording = recorded("pass")[0]
    plain, _ = after_two(kind, recording, TINY.with_(num_codes=num_codes))
    reads, _ = after_two(kind, recording, READS.with_(num_codes=num_codes))
    assert plain.keys() == reads.keys() and all(torch.equal(plain[key], reads[key]) for key in plain)


def test_with_two_codes_it_changes_discriminator_and_policy(recorded):
    plain, reads = (after_two(InfoGAIL, recorded("pass")[0], config)[0] for config in (TINY, READS))
    changed = {key for key in plain if plain[key].shape != reads[key].shape or not torch.equal(plain[key], reads[key])}
    assert {"2.net.0.weight", "0.net.0.weight"} <= changed
    assert reads["2.net.0.weight"].shape[1] == plain["2.net.0.weight"].shape[1] + 2


def test_each_row_has_the_code_of_its_episode():
    """Of episodes of different lengths; a known code counts more than what is inferred."""
    lengths, generator = [3, 1, 2], torch.Generator().manual_seed(0)
    bounds = np.cumsum([0, *lengths])
    rows = np.repeat([[-1.0], [1.0], [1.0]], lengths, 0).astype(np.float32)
    demonstrations = Demonstrations(box_spec(1, 1), rows, np.zeros_like(rows), bounds)
    posterior = Posterior(demonstrations, READS.with_(rim_steps=40), generator)
    posterior.divide_demonstrations()
    first, second, third = posterior.demonstration_codes().tolist()
    assert second == third == 1 - first
    assert posterior.row_codes().tolist() == [first] * 3 + [second] * 3
    posterior.learn(torch.tensor([0, 1, 0]))
    assert posterior.demonstration_codes().tolist() == [0, 1, 0]
    assert posterior.row_codes().tolist() == [0, 0, 0, 1, 0, 0]
    plain = Posterior(demonstrations, TINY, generator)
    assert plain.row_codes() is None and plain.demonstration_codes() is not None
    undivided = Posterior(demonstrations, TINY.with_(rim_steps=0), generator)
    assert undivided.demonstration_codes() is None and undivided.row_codes() is None


def test_people_keep_their_codes_while_the_posterior_learns(recorded):
    learner = make_learner(InfoGAIL, recorded("pass")[0], READS)
    learner.start()
    before = learner.posterior.row_codes()
    weights = [parameter.clone() for parameter in learner.posterior.evidence.parameters()]
    assert len(before) == len(learner.pairs) and before.unique().tolist() == [0, 1]
    for _ in range(2):
        learner.iterate()
    assert torch.equal(learner.posterior.row_codes(), before)
    moved = zip(weights, learner.posterior.evidence.parameters(), strict=True)
    assert not any(torch.equal(one, other) for one, other in moved)


def test_it_needs_demonstrations_that_have_codes():
    with pytest.raises(BadInput, match=r"^--rim-steps 0: .*; turn off --discriminator-reads-code, or give more steps$"):
        Config.of(discriminator_reads_code=True, rim_steps=0)
    assert Config.of(discriminator_reads_code=True, rim_steps=1).discriminator.reads_code
    assert not settings(get_scenario("follow"), "no-rim").discriminator.reads_code


def outcome(run):
    """Hashes of the policy and of all that the last checkpoint holds."""
    with RunFolder.open(run) as folder:
        iteration, state, _ = checkpoint.load_newest(folder, warn=pytest.fail)
        hashes = {name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in state.items()}
        return hashes | {"iteration": iteration, "policy": folder.manifest.files["policy.safetensors"]}


def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(people, tmp_path):
    """After two of four iterations."""
    tiny = {"num_envs": 8, "iterations": 4, "checkpoint_interval": 1, "warm_start_steps": 20, "rim_steps": 5}
    config = settings(Follow(), overrides=FOLLOW | tiny | {"rim_tries": 1, "hidden": 8, "discriminator_steps": 2})
    assert config.discriminator.reads_code  # as recommended for people who follow
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(InfoGAIL, "infogail", people, "follow", config, whole)

    class Broken(Exception):
        pass

    def stop_after_two(done, total, log):
        if done == 2:
            raise Broken

    with pytest.raises(Broken):
        train(InfoGAIL, "infogail", people, "follow", config, broken, on_iteration=stop_after_two)
    assert not (broken / "policy.safetensors").exists()
    done = []
    resume({"infogail": InfoGAIL}, broken, on_iteration=lambda k, total, log: done.append(k))
    assert done == [3, 4]
    expected = outcome(whole)
    assert outcome(broken) == expected and expected["iteration"] == 4
    assert {"posterior_known/episodes", "posterior_known/codes"} <= expected.keys()


@pytest.fixture(scope="module")
def drivers(people, tmp_path_factory):
    """What four iterations make of InfoGAIL, and of GAIL, with the judgement of each, by algorithm."""
    made, folder = {}, tmp_path_factory.mktemp("drivers")
    recording = Recording.load(people, Follow())
    changes = {"iterations": 4, "held_iterations": 0, "learning_rate": 3e-4}
    config = settings(Follow(), overrides=FOLLOW | changes)
    for name, kind in (("infogail", InfoGAIL), ("gail", GAIL)):
        driver = train(kind, name, people, "follow", config, folder / name)
        made[name] = driver, judge_following(driver, folder / name, recording, 1, 0, 1, peers={})
    return made


def headways(result):
    """[s], the mean that each code drives."""
    return [result[key] for key in sorted(result) if key.endswith("_driven_headway")]


def test_codes_of_followers_are_their_headways(drivers, people):
    """The two kinds of people are told apart, unseen ones, too, and their codes drive unlike."""
    driver, result = drivers["infogail"]
    recording = Recording.load(people, Follow())
    demonstrations, world = recording.demonstrations, recording.world
    held_out = np.arange(recording.num_training, demonstrations.num_episodes)
    codes = read_codes(driver, demonstrations)[held_out]
    kinds = world.track[held_out] % 2
    assert max((codes == kinds).mean(), (codes != kinds).mean()) >= 0.9 and len(held_out) == 20
    driven = headways(result)
    assert max(driven) - min(driven) >= 0.5
    far = int((codes == kinds).mean() > 0.5)  # the code of those who keep 2.2 s, whose number is odd
    assert driven[far] > driven[1 - far]
    assert result["halves_agreement"] >= 0.9


def test_without_codes_there_is_one_way_to_follow(drivers):
    """The control: what is asked for above, GAIL does not have."""
    _, result = drivers["gail"]
    (driven,) = headways(result)
    assert 0.5 < driven < 4.0
    assert result["headway_ami"] is result["halves_agreement"] is None
