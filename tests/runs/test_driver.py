import json
import shutil

import numpy as np
import pytest
from replay_world import Scripted

import infogail
from infogail.config.config import Config
from infogail.envs.errors import BadInput
from infogail.learning.learner import InfoGAIL
from infogail.runs.driver import CodeLabels
from infogail.runs.export import export
from infogail.runs.runner import train
from infogail.stress.results import label
from infogail.stress.trials import kinds_of_traffic
from infogail.traffic.adapters import FrozenPolicy
from infogail.traffic.population import population, vehicle_class

NAMES = ["aggressive", None, "tailgater", "speeder"]


def test_belief_begins_with_the_prior_and_adds_the_evidence():
    driver, steps = Scripted((0.0, 0.0), read=0), (np.zeros((2, 27)), np.zeros((2, 2)))
    np.testing.assert_allclose(driver.belief(*steps), [[1 / 2, 1 / 2], [9 / 10, 1 / 10], [81 / 82, 1 / 82]])
    driver.prior = np.array([0.25, 0.75])  # as of an unbalanced recording
    np.testing.assert_allclose(driver.belief(*steps), [[1 / 4, 3 / 4], [9 / 12, 3 / 12], [81 / 84, 3 / 84]])
    assert np.isfinite(driver.belief(np.zeros((1000, 27)), np.zeros((1000, 2)))).all()
    assert Scripted(read=None).belief(*steps) is None


@pytest.fixture
def judged(highway_run, tmp_path):
    """A run whose evaluation found these names."""
    run = shutil.copytree(highway_run, tmp_path / "run")
    (run / "metrics.json").write_text(json.dumps({"code_names": NAMES}))
    return run


def test_a_code_can_be_given_by_the_name_that_the_evaluation_found(judged, tmp_path):
    export(judged, tmp_path / "exported")
    for driver in (infogail.load(judged), infogail.load(tmp_path / "exported")):
        assert driver.names == tuple(NAMES)
        np.testing.assert_array_equal(driver.act(np.zeros(24), "tailgater"), driver.act(np.zeros(24), 2))
        assert (driver.act(np.zeros(24), "tailgater") != driver.act(np.zeros(24), 0)).any()
        with pytest.raises(BadInput, match="code 'tailgate': did you mean 'tailgater'"):
            driver.act(np.zeros(24), "tailgate")
    card = (tmp_path / "exported/README.md").read_text()
    assert "found after training: 0 is aggressive, 2 is tailgater, 3 is speeder." in card
    assert 'driver.act(observation, "aggressive")' in card


def test_a_mix_of_traffic_can_be_given_by_name(judged):
    kind = vehicle_class(population(judged, {"speeder": 1.0, "aggressive": 3.0}))
    assert kind.mix.tolist() == [0.75, 0.0, 0.0, 0.25] and kind.labels.names == tuple(NAMES)
    assert FrozenPolicy(judged, "speeder").code == 3
    assert kinds_of_traffic(judged, [{"tailgater": 1.0}])[-1].mix == (0.0, 0.0, 1.0, 0.0)
    with pytest.raises(BadInput, match="the names are aggressive, tailgater, speeder"):
        population(judged, {"zzz": 1.0})
    assert [label(f"code_{k}", kind.labels) for k in (1, 2)] == ["code 1", "code 2 · tailgater"]


def test_codes_have_labels():
    numbered, graded = CodeLabels.of((0, 1), False, ("left", None)), CodeLabels.of((0.5, -1.0), True)
    assert (numbered.title(1), graded.title(0), graded.title(1)) == ("code 1", "code +0.50", "code -1.00")
    assert numbered.title(0) == "code 0 · left"
    kinds = ("idm", "code_0", "code_1", "mix")
    assert [label(kind, graded) for kind in kinds] == ["highway-env's IDM", "code +0.50", "code -1.00", "mix"]


@pytest.mark.parametrize("content", ['{"code_names": ["left"]}', '{"code_names": [1, 2, 3, 4]}', "[]", "nonsense"])
def test_without_an_evaluation_codes_have_no_names(judged, content):
    (judged / "metrics.json").write_text(content)
    driver = infogail.load(judged)
    assert driver.names == (None,) * 4
    with pytest.raises(BadInput, match="the codes of this driver have no names; give a number"):
        driver.act(np.zeros(24), "left")


def test_codes_of_a_learner_that_saw_labels_are_called_after_the_styles(file, tmp_path):
    config = Config.of(num_codes=3, num_envs=16, iterations=1, labelled=1.0, rim_steps=2, rim_tries=1, bc_steps=10)
    train(InfoGAIL, "infogail", file, "pass", config, tmp_path / "run")
    assert infogail.load(tmp_path / "run").names == ("left", "right", None)
