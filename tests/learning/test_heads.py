import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import softmax

from infogail.learning.heads import Categorical, Gaussian


@pytest.mark.parametrize("actions", [1, 2, 5])
def test_density_and_entropy_are_scipys(actions):
    rng = np.random.default_rng(0)
    values, mean, std = rng.normal(size=(7, actions)), rng.normal(size=(7, actions)), rng.uniform(0.1, 2.0, actions)
    gaussian = Gaussian(torch.tensor(mean), torch.tensor(std))
    expected = [stats.multivariate_normal(m, np.diag(std**2)).logpdf(a) for a, m in zip(values, mean, strict=True)]
    np.testing.assert_allclose(gaussian.log_prob(torch.tensor(values)), expected)
    assert gaussian.entropy().item() == pytest.approx(stats.norm.entropy(scale=std).sum())
    assert gaussian.summary() == {f"std_{k}": std[k] for k in range(actions)}


def test_kl():
    # log(σ'/σ) + (σ² + (μ - μ')²) / 2σ'² - 1/2. N(0, 1) to N(1, 2): log 2 + 2/8 - 1/2 = 0.443147;
    # N(1, 0.5) to N(0, 0.25): -log 2 + 1.25 / 0.125 - 1/2 = 8.806853; to itself 0.
    gaussian = Gaussian(torch.tensor([[0.0, 1.0]]), torch.tensor([1.0, 0.5]))
    other = Gaussian(torch.tensor([[1.0, 0.0]]), torch.tensor([2.0, 0.25]))
    assert gaussian.kl(other).tolist() == pytest.approx([0.443147 + 8.806853], abs=1e-5)
    assert gaussian.kl(gaussian).tolist() == [0.0]


def test_samples_have_its_mean_and_deviation_and_follow_from_the_generator():
    gaussian = Gaussian(torch.tensor([1.0, -2.0, 0.0]).expand(20000, 3), torch.tensor([0.5, 2.0, 1.0]))
    sample, again = (gaussian.sample(torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(sample, again) and sample.shape == (20000, 3)
    torch.testing.assert_close(sample.mean(0), gaussian.mean[0], atol=0.05, rtol=0)
    torch.testing.assert_close(sample.std(0), gaussian.std, atol=0, rtol=0.05)


def test_categorical_density_entropy_and_kl_are_scipys():
    # Two choices, of 3 and of 2: both quantities add up over them.
    rng = np.random.default_rng(0)
    logits, others = rng.normal(size=(2, 7, 5))
    head, other = (Categorical.of(torch.tensor(x), (3, 2)) for x in (logits, others))
    p, q = ([softmax(x[:, :3], 1), softmax(x[:, 3:], 1)] for x in (logits, others))
    np.testing.assert_allclose(head.entropy(), sum(stats.entropy(part, axis=1) for part in p))
    np.testing.assert_allclose(head.kl(other), sum(stats.entropy(a, b, axis=1) for a, b in zip(p, q, strict=True)))
    actions = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0]).double().expand(7, 5)
    np.testing.assert_allclose(head.log_prob(actions), np.log(p[0][:, 2] * p[1][:, 0]))
    expected = [[*np.eye(3)[a.argmax()], *np.eye(2)[b.argmax()]] for a, b in zip(*p, strict=True)]
    assert head.mode().tolist() == expected


def test_categorical_samples_are_one_hot_as_frequent_as_they_are_likely_and_follow_from_the_generator():
    logits = torch.tensor([0.2, 0.5, 0.3, 0.9, 0.1]).log().expand(20000, 5)
    head = Categorical.of(logits, (3, 2))
    sample, again = (head.sample(torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(sample, again)
    assert torch.equal(sample.unique(), torch.tensor([0.0, 1.0]))
    assert (sample[:, :3].sum(-1) == 1).all() and (sample[:, 3:].sum(-1) == 1).all()
    np.testing.assert_allclose(sample.mean(0), [0.2, 0.5, 0.3, 0.9, 0.1], atol=0.012)
    assert abs(np.corrcoef(sample[:, 0], sample[:, 3])[0, 1]) < 0.03  # independent
