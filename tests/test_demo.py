import json
from functools import partial

import pytest

from baselines.bc import BC
from envs.files import NonEmptyFolder
from infogail import demo as demonstration
from infogail.config import Config
from infogail.demo import COLUMNS, demo, print_table
from infogail.learner import InfoGAIL

TINY = partial(Config, num_envs=16, iterations=2, rim_steps=2, bc_steps=100)


def note(run, out, progress):
    """In place of films, which take long; a worker finds it by its name."""
    progress("filming")
    out.mkdir(parents=True)
    (out / "codes.mp4").write_text(str(run))


def test_the_demo_leaves_runs_and_films_and_prints_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demonstration, "Config", TINY)
    monkeypatch.setattr(demonstration, "render", note)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    demo({"bc": BC, "infogail": InfoGAIL}, seed=3, seeds=1, episodes=10, force=False)
    runs = {f"{scenario}-{algorithm}-3" for scenario in ("pass", "turn") for algorithm in ("bc", "infogail")}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == runs
    for run in runs:
        result = json.loads((tmp_path / "runs" / run / "metrics.json").read_text())
        assert run == f"{result['scenario']}-{result['algorithm']}-{result['training_seed']}"
        assert result["episodes"] == 10
    films = {path.parent.name: path.read_text() for path in (tmp_path / "videos").rglob("codes.mp4")}
    assert films == {"pass": "runs/pass-infogail-3", "turn": "runs/turn-infogail-3"}
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "videos"}
    table, progress = capsys.readouterr()
    assert all(heading in table for heading in COLUMNS.values())
    assert all(f"{title} " in progress for title in ("recording turn", "training 4 drivers", "judging", "filming"))


def test_nothing_begins_where_a_run_is_already(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/turn-bc-0").mkdir(parents=True)
    (tmp_path / "runs/turn-bc-0/manifest.json").write_text("mine")
    monkeypatch.setattr(demonstration, "record", None)
    with pytest.raises(NonEmptyFolder, match=r"runs/turn-bc-0: is there already; .*replace it with --force"):
        demo({"bc": BC}, seed=0, seeds=1, episodes=20, force=False)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["manifest.json"]


def test_the_table_has_medians_and_ranges_over_seeds(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    blank = {"scenario": "pass", "algorithm": "bc"} | dict.fromkeys(COLUMNS, 1.0)
    nmi, seconds = (0.25, 0.5, 1.0), (None, 7.5, 8.5)
    seeds = [blank | {"style_nmi": a, "seconds_to_styles": b} for a, b in zip(nmi, seconds, strict=True)]
    never = blank | {"algorithm": "gail", "seconds_to_styles": None, "style_nmi": 0.0123456}
    print_table([*seeds, never])
    lines = capsys.readouterr().out.splitlines()
    row = {heading: line for heading in COLUMNS.values() for line in lines if line.strip().startswith(heading)}
    assert "0.5 [0.25, 1]" in row["style NMI"] and "0.012" in row["style NMI"]
    assert "8 [7.5, 8.5] (1 never)" in row["s to styles"] and row["s to styles"].rstrip().endswith("–")
