from itertools import product

import pytest
import torch

from infogail.learning.gae import explained_variance, gae

REWARDS = [1.0, 2.0, 4.0, 8.0]
VALUES = [2.0, 4.0, 6.0, 8.0]
GOES_ON, TERMINATED, TIME_LIMIT = 0, 1, 2
# By hand, with γ = λ = 1/2, so γλ = 1/4, and all numbers exact in binary. δ_t = r_t + V(s'_t)/2 - V(s_t).
# What follows the second step has value 6 where the episode goes on, and 16 where it ended (its final observation).
#   goes on     δ = 1+2-2, 2+3-4, 4+4-6, 8+5-8 = 1, 1, 2, 5    A3 = 5, A2 = 2 + 5/4, A1 = 1 + A2/4, A0 = 1 + A1/4
#   terminated  δ1 = 2+0-4 = -2: nothing comes after           A1 = -2,              A0 = 1 - 2/4
#   time limit  δ1 = 2+8-4 = 6: the value of what would come   A1 = 6,               A0 = 1 + 6/4
ADVANTAGES = {
    GOES_ON: [1.453125, 1.8125, 3.25, 5.0],
    TERMINATED: [0.5, -2.0, 3.25, 5.0],
    TIME_LIMIT: [2.5, 6.0, 3.25, 5.0],
}


def columns(*ends):
    """Arguments of `gae` (4, B): column b's second step ends the episode as `ends[b]` says."""
    rewards, values = (torch.tensor(x)[:, None].repeat(1, len(ends)) for x in (REWARDS, VALUES))
    next_values = torch.tensor([4.0, 6.0, 8.0, 10.0])[:, None].repeat(1, len(ends))
    terminated, done = torch.zeros(2, 4, len(ends), dtype=torch.bool)
    for b, end in enumerate(ends):
        terminated[1, b], done[1, b] = end == TERMINATED, end != GOES_ON
        if end != GOES_ON:
            next_values[1, b] = 16.0
    return rewards, values, next_values, terminated, done


@pytest.mark.parametrize("end", ADVANTAGES)
def test_golden(end):
    assert gae(*columns(end), 0.5, 0.5).squeeze(1).tolist() == ADVANTAGES[end]


def test_columns_do_not_mix():
    ends = [TIME_LIMIT, GOES_ON, TERMINATED]
    assert gae(*columns(*ends), 0.5, 0.5).T.tolist() == [ADVANTAGES[end] for end in ends]


def test_the_sum_of_the_paper():
    # Eq. 16 as it is printed, forward: Σ_l (γλ)^l δ_{t+l}, as long as the episode lasts.
    rng = torch.Generator().manual_seed(0)
    gamma, lam, steps, width = 0.9, 0.8, 12, 5
    rewards, values, next_values = torch.randn(3, steps, width, generator=rng)
    done = torch.rand(steps, width, generator=rng) < 0.25
    terminated = done & (torch.rand(steps, width, generator=rng) < 0.5)
    assert terminated.any() and (done & ~terminated).any()
    r, v, following, over = (x.T.tolist() for x in (rewards, values, next_values, done))  # lists [b][t]
    expected = torch.zeros(steps, width)
    for b, t in product(range(width), range(steps)):
        for k in range(t, steps):
            bootstrap = 0.0 if terminated[k, b] else following[b][k]
            expected[t, b] += (gamma * lam) ** (k - t) * (r[b][k] + gamma * bootstrap - v[b][k])
            if over[b][k]:
                break
    torch.testing.assert_close(
        gae(rewards, values, next_values, terminated, done, gamma, lam), expected, atol=1e-5, rtol=0
    )


def test_explained_variance():
    returns = torch.tensor([1.0, 2.0, 3.0, 6.0])  # variance 14 / 3
    assert explained_variance(returns + 5.0, returns) == 1.0
    assert explained_variance(torch.full((4,), 9.0), returns) == 0.0
    # Residuals 0, 0, 0, 2: variance 1.
    assert explained_variance(torch.tensor([1.0, 2.0, 3.0, 4.0]), returns) == pytest.approx(1 - 3 / 14)
    assert explained_variance(-returns, returns) == pytest.approx(-3.0)
    assert explained_variance(returns, torch.ones(4)) == 0.0
