import math

import pytest
import torch
from torch import nn

from infogail.config.config import Config
from infogail.learning.heads import Gaussian
from infogail.learning.trpo import (
    TRPO,
    conjugate_gradient,
    fisher_vector_product,
    line_search,
    surrogate_loss,
)
from tests.learners import box_spec


def test_surrogate_loss():
    # ρ = 0.5 and 1.5, A = 2 and -1: -(0.5 · 2 - 1.5 · 1) / 2
    old = torch.tensor([-1.0, 0.3])
    loss = surrogate_loss(old + torch.tensor([0.5, 1.5]).log(), old, torch.tensor([2.0, -1.0]))
    assert loss.item() == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("iterations", "expected"), [(1, [1 / 4, 1 / 2]), (2, [1 / 11, 7 / 11]), (9, [1 / 11, 7 / 11])]
)
def test_conjugate_gradient(iterations, expected):
    # A = ((4, 1), (1, 3)), b = (1, 2). First along b as far as bb / bAb = 5 / 20; then, in two dimensions, it is exact.
    matrix, b = torch.tensor([[4.0, 1.0], [1.0, 3.0]]), torch.tensor([1.0, 2.0])
    assert conjugate_gradient(matrix.mv, b, iterations).tolist() == pytest.approx(expected)
    assert conjugate_gradient(matrix.mv, 1e-9 * b, 2).tolist() == pytest.approx([1e-9 / 11, 7e-9 / 11])
    assert conjugate_gradient(matrix.mv, 0 * b, iterations).tolist() == [0.0, 0.0]


class Linear(nn.Module):
    """A policy of one action whose mean is linear in the inputs."""

    def __init__(self, weight, log_std):
        super().__init__()
        self.weight, self.log_std = (nn.Parameter(torch.tensor(x)) for x in (weight, log_std))

    def forward(self, inputs):
        return Gaussian((inputs @ self.weight)[:, None], self.log_std.exp())


def test_fisher_vector_product():
    # Of the mean's weights E[xxᵀ] / σ² = ((1, 1), (1, 2)) / 0.25, of log σ 2, nothing between. And 0.1 of damping.
    # ((4, 4), (4, 8)) (1, -1) = (0, -4); 2 · 3 = 6.
    policy = Linear([0.7, -0.2], [math.log(0.5)])
    inputs = torch.tensor([[1.0, 0.0], [1.0, 2.0]])
    product = fisher_vector_product(policy, inputs, list(policy.parameters()))
    assert product(torch.tensor([1.0, -1.0, 3.0])).tolist() == pytest.approx([0.1, -4.1, 6.3], abs=1e-5)
    assert product(torch.tensor([0.0, 1.0, 0.0])).tolist() == pytest.approx([4.0, 8.1, 0.0], abs=1e-5)  # and again


@pytest.mark.parametrize(
    ("max_kl", "share", "end"),
    [
        # x² from 3 along -12. All of it leads to -9, half to -3: no improvement; a quarter to 0.
        (100.0, 0.25, [0.0, 5.0]),
        # Where |x - 3| is the divergence and may be 2 at most, an eighth, to 1.5.
        (2.0, 0.125, [1.5, 5.0]),
    ],
)
def test_line_search(max_kl, share, end):
    x = nn.Parameter(torch.tensor([3.0, 5.0]))
    step = torch.tensor([-12.0, 0.0])

    def evaluate():
        return x[0].square().item(), (x[0] - 3).abs().item()

    assert line_search([x], step, 72.0, evaluate, max_kl) == share
    assert x.tolist() == end


@pytest.mark.parametrize("loss", [lambda x: -x, lambda x: float("nan") if x != 0.3 else 1.0, lambda x: 1.0])
def test_a_line_search_that_fails_restores_every_bit(loss):
    x, y = nn.Parameter(torch.tensor([0.3])), nn.Parameter(torch.tensor([[0.1], [0.7]]))
    before = x.clone(), y.clone()
    assert line_search([x, y], torch.tensor([-0.1, 1.0, 1.0]), 0.1, lambda: (loss(x.item()), 0.0), 1.0) == 0.0
    assert torch.equal(x, before[0]) and torch.equal(y, before[1])


def test_an_update_by_hand():
    # Mean w of the first action, at w = 0 with σ = 1; actions ±1/2 with advantages ±1. The gradient of -mean ρA is
    # -1/2, the Fisher matrix 1, with damping 1.1, so the direction is 0.5 / 1.1 and its curvature 0.25 / 1.1; the step
    # for a divergence of 0.02 is √(0.04 · 1.1 / 0.25) · 0.5 / 1.1 = 0.190693. Its divergence is 0.190693² / 2.
    class First(Linear):
        def forward(self, inputs):
            mean, std = super().forward(inputs)
            return Gaussian(torch.cat((mean, torch.zeros(len(inputs), 1)), -1), std)

    config = Config.of(max_kl=0.02, entropy_coef=0.0)
    trpo = TRPO(box_spec(1, 2), 1, config, torch.Generator())
    trpo.policy = First([0.0], [0.0, 0.0])
    trpo.policy.log_std.requires_grad_(False)
    actions = torch.tensor([[0.5, 0.0], [-0.5, 0.0]])
    log = trpo.improve_policy(torch.ones(2, 1), actions, torch.tensor([1.0, -1.0]))
    assert trpo.policy.weight.tolist() == pytest.approx([0.190693], abs=1e-6)
    assert log["trpo/step"] == 1.0 and log["trpo/kl"] == pytest.approx(0.018182, abs=1e-6)
    # ρ = exp(aw - w²/2) = 1.080253 and 0.892714
    assert log["trpo/policy_loss"] == pytest.approx(-(1.080253 - 0.892714) / 2, abs=1e-5)


def test_a_step_somewhat_beyond_the_trust_region_is_taken_whole():
    # Both actions are the mean, with advantages of 1: a deviation of e^d earns e^-d. The gradient in d is -1,
    # the Fisher matrix 2, with damping 2.1, so the step for a divergence of 0.0945 is d = -√(2 · 0.0945 / 2.1) = -0.3.
    # Its divergence d + e^-2d / 2 - 1/2 is 0.111059: beyond 0.0945, but not beyond twice as much.
    trpo = TRPO(box_spec(1, 1), 1, Config.of(max_kl=0.0945, entropy_coef=0.0), torch.Generator())
    trpo.policy = Linear([0.0], [0.0])
    trpo.policy.weight.requires_grad_(False)
    log = trpo.improve_policy(torch.ones(2, 1), torch.zeros(2, 1), torch.ones(2))
    assert trpo.policy.log_std.tolist() == pytest.approx([-0.3], abs=1e-5)
    assert log["trpo/step"] == 1.0 and log["trpo/kl"] == pytest.approx(0.111059, abs=1e-5)
