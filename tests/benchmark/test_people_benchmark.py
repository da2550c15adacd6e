"""The benchmark where people were recorded: people, and drivers without learning, stand beside the learners."""

import pytest
from replay_world import record_world

from infogail.baselines.bc import BC
from infogail.benchmark import report
from infogail.benchmark.cells import benchmark
from infogail.benchmark.report import write_report
from infogail.benchmark.results import improvements
from infogail.benchmark.tables import print_table, summarise
from infogail.envs.errors import BadInput
from infogail.evaluation.recognise import recognise
from infogail.learning.learner import InfoGAIL

TINY = {
    "warm_start_steps": 20,
    "num_codes": 2,
    "num_envs": 16,
    "iterations": 1,
    "bc_steps": 50,
    "rim_steps": 2,
    "rim_tries": 1,
}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    record_world(folder / "replay.safetensors")
    return folder


@pytest.fixture(scope="module")
def results(out, one_process):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)
        return benchmark({"bc": BC, "infogail": InfoGAIL}, ["replay"], range(1), out, 2, overrides=TINY)


def test_people_and_peers_stand_beside_the_learners(results):
    assert not results.failures
    names, rows = summarise(results)
    assert names == [f"replay\n{who}" for who in ("bc", "infogail", "person", "constant velocity", "IDM/MOBIL")]
    table = {heading: cells for heading, *cells in rows}
    assert table["seeds"] == ["1", "1", "–", "–", "–"] and "with NMI ≥ 0.95" not in table
    assert table["RMSE after 5 s [m]"][2:] == ["0"] * 3  # people who keep their speed are easily foretold
    assert table["AMI of code and headway"][2:] == ["–"] * 3
    for heading in ("collisions", "off road", "hard brakes", "Wasserstein headway", "s to train"):
        assert heading in table
    assert improvements(results) == []


def test_its_report(out, results, monkeypatch):
    asked = []

    def render(run, folder, seed):
        asked.append(run.name)
        files = [folder / f"codes.{suffix}" for suffix in ("mp4", "gif", "png")]
        for file in files:
            file.write_bytes(b"film")
        return files

    monkeypatch.setattr(report, "render", render)
    text = write_report(out, results, "infogail benchmark").read_text()
    assert asked == ["replay-infogail-0"]
    assert "<h2>People</h2>" in text and "IDM/MOBIL" in text and "Code × style" not in text


def test_nobody_records_people_anew(tmp_path):
    with pytest.raises(BadInput, match="infogail import"):
        benchmark({"bc": BC}, ["replay"], range(1), tmp_path, 2, overrides=TINY)


def test_the_printed_table_is_whole_and_has_units(results, capsys):
    print_table(results)
    shown = capsys.readouterr().out
    assert "RMSE after 5 s [m]" in shown and "constant velocity" in shown and "…" not in shown


def test_styles_that_nobody_knows_are_not_recognised(out, results):
    with pytest.raises(BadInput, match="the styles of its people are unknown"):
        recognise(out / "replay-infogail-0")
