import contextlib
import io
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

import infogail
from infogail.benchmark.cells import plan
from infogail.cli import main, parse
from infogail.cli.training import learner_classes
from infogail.config.config import Config
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput
from infogail.envs.files import seal, unseal
from infogail.envs.recordings.record import record
from infogail.envs.twin import DrivingEnvironment
from infogail.parallel.signals import Stopped
from infogail.parallel.terminal import print_table, write_plainly
from infogail.rendering.film import film
from infogail.runs.folder import Manifest
from infogail.runs.runner import train

COMMANDS = (
    "studio",
    "record",
    "import",
    "export",
    "train",
    "evaluate",
    "render",
    "traffic",
    "recognise",
    "forecast",
    "maps",
    "stress",
    "speed",
    "benchmark",
    "demo",
)
ALGORITHMS = ("infogail", "gail", "coded-bc", "bc")
TINY = "--num-envs 16 --iterations 2 --rim-steps 2 --warm-start-steps 20 --bc-steps 100 --threads 1"
FILM = {"codes.gif", "codes.mp4", "codes.png"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Demonstrations of both scenarios, and runs of all algorithms on pass, made by the commands."""
    folder = tmp_path_factory.mktemp("made")
    for scenario in ("pass", "turn"):
        run(f"record {scenario} --episodes 10 --out {folder}/{scenario}.safetensors")
    for algorithm in ALGORITHMS:
        file = f"{folder}/pass.safetensors"
        run(f"train pass --algorithm {algorithm} --demonstrations {file} --out {folder}/{algorithm} {TINY}")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A folder to work in: good demonstrations, a run, and much that is none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made").symlink_to(made)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.tex").write_text("years of work")
    (tmp_path / "text").write_text("speed,steering\n")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/manifest.json").write_bytes((made / "bc/manifest.json").read_bytes())
    (tmp_path / "broken/policy.safetensors").write_bytes((made / "bc/policy.safetensors").read_bytes()[:-9])
    arrays, metadata = unseal(made / "pass.safetensors", "infogail-demonstrations-2")
    arrays["observations"][3] = np.nan
    (tmp_path / "nan.safetensors").write_bytes(seal(arrays, metadata))
    return tmp_path


def run(arguments):
    """The exit status of `infogail ARGUMENTS`."""
    try:
        main(shlex.split(arguments))
    except SystemExit as stop:
        return stop.code or 0
    return 0


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


BAD_INPUT = {
    # what there is not
    "recrod pass": "unknown command 'recrod'; did you mean 'record'?",
    "xyz": f"unknown command 'xyz'; choose from {', '.join(COMMANDS[:-1])} and {COMMANDS[-1]}",
    "record pas": "unknown scenario 'pas'; did you mean 'pass'?",
    "record Turn": "unknown scenario 'Turn'; did you mean 'turn'?",
    "train xyz --out a": "pass-unbalanced, turn-line, highway, highway-manners, replay and follow",
    "studio nowhere": "nowhere: no such folder; make it first",
    "studio --port 99999": "--port 99999: give a number from 0 to 65535",
    "studio --max-sessions 0": "--max-sessions 0: give at least 1",
    "studio --host no.such.host.invalid": "give an address of this machine",
    "record pass --epsiodes 20": "--epsiodes, 20; did you mean '--episodes'?",
    "train pass --out a --num-code=3": "--num-code=3; did you mean '--num-codes'?",
    "render made/bc --bogus": "--bogus; see 'infogail --help'",
    "record pass turn": "turn; see 'infogail --help'",
    "train pass --out a --algorithm infogial": "--algorithm infogial: did you mean 'infogail'?",
    "train pass --out a --algorithm x": "--algorithm x: choose from infogail, gail, coded-bc and bc",
    # what is missing
    "record": "(required); see 'infogail record --help'",
    "train --out a": "train: give SCENARIO, or --resume RUN; see 'infogail train --help'",
    **dict.fromkeys(
        ("evaluate", "render", "recognise"),
        "runs: no suitable finished run; make one with 'infogail train pass'",
    ),
    "traffic": "runs: no suitable finished run; make one with 'infogail train highway'",
    "record pass --out": "Missing value for argument '--out'. Expected 1 values; see 'infogail record --help'",
    # what is no number, or none that will do
    "record pass --episodes ten": "--episodes ten: give a whole number",
    "record pass --seed 1.5": "--seed 1.5: give a whole number",
    "train pass --out a --learning-rate fast": "--learning-rate fast: give a number",
    "train pass --out a --num-codes True": "--num-codes True: give a whole number",
    "record pass --episodes 9": "--episodes 9: give at least 10",
    "evaluate made/bc --episodes 0": "--episodes 0: give at least 1",
    "benchmark --out a --seeds 0": "--seeds 0: give at least 1",
    "benchmark --out a --scenarios pass trun": "unknown scenario 'trun'; did you mean 'turn'?",
    "benchmark --out text": "text: is a file, not a folder; write elsewhere",
    "demo --episodes 19": "--episodes 19: give at least 20",
    **{f"{command} --seed -1": "--seed -1: give at least 0" for command in ("record pass", "evaluate made/bc")},
    **{f"{command} --seed -1": "--seed -1: give at least 0" for command in ("render made/bc", "speed", "demo")},
    "train pass --out a --seed -1": "--seed -1: give 0 or more",
    f"train pass --out a --seed {2**63}": f"--seed {2**63}: give a number below 2^63",
    "train pass --out a --device gpu": "--device gpu: give cpu, cuda, or cuda:N for GPU number N",
    "benchmark --out a --device cuda:99": "give --device cpu",
    "train pass --out a --threads 1000000000": "--threads 1000000000: give at most 1024",
    **{
        f"{command} --seed {2**63}": f"--seed {2**63}: give a number below 2^63" for command in ("record pass", "speed")
    },
    f"recognise made/infogail --seed {2**70}": f"--seed {2**70}: give a number below 2^63",
    "train pass --out a --num-codes -2": "--num-codes -2: give a number above 0",
    "train pass --out a --labelled 1.5": "--labelled 1.5: give a share of at most 1, or None",
    "benchmark --out a --presets papre": "unknown preset 'papre'; did you mean 'paper'?",
    "train pass --out a --learning-rate nan": "--learning-rate nan: give a finite number",
    "train pass --out a --clip inf": "--clip inf: give a finite number",
    "train pass --out a --entropy-coef -1": "--entropy-coef -1.0: give 0 or more",
    "train pass --out a --gamma 1": "--gamma 1.0: give a discount below 1",
    "train pass --out a --gae-lambda 1.5": "--gae-lambda 1.5: give a number from 0 to 1",
    "train pass --out a --posterior-target 1.5": "--posterior-target 1.5: give a number from 0 to 1, or None",
    "train pass --out a --final-learning-rate 2": "--final-learning-rate 2.0: give a number from 0 to 1",
    "train pass --out a --weight-clip -1": "--weight-clip -1.0: give a number above 0, or None",
    "train pass --out a --max-kl 0": "--max-kl 0.0: give a number above 0",
    "train pass --out a --policy-update trop": "--policy-update trop: did you mean 'trpo'?",
    "train pass --out a --preset no-rmi": "unknown preset 'no-rmi'; did you mean 'no-rim'?",
    "train pass --preset=papers --out a": "unknown preset 'papers'; did you mean 'paper'?",
    "train pass --preset": "Missing value for argument '--preset'. Expected 1 values; see 'infogail train --help'",
    "train pass --out a --num-envs 2 --num-codes 3": "--num-envs 2: give at least one for each of the 3 codes",
    # demonstrations
    "train replay": "demos/replay.safetensors: no such file; make it with 'infogail import FILES --out "
    "demos/replay.safetensors'",
    "train turn --out a --demonstrations 'no such'": "no such: no such file; make it with 'infogail record turn --out "
    "'no such''",
    "train pass --out a --demonstrations no": "no: no such file; make it with 'infogail record pass --out no'",
    "train pass --out a --demonstrations text": "text: not a readable safetensors file (a header of "
    "8,391,099,340,430,864,499 bytes); record it again with 'infogail record'",
    "train pass --out a --demonstrations thesis": "thesis: is a folder; give a file from 'infogail record'",
    "train turn --out a --demonstrations made/pass.safetensors": "made/pass.safetensors: recorded in pass, not in "
    "turn; give a file of turn",
    "train pass --out a --demonstrations nan.safetensors": "nan.safetensors: 'observations' holds NaN or Inf; record "
    "it again with 'infogail record'",
    # runs
    "evaluate nowhere": "nowhere/manifest.json: no such file; make a run with 'infogail train SCENARIO --out nowhere'",
    "render thesis": "thesis/manifest.json: no such file; make a run with 'infogail train SCENARIO --out thesis'",
    "traffic nowhere": "nowhere/manifest.json: no such file; make a run with 'infogail train SCENARIO --out nowhere'",
    "traffic nowhere --environment hihgway-v0": "unknown environment 'hihgway-v0'; did you mean 'highway-v0'?",
    "traffic nowhere --seconds 0": "--seconds 0.0: give at least 1",
    "traffic nowhere --seconds nan": "--seconds nan: give at least 1",
    "traffic nowhere --seconds inf": "--seconds inf: give at least 1",
    "evaluate 'no where'": "no where/manifest.json: no such file; make a run with 'infogail train SCENARIO --out "
    "'no where''",
    "recognise nowhere": "nowhere/manifest.json: no such file; make a run with 'infogail train SCENARIO --out nowhere'",
    "train --resume thesis": "thesis/manifest.json: no such file; make a run with 'infogail train SCENARIO --out "
    "thesis'",
    "evaluate broken": "broken/policy.safetensors: its sha256 is not the one in manifest.json: it was damaged or "
    "changed; 'infogail train --resume broken' restores it from the last checkpoint",
    "train turn --resume made/bc": "SCENARIO turn: the run to resume has pass; leave it out",
    "train --resume made/bc --algorithm gail": "--algorithm gail: the run to resume has bc; leave it out",
    "train --resume made/infogail --preset no-rim": "--rim-coef 0.0: the run to resume has 10.0; leave it out",
    "train --resume made/infogail --preset gail-trpo": "--algorithm gail: the run to resume has infogail; leave it out",
    "train --resume made/bc --num-envs 64": "--num-envs 64: the run to resume has 16; leave it out",
    "train --resume made/bc --iterations 3": "--iterations 3: the run to resume has 2; leave it out",
    "train --resume made/gail --bc-steps 200": "--bc-steps 200: the run to resume has 100; leave it out",
    "train --resume made/gail --iterations 1": "/gail: has already done 2 iterations; give a larger --iterations",
    "train --resume made/gail --iterations 0": "--iterations 0: give a number above 0",
    "train --resume made/bc --demonstrations no": "--demonstrations no: no such file; leave it out",
    "train --resume made/bc --force": "--force True: the run to resume has False; leave it out",
    "train --resume made/bc --out b": "--out b: the run to resume has made/bc; leave it out",
    "train --resume made/bc --demonstrations text": "--demonstrations text: the run to resume has different "
    "ones in its folder; leave it out",
    # outputs
    "record pass --out made/pass.safetensors": "made/pass.safetensors: already exists; replace it with --force, or "
    "write elsewhere",
    "record pass --out thesis --force": "thesis: is a folder; give the name of a file in it",
    "record pass --out text/pass.safetensors": "text: is a file, not a folder; write elsewhere",
    "record pass --episodes 10 --out /proc/a/b": "/proc/a: No such file or directory; give a writable path",
    "train pass --demonstrations made/pass.safetensors --out made/bc": "made/bc: already exists; resume it with "
    "--resume made/bc, replace it with --force, or write elsewhere",
    "train pass --demonstrations made/pass.safetensors --out thesis --force": "thesis: contains something other than a "
    "run; write elsewhere",
    "train pass --demonstrations made/pass.safetensors --out . --force": ".: contains something other than a run; "
    "write elsewhere",
    "train pass --demonstrations made/pass.safetensors --out text --force": "text: is a file, not a folder; write "
    "elsewhere",
    "train pass --demonstrations made/pass.safetensors --out /proc/a": "/proc/a: No such file or directory; give a "
    "writable path",
    "render made/bc --out text": "text: is a file, not a folder; write elsewhere",
}


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input_is_one_line_that_names_it_and_the_remedy(here, capsys, arguments):
    before = contents(here), contents(here / "made"), sorted(here.iterdir())
    assert run(arguments) == 2
    out, errors = capsys.readouterr()
    assert out == "" and errors.startswith("infogail: ") and errors.count("\n") == 1 and errors.endswith("\n")
    assert errors.strip().endswith(BAD_INPUT[arguments])
    assert (contents(here), contents(here / "made"), sorted(here.iterdir())) == before


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ({"num_codes": True}, "--num-codes True: give a whole number"),
        ({"num_codes": 2.0}, "--num-codes 2.0: give a whole number"),
        ({"learning_rate": False}, "--learning-rate False: give a number"),
        ({"learning_rate": "1e-3"}, "--learning-rate 1e-3: give a number"),
        ({"learning_rate": -1e-3}, "--learning-rate -0.001: give a number above 0"),
        ({"info_coef": float("nan")}, "--info-coef nan: give a finite number"),
        ({"initial_log_std": float("-inf")}, "--initial-log-std -inf: give a finite number"),
        ({"hidden": 0}, "--hidden 0: give a number above 0"),
    ],
)
def test_settings_are_checked_from_python_too(setting, problem):
    with pytest.raises(BadInput) as raised:
        Config.of(**setting)
    assert str(raised.value) == problem


def test_settings_may_be_zero_where_that_means_something():
    Config.of(replay_iterations=0, failure_penalty=0.0, warm_start_steps=0, rim_coef=0.0, gamma=0.0, initial_log_std=0)
    Config.of(seed=0, info_coef=0.0, gradient_penalty=0, rim_steps=0, gae_lambda=0.0, initial_log_std=-3, gamma=0.99)


def test_a_tale_told_by_the_commands(made, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("infogail.rendering.film.film", lambda *each: islice(film(*each), 20))  # whole films take long
    for algorithm in ALGORITHMS:
        assert infogail.load(made / algorithm).algorithm == algorithm
        assert run(f"evaluate {made}/{algorithm} --episodes 4 --json") == 0
        printed, progress = capsys.readouterr()
        result = json.loads(printed)
        assert result == json.loads((made / algorithm / "metrics.json").read_text())
        assert (result["scenario"], result["algorithm"], result["episodes"]) == ("pass", algorithm, 4)
        assert "evaluating" in progress
    assert run(f"evaluate {made}/bc --episodes 4 --seed 7") == 0
    assert "success_rate" in capsys.readouterr().out
    assert json.loads((made / "bc/metrics.json").read_text())["seed"] == 7

    assert run(f"render {made}/bc --out {tmp_path}/videos") == 0
    assert capsys.readouterr().out.split() == [f"{tmp_path}/videos/codes.{kind}" for kind in ("mp4", "gif", "png")]
    films = contents(tmp_path / "videos")
    assert {path.name for path in films} == FILM and all(films.values())
    assert run(f"render {made}/bc --out {tmp_path}/videos") == 2
    assert "codes.mp4: already exists; replace it with --force" in capsys.readouterr().err
    assert contents(tmp_path / "videos") == films

    page = f"render {made}/bc --out {tmp_path}/page --html"
    assert run(page) == 0 and capsys.readouterr().out.split() == [f"{tmp_path}/page/codes.html"]
    assert [path.name for path in contents(tmp_path / "page")] == ["codes.html"]
    assert run(page) == 2 and "codes.html: already exists" in capsys.readouterr().err and run(f"{page} --force") == 0


def test_force_replaces_files_and_runs(made, tmp_path, capsys):
    file, folder = tmp_path / "a.safetensors", tmp_path / "run"
    train = f"train pass --algorithm bc --demonstrations {file} --out {folder} {TINY}"
    assert run(f"record pass --episodes 10 --seed 1 --out {file}") == 0 and run(train) == 0
    assert f"recorded: {file}, 10 episodes" in capsys.readouterr().out
    before = contents(tmp_path)
    assert run(f"record pass --episodes 10 --seed 2 --out {file}") == run(f"{train} --seed 2") == 2
    assert contents(tmp_path) == before
    assert run(f"record pass --episodes 10 --seed 2 --out {file} --force") == run(f"{train} --seed 2 --force") == 0
    assert before[file] != file.read_bytes() == (folder / "demonstrations.safetensors").read_bytes()
    assert infogail.load(folder).seed == 2


@pytest.mark.parametrize("command", ["record turn --force --out {0}/a", "evaluate {0}/run --episodes 30"])
def test_ctrl_c_leaves_what_was_there(made, tmp_path, capsys, monkeypatch, command):
    (tmp_path / "a").write_bytes((made / "turn.safetensors").read_bytes())
    assert run(f"train pass --algorithm bc --demonstrations {made}/pass.safetensors --out {tmp_path}/run {TINY}") == 0
    (tmp_path / "run/metrics.json").write_text("of an older judgement")
    before = contents(tmp_path)
    capsys.readouterr()

    class Interrupting:
        """A bar at whose second move somebody presses Ctrl-C."""

        def __init__(self, title, total):
            self.moves = 0

        def __enter__(self):
            return self.advance

        def __exit__(self, *_):
            pass

        def advance(self, count):
            self.moves += 1
            if self.moves == 2:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("infogail.parallel.progress.progress_bar", Interrupting)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert run(command.format(tmp_path)) == 130
    assert capsys.readouterr() == ("", "infogail: interrupted; nothing was left half-written\n")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_a_real_process(made, tmp_path, capsys, number):
    endless = "--algorithm bc --bc-steps 100000000 --threads 1"
    arguments = f"train pass --demonstrations {made}/pass.safetensors --out {tmp_path}/run {endless}"
    command = [sys.executable, "-m", "infogail.cli", *arguments.split()]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.rglob("metrics.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (128 + number, "")
    title, told = errors.splitlines()
    assert title == "training bc on pass"
    advice = rf"infogail: stopped after iteration (\d+); resume with 'infogail train --resume {tmp_path}/run'"
    stopped = int(re.fullmatch(advice, told)[1])
    assert [path.stem for path in (tmp_path / "run/checkpoints").iterdir()][-1:] == [f"{stopped:06d}"]
    assert run(f"evaluate {tmp_path}/run") == 2
    assert f"no such file; 'infogail train --resume {tmp_path}/run' restores it from the last checkpoint" in (
        capsys.readouterr().err
    )


def test_resume_goes_on_and_names_what_is_damaged(made, tmp_path, capsys):
    folder, options = tmp_path / "run", f"--demonstrations {made}/pass.safetensors {TINY} --checkpoint-interval 1"
    assert run(f"train pass --algorithm gail --out {folder} {options}") == 0
    whole, newest = infogail.load(folder), folder / "checkpoints/000002.safetensors"
    newest.write_bytes(b"")
    capsys.readouterr()
    assert run(f"train pass --algorithm gail --out {folder} {options} --resume {folder}") == 0
    out, errors = capsys.readouterr()
    assert out == f"trained: {folder}; evaluate it with 'infogail evaluate {folder}'\n"
    warning = f"infogail: {newest}: its sha256 is not the one in manifest.json: it was damaged or changed"
    assert f"{warning}; using the previous checkpoint" in errors
    observations = np.ones((1, 7), np.float32)
    np.testing.assert_array_equal(infogail.load(folder).act(observations, 0), whole.act(observations, 0))


@pytest.mark.parametrize("size", [f"--num-envs {10**13}", f"--hidden {10**13} --num-envs 16"])
def test_too_little_memory_is_said_in_one_line(made, tmp_path, capsys, size):
    assert run(f"train pass --demonstrations {made}/pass.safetensors --out {tmp_path}/run {size}") == 2
    errors = capsys.readouterr().err
    assert errors.startswith("infogail: out of memory; give a smaller --num-envs, --hidden")
    assert errors.count("\n") == 1


def test_training_that_diverges_says_so(made, tmp_path, capsys):
    train = f"train pass --demonstrations {made}/pass.safetensors --out {tmp_path}/run {TINY}"
    assert run(f"{train} --discriminator-learning-rate 1e30") == 2
    assert capsys.readouterr().err == (
        f"infogail: {tmp_path}/run: training diverged in iteration 1: discriminator/loss is not finite; "
        "it has no checkpoint yet; train again with a lower --learning-rate or --discriminator-learning-rate\n"
    )


def test_train_alone_records_and_names_the_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "infogail.envs.recordings.record.record", lambda scenario, _, *more: record(scenario, 10, *more)
    )
    monkeypatch.chdir(tmp_path)
    assert run(f"train turn {TINY} --seed 3 --preset no-rim") == 0
    out, errors = capsys.readouterr()
    assert out.splitlines()[0].startswith("recorded: demos/turn.safetensors, 200 episodes")
    assert out.splitlines()[1] == (
        "trained: runs/turn-infogail-no-rim-3; evaluate it with 'infogail evaluate runs/turn-infogail-no-rim-3'"
    )
    assert errors.splitlines() == [
        "infogail: demos/turn.safetensors: no such file; recording it",
        "recording turn",
        "training infogail on turn",
    ]
    before = contents(tmp_path)
    assert run(f"train turn {TINY} --seed 3 --preset no-rim") == 2
    assert "runs/turn-infogail-no-rim-3: already exists" in capsys.readouterr().err
    assert contents(tmp_path) == before
    assert run(f"train turn {TINY} --algorithm bc") == 0  # of the same demonstrations
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"turn-infogail-no-rim-3", "turn-bc-0"}
    assert contents(tmp_path / "demos") == {path: data for path, data in before.items() if path.parent.name == "demos"}
    capsys.readouterr()

    assert run("evaluate --episodes 2") == 0
    assert capsys.readouterr().err == (
        "infogail: the newest run is runs/turn-bc-0\nevaluating runs/turn-bc-0 in highway-env\n"
    )
    assert (tmp_path / "runs/turn-bc-0/metrics.json").is_file()
    newest = tmp_path / "runs/turn-infogail-no-rim-3/policy.safetensors"
    os.utime(newest, (2e9, 2e9))
    assert run("evaluate --episodes 2 --json") == 0
    out, errors = capsys.readouterr()
    assert json.loads(out)["algorithm"] == "infogail" and "the newest run is runs/turn-infogail-no-rim-3\n" in errors
    assert run("traffic") == 2  # neither is of a highway
    assert capsys.readouterr().err.endswith("; make one with 'infogail train highway'\n")


def test_the_command_alone_explains_itself(capsys):
    assert run("") == 0
    out, errors = capsys.readouterr()
    assert all(command in out for command in COMMANDS) and errors == ""


def test_a_finished_run_is_trained_for_longer(made, tmp_path, capsys):
    """At its final learning rate; as the learner itself would, and stopped or not."""
    shutil.copytree(made / "gail", tmp_path / "run")
    (tmp_path / "run/metrics.json").write_text("of the shorter run")
    shutil.copytree(tmp_path / "run", tmp_path / "stopped")
    assert run(f"train --resume {tmp_path}/run --iterations 5") == 0
    for iterations in (3, 4, 5):
        assert run(f"train --resume {tmp_path}/stopped --iterations {iterations}") == 0
    assert Manifest.load(tmp_path / "run").config.run.iterations == 5
    scenario, config = get_scenario("pass"), Manifest.load(made / "gail").config
    learner = learner_classes()["gail"](
        DrivingEnvironment(scenario, config.run.num_envs),
        Recording.load(made / "pass.safetensors", scenario).demonstrations.episodes(slice(8)),
        config,
    )
    for _ in range(5):
        learner.iterate()
    assert learner.schedule.iterations == 2
    assert [group["lr"] for group in learner.actor_critic.optimiser.param_groups] == pytest.approx([1e-4, 3e-4])
    observations = np.random.default_rng(0).normal(size=(20, 7)).astype(np.float32)
    actions = infogail.load(tmp_path / "run").act(observations, 0)
    assert (actions != infogail.load(made / "gail").act(observations, 0)).any()
    np.testing.assert_array_equal(actions, infogail.load(tmp_path / "stopped").act(observations, 0))
    with torch.inference_mode():
        direct = learner.policy(learner.policy.inputs(torch.from_numpy(observations), torch.zeros(20)))[0].clamp(-1, 1)
    np.testing.assert_array_equal(actions, direct.numpy())
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3, 4]
    assert not (tmp_path / "run/metrics.json").exists()  # it judged another driver

    before = contents(tmp_path)
    capsys.readouterr()
    assert run(f"train --resume {tmp_path}/run --iterations 4") == 2
    assert capsys.readouterr().err == (
        f"infogail: {tmp_path}/run: has already done 5 iterations; give a larger --iterations\n"
    )
    assert contents(tmp_path) == before


def test_a_clone_is_trained_for_longer(made, tmp_path, capsys):
    for name in ("run", "again"):
        shutil.copytree(made / "bc", tmp_path / name)
        assert run(f"train --resume {tmp_path}/{name} --bc-steps 300") == 0
    assert Manifest.load(tmp_path / "run").config.cloning.steps == 300
    rows, before = ((folder / "metrics.jsonl").read_text().splitlines() for folder in (tmp_path / "run", made / "bc"))
    assert len(rows) == 3 and rows[: len(before)] == before and len(before) == 1
    policies = [(folder / "policy.safetensors").read_bytes() for folder in (made / "bc", tmp_path / "run")]
    assert policies[0] != policies[1] == (tmp_path / "again/policy.safetensors").read_bytes()


def test_a_stopped_run_may_become_longer(made, tmp_path):
    def options(folder):
        return f"train pass --algorithm infogail --demonstrations {made}/pass.safetensors --out {folder} {TINY}"

    def stop(done, total, log):
        if done == 1:
            signal.raise_signal(signal.SIGINT)

    assert run(options(tmp_path / "whole")) == run(f"train --resume {tmp_path}/whole --iterations 3") == 0
    config = Manifest.load(tmp_path / "whole").config
    with pytest.raises(Stopped):
        train(
            learner_classes()["infogail"],
            "infogail",
            made / "pass.safetensors",
            "pass",
            config.with_(iterations=2),
            tmp_path / "run",
            on_iteration=stop,
        )
    assert run(f"train --resume {tmp_path}/run --iterations 3") == 0
    assert len({(tmp_path / name / "policy.safetensors").read_bytes() for name in ("run", "whole")}) == 1


def test_resume_knows_the_settings_of_the_run(made, tmp_path, capsys):
    file, folder = made / "pass.safetensors", tmp_path / "run"
    assert run(f"train pass --algorithm bc --demonstrations {file} --out {folder} {TINY} --seed 7") == 0
    capsys.readouterr()
    assert run(f"train --resume {folder} --seed 0") == 2
    assert capsys.readouterr().err == "infogail: --seed 0: the run to resume has 7; leave it out\n"
    assert run(f"train --resume {folder} --algorithm infogail") == 2
    assert run(f"train --resume {folder} --seed 7 --num-envs 16 --bc-steps 100") == 0
    capsys.readouterr()
    assert run(f"train --resume {folder} --help") == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Seed for networks, environments and batches. (default: 7)" in shown and "(default: bc)" in shown


def test_options_override_presets_in_a_benchmark_too():
    command = parse(
        ["benchmark", "--out", "a", "--presets", "default", "no-rim", "trpo", "--rim-tries", "5", "--no-learn-std"]
    )
    assert command.typed == {"rim_tries": 5, "learn_std": False}
    cells = plan(["infogail"], ["pass"], [4], command.presets, command.typed)
    completed = {cell.preset: cell.config for cell in cells}
    for name in ("default", "no-rim", "trpo"):
        alone = parse(f"train pass --preset {name} --rim-tries 5 --no-learn-std --seed 4".split()).config
        assert completed[name] == alone and alone.rim.tries == 5
    assert completed["no-rim"].rim.steps == 0 and completed["trpo"].policy.update == "trpo"


AWKWARD = "runs/[red] ä b"


def test_awkward_paths_are_shown_as_they_are_and_hints_can_be_pasted(made, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = f"{made}/pass.safetensors"
    (tmp_path / AWKWARD).parent.mkdir()
    shutil.copytree(made / "bc", tmp_path / AWKWARD)

    def command(arguments, status):
        assert run(arguments) == status
        out, errors = capsys.readouterr()
        return shlex.split(re.search(r"'(infogail .*)'", (errors if status else out).splitlines()[-1])[1])[1:]

    train = f"train pass --algorithm bc --demonstrations {file} --out '{AWKWARD}' {TINY}"
    assert run(train) == 2
    assert f"{AWKWARD}: already exists; resume it with --resume '{AWKWARD}', replace" in capsys.readouterr().err
    evaluate = command(f"{train} --force", 0)
    assert evaluate == ["evaluate", AWKWARD]
    assert run(shlex.join([*evaluate, "--episodes", "2"])) == 0
    assert capsys.readouterr().err == f"evaluating {AWKWARD} in highway-env\n"
    (tmp_path / AWKWARD / "policy.safetensors").unlink()
    resume = command(f"evaluate '{AWKWARD}'", 2)
    assert resume == ["train", "--resume", AWKWARD] and run(shlex.join(resume)) == 0
    capsys.readouterr()
    assert command(f"train pass --demonstrations '{AWKWARD}/no'", 2) == ["record", "pass", "--out", f"{AWKWARD}/no"]
    assert command("evaluate 'no ä'", 2) == ["train", "SCENARIO", "--out", "no ä"]


PLAIN = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}


def process(arguments, folder, **environment):
    """`infogail ARGUMENTS` in a process of its own, with no terminal."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | environment
    command = [sys.executable, "-m", "infogail", *shlex.split(arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("train --help", 0, "lambda of generalised advantage estimation"),
        ("recognise --help", 0, "RUN ..."),
        ("record pass --epsiodes 20", 2, "did you mean '--episodes'?"),
        ("record", 2, "(required); see 'infogail record --help'"),
        ("evaluate 'no ä×'", 2, "no ä×/manifest.json: no such file"),
        ("evaluate made/infogail --episodes 2", 0, "posterior_accuracy"),
        ("train pass --demonstrations made/pass.safetensors --out 'ä'", 2, "set PYTHONUTF8=1, or write elsewhere"),
    ],
)
def test_a_terminal_that_knows_ascii_alone(here, arguments, status, words):
    done = process(arguments, here, **PLAIN)
    assert done.returncode == status and words in done.stdout + done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_ascii_for_what_is_not(monkeypatch):
    bytes_out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_out, "ascii"))
    write_plainly()
    print_table("worst ÷ floor – NMI ≥ 0.95", ["", "× 1000"], [["speed [m/s²]", "–"]])
    print("ä \udcc3\udca4 ━")
    sys.stdout.flush()
    shown = bytes_out.getvalue().decode()
    assert "worst / floor - NMI >= 0.95" in " ".join(shown.split()) and "x 1000" in shown and "speed [m/s2]" in shown
    assert shown.endswith("\\xe4 ä -\n")


def on_terminal(script, columns):
    """What the Python `script` prints on a terminal, without its control sequences."""
    controller, terminal = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=terminal, stdout=terminal, stderr=terminal, env=environment
    ):
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # the end of what there is to read
            while data := os.read(controller, 2**16):
                shown += data
    os.close(controller)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r\n", "\n")


def test_a_narrow_terminal_breaks_neither_paths_nor_tables():
    path = "/a/path/that/is/longer/than/forty/characters/[red] ä/run"
    rows = [["worst code's MMD ÷ floor", "1 [0.9, 1.1]", "2 [1, 3]"]]
    headings = ["", "pass\ninfogail", "pass\ngail"]
    table = f"from infogail.parallel.terminal import print_table; print_table('judged', {headings}, {rows})"
    wide, narrow = on_terminal(table, 100), on_terminal(table, 40)
    assert re.search(r"worst code's MMD ÷ floor +1 \[0.9, 1.1\] +2 \[1, 3\]", wide)
    assert "worst code's MMD ÷ floor\n  pass infogail: 1 [0.9, 1.1]\n  pass gail: 2 [1, 3]\n" in narrow
    note = f"from infogail.parallel.progress import note, progress_bar, status; note({path!r})"
    assert path in on_terminal(note, 40)
    bar = f"{note}\nwith progress_bar('training [red] ä', 1) as advance: advance(1)\nwith status('[red] x'): pass"
    assert "training [red] ä" in on_terminal(bar, 80)
    error = f"from infogail.cli import main; main(['evaluate', {path!r}])"
    assert f"infogail: {path}/manifest.json: no such file" in on_terminal(error, 40)


def test_a_preset_is_the_default_that_options_override():
    def parsed(options):
        return parse(f"train pass {options}".split())

    command = parsed("--out a --preset no-rim --rim-tries 2 --seed 3")
    assert command.algorithm == "infogail"
    assert command.config == Config.of(rim_coef=0.0, rim_steps=0, rim_tries=2, seed=3)
    assert parsed("--preset no-rim --preset=trpo").config == Config.of(policy_update="trpo")
    assert parsed("--preset gail-trpo").algorithm == "gail"
    assert parsed("--preset gail-trpo --algorithm infogail").algorithm == "infogail"
    assert parsed("--out a").config == Config()  # nothing of it stays


def test_a_presets_values_are_shown(capsys):
    assert run("train --preset gail-trpo --help") == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "λ of generalised advantage estimation. (default: 0.97)" in shown and "(default: gail)" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys, command):
    assert run(f"{command} --help") == 0
    out, errors = capsys.readouterr()
    assert (
        errors == ""
        and f"infogail {command}" in out
        and ("--seed INT" in out or command in ("studio", "import", "export", "maps"))
    )


def test_help_answers_without_the_heavy_imports():
    script = "import sys; from infogail.cli import main\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | {"COLUMNS": "80"}
    )
    assert done.returncode == 0 and all(f"• {command}" in done.stdout for command in COMMANDS)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "infogail.cli" in loaded
    assert not loaded & {"torch", "highway_env", "pandas", "matplotlib", "scipy", "sklearn", "cv2", "moviepy", "pygame"}
