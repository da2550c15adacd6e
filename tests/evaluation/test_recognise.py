"""Styles in demonstrations: the measure itself, on clusters whose answer is known, and the whole command on a run."""

import re

import numpy as np
import pytest
import torch

from infogail.cli import main
from infogail.config.config import Config
from infogail.envs.catalogue import get_scenario
from infogail.envs.recordings.record import record
from infogail.evaluation.recognise import commonest_style, kl_to_normal, standardised, unsupervised, vae_means
from infogail.learning.learner import InfoGAIL
from infogail.runs.runner import train


def test_chance_is_the_commonest_style_of_the_training_part():
    styles = np.array([1, 1, 0, 0, 1, 0, 0, 0])
    assert commonest_style(styles, fitted=4, num_styles=2) == 0.75  # a tie: style 0
    assert commonest_style(styles, fitted=3, num_styles=2) == 0.2


def test_kl_to_normal():
    # One dimension: N(1, 1) is 1/2 nat from N(0, 1); N(0, 4) is (4 - 1 - log 4) / 2; their mean.
    mean, log_variance = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [4.0]]).clamp(min=1).log()
    assert kl_to_normal(mean, log_variance).item() == pytest.approx((0.5 + (3 - np.log(4)) / 2) / 2)


def test_only_the_training_part_is_looked_at():
    x = np.random.default_rng(0).normal(5.0, 3.0, (100, 4))
    other = np.concatenate((x[:80], 100 + x[80:]))
    np.testing.assert_array_equal(standardised(x, 80)[:80], standardised(other, 80)[:80])
    assert abs(standardised(x, 80)[:80].mean()) < 1e-12
    np.testing.assert_array_equal(vae_means(x, 80, seed=1)[:80], vae_means(other, 80, seed=1)[:80])


@pytest.mark.parametrize("name", ["k-means", "PCA + k-means", "VAE + k-means"])
def test_peers_part_what_lies_apart(name):
    rng, labels = np.random.default_rng(0), np.arange(200) % 2
    x = standardised(rng.normal(size=(200, 6)) + 8.0 * labels[:, None], 160)
    found = unsupervised(2)[name](x, 160, 0)
    assert max((found == labels).mean(), (found != labels).mean()) > 0.97


def test_the_command_compares_all_methods(tmp_path, capsys):
    record(get_scenario("turn"), 40, seed=0)[0].save(tmp_path / "turn.safetensors")
    tiny = Config.of(num_envs=32, iterations=1)  # the posterior divides the demonstrations at the very beginning
    train(InfoGAIL, "infogail", tmp_path / "turn.safetensors", "turn", tiny, tmp_path / "run")
    main(["recognise", str(tmp_path / "run")])
    lines = [re.split(r" {2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    rows = {line[0]: line[1:] for line in lines[lines.index(["(s, a) pair", "trajectory"]) + 2 :] if line[0]}
    assert list(rows) == [
        "chance", "k-means", "PCA + k-means", "VAE + k-means", "posterior", "SVM (supervised)", "MLP (supervised)"
    ]  # fmt: skip
    assert float(rows["posterior"][1]) == float(rows["SVM (supervised)"][1]) == 1.0
    assert float(rows["posterior"][0]) > max(float(rows[peer][0]) for peer in list(rows)[:4])
