"""One imported file, of which every window is for training: what comes after the import says so and goes on."""

import json
from itertools import islice

import pytest
from commonroad_files import Obstacle, file_text
from one_process import in_this_process

from infogail.benchmark import report
from infogail.cli import main
from infogail.envs.data.world import NOTHING_HELD_OUT
from infogail.rendering import film as rendering

TINY = [
    *("--num-envs", "8", "--iterations", "1", "--bc-steps", "20"),
    *("--rim-steps", "2", "--rim-tries", "1", "--num-codes", "2"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    (folder / "one.xml").write_text(file_text([Obstacle(51, steps=81), Obstacle(52, offset=-4.0, speed=12.0)]))
    main(["import", str(folder / "one.xml"), "--out", str(folder / "replay.safetensors")])
    return folder


def said_once(capsys):
    """The lines of both streams, of which one says that nothing is held out."""
    streams = capsys.readouterr()
    lines = (streams.out + streams.err).splitlines()
    assert sum(NOTHING_HELD_OUT in line for line in lines) == 1 and "Traceback" not in streams.err
    return lines


def test_train_evaluate_and_render(folder, capsys, monkeypatch):
    capsys.readouterr()
    run = folder / "run"
    main(["train", "replay", "--demonstrations", str(folder / "replay.safetensors"), "--out", str(run), *TINY])
    said_once(capsys)
    main(["evaluate", str(run)])
    lines = said_once(capsys)
    assert any(line.startswith("code_0_headway") for line in lines) and not any("–" in line for line in lines)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["windows"] == 0 and metrics["meaning_windows"] == 4 and metrics["peers"] == {}
    frames = []
    monkeypatch.setattr(rendering, "write_film", lambda mp4, gif, film, progress, fps: frames.extend(islice(film, 2)))
    main(["render", str(run)])
    assert any("the film is of a training window" in line for line in said_once(capsys))
    assert len(frames) == 2 and (run / "videos" / "codes.png").stat().st_size > 10_000


def test_benchmark(folder, capsys, monkeypatch):
    def render(run, out, seed):
        files = [out / f"codes.{suffix}" for suffix in ("mp4", "gif", "png")]
        for file in files:
            file.write_bytes(b"film")
        return files

    monkeypatch.setattr(report, "render", render)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr("infogail.benchmark.cells.workers", in_this_process)
    capsys.readouterr()
    main(["benchmark", "--out", str(folder), "--scenarios", "replay", "--seeds", "1", *TINY])
    lines = said_once(capsys)
    assert any("AMI of code and headway" in line for line in lines) and not any("failed" in line for line in lines)
    assert NOTHING_HELD_OUT in (folder / "report.html").read_text()
