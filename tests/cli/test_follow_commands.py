"""People who follow, from the command line: train, evaluate by held-out people and by those of another file."""

import json
import shlex

import numpy as np
import pytest
from follow_world import record_followers, save_world, steady_world

from infogail.cli import main
from infogail.envs.catalogue import get_scenario
from infogail.envs.recordings.record import record
from infogail.evaluation.following import PEERS

TINY = "--num-envs 8 --iterations 2 --rim-steps 5 --rim-tries 1 --warm-start-steps 50 --num-codes 2 --bc-steps 100"


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """To start a process takes longer than its work."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Followers, two to learn from and two held out, others, and runs of InfoGAIL and BC."""
    folder = tmp_path_factory.mktemp("follow")
    record_followers(folder / "people.safetensors", drivers=2)
    record_followers(folder / "others.safetensors", drivers=3, seed=5)
    for algorithm in ("infogail", "bc"):
        file, out = folder / "people.safetensors", folder / algorithm
        command(f"train follow --algorithm {algorithm} --demonstrations {file} --out {out} {TINY}")
    return folder


def command(arguments):
    """The exit status of `infogail ARGUMENTS`."""
    try:
        main(shlex.split(arguments))
    except SystemExit as stop:
        return stop.code or 0
    return 0


def refused(capsys, arguments):
    """The line in which `infogail ARGUMENTS` is refused."""
    capsys.readouterr()
    assert command(arguments) == 2
    out, errors = capsys.readouterr()
    line = errors.splitlines()[-1]
    assert out == "" and line.startswith("infogail: ") and "Traceback" not in errors
    assert errors.count("infogail: ") == 1
    return line


def test_a_run_of_people_who_follow(folder):
    manifest = json.loads((folder / "infogail/manifest.json").read_text())
    assert (manifest["scenario"], manifest["algorithm"]) == ("follow", "infogail")
    assert manifest["config"]["discriminator"]["reads_code"] and manifest["config"]["codes"]["num_codes"] == 2
    rows = (folder / "infogail/metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["env_steps"] for row in rows] == [8 * 300, 2 * 8 * 300]


@pytest.mark.parametrize("algorithm", ["infogail", "bc"])
def test_evaluate_prints_tables_and_writes_what_it_prints(folder, capsys, algorithm):
    run = folder / algorithm
    capsys.readouterr()
    assert command(f"evaluate {run}") == 0
    tables = capsys.readouterr().out
    for name in (*PEERS.values(), algorithm, "people vs people", "20 s, best code", "realism", "headway_ami"):
        assert name in tables, name
    result = json.loads((run / "metrics.json").read_text())
    assert (result["scenario"], result["algorithm"], result["windows"]) == ("follow", algorithm, 2)
    assert (result["halves_agreement"] is None) == (result["headway_ami"] is None) == (algorithm == "bc")
    assert ("code_1_driven_headway" in result) == (algorithm == "infogail")
    assert set(result["peers"]) == set(PEERS)


def test_evaluate_by_the_people_of_another_file(folder, capsys):
    capsys.readouterr()
    others = folder / "others.safetensors"
    assert command(f"evaluate {folder}/infogail --demonstrations {others} --json") == 0
    out, errors = capsys.readouterr()
    result = json.loads(out)  # JSON alone
    assert result == json.loads((folder / "infogail/metrics-on-others.json").read_text())
    assert result["demonstrations"] == str(others)
    assert result["people"] == result["windows"] == 6 and "Traceback" not in errors
    assert result["person_position_rmse_20s"] == pytest.approx(0.0, abs=1e-6)
    assert command(f"evaluate {folder}/infogail --json") == 0
    own = json.loads(capsys.readouterr().out)
    assert own["people"] == 2 and own["pooled_idm_position_rmse_20s"] != result["pooled_idm_position_rmse_20s"]
    assert own["code_0_steady_headway"] == result["code_0_steady_headway"]


def test_which_files_cannot_judge(folder, capsys):
    metrics = folder / "infogail/metrics.json"
    metrics.write_text("of another evaluation")
    save_world(steady_world([np.full(400, 20.0)]), folder / "short.safetensors")
    record(get_scenario("pass"), 10, seed=0)[0].save(folder / "pass.safetensors")
    for file, expected in {
        "people": "2 of its 4 people were learned from; give a file of others",
        "short": "nobody follows one leader for 40 s; give longer recordings",
        "pass": "recorded in pass, not in follow; give a file of follow",
        "none": "no such file",
    }.items():
        path = folder / f"{file}.safetensors"
        line = refused(capsys, f"evaluate {folder}/infogail --demonstrations {path}")
        assert f"{path}: " in line and expected in line
    assert metrics.read_text() == "of another evaluation"


def test_only_runs_of_people_who_follow_take_others(folder, capsys):
    record(get_scenario("pass"), 10, seed=0)[0].save(folder / "pass.safetensors")
    command(f"train pass --algorithm bc --demonstrations {folder}/pass.safetensors --out {folder}/pass --bc-steps 5")
    others = folder / "others.safetensors"
    line = refused(capsys, f"evaluate {folder}/pass --demonstrations {others}")
    assert line.endswith(f"--demonstrations {others}: {folder}/pass is of pass, not of follow; leave it out")
    assert not (folder / "pass/metrics.json").exists()


def test_a_discriminator_that_reads_codes_needs_them(folder, capsys):
    file = folder / "people.safetensors"
    expected = "turn off --discriminator-reads-code, or give more steps"
    for flags in ("--discriminator-reads-code --rim-steps 0", "--rim-steps 0"):  # it is recommended for them
        line = refused(capsys, f"train follow --demonstrations {file} --out {folder}/x {flags}")
        assert line.startswith("infogail: --rim-steps 0: ") and line.endswith(expected)
    assert not (folder / "x").exists()


def test_nothing_held_out_is_a_note(folder, capsys):
    save_world(steady_world([np.full(601, 20.0)] * 2, training=2), folder / "all.safetensors")
    command(f"train follow --algorithm bc --demonstrations {folder}/all.safetensors --out {folder}/all --bc-steps 5")
    capsys.readouterr()
    assert command(f"evaluate {folder}/all") == 0
    out, errors = capsys.readouterr()
    assert "nothing is held out, every window is for training" in out and "Traceback" not in errors
    assert json.loads((folder / "all/metrics.json").read_text())["windows"] == 0
