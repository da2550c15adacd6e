import hashlib
import json
import shutil
import signal
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import infogail
from infogail.baselines.bc import BC
from infogail.config.config import Config
from infogail.config.presets import settings
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.data.recording import InvalidDemonstrations, Recording
from infogail.envs.errors import BadInput
from infogail.envs.files import NonEmptyFolder, check_output, seal, unseal
from infogail.envs.recordings.record import record
from infogail.learning.learner import InfoGAIL
from infogail.learning.networks import Policy
from infogail.learning.schedule import Schedule
from infogail.parallel.signals import Stopped
from infogail.runs import runner
from infogail.runs.driver import SCHEMA, load
from infogail.runs.folder import InvalidRun, Manifest, RunFolder, check_run
from infogail.runs.runner import resume, train

TINY = Config.of(num_envs=16, iterations=2, rim_steps=2, warm_start_steps=20, bc_steps=200, threads=1, hidden=8)


@pytest.fixture(scope="module")
def trained(file, tmp_path_factory):
    """A run, the driver that training gave, and what was told on the way."""
    told, run = [], tmp_path_factory.mktemp("runs") / "pass"
    driver = train(InfoGAIL, "infogail", file, "pass", TINY, run, on_iteration=lambda *each: told.append(each))
    return run, driver, told


class Scripted:
    """A learner that logs what it is given, and fails where that is an exception."""

    def __init__(self, *logs):
        self.logs, self.iteration, self.schedule, self.posterior = list(logs), 0, Schedule.fixed(len(logs)), None

    def __call__(self, env, demonstrations, config):
        self.demonstrations = demonstrations
        self.policy = Policy(demonstrations.spec, 1, config.policy)
        return self

    def start(self):
        pass

    def iterate(self):
        log = self.logs[self.iteration]
        if isinstance(log, BaseException):
            raise log
        self.iteration += 1
        return log

    def parts(self):
        return {"policy": self.policy}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_holds_all_that_judging_needs(trained, file):
    run, _, told = trained
    (events,) = run.glob("events.out.tfevents.*")
    names = {"policy.safetensors", "metrics.jsonl", "training.json", "demonstrations.safetensors"}
    assert {path.name for path in run.iterdir()} == names | {events.name, "manifest.json", "checkpoints", ".lock"}
    assert (run / "demonstrations.safetensors").read_bytes() == file.read_bytes()

    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["format"], manifest["scenario"], manifest["algorithm"]) == (2, "pass", "infogail")
    assert manifest["versions"]["torch"] == torch.__version__ and manifest["threads"] == 1
    assert manifest["config"] == asdict(TINY) and manifest["instruction_set"]
    assert set(manifest["files"]) == names | {"checkpoints/000002.safetensors"}
    for name, sha256 in manifest["files"].items():
        assert hashlib.sha256((run / name).read_bytes()).hexdigest() == sha256

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [0, 1]
    assert [row["env_steps"] for row in rows] == [16 * 60, 2 * 16 * 60]
    assert {"discriminator/loss", "posterior/cross_entropy", "ppo/policy_loss", "rollout/style_nmi"} <= set(rows[0])
    assert [each[:2] for each in told] == [(1, 2), (2, 2)] and [each[2] for each in told] == rows

    training = json.loads((run / "training.json").read_text())
    assert training["env_steps"] == 1920 and training["train_seconds"] == rows[-1]["seconds"] > rows[0]["seconds"]
    assert training["env_steps_to_styles"] is None and training["seconds_to_styles"] is None

    board = EventAccumulator(str(run)).Reload()
    assert set(board.Tags()["scalars"]) == set(rows[0]) - {"iteration", "env_steps", "seconds"}
    for key in board.Tags()["scalars"]:
        scalars, logged = board.Scalars(key), [row for row in rows if key in row]
        assert [scalar.step for scalar in scalars] == [row["env_steps"] for row in logged]
        np.testing.assert_allclose([scalar.value for scalar in scalars], [row[key] for row in logged], rtol=1e-6)


def test_nothing_in_a_run_is_a_pickle(trained):
    for name, data in contents(trained[0]).items():
        assert not data.startswith((b"\x80", b"PK")), name  # pickle's own format, and torch.save's
        if name.suffix == ".safetensors":
            with safe_open(trained[0] / name, framework="numpy") as file:
                assert file.keys()


def test_a_loaded_driver_drives_as_the_trained_one(trained):
    run, driver, _ = trained
    loaded = infogail.load(str(run))
    assert (loaded.scenario.name, loaded.algorithm, loaded.num_codes, loaded.seed) == ("pass", "infogail", 2, 0)
    observations = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    codes = np.arange(50) % 2
    actions = loaded.act(observations, codes)
    assert actions.shape == (50, 2) and actions.dtype == np.float32 and np.abs(actions).max() <= 1
    np.testing.assert_array_equal(actions, driver.act(observations, codes))
    single = loaded.act(observations[3], 1)
    assert single.shape == (2,) and single.dtype == np.float32
    np.testing.assert_allclose(single, actions[3], atol=1e-6)
    np.testing.assert_allclose(loaded.act(observations, 1)[1::2], actions[1::2], atol=1e-6)
    assert (loaded.act(observations, 0)[1::2] != actions[1::2]).any()
    log_posterior = loaded.log_posterior(observations, actions)
    np.testing.assert_array_equal(log_posterior, driver.log_posterior(observations, actions))
    np.testing.assert_allclose(np.exp(log_posterior).sum(-1), np.ones(50), rtol=1e-5)


def test_actions_are_clipped(trained):
    far = 1e4 * np.random.default_rng(0).normal(size=(20, 7))
    assert np.abs(infogail.load(trained[0]).act(far, 0)).max() == 1


@pytest.mark.parametrize("code", [2, -1, np.array([0, 1, 5])])
def test_an_unknown_code_is_named(trained, code):
    with pytest.raises(ValueError, match=r"the codes of this driver are 0 to 1"):
        infogail.load(trained[0]).act(np.zeros((3, 7)), code)


def test_a_learner_without_codes_takes_them_and_ignores_them(file, tmp_path):
    train(BC, "bc", file, "pass", TINY, tmp_path / "run")
    driver, observations = infogail.load(tmp_path / "run"), np.ones((2, 7))
    np.testing.assert_allclose(*driver.act(observations, np.array([0, 1])), rtol=0, atol=1e-6)
    assert driver.log_posterior(observations, np.zeros((2, 2))) is None
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 2 and json.loads(rows[1])["env_steps"] == 0
    train(BC, "bc", file, "pass", TINY, tmp_path / "again")
    np.testing.assert_array_equal(infogail.load(tmp_path / "again").act(observations, 0), driver.act(observations, 0))


def test_settings_follow_the_scenario():
    several = [settings(get_scenario(name)).codes.num_codes for name in ("pass", "pass-pace", "pass-follow")]
    assert several == [2, 4, 3]
    assert settings(get_scenario("pass"), overrides={"num_codes": 5}).codes.num_codes == 5
    graded = settings(get_scenario("turn-line"))
    assert graded.codes.graded_code and graded.codes.num_codes == 7
    with pytest.raises(BadInput, match="--num-codes 2: pass-pace has 4 styles; give no fewer with --labelled"):
        settings(get_scenario("pass-pace"), overrides={"num_codes": 2, "labelled": 0.1})
    with pytest.raises(BadInput, match="the people in replay have no style labels; leave it out"):
        settings(get_scenario("replay"), overrides={"labelled": 0.1})
    with pytest.raises(BadInput, match="--labelled 2: give a share of at most 1, or None"):
        Config.of(labelled=2)


def test_a_graded_driver_takes_any_code_between_its_ends(tmp_path):
    record(get_scenario("turn-line"), 10, seed=0)[0].save(tmp_path / "demos")
    graded = TINY.with_(**get_scenario("turn-line").recommended)
    train(InfoGAIL, "infogail", tmp_path / "demos", "turn-line", graded, tmp_path / "run")
    driver = load(tmp_path / "run")
    assert driver.codes == pytest.approx([-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1], abs=1e-6)
    obs = np.zeros(9, np.float32)
    low, middle, high = (driver.act(obs, code) for code in (-1.0, 0.123, 1.0))
    assert (low != middle).any() and (middle != high).any()
    with pytest.raises(ValueError, match=r"code 1.2: the codes of this driver are -1.0 to 1.0"):
        driver.act(obs, 1.2)


def test_few_demonstrations_and_labels_reach_the_learner(file, tmp_path):
    given = []

    def keep(env, demonstrations, config):
        given.append(demonstrations)
        return InfoGAIL(env, demonstrations, config)

    train(keep, "infogail", file, "pass", TINY.with_(demonstrations_limit=6, labelled=0.01), tmp_path / "run")
    assert given[0].num_episodes == 6 and sorted(given[0].labels.values()) == [0, 1]


def test_a_learner_is_given_the_first_four_fifths(file, tmp_path):
    learner = Scripted({})
    train(learner, "bc", file, "pass", TINY, tmp_path / "run")
    whole = Recording.load(file, get_scenario("pass")).demonstrations
    np.testing.assert_array_equal(learner.demonstrations.observations, whole.episodes(slice(8)).observations)
    assert isinstance(learner.demonstrations, Demonstrations)


class Timed(InfoGAIL):
    """Takes a second for an iteration and half of one to start; its noisy rollouts show the styles at once."""

    now = 0.0

    def start(self):
        Timed.now += 0.5
        super().start()

    def iterate(self):
        Timed.now += 1.0
        return super().iterate() | {"rollout/style_nmi": 1.0}


class SlowCheck:
    """Finds the styles in the policy of the second iteration, or at the start, and takes ever so long."""

    answers: ClassVar[list[float]] = []

    def __init__(self, scenario, judge, num_codes, device):
        pass

    def style_nmi(self, policy):
        Timed.now += 1000.0
        return self.answers.pop(0)


def test_when_the_mean_action_shows_the_styles_is_kept(file, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "time", SimpleNamespace(perf_counter=lambda: Timed.now))
    monkeypatch.setattr(runner, "MeanActionCheck", SlowCheck)

    def stop(done, total, log):
        if done == 2:
            signal.raise_signal(signal.SIGTERM)

    run, config = tmp_path / "run", TINY.with_(iterations=4, rim_tries=1, warm_start_steps=2)
    SlowCheck.answers[:] = [0.1, 0.2, 0.96]  # a further answer there is not
    with pytest.raises(Stopped):
        train(Timed, "infogail", file, "pass", config, run, on_iteration=stop)
    assert not (run / "training.json").exists()
    Timed.now += 500.0
    resume({"infogail": Timed}, run)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["seconds"] for row in rows] == [1.5, 2.5, 3.5, 4.5]
    assert [row.get("mean_action/style_nmi") for row in rows] == [0.2, 0.96, None, None]
    assert json.loads((run / "training.json").read_text()) == {
        "env_steps": 4 * 960,
        "train_seconds": 4.5,
        "env_steps_to_styles": 2 * 960,
        "seconds_to_styles": 2.5,
    }


def test_a_warm_start_may_find_the_styles_before_the_first_step(file, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "time", SimpleNamespace(perf_counter=lambda: Timed.now))
    monkeypatch.setattr(runner, "MeanActionCheck", SlowCheck)
    SlowCheck.answers[:] = [0.97]
    config = TINY.with_(iterations=2, rim_tries=1, warm_start_steps=2)
    train(Timed, "infogail", file, "pass", config, tmp_path / "run")
    training = json.loads((tmp_path / "run" / "training.json").read_text())
    assert (training["env_steps_to_styles"], training["seconds_to_styles"], training["train_seconds"]) == (0, 0.5, 2.5)


def test_without_codes_no_styles_are_found(file, tmp_path):
    learner = Scripted(*({"rollout/env_steps": 100, "rollout/style_nmi": 1.0} for _ in range(2)))
    train(learner, "gail", file, "pass", TINY, tmp_path / "run")
    training = json.loads((tmp_path / "run" / "training.json").read_text())
    assert (training["env_steps"], training["env_steps_to_styles"], training["seconds_to_styles"]) == (200, None, None)


def test_an_interrupt_between_old_and_new_run_brings_the_old_one_back(file, tmp_path, monkeypatch):
    train(Scripted({"a": 1.0}), "bc", file, "pass", TINY, tmp_path / "run")
    before, rename = contents(tmp_path), Path.rename

    def interrupted(path, target):
        if path.name.endswith(".partial"):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(Scripted({"a": 2.0}), "bc", file, "pass", TINY, tmp_path / "run", force=True)
    assert contents(tmp_path) == before


def test_what_a_kill_between_old_and_new_run_left_is_put_right(file, tmp_path):
    run, old, partial = tmp_path / "run", tmp_path / ".run.7.old", tmp_path / ".run.7.partial"
    train(Scripted({"a": 1.0}), "bc", file, "pass", TINY, run)
    run.rename(old)
    partial.mkdir()
    resume({"bc": Scripted({"a": 1.0})}, run)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_force_replaces_the_whole_run(file, tmp_path):
    run = tmp_path / "run"
    train(Scripted({"a": 1.0}), "bc", file, "pass", TINY, run)
    (run / "metrics.json").write_text("of the old run")
    train(Scripted({"b": 1.0}), "gail", file, "pass", TINY, run, force=True)
    assert infogail.load(run).algorithm == "gail" and not (run / "metrics.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["run"] and len(list(run.glob("events*"))) == 1


def test_an_empty_folder_may_become_a_run(file, tmp_path):
    train(Scripted({}), "bc", file, "pass", TINY, tmp_path)
    assert infogail.load(tmp_path).algorithm == "bc"


@pytest.mark.parametrize("force", [False, True])
def test_only_a_run_is_ever_replaced(file, tmp_path, force):
    folder, note = tmp_path / "thesis", tmp_path / "note"
    folder.mkdir()
    (folder / "chapter1.tex").write_text("years of work")
    note.write_text("a file")
    before = contents(tmp_path)
    for path, problem in [(folder, "something other than a run"), (note, "is a file"), (note / "run", "is a file")]:
        with pytest.raises(NonEmptyFolder, match=problem):
            train(Scripted({}), "bc", file, "pass", TINY, path, force)
    assert contents(tmp_path) == before


def test_outputs_are_checked(tmp_path):
    run, file = tmp_path / "run", tmp_path / "film.mp4"
    check_run(run, force=False)
    check_output(file, force=False)
    run.mkdir()
    check_run(run, force=False)
    for path in (file, run / "manifest.json"):
        path.write_bytes(b"")
    check_run(run, force=True)
    check_output(file, force=True)
    for check, path in ((check_run, run), (check_output, file)):
        with pytest.raises(NonEmptyFolder, match=r": .*; .*replace it with --force"):
            check(path, force=False)
    for path, problem in ((run, "is a folder"), (file / "b", "is a file")):
        with pytest.raises(NonEmptyFolder, match=problem):
            check_output(path, force=True)


def test_demonstrations_are_checked_before_anything_is_written(file, tmp_path):
    (tmp_path / "demos").write_bytes(b"no demonstrations")
    for path, scenario in ((tmp_path / "demos", "pass"), (file, "turn")):
        with pytest.raises(InvalidDemonstrations):
            train(Scripted({}), "bc", path, scenario, TINY, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["demos"]


DAMAGES = {
    "'policy.net.0.weight' contains NaN or Inf": lambda arrays: arrays["policy.net.0.weight"].fill(np.nan),
    "Missing key": lambda arrays: arrays.pop("policy.log_std"),
    "Unexpected key": lambda arrays: arrays.update({"policy.extra": np.zeros(1)}),
    "size mismatch": lambda arrays: arrays.update({"policy.net.2.weight": np.zeros((9, 8), np.float32)}),
    "'log_std' is torch.float64, not torch.float32": lambda arrays: arrays.update({"policy.log_std": np.zeros(2)}),
}


def rewritten(trained, tmp_path):
    """A copy of the run that may be written to."""
    shutil.copytree(trained[0], tmp_path / "run")
    return RunFolder(tmp_path / "run", Manifest.load(tmp_path / "run"))


@pytest.mark.parametrize("problem", DAMAGES)
def test_a_malformed_driver_is_named(trained, tmp_path, problem):
    run = rewritten(trained, tmp_path)
    arrays, metadata = unseal(run.path / "policy.safetensors", SCHEMA)
    DAMAGES[problem](arrays)
    run.write("policy.safetensors", seal(arrays, metadata))
    with pytest.raises(InvalidRun) as raised:
        infogail.load(run.path)
    message = str(raised.value)
    assert message.startswith(f"{run.path}/policy.safetensors: not a driver of this version (") and problem in message
    assert message.endswith("; train it again") and "\n" not in message


def test_a_driver_of_another_schema_is_named(trained, tmp_path):
    run = rewritten(trained, tmp_path)
    arrays, _ = unseal(run.path / "policy.safetensors", SCHEMA)
    for schema, problem in (
        ("infogail-driver-4", "newer than 'infogail-driver-3': update infogail"),
        ("x", "not 'inf"),
    ):
        run.write("policy.safetensors", seal(arrays, {"schema": schema}))
        with pytest.raises(InvalidRun, match=problem):
            infogail.load(run.path)


def test_a_driver_of_another_run_is_named(trained, tmp_path):
    for change in ({"num_codes": 3}, {"hidden": 16}):
        run = rewritten(trained, tmp_path)
        run.manifest = replace(run.manifest, config=run.manifest.config.with_(**change))
        run.write("x", b"")
        with pytest.raises(InvalidRun, match=r"not a driver of this version \(.*size mismatch"):
            infogail.load(run.path)
        shutil.rmtree(run.path)
    run = rewritten(trained, tmp_path)
    run.manifest = replace(run.manifest, scenario="turn")
    run.write("x", b"")
    with pytest.raises(InvalidRun, match="size mismatch"):
        infogail.load(run.path)


def test_a_driver_that_is_not_the_one_listed_is_named(trained, tmp_path):
    run = rewritten(trained, tmp_path)
    path = run.path / "policy.safetensors"
    whole = path.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    for content in (whole[:-4], b"", flipped):
        path.write_bytes(content)
        with pytest.raises(InvalidRun, match=r"policy\.safetensors: its sha256 is not the one in manifest\.json"):
            infogail.load(run.path)
    (tmp_path / "elsewhere").write_bytes(whole)
    path.unlink()
    with pytest.raises(InvalidRun, match=r"policy\.safetensors: no such file; .*infogail train --resume"):
        infogail.load(run.path)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidRun, match="is a link that leaves the run"):
        infogail.load(run.path)
    with pytest.raises(InvalidRun, match=r"nowhere/manifest\.json: no such file; make a run with 'infogail train"):
        infogail.load(tmp_path / "nowhere")


MANIFESTS = {
    "format is 3, newer than 2; update infogail": {"format": 3},
    "format is True, not 2": {"format": True},
    "format is 1, not 2\\); train the run again": {"format": 1},
    "lacks 'config'": {"config": None},
    "scenario is 'merge', not one of pass, turn": {"scenario": "merge"},
    "algorithm is 3, not a string": {"algorithm": 3},
    "files is \\[\\], not an object of strings": {"files": []},
    "processes is 0, not a positive integer": {"processes": 0},
    "'../policy' leaves the folder": {"files": {"../policy": ""}},
    "unexpected keyword argument 'wheels'": {"wheels": 4},
}


@pytest.mark.parametrize("problem", MANIFESTS)
def test_a_malformed_manifest_is_named(trained, tmp_path, problem):
    content = json.loads((trained[0] / "manifest.json").read_text()) | MANIFESTS[problem]
    del content["sha256"]
    path, content = tmp_path / "manifest.json", {key: value for key, value in content.items() if value is not None}
    content["sha256"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidRun, match=problem) as raised:
        infogail.load(tmp_path)
    assert str(raised.value).startswith(f"{path}: ") and "\n" not in str(raised.value)


def test_a_changed_manifest_is_named(trained, tmp_path):
    text = (trained[0] / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace('"num_envs": 16', '"num_envs": 17'))
    with pytest.raises(InvalidRun, match="it does not match its own sha256: it was damaged or changed"):
        infogail.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"1" * 2**21])
def test_a_manifest_that_is_none_is_named(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(InvalidRun, match="not a manifest of this version"):
        infogail.load(tmp_path)


MISSING = object()
CONFIGS = {
    "config.policy has an unknown setting 'learning_rat'; did you mean learning_rate?": ("policy", {"learning_rat": 1}),
    "config.policy lacks 'gamma'": ("policy", {"gamma": MISSING}),
    "--num-envs True: give a whole number": ("run", {"num_envs": True}),
    "--num-envs 0: give a number above 0": ("run", {"num_envs": 0}),
    "--threads None: give a whole number": ("run", {"threads": None}),
    "--gamma nan: give a finite number": ("policy", {"gamma": float("nan")}),
    "--hidden 8.5: give a whole number": ("policy", {"hidden": 8.5}),
    "--clip 0.2: give a number": ("policy", {"clip": "0.2"}),
    "--weight-clip x: give a number, or None": ("discriminator", {"weight_clip": "x"}),
}


@pytest.mark.parametrize("problem", CONFIGS)
def test_a_malformed_config_is_named(problem):
    part, change = CONFIGS[problem]
    values = asdict(TINY)
    values[part] = {key: value for key, value in (values[part] | change).items() if value is not MISSING}
    with pytest.raises(BadInput) as raised:
        Config.from_dict(values)
    assert problem in str(raised.value)
    for malformed in ([], asdict(TINY) | {part: 3}):
        with pytest.raises(BadInput, match="not an object of settings"):
            Config.from_dict(malformed)
    with pytest.raises(BadInput, match=f"config lacks '{part}'"):
        Config.from_dict({key: value for key, value in asdict(TINY).items() if key != part})
    assert Config.from_dict(asdict(TINY)) == TINY
