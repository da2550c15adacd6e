"""What each latent code does, to look at: `codes.mp4`, `codes.gif` and `codes.png` of one run.

The film replays episodes in highway-env, frame by frame of its physics, and lets its renderer draw road and vehicles;
captions and trails are drawn on top. A code has the same colour everywhere.
"""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import cast

import cv2
import gymnasium
import numpy as np
import pygame
from highway_env.envs.common.graphics import EnvViewer
from highway_env.road.graphics import LaneGraphics, WorldSurface
from highway_env.road.lane import AbstractLane, LineType
from highway_env.vehicle.kinematics import Vehicle
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter
from PIL import Image

from envs import environment_id, get_scenario
from envs.demonstrations import Recording, write_atomically
from envs.reference import DrivingEnv
from envs.roads import LANE_WIDTH, bend_coordinates
from envs.scenario import NO_STYLE, POLICY_FREQUENCY, SIMULATION_FREQUENCY, Scenario, Scene, VehicleState
from infogail.driver import load
from infogail.evaluate import Episode, drive_episode

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255 each."""

FPS = SIMULATION_FREQUENCY  # [Hz]; one frame per physics step, so the film runs in real time
FRAMES_PER_DECISION = SIMULATION_FREQUENCY // POLICY_FREQUENCY
LINGER = 1.6  # [s] that the film goes on after the last code has done its manoeuvre
HOLD = 1.5  # [s] that the last frame stays
SUPERSAMPLING = 2  # the scene is drawn so much larger and scaled down: highway-env's renderer does not smooth edges

PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")
"""Okabe & Ito's colours, which colour-blind people can tell apart; code k has colour k."""
OTHER_VEHICLE = (225, 225, 225)
BACKGROUND, TRACK, WHITE, DIMMED = (24, 26, 30), (58, 62, 70), (255, 255, 255), (150, 155, 165)
ALARM = (255, 92, 92)
OFF_ROAD = (52, 66, 54)
ROAD, DEMONSTRATION = "#e6e6e6", "#7f7f7f"  # in plots
TURN_RADIUS = 32.5  # [m], of the one bend that plots show for all
TURN_PANEL = 560  # [px]
TOP, ROW, GAP, MARGIN = 28, 28, 8, 16  # [px], of captions and between panels
GIF_WIDTH, GIF_COLOURS, GIF_EVERY = 640, 64, 2  # [px], shared by all frames, every so many frames of the film
SHIFT = 4  # OpenCV draws at 1/16 px
FONT = cv2.FONT_HERSHEY_DUPLEX


@dataclass(frozen=True)
class View:
    """How one scenario is shown."""

    deed: str
    """What a style is in words, such as 'passed left'; `{}` is the style."""
    size: tuple[int, int]
    """Width and height of one panel's scene [px]."""
    columns: int
    """At most so many panels side by side."""
    camera: Callable[[np.ndarray, Scene], tuple[np.ndarray, float]]
    """What the panel shows, for states (V, 4): the centre (2,) [m], and how large [px/m]."""
    plot: Callable[[Figure], Callable[[np.ndarray, Scene], list[tuple[Axes, np.ndarray, np.ndarray]]]]
    """Draws the road into an empty figure; returns what maps a trajectory (T, V, 4) to lines x (T,), y (T,) in it."""


def _pass_camera(states: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
    """Half-way between ego and lead, so that both are seen; with the ego, should they be far apart."""
    ego, lead = VehicleState.of(states, 0), VehicleState.of(states, 1)
    return np.array([ego.x + np.clip((lead.x - ego.x) / 2, -45.0, 45.0), 0.0]), 10.0


def _turn_camera(states: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
    """Fixed over the whole bend."""
    radius, approach, direction = (float(scene[name]) for name in ("radius", "approach", "direction"))
    span = approach + radius + 20.0
    return np.array([(radius - approach + 4.0) / 2, direction * (span / 2 - 10.0)]), TURN_PANEL / span


def _pass_plot(figure: Figure) -> Callable:
    figure.set_size_inches(8.0, 3.2)
    axes = figure.subplots()
    axes.axhspan(-1.5 * LANE_WIDTH, 1.5 * LANE_WIDTH, color=ROAD, lw=0)
    for y, style in ((-1.5, "-"), (-0.5, "--"), (0.5, "--"), (1.5, "-")):
        axes.axhline(y * LANE_WIDTH, color="white", lw=2, ls=style, zorder=1)
    corner = (-Vehicle.LENGTH / 2, -Vehicle.WIDTH / 2)
    axes.add_patch(Rectangle(corner, Vehicle.LENGTH, Vehicle.WIDTH, color="#333333", zorder=5))
    axes.annotate("lead car", (3.3, 0.0), va="center", zorder=5)
    axes.set(xlim=(-46.0, 80.0), ylim=(7.0, -7.0), yticks=(-4.0, -2.0, 0.0, 2.0, 4.0))
    axes.set(xlabel="ego's distance ahead of the lead car [m]", ylabel="lane offset [m]\n(left is up)")
    return lambda states, scene: [(axes, states[:, 0, 0] - states[:, 1, 0], states[:, 0, 1])]


def _turn_plot(figure: Figure) -> Callable:
    """Left the bend from above, all bends brought to one radius and direction; right offset over progress."""
    figure.set_size_inches(8.0, 3.2)
    above, axes = figure.subplots(1, 2, width_ratios=(1.0, 2.0))
    radius, arc = TURN_RADIUS, TURN_RADIUS * np.pi / 2

    def from_above(distance: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position (n,) each [m], seen as highway-env draws it."""
        turned = np.clip(distance / radius, 0.0, np.pi / 2)
        before, after = np.minimum(distance, 0.0), np.maximum(distance - arc, 0.0)
        return (radius - inside) * np.sin(turned) + before, radius - (radius - inside) * np.cos(turned) + after

    along = np.linspace(-60.0, arc + 60.0, 200)
    edges = [np.stack(from_above(along, side * LANE_WIDTH * np.ones_like(along))) for side in (1, -1)]
    above.fill(*np.hstack((edges[0], edges[1][:, ::-1])), color=ROAD, lw=0)
    above.plot(*from_above(along, 0 * along), color="white", lw=1.5, ls="--", zorder=1)
    above.annotate("from above,\nall bends as one", (-17.0, radius + 16.0), fontsize=9)
    above.set(xlim=(-20.0, radius + 7.0), ylim=(radius + 20.0, -7.0), aspect="equal", xlabel="x [m]", ylabel="y [m]")

    axes.axhspan(-LANE_WIDTH, LANE_WIDTH, color=ROAD, lw=0)
    axes.axhline(0.0, color="white", lw=2, ls="--", zorder=1)
    for x, text in ((0.0, "bend begins"), (100.0, "bend ends")):
        axes.axvline(x, color="#777777", lw=1, zorder=1)
        axes.annotate(text, (x, LANE_WIDTH), (3, 2), textcoords="offset points", fontsize=9)
    axes.set(xlim=(-45.0, 160.0), ylim=(-4.8, 4.8))
    axes.set(xlabel="way along the bend [% of its length]", ylabel="offset [m], inside is up")

    def lines(states: np.ndarray, scene: Scene) -> list[tuple[Axes, np.ndarray, np.ndarray]]:
        ego, arc_here = VehicleState.of(states, 0), scene["radius"] * np.pi / 2
        distance, inside, _ = bend_coordinates(ego.x, ego.y, scene["radius"], scene["direction"])
        stretched = np.where(
            distance < 0, distance, np.where(distance < arc_here, distance * arc / arc_here, distance - arc_here + arc)
        )
        return [(above, *from_above(stretched, inside)), (axes, 100 * distance / arc_here, inside)]

    return lines


VIEWS = {
    "pass": View("passed {}", (1120, 160), 1, _pass_camera, _pass_plot),
    "turn": View("took the {}", (TURN_PANEL, TURN_PANEL), 3, _turn_camera, _turn_plot),
}


def render(
    run: Path, out: Path, seed: int = 0, episodes: int = 60, progress: Callable[[str], None] = lambda message: None
) -> list[Path]:
    """Film every code of `run` from one start scene, and plot `episodes` episodes of all codes; all in highway-env.

    Returns:
        the files written into `out`: codes.mp4, codes.gif, codes.png.
    """
    if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        os.environ.setdefault("SDL_VIDEODRIVER", "offscreen")  # SDL comes to this by itself, but complains first
    driver = load(run)
    recording = Recording.load(Path(run) / "demonstrations.safetensors", driver.scenario)
    scenario = get_scenario(driver.scenario)
    env = cast(DrivingEnv, gymnasium.make(environment_id(driver.scenario)).unwrapped)
    env.reset(seed=seed)
    scene = env.scene
    progress(f"driving {episodes} episodes")
    filmed = [drive_episode(driver, env, code, scene=scene) for code in range(driver.num_codes)]
    driven = [drive_episode(driver, env, k % driver.num_codes, seed=seed + 1 + k) for k in range(episodes)]
    env.close()

    mp4, gif, png = (Path(out) / f"codes.{suffix}" for suffix in ("mp4", "gif", "png"))
    progress(f"plotting {png}")
    write_plot(png, plot(scenario, recording, driven, driver.num_codes))
    beliefs = [belief(driver.log_posterior(episode.observations, episode.actions)) for episode in filmed]
    thumbnails: list[np.ndarray] = []

    def frames() -> Iterator[np.ndarray]:
        for k, frame in enumerate(film(scenario, filmed, beliefs)):
            if k % GIF_EVERY == 0:
                height = round(frame.shape[0] * GIF_WIDTH / frame.shape[1])
                thumbnails.append(cv2.resize(frame, (GIF_WIDTH, height), interpolation=cv2.INTER_AREA))
            if k % FPS == 0:
                progress(f"filming {mp4}: {k // FPS} s")
            yield frame

    write_mp4(mp4, frames())
    progress(f"writing {gif}")
    write_gif(gif, thumbnails)
    return [mp4, gif, png]


def belief(log_posterior: np.ndarray | None) -> np.ndarray | None:
    """Q(c | the trajectory so far) (N + 1, K), uniform at first, from log Q(c|s,a) (N, K) of each decision."""
    if log_posterior is None:
        return None
    logits = np.cumsum(np.vstack((np.zeros_like(log_posterior[:1]), log_posterior)), axis=0, dtype=np.float64)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def deed(scenario: Scenario, style: int) -> str:
    """What `style` is in words; nothing for `NO_STYLE`."""
    return "" if style == NO_STYLE else VIEWS[scenario.name].deed.format(scenario.styles[style])


def failure(episode: Episode) -> str:
    """How the episode came to a bad end; nothing if it did not."""
    return "crashed" if episode.crashed else "left the road" if episode.off_road else ""


def colour(code: int) -> Colour:
    """The colour of `code`, everywhere."""
    red, green, blue = bytes.fromhex(PALETTE[code % len(PALETTE)][1:])
    return red, green, blue


def film(scenario: Scenario, episodes: Sequence[Episode], beliefs: Sequence[np.ndarray | None]) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8, H and W even, `FPS` a second: one panel per episode, all at the same time.

    Args:
        episodes: of one scene, usually.
        beliefs: (N + 1, K) per episode, as `belief` makes them, or None for a learner without a posterior.
    """
    columns = min(VIEWS[scenario.name].columns, len(episodes))
    styles = [styles_so_far(scenario, episode) for episode in episodes]
    panels = [_panel(scenario, *each) for each in zip(episodes, beliefs, styles, strict=True)]
    for _ in range(FRAMES_PER_DECISION * _decisions_to_show(episodes, styles) + 1):
        frame = _tile([next(panel) for panel in panels], columns)
        yield frame
    for _ in range(round(HOLD * FPS)):
        yield frame


def styles_so_far(scenario: Scenario, episode: Episode) -> list[int]:
    """What style the episode has, judged by its states until each decision and after the last: T + 1 of them."""
    states = episode.vehicle_states
    return [int(scenario.style(states[: k + 1], episode.scene)) for k in range(len(states))]


def _decisions_to_show(episodes: Sequence[Episode], styles: Sequence[list[int]]) -> int:
    """Until a little after the last code has done its manoeuvre; everything, if one fails or never does it."""
    everything = max(len(episode.actions) for episode in episodes)
    if any(map(failure, episodes)) or any(style[-1] == NO_STYLE for style in styles):
        return everything
    done = max(style.index(style[-1]) for style in styles)
    return min(done + round(LINGER * POLICY_FREQUENCY), everything)


def _panel(scenario: Scenario, episode: Episode, belief: np.ndarray | None, styles: list[int]) -> Iterator[np.ndarray]:
    """Frames (header + H, W, 3) of one episode, replayed by its actions; after its end, the last one for ever."""
    width, _ = VIEWS[scenario.name].size
    stage = Stage(scenario, episode.scene, colour(episode.code))
    for k in range(FRAMES_PER_DECISION * len(episode.actions) + 1):
        if k:
            stage.step(episode.actions[(k - 1) // FRAMES_PER_DECISION])
        now = k // FRAMES_PER_DECISION
        picture, speed, chances = stage.picture(), stage.states[-1][0, 3], None if belief is None else belief[now]
        frame = np.vstack((caption(width, episode.code, deed(scenario, styles[now]), speed, chances), picture))
        yield frame
    if remark := failure(episode):
        frame = np.vstack((caption(width, episode.code, remark, speed, chances, ALARM), alarmed(picture)))
    while True:
        yield frame


class Stage:
    """highway-env with a camera: one scene, driven one physics step at a time."""

    def __init__(self, scenario: Scenario, scene: Scene, paint: Colour) -> None:
        self._paint, self._view = paint, VIEWS[scenario.name]
        width, height = self._view.size
        _, self._scaling = self._view.camera(np.asarray(scenario.initial_states(scene)), scene)
        config = {
            "policy_frequency": SIMULATION_FREQUENCY,  # one decision, held for one physics step: same motion
            "screen_width": SUPERSAMPLING * width,
            "screen_height": SUPERSAMPLING * height,
            "scaling": SUPERSAMPLING * self._scaling,
            "centering_position": [0.5, 0.5],
        }
        env = gymnasium.make(environment_id(scenario.name), render_mode="rgb_array", config=config).unwrapped
        self.env = cast(DrivingEnv, env)
        self.env.reset(options={"scene": scene})
        for vehicle in self.env.road.vehicles:
            vehicle.color = paint if vehicle is self.env.vehicle else OTHER_VEHICLE
        self.env.viewer = EnvViewer(self.env)
        self.env.viewer.enabled = True  # highway-env draws nothing under SDL's dummy driver, though it could
        # Never closed: highway-env's close() ends pygame for every other stage, too.
        self.states: list[np.ndarray] = [self.env.vehicle_state]
        self._lanes: list[tuple[np.ndarray, np.ndarray]] = []
        self._lines: list[np.ndarray] = []
        for lane in self.env.road.network.lanes_list():
            edges = _edges(lane)
            self._lanes.append(edges)
            lane.line_types = list(lane.line_types)
            for side in (0, 1):
                if lane.line_types[side] in (LineType.CONTINUOUS, LineType.CONTINUOUS_LINE):
                    lane.line_types[side] = LineType.NONE  # ours to draw: see `_ground`
                    self._lines.append(edges[side])
        self._ground_at: tuple[np.ndarray, np.ndarray] | None = None

    def step(self, action: np.ndarray) -> None:
        """Drive one physics step with `action` (2,)."""
        self.env.step(action)
        self.states.append(self.env.vehicle_state)

    def picture(self) -> np.ndarray:
        """The scene (H, W, 3) as it is now, with the ego's trail."""
        centre, _ = self._view.camera(self.states[-1], self.env.scene)
        self.env.viewer.observer_vehicle = SimpleNamespace(position=centre)
        width, height = self._view.size
        # Not env.render(): it copies the picture column by column, which takes longer than drawing it.
        self.env.viewer.display()
        surface = self.env.viewer.sim_surface
        pixels = np.frombuffer(pygame.image.tobytes(surface, "RGB"), np.uint8)
        picture = cv2.resize(
            pixels.reshape(surface.get_height(), surface.get_width(), 3), (width, height), interpolation=cv2.INTER_AREA
        )
        cv2.copyTo(self._ground(centre), cv2.inRange(picture, WorldSurface.GREY, WorldSurface.GREY), picture)
        return self._with_trail(picture, centre)

    def _with_trail(self, picture: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """`picture` with the line along which the ego came, under the vehicles."""
        vehicles = np.zeros(picture.shape[:2], np.uint8)
        for vehicle in self.env.road.vehicles:
            outline = [self._subpixels(vehicle.polygon(), centre)]
            cv2.fillPoly(vehicles, outline, 255, shift=SHIFT)
            cv2.polylines(vehicles, outline, True, 255, round(0.6 * self._scaling), shift=SHIFT)  # the tyres stick out
        trail = [self._subpixels(np.stack(self.states)[:, 0, :2], centre)]
        trailed = cv2.polylines(picture.copy(), trail, False, self._paint, 4, cv2.LINE_AA, SHIFT)
        return cv2.copyTo(picture, vehicles, trailed)

    def _ground(self, centre: np.ndarray) -> np.ndarray:
        """Road and roadside (H, W, 3) with the unbroken lines: highway-env has one grey for all ground, and draws an
        unbroken line along a bend as its chord."""
        if self._ground_at is None or (self._ground_at[0] != centre).any():
            width, height = self._view.size
            ground = np.full((height, width, 3), OFF_ROAD, np.uint8)
            for left, right in self._lanes:
                outline = self._subpixels(np.concatenate((left, right[::-1])), centre)
                cv2.fillPoly(ground, [outline], WorldSurface.GREY, shift=SHIFT)
            lines = [self._subpixels(line, centre) for line in self._lines]
            thickness = max(1, round(LaneGraphics.STRIPE_WIDTH * self._scaling) - 1)
            cv2.polylines(ground, lines, False, WorldSurface.WHITE, thickness, cv2.LINE_AA, SHIFT)
            self._ground_at = centre, ground
        return self._ground_at[1]

    def _subpixels(self, positions: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """Where `positions` (n, 2) [m] are in the picture, int32 in units of 2^-SHIFT px, as OpenCV takes them."""
        pixels = (positions - centre) * self._scaling + np.array(self._view.size) / 2
        return (pixels * 2**SHIFT).round().astype(np.int32)


def _edges(lane: AbstractLane) -> tuple[np.ndarray, np.ndarray]:
    """The left and the right edge of `lane`, (n, 2) [m] each."""
    along = np.linspace(0.0, lane.length, 65)
    left, right = ([lane.position(s, side * lane.width_at(s) / 2) for s in along] for side in (-1, 1))
    return np.array(left), np.array(right)


def caption(
    width: int, code: int, remark: str, speed: float, chances: np.ndarray | None, paint: Colour = WHITE
) -> np.ndarray:
    """A strip (h, width, 3): the code, a remark in the colour `paint`, the `speed` [m/s], and a bar for each of the
    `chances` (K,) that the posterior gives the codes."""
    rows = 2 if chances is None else max(2, len(chances))
    strip = np.full((TOP + rows * ROW, width, 3), BACKGROUND, np.uint8)
    _text(strip, f"code {code}", (MARGIN, 36), 1.05, colour(code))
    _text(strip, remark, (MARGIN, 70), 0.85, paint)
    _text(strip, f"{3.6 * speed:.0f} km/h", (int(0.55 * width), 36), 0.85, WHITE, right=True)
    if chances is None:
        return strip
    left, right = int(0.66 * width), width - MARGIN - 62
    _text(strip, "posterior's belief", (left - 28, 20), 0.58, DIMMED)
    for k, chance in enumerate(chances):
        top, bottom = TOP + k * ROW, TOP + (k + 1) * ROW - 6
        _text(strip, str(k), (left - 12, bottom - 4), 0.6, colour(k), right=True)
        cv2.rectangle(strip, (left, top), (right, bottom), TRACK, cv2.FILLED)
        if (end := left + round(chance * (right - left))) > left:
            cv2.rectangle(strip, (left, top), (end, bottom), colour(k), cv2.FILLED)
        _text(strip, f"{100 * chance:.0f} %", (width - MARGIN, bottom - 4), 0.6, WHITE, right=True)
    return strip


def alarmed(picture: np.ndarray) -> np.ndarray:
    """`picture` (H, W, 3), darkened, in a frame of the colour of alarm."""
    dark = (picture * 0.6).astype(np.uint8)
    return cv2.rectangle(dark, (4, 4), (dark.shape[1] - 5, dark.shape[0] - 5), ALARM, 8)


def _text(image: np.ndarray, text: str, at: tuple[int, int], size: float, paint: Colour, right: bool = False) -> None:
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


def plot(scenario: Scenario, recording: Recording, episodes: Sequence[Episode], num_codes: int) -> Figure:
    """Trajectories over the road: demonstrations in grey, episodes in their code's colour; × where one failed."""
    figure = Figure(dpi=150, layout="constrained")
    lines = VIEWS[scenario.name].plot(figure)
    total = recording.demonstrations.num_episodes
    for k in range(total):
        for axes, x, y in lines(recording.trajectory(k), recording.scene(k)):
            axes.plot(x, y, color=DEMONSTRATION, lw=0.7, alpha=0.35, zorder=2)
    for episode in episodes:
        paint = PALETTE[episode.code % len(PALETTE)]
        for axes, x, y in lines(episode.vehicle_states, episode.scene):
            axes.plot(x, y, color=paint, lw=1.0, alpha=0.75, zorder=3)
            if episode.crashed or episode.off_road:
                axes.plot(x[-1], y[-1], "x", color=paint, ms=7, mew=2, zorder=4)
    handles = [Line2D([], [], color=DEMONSTRATION, label=f"{total} demonstrations")]
    for code in range(num_codes):
        styles = Counter(episode.style for episode in episodes if episode.code == code)
        deeds = [f"{styles[s]} {deed(scenario, s)}" for s in range(len(scenario.styles)) if styles[s]]
        deeds += [f"{styles[NO_STYLE]} failed"] if styles[NO_STYLE] else []
        label = f"code {code}: {', '.join(deeds)}"
        handles.append(Line2D([], [], color=PALETTE[code % len(PALETTE)], lw=3, label=label))
    widest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), 100 // (widest + 6)))  # about 100 letters fit into one row
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False)
    return figure


def write_plot(path: Path, figure: Figure) -> None:
    """Write `figure` as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())


def write_mp4(path: Path, frames: Iterable[np.ndarray]) -> None:
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
            FPS,
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


def write_gif(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write `frames` (H, W, 3) uint8 as an endless animation, with one palette for all, so that nothing flickers."""
    sample = np.vstack(frames[:: max(1, len(frames) // 8)])
    palette = Image.fromarray(sample).quantize(GIF_COLOURS, method=Image.Quantize.MEDIANCUT)
    images = [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=round(1000 * GIF_EVERY / FPS, -1), loop=0
    )
    write_atomically(path, buffer.getvalue())
