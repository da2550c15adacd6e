import json
import re
from itertools import islice

import numpy as np
import pytest
from replay_world import Scripted, record_world

from infogail.envs.catalogue import get_scenario
from infogail.rendering import film as rendering
from infogail.rendering.camera import Stage, draw_offscreen
from infogail.rendering.film import render, render_page
from infogail.rendering.palette import colour


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    record_world(folder / "demonstrations.safetensors")
    return folder


def test_the_road_runs_from_left_to_right_past_the_ego(run):
    """Scale 8 px/m: the ego is 20 m behind the middle of 1120 px, its lanes are level."""
    scenario = get_scenario("replay", recording=run / "demonstrations.safetensors")
    draw_offscreen()
    stage = Stage(scenario, {"demonstration": np.float64(12)}, colour(0))
    picture = stage.picture()
    assert picture.shape == (240, 1120, 3)
    painted = np.argwhere((np.abs(picture.astype(int) - colour(0)) < 12).all(-1))
    assert painted.mean(0) == pytest.approx((120, 560 - 160), abs=3)
    assert np.ptp(painted, axis=0) == pytest.approx((2 * 8, 5 * 8), abs=6)
    stage.step(np.zeros(2))
    assert stage.states[-1][0, 0] == pytest.approx(101.0)


def test_render_films_the_held_out_window_with_each_code(run, tmp_path, monkeypatch):
    monkeypatch.setattr(rendering, "load", lambda run: Scripted((0.0, -2.0), read=1))
    seen = {}

    def write_film(mp4, gif, frames, progress, fps):
        seen["frames"], seen["fps"] = list(islice(frames, 2)), fps

    filmed = []
    film = rendering.film
    monkeypatch.setattr(rendering, "write_film", write_film)
    monkeypatch.setattr(rendering, "film", lambda *given: filmed.extend(given[1]) or film(*given))
    files = render(run, tmp_path, seed=3)
    assert [file.name for file in files] == ["codes.mp4", "codes.gif", "codes.png"] and files[2].stat().st_size > 10_000
    assert seen["fps"] == 10 and seen["frames"][1].shape[1] == 1120
    one, other = (episode.vehicle_states[:, 0] for episode in filmed)
    assert [episode.code for episode in filmed] == [0, 1] and filmed[0].scene["demonstration"] >= 8
    np.testing.assert_array_equal(one[:11], other[:11])  # the person's first second
    assert one[-1, 3] == pytest.approx(10.0) and other[-1, 3] < 1.0


def test_a_page_of_people_begins_with_the_films_window(run, tmp_path, monkeypatch):
    monkeypatch.setattr(rendering, "load", lambda run: Scripted((0.0, -2.0), read=1))
    monkeypatch.setattr(rendering, "write_film", lambda *given: None)
    monkeypatch.setattr(rendering, "film", lambda scenario, filmed, *given: seen.extend(filmed))
    seen = []
    render(run, tmp_path, seed=3)
    (page,) = render_page(run, tmp_path, seed=3)
    (data,) = re.findall(r'<script type="application/json" id="episodes">(.*?)</script>', page.read_text())
    scenes = json.loads(data)
    assert 1 < len(scenes) <= 4 and [episode["label"] for episode in scenes[0]] == ["code 0", "code 1"]
    egos = [frame[0][:2] for frame in scenes[0][1]["frames"]]
    np.testing.assert_allclose(egos, seen[1].vehicle_states[:, 0, :2], atol=1e-3)
