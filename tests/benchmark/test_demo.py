import json
from functools import partial

from infogail.baselines.bc import BC
from infogail.benchmark import demo as demonstration
from infogail.benchmark.cells import benchmark
from infogail.benchmark.demo import demo
from infogail.benchmark.results import MEASURES
from infogail.learning.learner import InfoGAIL

TINY = {"num_envs": 16, "iterations": 2, "rim_steps": 2, "warm_start_steps": 20, "bc_steps": 100}


def note(run, out, progress):
    """In place of films, which take long; a worker finds it by its name."""
    progress("filming")
    out.mkdir(parents=True)
    (out / "codes.mp4").write_text(str(run))


def test_the_demo_leaves_runs_and_films_and_prints_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demonstration, "benchmark", partial(benchmark, overrides=TINY))
    monkeypatch.setattr(demonstration, "render", note)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    demo({"bc": BC, "infogail": InfoGAIL}, seed=3, episodes=10, force=False)
    runs = {f"{scenario}-{algorithm}-3" for scenario in ("pass", "turn") for algorithm in ("bc", "infogail")}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == runs | {"pass.safetensors", "turn.safetensors"}
    for run in runs:
        result = json.loads((tmp_path / "runs" / run / "metrics.json").read_text())
        assert run == f"{result['scenario']}-{result['algorithm']}-{result['training_seed']}"
        assert result["episodes"] == 10
    films = {path.parent.name: path.read_text() for path in (tmp_path / "videos").rglob("codes.mp4")}
    assert films == {"pass": "runs/pass-infogail-3", "turn": "runs/turn-infogail-3"}
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "videos"}
    table, progress = capsys.readouterr()
    shown = ("style_nmi", "success_rate", "collision_rate", "off_road_rate", "occupancy_mmd", "train_seconds")
    assert all(MEASURES[key].heading in table for key in shown)
    assert MEASURES["seconds_to_styles"].heading not in table  # none found
    titles = ("recording turn", "training and evaluating 4 drivers", "filming each code")
    assert all(f"{title}\n" in progress for title in titles)
