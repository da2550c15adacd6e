import math

import numpy as np
import pytest
import torch
from torch import nn

from infogail.config.config import Config
from infogail.learning.devices import read_log
from infogail.learning.discriminator import (
    Discriminator,
    absorbed_share,
    clip_weights,
    discriminator_loss,
    gradient_penalty,
    imitation_reward,
    wasserstein_loss,
)
from infogail.learning.rollout import Rollout
from tests.learners import box_spec


def test_discriminator_loss():
    # log(1 + e^-x) at 0, 2 and 1: 0.693147, 0.126928, 0.313262. Demonstration logits 0 and 2, policy logits 0 and -1:
    # (0.693147 + 0.126928) / 2 + (0.693147 + 0.313262) / 2
    loss = discriminator_loss(torch.tensor([0.0, 2.0]), torch.tensor([0.0, -1.0]))
    assert loss.item() == pytest.approx(0.913242, abs=1e-6)


def test_discriminator_loss_is_the_mean_of_each_kind_and_pushes_demonstrations_up():
    demonstrations, policy = torch.zeros(3, requires_grad=True), torch.zeros(1, requires_grad=True)
    discriminator_loss(demonstrations, policy).backward()
    assert demonstrations.grad.tolist() == pytest.approx([-1 / 6] * 3)  # -(1 - D) / 3 at D = 1/2
    assert policy.grad.tolist() == pytest.approx([1 / 2])  # D


def test_gradient_penalty_of_a_linear_net_is_its_weights_squared_norm():
    net = nn.Linear(2, 1)
    net.weight.data = torch.tensor([[3.0, 4.0]])
    a, b, mix = torch.randn(5, 2), torch.randn(5, 2), torch.rand(5, 1)
    penalty = gradient_penalty(net, a, b, mix)
    penalty.backward()
    assert penalty.item() == pytest.approx(25.0)
    torch.testing.assert_close(net.weight.grad, torch.tensor([[6.0, 8.0]]))  # d|w|²/dw = 2w: the net can learn from it


@pytest.mark.parametrize(("mix", "expected", "centred"), [(0.0, 25, 16), (0.25, 14.125, 7.614324), (1.0, 1, 0)])
def test_gradient_penalty_is_taken_on_the_way(mix, expected, centred):
    # f(x) = |x|²/2 has gradient x. From (3, 4) to (1, 0): |x|² is 25 at first, 15.25 at (2.5, 3), 1 at last.
    # From (3, 4) to (-1, 0): 25, 13 at (2, 3), 1. The means of the two: 25, 14.125, 1.
    # One-centred, (|x| - 1)²: 16; (√15.25 - 1)² = 8.439751 and (√13 - 1)² = 6.788897; 0.
    a, b = torch.tensor([[3.0, 4.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])

    def half_square(x):
        return x.square().sum(-1) / 2

    for centre, value in ((0.0, expected), (1.0, centred)):
        penalty = gradient_penalty(half_square, a, b, torch.full((2, 1), mix), centre).item()
        assert penalty == pytest.approx(value, abs=1e-5)


def test_a_one_centred_penalty_has_a_gradient_where_the_critic_is_flat():
    net = nn.Linear(2, 1)
    nn.init.zeros_(net.weight)
    penalty = gradient_penalty(net, torch.randn(5, 2), torch.randn(5, 2), torch.rand(5, 1), centre=1.0)
    penalty.backward()
    assert penalty.item() == pytest.approx(1.0, abs=1e-5) and net.weight.grad.isfinite().all()


def test_wasserstein_loss():
    # mean(0, -1, 4) - mean(1, 3)
    demonstrations, policy = torch.tensor([1.0, 3.0]).requires_grad_(), torch.tensor([0.0, -1.0, 4.0]).requires_grad_()
    loss = wasserstein_loss(demonstrations, policy)
    loss.backward()
    assert loss.item() == pytest.approx(-1.0)
    assert demonstrations.grad.tolist() == [-0.5, -0.5]  # up, where policy goes down
    assert policy.grad.tolist() == pytest.approx([1 / 3] * 3)


def test_clip_weights():
    net = nn.Linear(2, 2)
    net.weight.data, net.bias.data = torch.tensor([[0.005, -0.5], [2.0, -0.01]]), torch.tensor([-3.0, 0.0])
    clip_weights(net, 0.01)
    torch.testing.assert_close(net.weight.data, torch.tensor([[0.005, -0.01], [0.01, -0.01]]))
    torch.testing.assert_close(net.bias.data, torch.tensor([-0.01, 0.0]))


# l, and by hand softplus(l) = -log(1 - D), -softplus(-l) = log D, and l. D = 1/2 at 0; 3/4 at log 3; 1/4 at -log 3.
# Far out softplus(l) is l, and 0.
REWARDS = {
    "failure": [math.log(2), math.log(4), math.log(4 / 3), 200.0, 0.0],
    "success": [-math.log(2), -math.log(4 / 3), -math.log(4), 0.0, -200.0],
    "neither": [0.0, math.log(3), -math.log(3), 200.0, -200.0],
}


@pytest.mark.parametrize("early_end", REWARDS)
def test_imitation_reward(early_end):
    logits = torch.tensor([0.0, math.log(3), -math.log(3), 200.0, -200.0])
    assert imitation_reward(logits, early_end).tolist() == pytest.approx(REWARDS[early_end], rel=1e-6)


def test_the_unbiased_reward_is_the_sum_of_the_biased_ones():
    logits = torch.linspace(-20.0, 20.0, 101)
    total = imitation_reward(logits, "failure") + imitation_reward(logits, "success")
    torch.testing.assert_close(total, imitation_reward(logits, "neither"))


def pairs_with(actions):
    """Pairs (N, 5) of standard normal observations (N, 3) and `actions` (N, 2)."""
    observations = np.random.default_rng(0).normal(size=(len(actions), 3))
    return torch.from_numpy(np.concatenate((observations, actions), 1).astype(np.float32))


def discriminator_of(pairs, config, **options):
    """One for observations of 3 and actions of 2 entries, standardised by `pairs` (N, 5)."""
    discriminator = Discriminator(
        box_spec(3, 2), config.discriminator, torch.Generator().manual_seed(0), config.policy.gamma, **options
    )
    discriminator.standardise.fit(pairs)
    return discriminator


def rollout_of(actions, ends=None):
    """Actions (T, B, 2) in standard normal observations; environment b crashes in step `ends[b]`."""
    steps, width = actions.shape[:2]
    obs, terminated = torch.randn(steps, width, 3), torch.zeros(steps, width, dtype=torch.bool)
    for b, end in enumerate(ends or []):
        terminated[end, b] = True
    codes = torch.zeros(width, dtype=torch.int64)
    return Rollout(obs, actions, torch.zeros(steps, width), obs, terminated, terminated, codes.expand(steps, width))


@pytest.mark.parametrize(("early_end", "step"), [("failure", math.log(2)), ("success", -math.log(2)), ("neither", 0.0)])
def test_what_a_discriminator_that_cannot_tell_pays_for_surviving(early_end, step):
    # The bias is chosen (see `imitation_reward`): with D = 1/2 everywhere an episode of t steps earns t · `step`,
    # whatever the driving was like: a crash costs log 2 for each step that it cuts off, or saves it, or neither.
    discriminator = Discriminator(box_spec(3, 2, early_end), Config().discriminator, torch.Generator(), 0.95)
    for parameter in discriminator.net.parameters():
        nn.init.zeros_(parameter)
    rollout = rollout_of(torch.zeros(6, 3, 2), ends=[0, 3, 5])
    earned = (discriminator.reward(rollout) * rollout.first_episode()).sum(0)
    torch.testing.assert_close(earned, step * torch.tensor([1.0, 4.0, 6.0]))


CRITICS = {
    "clipped": {"weight_clip": 0.1, "gradient_penalty": 0.0, "discriminator_optimiser": "rmsprop"},
    "penalised": {"gradient_penalty": 10.0},
}


@pytest.mark.parametrize("name", CRITICS)
def test_a_critic_learns_to_tell_and_its_output_is_the_reward(name):
    torch.manual_seed(0)
    actions = torch.tensor([0.5, 0.0]) + 0.1 * torch.randn(20, 50, 2)
    shown = pairs_with((actions * torch.tensor([-1.0, 1.0])).flatten(0, 1).numpy())
    config = Config.of(discriminator_batch=256, discriminator_loss="wasserstein", **CRITICS[name])
    discriminator = discriminator_of(shown, config)
    rollout = rollout_of(actions)
    for _ in range(8):
        log = discriminator.update(rollout, shown)
    reward = discriminator.reward(rollout)
    torch.testing.assert_close(reward, discriminator(rollout.pairs()).detach())
    assert discriminator(shown).min() > reward.max()
    largest = max(parameter.abs().max().item() for parameter in discriminator.net.parameters())
    assert (largest < 0.1 + 1e-6) == (name == "clipped")
    if name == "penalised":
        assert log["discriminator/gradient_penalty"] < 0.5  # slopes near 1


@pytest.mark.parametrize(("loss", "penalty"), [("wasserstein", 1.0), ("gan", 0.0)])
def test_a_flat_net_is_penalised_if_it_is_a_critic(loss, penalty):
    config = Config.of(discriminator_loss=loss, discriminator_steps=1, gradient_penalty=10.0)
    shown = pairs_with(np.zeros((40, 2)))
    discriminator = discriminator_of(shown, config)
    for parameter in discriminator.net.parameters():
        nn.init.zeros_(parameter)
    log = read_log(discriminator.update(rollout_of(torch.zeros(20, 3, 2)), shown))
    assert log["discriminator/gradient_penalty"] == pytest.approx(penalty, abs=1e-5)


def test_its_shape_can_be_chosen():
    config = Config.of(discriminator_layers=3, discriminator_hidden=20, discriminator_activation="tanh")
    net = Discriminator(box_spec(3, 2), config.discriminator, torch.Generator(), 0.95).net
    assert [layer.out_features for layer in net if isinstance(layer, nn.Linear)] == [20, 20, 20, 1]
    assert [type(layer) for layer in net[1::2]] == [nn.Tanh] * 3


def test_it_learns_to_tell_and_pays_for_being_like_the_demonstrations():
    torch.manual_seed(0)
    actions = torch.cat((torch.full((20, 50, 1), 0.3), 0.2 * torch.randn(20, 50, 1)), -1)
    shown = pairs_with((actions * torch.tensor([-1.0, 1.0])).flatten(0, 1).numpy())  # the other pedal
    discriminator = discriminator_of(shown, Config.of(discriminator_batch=256))
    rollout = rollout_of(actions)
    for _ in range(8):
        log = discriminator.update(rollout, shown)
    logits = discriminator(shown)
    assert logits.min() > 1.0 and discriminator(rollout.pairs()).max() < -1.0
    assert log["discriminator/demonstration_logit"] > 1.0 and log["discriminator/policy_logit"] < -1.0
    assert discriminator.reward(rollout).mean() < 0.3 * imitation_reward(logits, "failure").mean()


def test_a_gradient_penalty_keeps_it_flat():
    actions = torch.randn(20, 50, 2).clamp(-1, 1)
    shown = pairs_with(np.sign(actions.flatten(0, 1).numpy()))
    steepness = []
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        config = Config.of(discriminator_batch=256, gradient_penalty=weight)
        discriminator = discriminator_of(shown, config)
        log = [discriminator.update(rollout_of(actions), shown) for _ in range(5)][-1]
        steepness.append(log["discriminator/gradient_penalty"])
    assert steepness[1] < 0.1 * steepness[0]


def with_absorbing(**settings):
    config = Config.of(absorbing=True, discriminator_batch=256, **settings)
    shown = pairs_with(np.random.default_rng(0).normal(size=(400, 2)))
    return discriminator_of(shown, config), shown


def test_an_absorbing_state_follows_a_crash_and_no_demonstration():
    torch.manual_seed(0)
    discriminator, shown = with_absorbing()
    rollout = rollout_of(torch.randn(6, 3, 2), ends=[0, 3, 5])
    inputs = discriminator.inputs(rollout.pairs(), ~rollout.first_episode())
    assert inputs.shape == (6, 3, 6)
    assert inputs[..., -1].T.tolist() == [[0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]]
    assert (inputs[inputs[..., -1] == 1][:, :-1] == 0).all()
    driven = inputs[inputs[..., -1] == 0][:, :-1]
    torch.testing.assert_close(driven, discriminator.standardise(rollout.pairs())[inputs[..., -1] == 0])
    assert (discriminator.inputs(shown)[:, -1] == 0).all()


def test_a_crash_earns_what_the_absorbing_state_will():
    # Logit 0 of every pair: log 2. Logit log 3 of the absorbing state: log 4, and γ / (1 - γ) = 4 times for γ = 0.8.
    discriminator, _ = with_absorbing(gamma=0.8)
    discriminator.net = nn.Linear(6, 1)
    discriminator.net.weight.data, discriminator.net.bias.data = math.log(3) * torch.eye(6)[-1:], torch.zeros(1)
    reward = discriminator.reward(rollout_of(torch.randn(2, 3, 2), ends=[0, 1]))
    assert reward[0].tolist() == pytest.approx([6.238325, 0.693147, 0.693147])
    assert reward[1].tolist() == pytest.approx([0.693147, 6.238325, 0.693147])


def test_it_learns_that_demonstrations_never_end_early():
    discriminator, shown = with_absorbing(gamma=0.95)
    torch.manual_seed(0)
    rollout = rollout_of(torch.randn(20, 50, 2), ends=[9] * 50)
    for _ in range(8):
        discriminator.update(rollout, shown)
    rewards = discriminator.reward(rollout)
    forever = rewards[9] - imitation_reward(discriminator(rollout.pairs()), "failure")[9]
    assert 0.0 < forever.mean() < 0.5 * rewards[:9].mean() * 0.95 / 0.05  # of what going on for ever would earn


def test_where_the_next_episode_follows_the_absorbing_state_is_sampled():
    # Of 5 decisions at most: an end after 2 leaves 3, one after 1 leaves 4, then one after 3 leaves 2; 8 were taken.
    rollout = rollout_of(torch.zeros(4, 2, 2), ends=[1, 0])
    rollout.terminated[3, 1] = True
    spec = box_spec(3, 2, "neither", horizon=5, one_episode=False)
    assert absorbed_share(rollout, spec).item() == pytest.approx(9 / 17)
    demonstrations, torch_seed = pairs_with(np.zeros((400, 2))), torch.Generator().manual_seed(0)
    discriminator = Discriminator(spec, Config().discriminator, torch_seed, 0.95)
    drawn = discriminator._sample(discriminator.inputs(demonstrations), 4000, 0.3)
    assert drawn[:, -1].mean().item() == pytest.approx(0.3, abs=0.03)  # four standard deviations
    assert (drawn[drawn[:, -1] == 1, :-1] == 0).all() and (drawn[drawn[:, -1] == 0, :-1].abs().sum(-1) > 0).all()


@pytest.mark.parametrize(("demonstrated", "better"), [(0.0, False), (0.9, True)])
def test_it_learns_whether_demonstrations_end_early(demonstrated, better):
    # The policy's episodes of 10 of 20 decisions spend half their time in the absorbing state.
    torch.manual_seed(0)
    spec, shown = box_spec(3, 2, "neither", horizon=20, one_episode=False), pairs_with(np.zeros((400, 2)))
    discriminator = Discriminator(spec, Config().discriminator, torch.Generator().manual_seed(0), 0.95)
    discriminator.demonstrated_absorbed = demonstrated
    rollout = rollout_of(torch.zeros(20, 50, 2), ends=[9] * 50)
    rollout.terminated[19] = True
    for _ in range(5):
        discriminator.update(rollout, shown)
    extra = discriminator.reward(rollout)[9] - discriminator(rollout.pairs())[9]
    assert ((extra > 0) == better).all()
