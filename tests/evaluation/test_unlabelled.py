"""Demonstrations whose styles nobody labelled, such as those driven by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from infogail.cli import main
from infogail.config.presets import settings
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.episodes import Episodes
from infogail.envs.data.recording import SCHEMA, Recording
from infogail.envs.environment import NO_STYLE
from infogail.envs.errors import BadInput
from infogail.envs.files import seal, unseal
from infogail.envs.gym_environment import record_policy
from infogail.envs.recordings.record import record
from infogail.envs.tasks import GymTask
from infogail.evaluation.episodes import demonstrated_episodes
from infogail.evaluation.metrics import style_coverage, style_kl
from infogail.evaluation.protocol import evaluate
from infogail.evaluation.recognise import recognise
from infogail.learning.learner import InfoGAIL
from infogail.rendering.diagrams import plot
from infogail.rendering.film import render_page
from infogail.runs.runner import train

QUICK = {"iterations": 2, "num_envs": 32, "warm_start_steps": 100, "rim_steps": 20}


def unlabelled(recording: Recording) -> Recording:
    return replace(recording, styles=np.full_like(recording.styles, NO_STYLE))


@pytest.fixture(scope="module")
def passes() -> Recording:
    return record(get_scenario("pass"), 20, seed=0)[0]


def test_geometry_judges_them(passes):
    np.testing.assert_array_equal(unlabelled(passes).judged_styles, passes.styles)
    assert [episode.style for episode in demonstrated_episodes(unlabelled(passes))] == passes.styles.tolist()
    assert unlabelled(passes).with_labels(0.5).labels == {}


def test_a_run_is_trained_and_judged_as_with_labels(passes, tmp_path):
    judged = {}
    for name, recording in {"labelled": passes, "unlabelled": unlabelled(passes)}.items():
        recording.save(tmp_path / f"{name}.safetensors")
        config = settings(get_scenario("pass"), overrides=QUICK)
        train(InfoGAIL, "infogail", tmp_path / f"{name}.safetensors", "pass", config, tmp_path / name)
        judged[name] = evaluate(tmp_path / name, 10, processes=1)
    seconds = {key: None for key in judged["labelled"] if key.endswith("seconds") or key == "seconds_to_styles"}
    assert judged["labelled"] | seconds == judged["unlabelled"] | seconds
    assert render_page(tmp_path / "unlabelled", tmp_path, scenes=1)[0].is_file()


def test_without_any_label_a_comparison_with_demonstrations_tells_nothing(highway_recording):
    recording = unlabelled(highway_recording)
    judge = recording.scenario.fit_judge(recording)
    trajectory, scene = recording.trajectory(0), recording.scene(0)
    assert judge(trajectory, scene) == NO_STYLE
    assert judge(np.stack([trajectory] * 3, 1), scene).tolist() == [NO_STYLE] * 3
    assert (recording.judged_styles == NO_STYLE).all()


def test_what_cannot_be_judged_is_undefined(highway_recording, tmp_path):
    path, run = tmp_path / "highway.safetensors", tmp_path / "run"
    recording = unlabelled(highway_recording)
    assert highway_recording.judgeable and not recording.judgeable
    recording.save(path)
    config = settings(get_scenario("highway"), overrides=QUICK | {"iterations": 1, "num_envs": 8, "bc_steps": 20})
    train(InfoGAIL, "infogail", path, "highway", config, run)
    assert "style_nmi" not in (run / "metrics.jsonl").read_text()
    judged = evaluate(run, 4, processes=1)
    assert judged["success_rate"] == 1 - judged["collision_rate"] - judged["off_road_rate"]
    undefined = [key for key in judged if key.startswith(("style_", "posterior_"))]
    assert len(undefined) == 12 and all(judged[key] is None for key in undefined)
    assert judged["occupancy_mmd_worst_code"] is None and judged["occupancy_mmd"] is not None
    with pytest.raises(BadInput, match="recognising takes labelled demonstrations"):
        recognise(run)
    assert render_page(run, tmp_path, scenes=1)[0].is_file()
    crashed, whole = (replace(demonstrated_episodes(recording)[0], code=k, crashed=not k) for k in (0, 1))
    legend = plot(get_scenario("highway"), recording, [crashed, whole], 2).legends[0]
    assert [text.get_text() for text in legend.get_texts()][1:] == ["code 0: 1 failed", "code 1"]


def test_methods_are_compared_on_demonstrations_of_known_style(passes, tmp_path):
    found = {}
    for name, recording in {"labelled": passes, "unlabelled": unlabelled(passes)}.items():
        recording.save(tmp_path / f"{name}.safetensors")
        config = settings(get_scenario("pass"), overrides=QUICK)
        train(InfoGAIL, "infogail", tmp_path / f"{name}.safetensors", "pass", config, tmp_path / name)
        found[name] = recognise(tmp_path / name)
    assert found["labelled"] == found["unlabelled"]


def test_only_labelled_demonstrations_are_compared_with(highway_recording):
    some = highway_recording.styles.copy()
    some[::3] = NO_STYLE
    judge = highway_recording.scenario.fit_judge(replace(highway_recording, styles=some))
    kept = highway_recording.episodes(np.flatnonzero(some != NO_STYLE))
    expected = highway_recording.scenario.fit_judge(kept)
    for episode in range(0, len(some), 3):
        trajectory, scene = highway_recording.trajectory(episode), highway_recording.scene(episode)
        assert judge(trajectory, scene) == expected(trajectory, scene)


def test_metrics_of_the_mix_leave_them_out():
    styles, demonstrated = np.array([0, 0, 1, -1]), np.array([0, 1, 1, 0])
    some = np.array([0, 1, -1, -1, 1, 0])
    assert style_coverage(styles, some) == style_coverage(styles, demonstrated) == 1.0
    assert style_kl(styles, some, 2) == style_kl(styles, demonstrated, 2)
    assert style_coverage(styles, np.array([-1, -1])) is None and style_kl(styles, np.array([-1]), 2) is None


def test_files_say_who_demonstrated(passes, tmp_path):
    mine = replace(passes.episodes([0, 1]), source="by hand: Ann")
    joined = Recording.join([mine, passes.episodes([2]), mine])
    assert joined.source == "by hand: Ann, scripted experts"
    joined.save(tmp_path / "joined.safetensors")
    loaded = Recording.load(tmp_path / "joined.safetensors", get_scenario("pass"))
    assert loaded.source == joined.source and loaded.styles.tolist() == passes.styles[[0, 1, 2, 0, 1]].tolist()
    np.testing.assert_array_equal(loaded.trajectory(4), passes.trajectory(1))
    with pytest.raises(ValueError, match="one scenario"):
        Recording.join([passes, record(get_scenario("turn"), 1, seed=0)[0]])
    with pytest.raises(ValueError, match="source is not a line"):
        replace(passes, source="two\nlines").save(tmp_path / "x.safetensors")


def test_files_from_before_there_was_a_source_are_read(passes, tmp_path):
    path = tmp_path / "pass.safetensors"
    passes.save(path)
    arrays, metadata = unseal(path, SCHEMA)
    assert metadata.pop("source") == "scripted experts"
    path.write_bytes(seal(arrays, metadata))
    assert Recording.load(path, get_scenario("pass")).source == ""
    for wrong in ("x" * 201, "a\0b", 5, ["Ann"]):
        path.write_bytes(seal(arrays, metadata | {"source": wrong}))
        with pytest.raises(BadInput, match="source is not a line of at most 200 characters"):
            Recording.load(path, get_scenario("pass"))


def test_recorded_policies_are_named(tmp_path, monkeypatch):
    (tmp_path / "leaning.py").write_text("def lean(observation):\n    return int(observation[2] > 0)\n")
    monkeypatch.chdir(tmp_path)
    main(["record", "CartPole-v1", "--policy", "leaning:lean", "--episodes", "2", "--out", "a.safetensors"])
    loaded = Episodes.load(tmp_path / "a.safetensors", GymTask("CartPole-v1").interface)
    assert loaded.source == loaded.episodes([1]).source == "leaning:lean"
    with pytest.raises(BadInput, match="source is not a line"):
        record_policy(GymTask("CartPole-v1").make(), lambda _: 0, 1, source="x" * 201)
