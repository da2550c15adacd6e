"""What each latent code does, to look at: `codes.mp4`, `codes.gif` and `codes.png` of one run.

The film replays episodes in highway-env, frame by frame of its physics, and lets its renderer draw road and vehicles;
captions and trails are drawn on top. A code has the same colour everywhere.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import cv2
import gymnasium
import numpy as np
import pygame
from highway_env.envs.common.abstract import AbstractEnv
from highway_env.envs.common.graphics import EnvViewer
from highway_env.road.graphics import WorldSurface
from highway_env.road.lane import AbstractLane
from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter
from PIL import Image

from infogail.envs.catalogue import environment_id, get_scenario
from infogail.envs.data.demonstrations import Recording
from infogail.envs.data.world import NOTHING_HELD_OUT
from infogail.envs.files import write_atomically
from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.highway import LONGEST_HEADWAY, Highway
from infogail.envs.scenarios.replay import D, Replay, S
from infogail.envs.scenarios.scenario import NO_STYLE, SIMULATION_FREQUENCY, Characters, Scenario, Scene, VehicleState
from infogail.evaluation.meaning import plot_codes
from infogail.evaluation.people import BURN_IN, Trained, drive_window, held_out
from infogail.evaluation.protocol import Episode, drive_episode
from infogail.parallel.progress import console
from infogail.rendering.diagrams import PALETTE, deed, plot, write_plot
from infogail.runs.driver import Driver, load

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255 each."""

FPS = SIMULATION_FREQUENCY  # [Hz]; one frame per physics step, so the film runs in real time; replays have their own
LINGER = 1.6  # [s] that the film goes on after the last code has done its manoeuvre
HOLD = 1.5  # [s] that the last frame stays
SUPERSAMPLING = 2  # the scene is drawn so much larger and scaled down: highway-env's renderer does not smooth edges

OTHER_VEHICLE = (225, 225, 225)
BACKGROUND, TRACK, WHITE, DIMMED = (24, 26, 30), (58, 62, 70), (255, 255, 255), (150, 155, 165)
ALARM = (255, 92, 92)
OFF_ROAD = (52, 66, 54)
TURN_PANEL = 560  # [px]
HIGHWAY_LENGTH, HIGHWAY_AHEAD = 180.0, 20.0  # [m], of which the middle is so far before the ego
REPLAY_LENGTH, REPLAY_ASIDE = 140.0, 11.0  # [m], and how far the ego may be from the middle of the picture
ENOUGH = 30  # decisions, until which nothing is said of a style that is told by what is usual
TOP, ROW, GAP, MARGIN = 28, 28, 8, 16  # [px], of captions and between panels
GIF_WIDTH, GIF_COLOURS, GIF_EVERY = 640, 64, 2  # [px], shared by all frames, every so many frames of the film
SHIFT = 4  # OpenCV draws at 1/16 px
FONT = cv2.FONT_HERSHEY_DUPLEX


@dataclass(frozen=True)
class View:
    """How one scenario is shown."""

    size: tuple[int, int]
    """Width and height of one panel's scene [px]."""
    columns: int
    """At most so many panels side by side."""
    camera: Callable[[Scenario, np.ndarray, Scene], tuple[np.ndarray, float]]
    """What the panel shows, for states (V, 4): the centre (2,) [m], and how large [px/m]."""
    detail: Callable[[Scenario, np.ndarray, Scene], str] = lambda scenario, states, scene: ""
    """What the caption says besides, of states (V, 4)."""
    level: bool = False
    """Turned so that the road runs from left to right."""
    prelude: tuple[int, str] = (0, "")
    """What the caption says first, for so many decisions."""


def _pass_camera(scenario: Scenario, states: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
    """Half-way between ego and lead, so that both are seen; with the ego, should they be far apart."""
    ego, lead = VehicleState.of(states, 0), VehicleState.of(states, 1)
    return np.array([ego.x + np.clip((lead.x - ego.x) / 2, -45.0, 45.0), 0.0]), 10.0


def _turn_camera(scenario: Scenario, states: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
    """Fixed over the whole bend."""
    radius, approach, direction = (float(scene[name]) for name in ("radius", "approach", "direction"))
    span = approach + radius + 20.0
    return np.array([(radius - approach + 4.0) / 2, direction * (span / 2 - 10.0)]), TURN_PANEL / span


def _highway_camera(scenario: Scenario, states: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
    """With the ego, of which more is seen ahead than behind."""
    ego = VehicleState.of(states, 0)
    middle = ego.y - scenario.lane_offset(states, scene)
    return np.array([ego.x + HIGHWAY_AHEAD, middle]), 1120 / HIGHWAY_LENGTH


def _highway_headway(scenario: Scenario, states: np.ndarray, scene: Scene) -> str:
    return _headway(float(cast(Highway, scenario).headway(states)))


def _replay_headway(scenario: Scenario, states: np.ndarray, scene: Scene) -> str:
    return _headway(float(cast(Replay, scenario).headway(states, scene)))


def _headway(headway: float) -> str:
    """[s] in words."""
    return f"headway {headway:.1f} s" if headway < LONGEST_HEADWAY else "nobody near ahead"


def _replay_camera(scenario: Scenario, states: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
    """With the ego, of which more is seen ahead than behind, and on the middle of the road, if the ego is near it."""
    replay, heading = cast(Replay, scenario), _road_heading(scenario, states, scene)
    outer = [0, replay.num_lanes(states, scene) - 1]
    middle = np.mean([replay.lane_middle(states[0, S], np.asarray(lane), scene)[0] for lane in outer])
    aside = np.clip(middle - states[0, D], -REPLAY_ASIDE, REPLAY_ASIDE)
    cos, sin = np.cos(heading), np.sin(heading)
    to_there = HIGHWAY_AHEAD * np.array([cos, sin]) + aside * np.array([-sin, cos])
    return states[0, :2] + to_there, 1120 / REPLAY_LENGTH


def _road_heading(scenario: Scenario, states: np.ndarray, scene: Scene) -> float:
    """[rad], of a recorded road where the ego is."""
    _, heading = cast(Replay, scenario).lane_middle(states[0, S], np.asarray(0), scene)
    return float(heading)


VIEWS = {
    "pass": View((1120, 160), 1, _pass_camera),
    "turn": View((TURN_PANEL, TURN_PANEL), 3, _turn_camera),
    "highway": View((1120, 124), 1, _highway_camera, _highway_headway),
    "replay": View((1120, 240), 1, _replay_camera, _replay_headway, True, (BURN_IN, "as the person did")),
}


def render(
    run: Path, out: Path, seed: int = 0, episodes: int = 60, progress: Callable[[str], None] = lambda message: None
) -> list[Path]:
    """Film every code of `run` from one start scene, and plot `episodes` episodes of all codes; all in highway-env.

    Returns:
        the files written into `out`: codes.mp4, codes.gif, codes.png.
    """
    draw_offscreen()
    driver = load(run)
    recording = Recording.load(Path(run) / "demonstrations.safetensors", driver.scenario)
    road = recording.demonstrations.road
    scenario = get_scenario(driver.scenario, **road)
    env = cast(DrivingEnv, gymnasium.make(environment_id(driver.scenario), **road).unwrapped)
    mp4, gif, png = (Path(out) / f"codes.{suffix}" for suffix in ("mp4", "gif", "png"))
    if scenario.recorded:
        filmed = _replay(driver, env, recording, seed)
        progress(f"plotting {png}")
        figure = plot_codes(driver, recording)
    else:
        env.reset(seed=seed)
        scene = env.scene
        progress(f"driving {episodes} episodes")
        filmed = [drive_episode(driver, env, code, scene=scene) for code in range(driver.num_codes)]
        driven = [drive_episode(driver, env, k % driver.num_codes, seed=seed + 1 + k) for k in range(episodes)]
        progress(f"plotting {png}")
        figure = plot(scenario, recording, driven, driver.num_codes)
    env.close()
    write_plot(png, figure)
    beliefs = [belief(driver.log_posterior(episode.observations, episode.actions)) for episode in filmed]
    frames = film(scenario, filmed, beliefs, driver.characters, road)
    write_film(mp4, gif, frames, progress, scenario.simulation_frequency)
    return [mp4, gif, png]


def _replay(driver: Driver, env: DrivingEnv, recording: Recording, seed: int) -> list[Episode]:
    """A held-out window, drawn by `seed`, driven with each code after the person's burn-in.

    Where nothing is held out, one for training, and it says so.
    """
    windows = held_out(recording, 1, seed)
    if not len(windows):
        console.print(f"{NOTHING_HELD_OUT}; the film is of a training window", soft_wrap=True, highlight=False)
        windows = np.random.default_rng(seed).choice(recording.num_training, 1)
    (window,) = windows
    return [drive_window(env, recording, int(window), Trained(driver), code) for code in range(driver.num_codes)]


def draw_offscreen() -> None:
    """Where there is no screen, let SDL do without, before it is asked to draw."""
    if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        os.environ.setdefault("SDL_VIDEODRIVER", "offscreen")  # SDL comes to this by itself, but complains first


def belief(log_posterior: np.ndarray | None) -> np.ndarray | None:
    """Q(c | the trajectory so far) (N + 1, K), uniform at first, from log Q(c|s,a) (N, K) of each decision."""
    if log_posterior is None:
        return None
    logits = np.cumsum(np.vstack((np.zeros_like(log_posterior[:1]), log_posterior)), axis=0, dtype=np.float64)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def failure(episode: Episode) -> str:
    """How the episode came to a bad end; nothing if it did not."""
    return "crashed" if episode.crashed else "left the road" if episode.off_road else ""


def colour(code: int) -> Colour:
    """The colour of `code`, everywhere."""
    red, green, blue = bytes.fromhex(PALETTE[code % len(PALETTE)][1:])
    return red, green, blue


def film(
    scenario: Scenario,
    episodes: Sequence[Episode],
    beliefs: Sequence[np.ndarray | None],
    characters: Characters | None = None,
    road: Mapping[str, Any] | None = None,
) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8, H and W even, one for each step of the physics: one panel per episode, all at once.

    Args:
        episodes: of one scene, usually.
        beliefs: (N + 1, K) per episode, as `belief` makes them, or None for a learner without a posterior.
        characters: of the demonstrations, by which styles are told where geometry alone cannot.
        road: what the environment is to be made with.
    """
    columns = min(VIEWS[scenario.road].columns, len(episodes))
    styles = [styles_so_far(scenario, episode, characters) for episode in episodes]
    panels = [_panel(scenario, *each, road or {}) for each in zip(episodes, beliefs, styles, strict=True)]
    for _ in range(_frames_per_decision(scenario) * _decisions_to_show(scenario, episodes, styles) + 1):
        frame = _tile([next(panel) for panel in panels], columns)
        yield frame
    for _ in range(round(HOLD * scenario.simulation_frequency)):
        yield frame


def _frames_per_decision(scenario: Scenario) -> int:
    return scenario.simulation_frequency // scenario.policy_frequency


def styles_so_far(scenario: Scenario, episode: Episode, characters: Characters | None = None) -> list[int]:
    """What style the episode has, judged by its states until each decision and after the last: T + 1 of them."""
    states, enough = episode.vehicle_states, ENOUGH if scenario.measures else 0
    styles = [int(scenario.style(states[: k + 1], episode.scene, characters)) for k in range(enough, len(states))]
    return [NO_STYLE] * (len(states) - len(styles)) + styles


def _decisions_to_show(scenario: Scenario, episodes: Sequence[Episode], styles: Sequence[list[int]]) -> int:
    """Until a little after the last code has done its manoeuvre; everything, if one fails or never does it, or if the
    style is no manoeuvre."""
    everything = max(len(episode.actions) for episode in episodes)
    no_manoeuvre = scenario.measures or len(scenario.styles) == 1
    if no_manoeuvre or any(map(failure, episodes)) or any(style[-1] == NO_STYLE for style in styles):
        return everything
    done = max(style.index(style[-1]) for style in styles)
    return min(done + round(LINGER * scenario.policy_frequency), everything)


def _panel(
    scenario: Scenario, episode: Episode, belief: np.ndarray | None, styles: list[int], road: Mapping[str, Any]
) -> Iterator[np.ndarray]:
    """Frames (header + H, W, 3) of one episode, replayed by its actions; after its end, the last one for ever."""
    view = VIEWS[scenario.road]
    width, _ = view.size
    frames = _frames_per_decision(scenario)
    stage = Stage(scenario, episode.scene, colour(episode.code), road)
    for k in range(frames * len(episode.actions) + 1):
        if k:
            stage.step(episode.actions[(k - 1) // frames])
        now = k // frames
        picture, states, chances = stage.picture(), stage.states[-1], None if belief is None else belief[now]
        told = states[0, 3], chances, view.detail(scenario, states, episode.scene)
        until, prelude = view.prelude
        remark = prelude if now < until else deed(scenario, styles[now])
        frame = np.vstack((caption(width, episode.code, remark, *told), picture))
        yield frame
    if remark := failure(episode):
        frame = np.vstack((caption(width, episode.code, remark, *told, ALARM), alarmed(picture)))
    while True:
        yield frame


class Camera:
    """Takes pictures of one environment of highway-env, drawn by its own renderer."""

    def __init__(self, env: AbstractEnv, size: tuple[int, int], scaling: float) -> None:
        """Pictures of `size`, width and height [px], so large [px/m]."""
        self.env, self._size, self._scaling = env, size, scaling
        env.config |= {
            "screen_width": SUPERSAMPLING * size[0],
            "screen_height": SUPERSAMPLING * size[1],
            "scaling": SUPERSAMPLING * scaling,
            "centering_position": [0.5, 0.5],
        }
        env.viewer = EnvViewer(env)
        env.viewer.enabled = True  # highway-env draws nothing under SDL's dummy driver, though it could
        # Never closed: highway-env's close() ends pygame for every other camera, too.
        self._lanes = [_outline(lane) for lane in env.road.network.lanes_list()]
        self._ground_at: tuple[np.ndarray, np.ndarray] | None = None

    def picture(self, centre: np.ndarray) -> np.ndarray:
        """The scene (H, W, 3) around `centre` (2,) [m], as it is now."""
        self.env.viewer.observer_vehicle = SimpleNamespace(position=centre)
        # Not env.render(): it copies the picture column by column, which takes longer than drawing it.
        self.env.viewer.display()
        surface = self.env.viewer.sim_surface
        pixels = np.frombuffer(pygame.image.tobytes(surface, "RGB"), np.uint8)
        picture = cv2.resize(
            pixels.reshape(surface.get_height(), surface.get_width(), 3), self._size, interpolation=cv2.INTER_AREA
        )
        cv2.copyTo(self._ground(centre), cv2.inRange(picture, WorldSurface.GREY, WorldSurface.GREY), picture)
        return picture

    def _ground(self, centre: np.ndarray) -> np.ndarray:
        """Road and roadside (H, W, 3): highway-env has one grey for all ground."""
        if self._ground_at is None or (self._ground_at[0] != centre).any():
            width, height = self._size
            ground = np.full((height, width, 3), OFF_ROAD, np.uint8)
            for lane in self._lanes:
                cv2.fillPoly(ground, [self.subpixels(lane, centre)], WorldSurface.GREY, shift=SHIFT)
            self._ground_at = centre, ground
        return self._ground_at[1]

    def subpixels(self, positions: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """Where `positions` (n, 2) [m] are in the picture, int32 in units of 2^-SHIFT px, as OpenCV takes them."""
        pixels = (positions - centre) * self._scaling + np.array(self._size) / 2
        return (pixels * 2**SHIFT).round().astype(np.int32)


class Stage:
    """highway-env with a camera: one scene, driven one physics step at a time."""

    def __init__(self, scenario: Scenario, scene: Scene, paint: Colour, road: Mapping[str, Any] | None = None) -> None:
        self._paint, self._view = paint, VIEWS[scenario.road]
        self._scenario = scenario
        config = {"policy_frequency": scenario.simulation_frequency}  # a decision for each physics step: same motion
        made = gymnasium.make(environment_id(scenario.name), render_mode="rgb_array", config=config, **(road or {}))
        self.env = cast(DrivingEnv, made.unwrapped)
        self.env.reset(options={"scene": scene})
        for vehicle in self.env.road.vehicles:
            vehicle.color = paint if vehicle is self.env.vehicle else OTHER_VEHICLE
        self.states: list[np.ndarray] = [self.env.vehicle_state]
        _, self._scaling = self._view.camera(scenario, self.states[0], scene)
        diagonal = int(np.hypot(*self._view.size)) + 1
        size = (diagonal, diagonal) if self._view.level else self._view.size
        self._camera = Camera(self.env, size, self._scaling)

    def step(self, action: np.ndarray) -> None:
        """Drive one physics step with `action` (2,)."""
        self.env.step(action)
        self.states.append(self.env.vehicle_state)

    def picture(self) -> np.ndarray:
        """The scene (H, W, 3) as it is now, with the ego's trail."""
        centre, _ = self._view.camera(self._scenario, self.states[-1], self.env.scene)
        picture = self._with_trail(self._camera.picture(centre), centre)
        return self._levelled(picture) if self._view.level else picture

    def _levelled(self, picture: np.ndarray) -> np.ndarray:
        """The middle of `picture`, turned so that the road runs from left to right."""
        heading = _road_heading(self._scenario, self.states[-1], self.env.scene)
        middle, size = np.array(picture.shape[1::-1]) / 2, self._view.size
        turn = cv2.getRotationMatrix2D(middle.tolist(), np.degrees(heading), 1.0)
        turn[:, 2] = turn[:, 2] + np.array(size) / 2 - middle
        return cv2.warpAffine(picture, turn, size, flags=cv2.INTER_AREA)

    def _with_trail(self, picture: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """`picture` with the line along which the ego came, under the vehicles."""
        vehicles = np.zeros(picture.shape[:2], np.uint8)
        for vehicle in self.env.road.vehicles:
            outline = [self._camera.subpixels(vehicle.polygon(), centre)]
            cv2.fillPoly(vehicles, outline, 255, shift=SHIFT)
            cv2.polylines(vehicles, outline, True, 255, round(0.6 * self._scaling), shift=SHIFT)  # the tyres stick out
        trail = [self._camera.subpixels(np.stack(self.states)[:, 0, :2], centre)]
        trailed = cv2.polylines(picture.copy(), trail, False, self._paint, 4, cv2.LINE_AA, SHIFT)
        return cv2.copyTo(picture, vehicles, trailed)


def _outline(lane: AbstractLane) -> np.ndarray:
    """Corners (n, 2) [m] of a polygon that covers `lane`."""
    along = np.linspace(0.0, lane.length, 65)
    left, right = ([lane.position(s, side * lane.width_at(s) / 2) for s in along] for side in (-1, 1))
    return np.array(left + right[::-1])


def caption(
    width: int,
    code: int,
    remark: str,
    speed: float,
    chances: np.ndarray | None,
    detail: str = "",
    paint: Colour = WHITE,
) -> np.ndarray:
    """A strip (h, width, 3): the code, a remark in the colour `paint`, the `speed` [m/s], some detail, and a bar for
    each of the `chances` (K,) that the posterior gives the codes."""
    rows = 2 if chances is None else max(2, len(chances))
    strip = np.full((TOP + rows * ROW, width, 3), BACKGROUND, np.uint8)
    write_text(strip, f"code {code}", (MARGIN, 36), 1.05, colour(code))
    write_text(strip, remark, (MARGIN, 70), 0.85, paint)
    write_text(strip, f"{3.6 * speed:.0f} km/h", (int(0.55 * width), 36), 0.85, WHITE, right=True)
    write_text(strip, detail, (int(0.55 * width), 70), 0.7, DIMMED, right=True)
    if chances is None:
        return strip
    left, right = int(0.66 * width), width - MARGIN - 62
    write_text(strip, "posterior's belief", (left - 28, 20), 0.58, DIMMED)
    for k, chance in enumerate(chances):
        top, bottom = TOP + k * ROW, TOP + (k + 1) * ROW - 6
        write_text(strip, str(k), (left - 12, bottom - 4), 0.6, colour(k), right=True)
        cv2.rectangle(strip, (left, top), (right, bottom), TRACK, cv2.FILLED)
        if (end := left + round(chance * (right - left))) > left:
            cv2.rectangle(strip, (left, top), (end, bottom), colour(k), cv2.FILLED)
        write_text(strip, f"{100 * chance:.0f} %", (width - MARGIN, bottom - 4), 0.6, WHITE, right=True)
    return strip


def alarmed(picture: np.ndarray) -> np.ndarray:
    """`picture` (H, W, 3), darkened, in a frame of the colour of alarm."""
    dark = (picture * 0.6).astype(np.uint8)
    return cv2.rectangle(dark, (4, 4), (dark.shape[1] - 5, dark.shape[0] - 5), ALARM, 8)


def write_text(
    image: np.ndarray, text: str, at: tuple[int, int], size: float, paint: Colour, right: bool = False
) -> None:
    """Write `text` on the baseline from `at` [px] on, or, with `right`, up to there."""
    (width, _), _ = cv2.getTextSize(text, FONT, size, 1)
    cv2.putText(image, text, (at[0] - width * right, at[1]), FONT, size, paint, 1, cv2.LINE_AA)


def _tile(panels: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Panels (H, W, 3) in rows of `columns`, a gap between them, sides filled up to even lengths."""
    height, width, _ = panels[0].shape
    rows = -(-len(panels) // columns)
    size = rows * (height + GAP) - GAP, columns * (width + GAP) - GAP
    sheet = np.full((size[0] + size[0] % 2, size[1] + size[1] % 2, 3), TRACK, np.uint8)
    for k, panel in enumerate(panels):
        y, x = k // columns * (height + GAP), k % columns * (width + GAP)
        sheet[y : y + height, x : x + width] = panel
    return sheet


def write_film(
    mp4: Path,
    gif: Path,
    frames: Iterable[np.ndarray],
    progress: Callable[[str], None] = lambda message: None,
    fps: int = FPS,
) -> None:
    """Write `frames` (H, W, 3) uint8, even sizes, `fps` a second, as a film, and smaller as an animation."""
    thumbnails: list[np.ndarray] = []

    def shrunk() -> Iterator[np.ndarray]:
        for k, frame in enumerate(frames):
            if k % GIF_EVERY == 0:
                height = round(frame.shape[0] * GIF_WIDTH / frame.shape[1])
                thumbnails.append(cv2.resize(frame, (GIF_WIDTH, height), interpolation=cv2.INTER_AREA))
            if k % fps == 0:
                progress(f"filming {mp4}: {k // fps} s")
            yield frame

    write_mp4(mp4, shrunk(), fps)
    progress(f"writing {gif}")
    write_gif(gif, thumbnails, fps)


def write_mp4(path: Path, frames: Iterable[np.ndarray], fps: int = FPS) -> None:
    """Encode `frames` (H, W, 3) uint8, even sizes, as H.264 that a browser plays while it loads.

    Raises:
        OSError: the encoder failed; nothing is written then.
    """
    frames = iter(frames)
    first = next(frames)
    with TemporaryDirectory() as folder:
        film = Path(folder) / path.name
        writer = FFMPEG_VideoWriter(
            str(film),
            first.shape[1::-1],
            fps,
            codec="libx264",
            preset="fast",
            threads=1,
            ffmpeg_params=["-crf", "21", "-movflags", "+faststart"],
        )
        encoder = writer.proc
        with writer:
            for frame in chain((first,), frames):
                writer.write_frame(frame)
        if encoder.returncode:
            raise OSError(f"{path}: ffmpeg stopped with status {encoder.returncode}")
        write_atomically(path, film.read_bytes())


def write_gif(path: Path, frames: Sequence[np.ndarray], fps: int = FPS) -> None:
    """Write `frames` (H, W, 3) uint8 as an endless animation, with one palette for all, so that nothing flickers."""
    sample = np.vstack(frames[:: max(1, len(frames) // 8)])
    palette = Image.fromarray(sample).quantize(GIF_COLOURS, method=Image.Quantize.MEDIANCUT)
    images = [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=round(1000 * GIF_EVERY / fps, -1), loop=0
    )
    write_atomically(path, buffer.getvalue())
