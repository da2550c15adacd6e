from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import gymnasium
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from infogail.envs.catalogue import environment_id, get_scenario
from infogail.envs.data.demonstrations import Recording, record
from infogail.envs.scenarios.scenario import NO_STYLE, POLICY_FREQUENCY, SIMULATION_FREQUENCY
from infogail.evaluation.protocol import drive_episode
from infogail.rendering import film as rendering
from infogail.rendering.diagrams import plot
from infogail.rendering.film import (
    ALARM,
    BACKGROUND,
    FPS,
    HOLD,
    OFF_ROAD,
    Stage,
    alarmed,
    belief,
    caption,
    colour,
    film,
    render,
    write_gif,
    write_mp4,
)

FRAMES_PER_DECISION = SIMULATION_FREQUENCY // POLICY_FREQUENCY
PASS, HIGHWAY = get_scenario("pass"), get_scenario("highway")


@dataclass
class Scripted:
    """Passes on the side that its code says; with `straight`, runs into the lead."""

    straight: bool = False
    scenario = "pass"
    algorithm = "infogail"
    num_codes = 2
    codes = (0, 1)
    seed = 0
    characters = None

    def act(self, obs, code):
        offset, heading, speed, gap = obs[:4] * (4.0, 0.1, 5.0, 30.0)
        side = (-4.0, 4.0)[code] if -12.0 < gap < 28.0 and not self.straight else 0.0
        wanted = np.clip(0.06 * (side - offset), -0.12, 0.12)
        return np.clip([(3.0 - speed) / 5.0, 6.0 * (wanted - heading)], -1.0, 1.0).astype(np.float32)

    def log_posterior(self, observations, actions):
        logits = observations[:, :1] * (-0.5, 0.5)
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def start(name, seed=0):
    env = gymnasium.make(environment_id(name)).unwrapped
    env.reset(seed=seed)
    return env, env.scene


@pytest.fixture(scope="module")
def episodes():
    env, scene = start("pass")
    return [drive_episode(Scripted(), env, code, scene=scene) for code in (0, 1)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    record("pass", 4, seed=0)[0].save(folder / "demonstrations.safetensors")
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
    height = rendering.VIEWS["pass"].size[1]
    pitch = (len(frame) + rendering.GAP) // count
    return [frame[(k + 1) * pitch - rendering.GAP - height :][:height] for k in range(count)]


def has(image, paint):
    return bool((image == paint).all(-1).any())


def test_the_film_runs_in_real_time_with_one_panel_per_code(episodes):
    frames = list(film(PASS, [cut(episode, 4) for episode in episodes], [None, None]))
    assert len(frames) == FRAMES_PER_DECISION * 4 + 1 + round(HOLD * FPS)
    assert {frame.shape for frame in frames} == {(2 * (84 + 160) + 8, 1120, 3)}
    turn, scene = start("turn")
    three = [replace(episodes[0], code=k, actions=np.zeros((1, 2)), scene=scene) for k in range(3)]
    three = [replace(episode, vehicle_states=np.repeat(turn.vehicle_state[None], 2, 0)) for episode in three]
    assert next(film(turn.scenario, three, [None] * 3)).shape == (84 + 560, 3 * (560 + 8) - 8, 3)


def test_the_film_ends_after_the_manoeuvre_and_says_what_was_done(episodes, monkeypatch):
    remarks = []
    monkeypatch.setattr(rendering, "caption", lambda *a: remarks.append((a[1], a[2])) or caption(*a))
    monkeypatch.setattr(Stage, "picture", lambda stage: np.zeros((160, 1120, 3), np.uint8))  # drawing takes long
    frames = sum(1 for _ in film(PASS, episodes, [None, None]))
    assert frames - round(HOLD * FPS) < FRAMES_PER_DECISION * 60 + 1
    assert remarks[:2] == [(0, ""), (1, "")] and remarks[-2:] == [(0, "passed left"), (1, "passed right")]


def test_all_panels_start_from_the_same_scene(episodes):
    first, second = panels(next(film(PASS, episodes, [None, None])), 2)
    rows, columns = (first != second).any(-1).nonzero()
    assert len(rows) > 200  # the ego's body, in the code's colour
    assert np.ptp(columns) < 60 and np.ptp(rows) < 30
    assert has(first, colour(0)) and has(second, colour(1)) and not has(first, colour(1))


@pytest.mark.parametrize("name", ["pass", "turn"])
def test_the_film_shows_what_was_driven(name):
    env, scene = start(name, seed=5)
    actions = np.random.default_rng(0).uniform(-0.3, 0.3, (8, 2)).astype(np.float32)
    driven = [env.vehicle_state]
    for action in actions:
        env.step(action)
        driven.append(env.vehicle_state)
    stage = Stage(env.scenario, scene, colour(0))
    for action in np.repeat(actions, FRAMES_PER_DECISION, axis=0):
        stage.step(action)
    np.testing.assert_array_equal(stage.states[::FRAMES_PER_DECISION], driven)


@pytest.mark.parametrize("name", ["pass", "turn"])
def test_the_trail_lies_where_the_ego_has_been_in_its_colour(name):
    scenario, (_, scene) = get_scenario(name), start(name)
    stage = Stage(scenario, scene, colour(1))
    for _ in range(20):
        stage.step(np.zeros(2))
    for moment in (0, 6):
        centre, scaling = rendering.VIEWS[name].camera(scenario, stage.states[-1], scene)
        x, y = ((stage.states[moment][0, :2] - centre) * scaling + np.array(stage._view.size) / 2).round().astype(int)
        assert tuple(stage.picture()[y, x]) == colour(1)
    stage.states = stage.states[-1:]
    assert tuple(stage.picture()[y, x]) != colour(1)


def test_the_bend_has_round_edges_and_a_roadside():
    _, scene = start("turn")
    stage = Stage(get_scenario("turn"), scene, colour(0))
    centre, scaling = rendering.VIEWS["turn"].camera(get_scenario("turn"), stage.states[-1], scene)
    picture, direction, radius = stage.picture(), float(scene["direction"]), float(scene["radius"])

    def at(distance_from_centre, angle):
        world = np.array([np.sin(angle), direction * (radius / distance_from_centre - np.cos(angle))])
        x, y = ((world * distance_from_centre - centre) * scaling + 280).round().astype(int)
        return picture[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3)

    for angle in np.linspace(0.1, 1.4, 9):
        assert at(radius + 4, angle).max() > 200 and at(radius - 4, angle).max() > 200
        assert (at(radius + 7, angle) == OFF_ROAD).all() and (at(radius - 7, angle) == OFF_ROAD).all()
        assert (at(radius + 2, angle) == 100).all()


def test_the_dummy_driver_of_sdl_draws_too(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    stage = Stage(PASS, start("pass")[1], colour(0))
    assert has(stage.picture(), colour(0))


def test_the_ego_stays_in_the_picture_however_far_the_lead(episodes):
    states = episodes[0].vehicle_states[0].copy()
    for gap in (-300.0, 0.0, 300.0):
        states[1, 0] = states[0, 0] + gap
        centre, scaling = rendering.VIEWS["pass"].camera(PASS, states, episodes[0].scene)
        assert abs(states[0, 0] - centre[0]) * scaling < rendering.VIEWS["pass"].size[0] / 2 - 60


def test_a_crash_freezes_its_panel_and_is_captioned(episodes, monkeypatch):
    env, scene = start("pass")
    crash = drive_episode(Scripted(straight=True), env, 1, scene=scene)
    assert crash.crashed and len(crash.actions) < 35
    remarks = []
    monkeypatch.setattr(rendering, "caption", lambda *a: remarks.append((a[1], a[2])) or caption(*a))
    frames = list(film(PASS, [cut(episodes[0], len(crash.actions) + 4), crash], [None, None]))
    (ahead, crashed), (before, same) = panels(frames[-round(HOLD * FPS) - 1], 2), panels(frames[-30], 2)
    assert (crashed == same).all() and (ahead != before).any()
    assert has(crashed, ALARM) and not has(ahead, ALARM) and not has(panels(frames[0], 2)[1], ALARM)
    assert (1, "crashed") in remarks and (0, "crashed") not in remarks
    np.testing.assert_array_equal(alarmed(np.full((40, 40, 3), 100, np.uint8))[20, 20], 60)


def test_belief_sums_the_evidence_so_far():
    expected = [[1 / 2, 1 / 2], [9 / 10, 1 / 10], [81 / 82, 1 / 82]]
    np.testing.assert_allclose(belief(np.log([[0.9, 0.1]] * 2)), expected)
    assert np.isfinite(belief(np.full((1000, 2), (-90.0, -0.1)))).all()
    assert belief(None) is None


def test_the_bars_of_the_caption_grow_with_the_belief():
    def filled(chances, code):
        return (caption(1120, 7, "", 20.0, np.array(chances))[:, 735:] == colour(code)).all(-1).sum()

    assert filled([0.0, 1.0], 0) == 0
    assert filled([0.5, 0.5], 0) == pytest.approx(filled([1.0, 0.0], 0) / 2, rel=0.02)
    assert caption(560, 0, "", 9.0, np.full(5, 0.2)).shape[0] > caption(560, 0, "", 9.0, np.full(2, 0.5)).shape[0]
    assert (caption(1120, 0, "passed left", 20.0, None)[:, 640:] == BACKGROUND).all()


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


def test_the_mp4_is_h264_that_browsers_play(tmp_path):
    frames = [np.full((64, 96, 3), (0, 12 * k, 0), np.uint8) for k in range(20)]
    write_mp4(tmp_path / "a.mp4", frames)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "a.mp4"))
    meta, decoded = next(reader), [np.frombuffer(data, np.uint8).reshape(64, 96, 3) for data in reader]
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p") and meta["fps"] == FPS
    assert len(decoded) == 20
    np.testing.assert_allclose([frame.mean((0, 1)) for frame in decoded], [frame[0, 0] for frame in frames], atol=6)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # the index first: plays while it loads


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_film_leaves_the_old_one(tmp_path, error):
    def frames():
        yield np.zeros((64, 64, 3), np.uint8)
        raise error

    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(error):
        write_mp4(tmp_path / "a.mp4", frames())
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_an_encoder_that_fails_leaves_nothing(tmp_path, monkeypatch):
    encoder = tmp_path / "encoder"  # takes all frames, writes something, and then fails
    encoder.write_text('#!/bin/sh\nfor last; do :; done\ncat > "$last"\nexit 3\n')
    encoder.chmod(0o755)
    monkeypatch.setattr("moviepy.video.io.ffmpeg_writer.FFMPEG_BINARY", str(encoder))
    with pytest.raises(OSError, match=r"a\.mp4: ffmpeg stopped with status 3"):
        write_mp4(tmp_path / "videos/a.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3)
    assert list(tmp_path.rglob("*")) == [encoder]


def test_the_gif_keeps_the_colours_of_codes(tmp_path):
    frame = np.zeros((60, 80, 3), np.uint8)
    for code in range(4):
        cv2.rectangle(frame, (20 * code, 0), (20 * code + 19, 59), colour(code), cv2.FILLED)
    write_gif(tmp_path / "a.gif", [frame, frame[:, ::-1]])
    gif = Image.open(tmp_path / "a.gif")
    for k, expected in enumerate((frame, frame[:, ::-1])):
        gif.seek(k)
        np.testing.assert_allclose(np.asarray(gif.convert("RGB")), expected, atol=2)


@pytest.mark.parametrize("name", ["pass", "turn"])
def test_plots_hold_every_trajectory_and_count_what_codes_did(name):
    recording, _ = record(name, 5, seed=1)
    scenario, bounds = get_scenario(name), recording.demonstrations.episode_bounds
    driven = [episode_of(recording, k, code=k % 2) for k in range(4)]
    driven[1] = replace(driven[1], crashed=True, style=NO_STYLE)
    figure = plot(scenario, recording, driven, 2)
    main = figure.axes[-1]
    drawn = {paint: [line for line in main.lines if line.get_color() == paint] for paint in ("#7f7f7f", "#56B4E9")}
    assert [len(line.get_xdata()) for line in drawn["#7f7f7f"]] == list(np.diff(bounds) + 1)
    assert len(drawn["#56B4E9"]) == 2 + 1 and drawn["#56B4E9"][1].get_marker() == "x"
    offsets = scenario.lane_offset(recording.trajectory(0), recording.scene(0))
    np.testing.assert_allclose(drawn["#7f7f7f"][0].get_ydata(), offsets)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[0] == "5 demonstrations" and "1 failed" in legend[2]
    for text, code in zip(legend[1:], (0, 1), strict=True):
        counts = [int(word) for word in text.split(":")[1].replace(",", " ").split() if word.isdigit()]
        assert text.startswith(f"code {code}:") and sum(counts) == 2
    assert all("[" in label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel()))


def test_a_plot_of_the_highway_has_speed_over_time_and_a_point_for_each_episode(highway_recording):
    driven = [episode_of(highway_recording, k, code=k % 4) for k in range(8)]
    driven[1] = replace(driven[1], off_road=True, style=NO_STYLE)
    figure = plot(HIGHWAY, highway_recording, driven, 4)
    over_time, means = figure.axes
    speed, headway, *_ = HIGHWAY.measure(driven[2].vehicle_states)
    assert [len(line.get_xdata()) for line in over_time.lines if line.get_color() == colour_name(2)] == [61, 61]
    point, _ = [line for line in means.lines if line.get_color() == colour_name(2)]
    assert (point.get_xydata() == [[headway, speed]]).all() and point.get_marker() == "o"
    assert [line.get_marker() for line in means.lines if line.get_color() == colour_name(1)] == ["o", "x", "o"]
    assert len([line for line in over_time.lines if line.get_color() == "#7f7f7f"]) == 24
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "1 failed" in legend[2] and HIGHWAY.styles[driven[0].style] in legend[1]


def colour_name(code):
    return rendering.PALETTE[code]


def test_of_a_highway_driver_nothing_is_said_before_enough_is_seen(highway_recording):
    characters = highway_recording.demonstrations.characters
    episode = episode_of(highway_recording, 0, code=0)
    styles = rendering.styles_so_far(HIGHWAY, episode, characters)
    assert len(styles) == 61 and set(styles[: rendering.ENOUGH]) == {NO_STYLE} and NO_STYLE not in styles[30:]
    assert styles[-1] == HIGHWAY.style(episode.vehicle_states, episode.scene, characters)
    short = cut(episode, 10)
    assert set(rendering.styles_so_far(HIGHWAY, short, characters)) == {NO_STYLE}


def test_a_film_of_the_highway_follows_each_ego(highway_recording, monkeypatch):
    driven = [episode_of(highway_recording, k, code=k) for k in (0, 1)]
    driven = [replace(cut(e, 33), style=0) for e in driven]
    details, remarks = [], []
    monkeypatch.setattr(rendering, "caption", lambda *a: (remarks.append(a[2]), details.append(a[5]), caption(*a))[-1])
    frames = list(film(HIGHWAY, driven, [None, None], highway_recording.demonstrations.characters))
    assert len(frames) == 33 * FRAMES_PER_DECISION + 1 + round(HOLD * FPS)
    width, height = rendering.VIEWS["highway"].size
    for k in (0, -1):
        for code, top in ((0, len(frames[k]) // 2 - rendering.GAP // 2 - height), (1, len(frames[k]) - height)):
            picture = frames[k][top : top + height]
            assert picture.shape == (height, width, 3)
            assert has(picture[:, width // 4 : width // 2], colour(code)) and has(picture, OFF_ROAD)
    assert set(remarks[: 2 * 90]) == {""} and set(remarks[2 * 90 :]) <= set(HIGHWAY.styles)
    headway = HIGHWAY.headway(driven[0].vehicle_states[0])
    assert details[0] == (f"headway {headway:.1f} s" if headway < 4 else "nobody near ahead")


def episode_of(recording: Recording, k: int, code: int):
    from infogail.evaluation.protocol import Episode

    rows = slice(*recording.demonstrations.episode_bounds[k : k + 2])
    return Episode(
        code,
        recording.demonstrations.observations[rows],
        recording.demonstrations.actions[rows],
        recording.trajectory(k),
        recording.scene(k),
        crashed=False,
        off_road=False,
        style=int(recording.styles[k]),
    )


def test_a_failed_render_leaves_no_partial_file(run, tmp_path, monkeypatch):
    monkeypatch.setattr(rendering, "load", lambda path: Scripted())
    monkeypatch.setattr("moviepy.video.io.ffmpeg_writer.FFMPEG_BINARY", "false")
    with pytest.raises(OSError):
        render(run, Path(tmp_path), episodes=2)
    assert {path.name for path in tmp_path.iterdir()} <= {"codes.png"}
