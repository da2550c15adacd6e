"""`record`, `train`, `evaluate` and `--resume` in a Gymnasium environment, as a user meets them."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from infogail.cli import main
from infogail.envs.data.episodes import Episodes
from infogail.envs.files import seal, unseal
from infogail.envs.tasks import GymTask
from infogail.runs.folder import RunFolder

EXPERTS = """
GAINS = [0.1, 0.3, 1.0, 1.0]  # of CartPole's position, speed, angle and its rate


def left(obs):
    return int((obs - [-1, 0, 0, 0]) @ GAINS > 0)


def right(env, obs):
    assert env.spec.id == "CartPole-v1"
    return int((obs - [1, 0, 0, 0]) @ GAINS > 0)


def wild(obs):
    return 7


def three(a, b, c):
    return 0


def side(trajectory):
    assert trajectory.observations.shape == (len(trajectory.rewards) + 1, 4)
    return "left" if trajectory.observations[100:, 0].mean() < 0 else "right"


def position(trajectory):
    return float(trajectory.observations[100:, 0].mean())
"""
FILE = "demos/CartPole-v1.safetensors"
SMALL = ["--num-envs", "4", "--iterations", "2", "--bc-steps", "50", "--warm-start-steps", "50", "--rim-tries", "2"]


def infogail(*words):
    main([str(word) for word in words])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "experts.py").write_text(EXPERTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "experts", raising=False)
    return tmp_path


def record(*words):
    infogail("record", "CartPole-v1", *words)


def test_two_recordings_in_one_file_keep_their_styles_and_seeds(folder):
    record("--policy", "experts:left", "--episodes", 2, "--style", 0)
    record("--policy", "experts:right", "--episodes", 1, "--style", 1, "--seed", 9, "--append")
    task = GymTask("CartPole-v1")
    episodes = Episodes.load(folder / FILE, task.interface)
    assert episodes.styles.tolist() == [0, 0, 1] and episodes.seeds.tolist() == [0, 1, 9]
    assert episodes.returns.tolist() == [500.0] * 3 and not episodes.terminated.any()
    middles = [episodes.episodes([e]).demonstrations.observations[100:, 0].mean() for e in range(3)]
    assert np.sign(middles).tolist() == [-1, -1, 1]
    assert episodes.interpreted(None).demonstrations.spec.early_end == "failure"
    assert episodes.interpreted("neither").demonstrations.spec.early_end == "neither"


@pytest.mark.parametrize("algorithm", ["infogail", "gail", "coded-bc", "bc"])
def test_train_and_evaluate(folder, capsys, algorithm):
    record("--policy", "experts:left", "--episodes", 3)
    infogail("train", "CartPole-v1", "--algorithm", algorithm, "--out", "runs/a", *SMALL)
    infogail("evaluate", "runs/a", "--episodes", 4, "--json")
    metrics = json.loads((folder / "runs/a/metrics.json").read_text())
    assert json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""])) == metrics
    assert metrics["scenario"] == "CartPole-v1" and metrics["demonstrated_return_mean"] == 500.0
    assert metrics["return_mean"] == metrics["length_mean"]  # a reward of 1 for each step
    coded = algorithm in ("infogail", "coded-bc")
    assert len(metrics["return_by_code"]) == (2 if coded else 1)
    assert (metrics["posterior_accuracy"] is not None) == coded
    assert np.mean(metrics["return_by_code"]) == pytest.approx(metrics["return_mean"])


def test_resume_is_bit_identical(folder):
    record("--policy", "experts:left", "--episodes", 2)
    infogail("train", "CartPole-v1", "--out", "runs/whole", *SMALL, "--settling-iterations", "None")
    short = [*SMALL, "--settling-iterations", "None", "--checkpoint-interval", 1]
    infogail("train", "CartPole-v1", "--out", "runs/part", *short)
    whole, part = ((folder / name / "policy.safetensors").read_bytes() for name in ("runs/whole", "runs/part"))
    assert whole == part
    for run in ("runs/whole", "runs/part"):
        infogail("train", "--resume", run, "--iterations", 3)
    whole, part = ((folder / name / "policy.safetensors").read_bytes() for name in ("runs/whole", "runs/part"))
    assert whole == part


def test_two_ways_to_balance_are_told_apart_judged_and_filmed(folder, capsys):
    record("--policy", "experts:left", "--episodes", 10, "--style", 0)
    record("--policy", "experts:right", "--episodes", 10, "--style", 1, "--seed", 50, "--append")
    infogail("train", "CartPole-v1", "--num-envs", 4, "--iterations", 3, "--out", "runs/a")
    infogail("evaluate", "runs/a", "--episodes", 6, "--style", "experts:side")
    metrics = json.loads((folder / "runs/a/metrics.json").read_text())
    for name in ("style_nmi", "demonstrations_style_nmi", "posterior_accuracy"):
        assert metrics[name] == 1.0
    assert sorted(metrics["code_names"]) == ["left", "right"]
    assert metrics["return_mean"] > 450 and metrics["code_distance"] > 10 * metrics["code_distance_floor"]
    infogail("evaluate", "runs/a", "--episodes", 6, "--style", "experts:position")
    metrics = json.loads((folder / "runs/a/metrics.json").read_text())
    assert abs(np.diff(metrics["style_by_code"])) > 1.0 and metrics["style_explained"] > 0.8
    infogail("render", "runs/a", "--out", "films")
    with pytest.raises(SystemExit) as stop:
        infogail("render", "runs/a", "--html")
    assert stop.value.code == 2
    assert "--html: is of roads and cars, which CartPole-v1 has none of" in capsys.readouterr().err
    picture = cv2.imread(str(folder / "films/codes.png"))
    assert picture.shape[1] > 5 * 600 and cv2.imread(str(folder / "films/codes.png")).std() > 10
    frames = cv2.VideoCapture(str(folder / "films/codes.mp4"))
    count, rate = (frames.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
    assert rate == 25 and count >= 250  # CartPole renders at 50 Hz, 500 steps; every second is shown


def test_a_third_partys_environment_wrapped(folder, capsys):
    (folder / "grid.py").write_text("""
import gymnasium
import minigrid
from minigrid.wrappers import ImgObsWrapper


def make(**options):
    return ImgObsWrapper(gymnasium.make("MiniGrid-Empty-5x5-v0", **options))  # its mission is a text, not numbers


gymnasium.register("Mine/Grid-v0", make, max_episode_steps=100)


def walk(env, obs):
    cell = env.grid.get(*env.front_pos)
    return 2 if cell is None or cell.can_overlap() else 1 if env.agent_pos[0] == env.width - 2 else 0
""")
    name = "Mine/Grid-v0"
    with pytest.raises(SystemExit):
        infogail("record", name, "--policy", "grid:walk")
    assert "environment 'Mine/Grid-v0': Namespace Mine not found" in capsys.readouterr().err
    infogail("record", name, "--policy", "grid:walk", "--episodes", 4, "--import", "grid")
    spec = GymTask(name).spec
    assert spec.categories == (7,) and spec.observation_shape == (7 * 7 * 3,)
    infogail("train", name, "--algorithm", "gail", "--out", "runs/g", *SMALL)
    infogail("evaluate", "runs/g", "--episodes", 2)
    metrics = json.loads((folder / "runs/g/metrics.json").read_text())
    assert metrics["demonstrated_return_mean"] > 0.9 and metrics["return_mean"] > 0.9
    infogail("render", "runs/g", "--out", "films")
    assert (folder / "films/codes.gif").stat().st_size > 1000


def test_a_run_or_file_imports_no_module_that_it_names(folder, capsys):
    record("--policy", "experts:left", "--episodes", 2)
    infogail("train", "CartPole-v1", "--algorithm", "bc", "--out", "runs/a", *SMALL)
    (folder / "evil.py").write_text("raise SystemExit(99)")
    with RunFolder.open(folder / "runs/a") as run:
        run.describe(replace(run.manifest, scenario="evil:Env"))
    with pytest.raises(SystemExit) as stop:
        infogail("evaluate", "runs/a")
    assert stop.value.code == 2 and "add --import evil" in capsys.readouterr().err
    arrays, metadata = unseal(folder / FILE, "infogail-episodes-2")
    (folder / "evil.safetensors").write_bytes(seal(arrays, metadata | {"environment": "evil:Env-v0"}))
    with pytest.raises(SystemExit) as stop:
        infogail("export", "evil.safetensors", "--minari", "a-v0")
    assert stop.value.code == 2 and "add --import evil" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["record", "CartPole-v1"], "record CartPole-v1: give --policy"),
        (["record", "CartPole-v9", "--policy", "experts:left"], "environment 'CartPole-v9': Environment version `v9`"),
        (["record", "Nothing-v0", "--policy", "experts:left"], "environment 'Nothing-v0': Environment `Nothing`"),
        (["record", "CartPole-v1", "--policy", "left"], "--policy left: give module:function"),
        (["record", "CartPole-v1", "--policy", "nobody:left"], "--policy nobody:left: No module named 'nobody'"),
        (["record", "CartPole-v1", "--policy", "experts:up"], "--policy experts:up: experts has no 'up'"),
        (["record", "CartPole-v1", "--policy", "experts:three"], "--policy experts:three: takes 3 arguments"),
        (["record", "CartPole-v1", "--policy", "experts:wild"], "the policy's action 7 is not in the action space"),
        (["record", "CartPole-v1", "--policy", "experts:left", "--episodes", 0], "--episodes 0"),
        (["record", "pass", "--policy", "experts:left"], "--policy: pass is recorded by its own experts"),
        (["record", "CartPole-v1", "--policy", "a.zip"], "--policy a.zip: not a Stable-Baselines3 zip"),
        (["record", "CartPole-v1", "--policy", "a.onnx"], "--policy a.onnx: not an ONNX model"),
        (["evaluate", "--import", "nobody"], "--import nobody: No module named 'nobody'"),
        (["train", "CartPole-v1"], f"{FILE}: no such file; make it with 'infogail record CartPole-v1 --policy …'"),
        (["train", "pass", "--early-end", "success"], "--early-end success: in pass it is known; leave it out"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, capsys, words, problem):
    with pytest.raises(SystemExit) as stop:
        infogail(*words)
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("infogail: ")]
    assert line.startswith(f"infogail: {problem}")
    assert not (folder / FILE).exists() and not (folder / "runs").exists()


def test_a_file_of_another_environment_is_refused(folder, capsys):
    record("--policy", "experts:left", "--episodes", 1)
    with pytest.raises(SystemExit):
        infogail("train", "Acrobot-v1", "--demonstrations", FILE)
    assert f"{FILE}: recorded in CartPole-v1, not in Acrobot-v1" in capsys.readouterr().err
