import json
import shutil
import subprocess
import sys
from hashlib import sha256
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from gymnasium import spaces
from learners import box_spec

import infogail
from infogail.cli import main
from infogail.config.config import Config
from infogail.envs.environment import Spec
from infogail.envs.errors import BadInput
from infogail.envs.files import NonEmptyFolder
from infogail.evaluation.protocol import evaluate
from infogail.learning.networks import Policy
from infogail.learning.posterior import Evidence, posterior_features
from infogail.runs.export import export, policy_model, posterior_model
from infogail.runs.folder import InvalidRun, Manifest, digest_of
from infogail.runs.trained import TrainedDriver
from infogail.traffic.population import population, vehicle_class

ROWS = 10_000
LOUD = 30.0  # last layers begin with small weights


def discrete_spec(space):
    return Spec((5,), np.dtype("float32"), space, 3, "neither", (1, 3), style_tolerance=0.5)


def made_up(spec, num_codes=3, with_posterior=True, **settings):
    """A driver of random weights, whose inputs are standardised."""
    torch.manual_seed(0)
    config = Config.of(num_codes=num_codes, hidden=16, **settings)
    policy = Policy(spec, num_codes if with_posterior else 1, config.policy, config.codes.graded_code)
    evidence = None
    if with_posterior:
        evidence = Evidence(posterior_features(spec, config.posterior.input), num_codes, config, spec.style_tolerance)
        evidence.fit_standardisation(3.0 + 2.0 * torch.randn(50, spec.observation_size + spec.action_size))
        evidence.net[-1].weight.data *= LOUD
    policy.standardise.fit(1.0 + 2.0 * torch.randn(50, spec.observation_size))
    policy.net[-1].weight.data *= LOUD
    task = SimpleNamespace(name="pass", spec=spec, styles=())
    return TrainedDriver(task, Manifest("pass", "infogail", config), policy, evidence)


KINDS = {
    "three codes": made_up(box_spec(5, 2)),
    "a graded code": made_up(box_spec(5, 2), graded_code=True),
    "no posterior": made_up(box_spec(5, 1), with_posterior=False),
    "a posterior of pairs": made_up(box_spec(5, 2), posterior_input="pair"),
    "unbounded evidence": made_up(box_spec(5, 2), max_evidence=None),
    "a choice": made_up(discrete_spec(spaces.Discrete(4))),
    "two choices": made_up(discrete_spec(spaces.MultiDiscrete([2, 3]))),
}


@pytest.mark.parametrize("driver", KINDS.values(), ids=KINDS.keys())
def test_models_compute_what_torch_does(driver):
    rng, spec = np.random.default_rng(0), driver.task.spec
    observations = rng.normal(1.0, 3.0, (ROWS, spec.observation_size)).astype(np.float32)
    codes = rng.uniform(-1, 1, ROWS).astype(np.float32) if driver.graded else rng.integers(driver.num_codes, size=ROWS)
    session = onnxruntime.InferenceSession(policy_model(driver).SerializeToString())
    (actions,) = session.run(None, {"observation": observations, "code": codes})
    assert actions.std(0).mean() > 0.1
    np.testing.assert_allclose(actions, driver.act(observations, codes), atol=1e-5)
    (one,) = session.run(None, {"observation": observations[:1], "code": codes[:1]})
    np.testing.assert_allclose(one, actions[:1], atol=1e-6)
    if driver.evidence is not None:
        session = onnxruntime.InferenceSession(posterior_model(driver).SerializeToString())
        (log_q,) = session.run(None, {"observation": observations, "action": actions})
        assert np.exp(log_q).std(0).min() > 0.005
        np.testing.assert_allclose(np.exp(log_q).sum(1), 1.0, atol=1e-5)
        np.testing.assert_allclose(log_q, driver.log_posterior(observations, actions), atol=1e-5)


@pytest.fixture(scope="module")
def exported(highway_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "highway"
    assert [path.name for path in export(highway_run, out)] == EXPORTED
    return out


EXPORTED = ["driver.onnx", "posterior.onnx", "README.md", "config.json"]


def test_an_exported_driver_is_the_trained_one(highway_run, exported):
    trained, driver = infogail.load(highway_run), infogail.load(exported)
    assert (driver.codes, driver.graded, driver.names) == (trained.codes, trained.graded, trained.names)
    assert (driver.algorithm, driver.seed, driver.scenario.name) == ("infogail", trained.seed, "highway")
    np.testing.assert_array_equal(driver.prior, trained.prior)
    observations = np.random.default_rng(0).normal(size=(ROWS, 24))
    actions = driver.act(observations, np.arange(ROWS) % 4)
    np.testing.assert_allclose(actions, trained.act(observations, np.arange(ROWS) % 4), atol=1e-5)
    np.testing.assert_allclose(driver.act(observations[5], 1), actions[5], atol=1e-6)
    belief = driver.belief(observations[:50], actions[:50])
    np.testing.assert_allclose(belief, trained.belief(observations[:50], actions[:50]), atol=1e-4)
    with pytest.raises(ValueError, match="code 4: the codes of this driver are 0 to 3"):
        driver.act(observations[0], 4)


def test_traffic_of_an_exported_driver_drives_as_of_the_run(highway_run, exported):
    observations, codes = np.random.default_rng(0).normal(size=(30, 24)), np.arange(30) % 4
    before, after = (vehicle_class(population(run)).policy(observations, codes) for run in (highway_run, exported))
    np.testing.assert_allclose(after, before, atol=1e-5)


WITHOUT_TORCH = """
import sys, time
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("there is no torch here")
sys.meta_path.insert(0, Blocker())
import gymnasium, onnxruntime
import infogail
start = time.perf_counter()
driver = infogail.load(sys.argv[1])
seconds = time.perf_counter() - start
env = gymnasium.make("infogail/Highway-v0")
obs, _ = env.reset(seed=0)
for _ in range(5):
    obs, *_ = env.step(driver.act(obs, 1))
from infogail.traffic.population import make_populated, population
env = make_populated("highway-v0", population(sys.argv[1]), seed=0)
for _ in range(5):
    env.step(1)
from infogail.envs.catalogue import SCENARIO_NAMES, get_scenario
for name in SCENARIO_NAMES:
    get_scenario(name)
try:
    import torch
except ImportError:
    print(seconds)
"""


def test_works_without_torch_and_loads_quickly(exported):
    words = [sys.executable, "-c", WITHOUT_TORCH, str(exported)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.5


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def with_foreign_model(folder, name, driver):
    """`folder` with a model of another driver, and a description that claims it."""
    model = policy_model(driver) if name == "driver.onnx" else posterior_model(driver)
    (folder / name).write_bytes(model.SerializeToString())
    content = json.loads((folder / "config.json").read_text())
    content["files"][name] = sha256((folder / name).read_bytes()).hexdigest()
    del content["sha256"]
    (folder / "config.json").write_text(json.dumps(content | {"sha256": digest_of(content)}))


def with_nonsense(folder):
    (folder / "driver.onnx").write_bytes(b"nonsense")
    with_hash = json.loads((folder / "config.json").read_text())
    with_hash["files"]["driver.onnx"] = sha256(b"nonsense").hexdigest()
    del with_hash["sha256"]
    (folder / "config.json").write_text(json.dumps(with_hash | {"sha256": digest_of(with_hash)}))


FAULTS = {
    "damaged": (lambda at: damage(at / "driver.onnx"), "driver.onnx: its sha256 is not the one in config.json"),
    "missing": (lambda at: (at / "posterior.onnx").unlink(), "posterior.onnx: No such file or directory"),
    "nonsense": (with_nonsense, "driver.onnx: "),
    "foreign driver": (
        lambda at: with_foreign_model(at, "driver.onnx", KINDS["three codes"]),
        r"driver.onnx: takes observation tensor\(float\) of 5, .*not observation tensor\(float\) of 24",
    ),
    "foreign posterior": (
        lambda at: with_foreign_model(at, "posterior.onnx", KINDS["three codes"]),
        r"posterior.onnx: takes observation tensor\(float\) of 5",
    ),
    "another config": (lambda at: (at / "config.json").write_text('{"model_type": "bert"}'), "its format is not"),
    "changed config": (
        lambda at: (at / "config.json").write_text((at / "config.json").read_text().replace("highway", "highwax", 1)),
        "does not match its own sha256",
    ),
}


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_damaged_and_foreign_files_are_refused_in_one_line(exported, tmp_path, change, message):
    folder = shutil.copytree(exported, tmp_path / "copy")
    change(folder)
    with pytest.raises(InvalidRun, match=message) as caught:
        infogail.load(folder)
    assert "\n" not in str(caught.value) and "export" in str(caught.value)


def test_the_hub_can_read_the_card(highway_run, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    evaluate(highway_run, episodes=8, processes=1)
    try:
        export(highway_run, tmp_path)
    finally:
        metrics = json.loads((highway_run / "metrics.json").read_text())
        (highway_run / "metrics.json").unlink()
    card = hub.ModelCard((tmp_path / "README.md").read_text())
    assert (card.data.license, card.data.library_name) == ("mit", "infogail")
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results["success_rate"] == metrics["success_rate"]
    assert f"| success_rate | {metrics['success_rate']:.4g} |" in card.text
    assert "19 demonstrations of `highway`, by scripted experts" in card.text
    assert "float32 (batch, 24)" in card.text and "`lane_offset`, `heading`" in card.text


def test_the_command_exports_once_and_only_with_force_again(highway_run, tmp_path, capsys):
    words = ["export", str(highway_run), "--out", str(tmp_path), "--licence", "cc-by-4.0"]
    main(words)
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in EXPORTED]
    assert 'license: "cc-by-4.0"' in (tmp_path / "README.md").read_text()
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2 and "already exists" in capsys.readouterr().err
    main([*words, "--force"])
    with pytest.raises(NonEmptyFolder):
        export(highway_run, tmp_path)


def test_commands_that_need_the_run_say_so(exported, capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", str(exported)])
    assert "holds an exported driver; give the folder of the run" in capsys.readouterr().err


def test_a_driver_of_an_unknown_scenario_still_acts(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "copy")
    content = json.loads((folder / "config.json").read_text()) | {"scenario": "mine:Scenario"}
    del content["sha256"]
    (folder / "config.json").write_text(json.dumps(content | {"sha256": digest_of(content)}))
    driver = infogail.load(folder)
    assert driver.act(np.zeros(24), 0).shape == (2,)
    with pytest.raises(BadInput, match="is in a module of yours; if you trust it, add --import mine"):
        population(folder)
