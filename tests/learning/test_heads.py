import numpy as np
import pytest
import torch
from scipy import stats

from infogail.learning.heads import Gaussian


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
