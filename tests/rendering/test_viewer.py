"""Roads and episodes as a page draws them, and the page of its own."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from replay_world import Scripted, record_world

from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import Recording
from infogail.envs.recordings.record import record
from infogail.envs.reference import DrivingEnv
from infogail.evaluation.episodes import demonstrated_episodes
from infogail.evaluation.people import Trained, drive_window
from infogail.rendering.palette import PALETTE
from infogail.rendering.viewer import as_script, assets, camera_of, road_of, viewer_episode, write_page


@pytest.fixture(scope="module")
def scenes():
    recording = record(get_scenario("pass"), 4, seed=0)[0]
    episodes = [replace(episode, code=k % 2) for k, episode in enumerate(demonstrated_episodes(recording))]
    belief = np.stack((np.linspace(0.5, 1.0, 61), np.linspace(0.5, 0.0, 61)), 1)
    shown = [viewer_episode(recording.scenario, e, label=f"code {e.code}", belief=belief) for e in episodes]
    return [shown[:2], shown[2:]]


def test_a_straight_road_is_its_corners():
    scenario = get_scenario("pass")
    lanes = road_of(scenario.road_network({}))["lanes"]
    assert lanes[1]["outline"] == [[-600.0, -2.0], [1000.0, -2.0], [1000.0, 2.0], [-600.0, 2.0]]
    assert [side["type"] for lane in lanes for side in lane["sides"]] == [
        "continuous",
        "none",
        "striped",
        "none",
        "striped",
        "continuous",
    ]
    assert lanes[0]["sides"][0]["points"] == [[-600.0, -6.0], [1000.0, -6.0]]


def test_a_bend_is_sampled_and_lies_on_its_circle():
    scene = {"radius": np.float64(25.0), "direction": np.float64(1.0), "approach": np.float64(20.0)}
    lanes = road_of(get_scenario("turn").road_network(scene))["lanes"]
    (bend,) = [lane for lane in lanes if len(lane["outline"]) > 4][:1]
    left = np.array(bend["sides"][0]["points"])
    radii = np.hypot(left[:, 0], left[:, 1] - 25.0)
    assert len(left) == 33 and radii == pytest.approx(radii[0], abs=1e-2)


def test_the_camera_is_the_films():
    states = np.array([[10.0, 1.0, 0.0, 20.0], [40.0, 0.0, 0.0, 15.0]])
    assert camera_of(get_scenario("pass"), states, {}) == [25.0, 0.0, 10.0, 0.0]


def test_only_cars_that_come_into_the_picture_are_drawn():
    """The picture is 112 m wide and its middle 12.5 m ahead of the ego."""
    scenario = get_scenario("pass")
    scene = {name: np.float64(0.0) for name in scenario.draws}
    (episode,) = demonstrated_episodes(record(scenario, 1, seed=0)[0])
    states = np.zeros((2, 4, 4))
    states[:, 1:, 0] = [[25.0, 400.0, 1e6], [25.0, 400.0, 30.0]]
    shown = viewer_episode(scenario, replace(episode, vehicle_states=states, scene=scene), label="")
    assert [[car[0] for car in frame] for frame in shown["frames"]] == [[0.0, 25.0, 1e6], [0.0, 25.0, 30.0]]
    assert shown["sizes"] == [[5.0, 2.0]] * 3


def test_recorded_cars_have_their_sizes(tmp_path):
    record_world(tmp_path / "demonstrations.safetensors")
    recording = Recording.load(tmp_path / "demonstrations.safetensors", get_scenario("replay"))
    episode = drive_window(DrivingEnv(recording.scenario), recording, 12, Trained(Scripted((0.0, 0.0), read=0)), 0)
    shown = viewer_episode(recording.scenario, episode, label="code 0")
    assert {len(car) for frame in shown["frames"] for car in frame} == {4}
    assert len(shown["sizes"]) == len(shown["frames"][0])
    assert all(length > width > 0 for length, width in shown["sizes"])
    assert shown["details"][9:11] == ["as recorded · no leader nearby", "no leader nearby"]


def test_the_page_is_self_contained_and_repeats_bit_for_bit(scenes, tmp_path):
    for name in ("a.html", "b.html"):
        write_page(tmp_path / name, "</title><script>alert(1)</script>", "</p>", scenes)
    text = (tmp_path / "a.html").read_text()
    assert text == (tmp_path / "b.html").read_text()
    assert not re.findall(r"https?:|//[a-z]+\.[a-z]", text) and "alert(1)</script>" not in text
    assert "default-src 'none'" in text


def test_json_cannot_end_its_script():
    script = as_script({"label": "</script><!--"})
    assert "<" not in script and json.loads(script) == {"label": "</script><!--"}


def test_the_page_plays_in_a_browser(chromium, scenes, tmp_path):
    write_page(tmp_path / "page.html", "A run", "in words", scenes)
    page = chromium.new_page(viewport={"width": 390, "height": 800})
    problems, requests = [], []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator(".viewer-canvas").count() == 2
    assert page.locator(".viewer-caption b").all_inner_texts() == ["code 0", "code 1"]
    scrubber, clock = page.locator(".viewer-controls input"), page.locator(".viewer-clock")
    scrubber.fill("6")
    assert clock.inner_text() == "6.0 / 12.0 s"
    widths = page.locator(".viewer-belief").first.locator("i").evaluate_all("bars => bars.map(b => b.style.width)")
    assert widths == ["75%", "25%"]
    ink = page.locator(".viewer-canvas").first.evaluate(
        "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    )
    assert ink > 5  # ground, road, paint, cars, trail
    page.get_by_role("button", name="One step on").click()
    assert clock.inner_text() == "6.2 / 12.0 s"
    page.keyboard.press("ArrowLeft")
    assert clock.inner_text() == "6.0 / 12.0 s"
    page.locator("select[aria-label=Speed]").select_option("4")
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Play").wait_for(timeout=20_000)  # again, at the end
    assert clock.inner_text() == "12.0 / 12.0 s"
    page.locator("select[aria-label=Scene]").select_option("1")
    assert clock.inner_text() == "0.0 / 12.0 s"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not problems and [url for url in requests if not url.startswith("data:")] == [
        (tmp_path / "page.html").as_uri()
    ]
    page.close()


def test_codes_have_the_films_colours():
    (colours,) = re.findall(r"PALETTE = (\[.*?\]);", str(assets()["script"]))
    assert tuple(json.loads(colours)) == PALETTE


@pytest.fixture
def module(chromium, tmp_path):
    """`module(script)`: the value of a script that knows what viewer.js exports."""
    page = chromium.new_page()
    source = re.sub(r"^export ", "", assets()["script"], flags=re.MULTILINE)
    yield lambda script: page.evaluate(f"async () => {{ {source}; {script} }}")
    page.close()


def test_between_two_frames_cars_follow_their_speeds(module):
    """The cubic through a quarter of a circle, halfway: the chord's middle, and an eighth of the change of velocity."""
    speed = 10 * np.pi / 2
    start, end = [0.0, 0.0, 0.0, speed], [10.0, 10.0, np.pi / 2, speed]
    x, y, heading = module(f"return interpolate({start}, {end}, 0.5, 1)")
    assert (x, y, heading) == pytest.approx((5 + speed / 8, 5 - speed / 8, np.pi / 4))


def test_a_heading_turns_the_short_way_and_absent_cars_do_not_fly_in(module):
    assert module("return interpolate([0, 0, 3, 0], [0, 0, -3, 0], 0.5, 1)")[2] == pytest.approx(np.pi)
    assert module("return interpolate([1e6, 1e6, 0, 0], [5, 1, 0, 20], 0.4, 0.2)") == [1e6, 1e6, 0]
    assert module("return interpolate([1e6, 1e6, 0, 0], [5, 1, 0, 20], 0.6, 0.2)") == [5, 1, 0]
    assert module("return interpolate(null, [5, 1, 0, 20], 0.6, 0.2)") == [5, 1, 0]
    assert module("return interpolate(null, [5, 1, 0, 20], 0.4, 0.2) ?? 'gone'") == "gone"
    assert module("return interpolate(null, null, 0.6, 0.2) ?? 'gone'") == "gone"


def test_live_frames_are_drawn_smoothly_one_frame_behind(module):
    """Three frames come 1/15 s apart; none is drawn before the next has come, and then nothing is drawn any more."""
    frame = "(k) => ({ t: k / 15, cars: [[0, k, 0, 0, 15, 5, 2]], camera: [k, 0, 6, 0] })"
    times, settled = module(f"""
        const canvas = document.createElement("canvas");
        document.body.append(canvas);
        const live = new Live(canvas), times = [], frame = {frame};
        live.begin({{ lanes: [] }}, [1120, 160], "red");
        live.onpaint = (time) => times.push(time);
        for (const k of [0, 1, 2]) {{
          live.push(frame(k));
          await new Promise((done) => setTimeout(done, 67));
        }}
        await new Promise((done) => setTimeout(done, 300));
        const drawn = times.length;
        await new Promise((done) => setTimeout(done, 200));
        live.stop();
        return [times, times.length === drawn];
    """)
    assert times == sorted(times) and times[0] == 0.0 and times[-1] == pytest.approx(2 / 15)
    assert settled and len(set(times)) >= 5
