from dataclasses import dataclass, replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from starts import start

from infogail.envs.catalogue import get_scenario
from infogail.envs.recordings.record import record
from infogail.envs.scenarios.scenario import POLICY_FREQUENCY, SIMULATION_FREQUENCY
from infogail.envs.scenarios.styles import NO_STYLE
from infogail.evaluation.episodes import demonstrated_episodes, drive_episode
from infogail.rendering import film as rendering
from infogail.rendering.camera import Stage
from infogail.rendering.captions import alarmed, caption
from infogail.rendering.film import GAP, HOLD, film, render
from infogail.rendering.palette import ALARM, OFF_ROAD, colour
from infogail.rendering.video import FPS
from infogail.runs.driver import CodeLabels, Driver

FRAMES_PER_DECISION = SIMULATION_FREQUENCY // POLICY_FREQUENCY
PASS, HIGHWAY = get_scenario("pass"), get_scenario("highway")
LABELS = CodeLabels.of(range(3), False)


@dataclass
class Scripted:
    """Passes on the side that its code says; with `straight`, runs into the lead."""

    straight: bool = False
    scenario = PASS
    algorithm = "infogail"
    num_codes = 2
    codes = (0, 1)
    graded = False
    labels = Driver.labels
    names = ("left", None)
    seed = 0
    prior = np.array([0.5, 0.5])
    belief = Driver.belief

    def act(self, obs, code):
        offset, heading, speed, gap = obs[:4] * (4.0, 0.1, 5.0, 30.0)
        side = (-4.0, 4.0)[code] if -12.0 < gap < 28.0 and not self.straight else 0.0
        wanted = np.clip(0.06 * (side - offset), -0.12, 0.12)
        return np.clip([(3.0 - speed) / 5.0, 6.0 * (wanted - heading)], -1.0, 1.0).astype(np.float32)

    def log_posterior(self, observations, actions):
        logits = observations[:, :1] * (-0.5, 0.5)
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def has(image, paint):
    return bool((image == paint).all(-1).any())


@pytest.fixture(scope="module")
def episodes():
    env, scene = start("pass")
    return [drive_episode(Scripted(), env, code, scene=scene) for code in (0, 1)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    record(get_scenario("pass"), 4, seed=0)[0].save(folder / "demonstrations.safetensors")
    return folder


def cut(episode, decisions):
    """The first `decisions` of `episode`."""
    return replace(
        episode,
        observations=episode.observations[:decisions],
        actions=episode.actions[:decisions],
        vehicle_states=episode.vehicle_states[: decisions + 1],
        style=NO_STYLE,
    )


def panels(frame, count):
    """The scenes of the `count` panels of a film of pass, without captions."""
    height = PASS.view.size[1]
    pitch = (len(frame) + GAP) // count
    return [frame[(k + 1) * pitch - GAP - height :][:height] for k in range(count)]


def test_the_film_runs_in_real_time_with_one_panel_per_code(episodes):
    frames = list(film(PASS, [cut(episode, 4) for episode in episodes], [None, None], LABELS))
    assert len(frames) == FRAMES_PER_DECISION * 4 + 1 + round(HOLD * FPS)
    assert {frame.shape for frame in frames} == {(2 * (84 + 160) + 8, 1120, 3)}
    turn, scene = start("turn")
    three = [replace(episodes[0], code=k, actions=np.zeros((1, 2)), scene=scene) for k in range(3)]
    three = [replace(episode, vehicle_states=np.repeat(turn.vehicle_state[None], 2, 0)) for episode in three]
    assert next(film(turn.scenario, three, [None] * 3, LABELS)).shape == (84 + 560, 3 * (560 + 8) - 8, 3)


def test_the_film_ends_after_the_manoeuvre_and_says_what_was_done(episodes, monkeypatch):
    remarks = []
    monkeypatch.setattr(rendering, "caption", lambda *a: remarks.append((a[1], a[2])) or caption(*a))
    monkeypatch.setattr(Stage, "picture", lambda stage: np.zeros((160, 1120, 3), np.uint8))  # drawing takes long
    frames = sum(1 for _ in film(PASS, episodes, [None, None], LABELS))
    assert frames - round(HOLD * FPS) < FRAMES_PER_DECISION * 60 + 1
    assert remarks[:2] == [(0, ""), (1, "")] and remarks[-2:] == [(0, "passed left"), (1, "passed right")]


def test_all_panels_start_from_the_same_scene(episodes):
    first, second = panels(next(film(PASS, episodes, [None, None], LABELS)), 2)
    rows, columns = (first != second).any(-1).nonzero()
    assert len(rows) > 200  # the ego's body, in the code's colour
    assert np.ptp(columns) < 60 and np.ptp(rows) < 30
    assert has(first, colour(0)) and has(second, colour(1)) and not has(first, colour(1))


def test_a_crash_freezes_its_panel_and_is_captioned(episodes, monkeypatch):
    env, scene = start("pass")
    crash = drive_episode(Scripted(straight=True), env, 1, scene=scene)
    assert crash.crashed and len(crash.actions) < 35
    remarks = []
    monkeypatch.setattr(rendering, "caption", lambda *a: remarks.append((a[1], a[2])) or caption(*a))
    frames = list(film(PASS, [cut(episodes[0], len(crash.actions) + 4), crash], [None, None], LABELS))
    (ahead, crashed), (before, same) = panels(frames[-round(HOLD * FPS) - 1], 2), panels(frames[-30], 2)
    assert (crashed == same).all() and (ahead != before).any()
    assert has(crashed, ALARM) and not has(ahead, ALARM) and not has(panels(frames[0], 2)[1], ALARM)
    assert (1, "crashed") in remarks and (0, "crashed") not in remarks
    np.testing.assert_array_equal(alarmed(np.full((40, 40, 3), 100, np.uint8))[20, 20], 60)


def test_render_writes_film_gif_and_plot(run, tmp_path, monkeypatch):
    driver, filmed, messages = Scripted(), [], []
    monkeypatch.setattr(rendering, "load", lambda path: driver)
    monkeypatch.setattr(rendering, "film", lambda *a: filmed.extend(a[1]) or film(*a))
    files = render(run, tmp_path / "videos", seed=3, episodes=4, progress=messages.append)
    assert sorted(path.name for path in (tmp_path / "videos").iterdir()) == ["codes.gif", "codes.mp4", "codes.png"]
    assert sorted(files) == sorted((tmp_path / "videos").iterdir())
    assert [episode.code for episode in filmed] == [0, 1] and filmed[0].scene == filmed[1].scene
    assert filmed[0].scene == start("pass", seed=3)[1]
    assert any("mp4" in message for message in messages) and any("gif" in message for message in messages)

    film_frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "videos/codes.mp4"))
    gif = Image.open(tmp_path / "videos/codes.gif")
    assert gif.width == 640 and gif.n_frames > 40 and gif.info["loop"] == 0
    shown = 0
    for k in range(gif.n_frames):
        gif.seek(k)
        shown += gif.info["duration"]
    assert shown / 1000 == pytest.approx(seconds, abs=0.4)
    assert (tmp_path / "videos/codes.gif").stat().st_size < 1.5e6
    assert Image.open(tmp_path / "videos/codes.png").width == 1200
    assert film_frames == pytest.approx(seconds * FPS, abs=1)


def test_a_film_of_the_highway_follows_each_ego(highway_recording, monkeypatch):
    driven = [replace(cut(demonstrated_episodes(highway_recording)[k], 33), code=k, style=0) for k in (0, 1)]
    details, remarks = [], []
    monkeypatch.setattr(rendering, "caption", lambda *a: (remarks.append(a[2]), details.append(a[6]), caption(*a))[-1])
    frames = list(film(HIGHWAY, driven, [None, None], LABELS, HIGHWAY.fit_judge(highway_recording)))
    assert len(frames) == 33 * FRAMES_PER_DECISION + 1 + round(HOLD * FPS)
    width, height = HIGHWAY.view.size
    for k in (0, -1):
        for code, top in ((0, len(frames[k]) // 2 - GAP // 2 - height), (1, len(frames[k]) - height)):
            picture = frames[k][top : top + height]
            assert picture.shape == (height, width, 3)
            assert has(picture[:, width // 4 : width // 2], colour(code)) and has(picture, OFF_ROAD)
    assert set(remarks[: 2 * 90]) == {""} and set(remarks[2 * 90 :]) <= set(map(str, HIGHWAY.styles))
    headway = HIGHWAY.headway(driven[0].vehicle_states[0])
    assert details[0] == (f"headway {headway:.1f} s" if headway < 4 else "no leader nearby")


def test_a_failed_render_leaves_no_partial_file(run, tmp_path, monkeypatch):
    monkeypatch.setattr(rendering, "load", lambda path: Scripted())
    monkeypatch.setattr("moviepy.video.io.ffmpeg_writer.FFMPEG_BINARY", "false")
    with pytest.raises(OSError):
        render(run, Path(tmp_path), episodes=2)
    assert {path.name for path in tmp_path.iterdir()} <= {"codes.png"}
