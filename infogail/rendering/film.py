"""Visualise what each latent code does: `codes.mp4`, `codes.gif` and `codes.png` of a run.

The film replays episodes in highway-env, one frame per physics step; its renderer draws road and vehicles, with
captions and trails on top. A code has the same colour everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infogail.envs.data.recording import Recording
from infogail.envs.data.world import NOTHING_HELD_OUT
from infogail.envs.physics.state import Scene
from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.scenarios.styles import NO_STYLE, StyleJudge
from infogail.evaluation.episodes import Episode, drive_episode
from infogail.evaluation.people import Trained, drive_window, held_out
from infogail.evaluation.styles import styles_so_far
from infogail.parallel.progress import note
from infogail.rendering.camera import Stage, draw_offscreen
from infogail.rendering.captions import alarmed, caption, style_phrase
from infogail.rendering.diagrams import PEOPLE_PLOTS, plot, write_plot
from infogail.rendering.palette import ALARM, TRACK, colour
from infogail.rendering.video import write_film
from infogail.rendering.viewer import viewer_episode, write_page
from infogail.runs.driver import CodeLabels, Driver, load
from infogail.runs.folder import DEMONSTRATIONS

LINGER = 1.6  # [s] that the film continues after the last code has completed its manoeuvre
HOLD = 1.5  # [s] for which the last frame is held
GAP = 8  # [px] between panels
SCENES = 4  # on a page


def render(
    run: Path, out: Path, seed: int = 0, episodes: int = 60, progress: Callable[[str], None] = lambda message: None
) -> list[Path]:
    """Film every code of `run` from the same initial scene, and plot `episodes` episodes of all codes, in highway-env.

    Returns:
        the files written into `out`: codes.mp4, codes.gif, codes.png.
    """
    draw_offscreen()
    driver = load(run)
    recording = Recording.load(Path(run) / DEMONSTRATIONS, driver.scenario)
    scenario, judge = recording.scenario, recording.scenario.fit_judge(recording)
    env = DrivingEnv(scenario)
    mp4, gif, png = (Path(out) / f"codes.{suffix}" for suffix in ("mp4", "gif", "png"))
    if scenario.recorded:
        filmed = _drive_one_window(driver, env, recording, _windows(recording, seed)[0])
        progress(f"plotting {png}")
        figure = PEOPLE_PLOTS[type(recording.world)](driver, recording, filmed)
    else:
        progress(f"driving {episodes} episodes")
        filmed = drive_each_code(driver, env, drawn_scene(env, seed), judge)
        codes = [k % driver.num_codes for k in range(episodes)]
        driven = [drive_episode(driver, env, code, seed + 1 + k, judge=judge) for k, code in enumerate(codes)]
        progress(f"plotting {png}")
        figure = plot(scenario, recording, driven, driver.num_codes)
    env.close()
    write_plot(png, figure)
    beliefs = [driver.belief(episode.observations, episode.actions) for episode in filmed]
    frames = film(scenario, filmed, beliefs, driver.labels, judge)
    write_film(mp4, gif, frames, progress, scenario.simulation_frequency)
    return [mp4, gif, png]


def render_page(
    run: Path,
    out: Path,
    seed: int = 0,
    scenes: int = SCENES,
    progress: Callable[[str], None] = lambda message: None,
) -> list[Path]:
    """Let every code of `run` drive from each of `scenes` initial scenes, the first that of `render`, into a page.

    Returns:
        the file written into `out`: codes.html, self-contained.
    """
    driver = load(run)
    recording = Recording.load(Path(run) / DEMONSTRATIONS, driver.scenario)
    scenario, judge = recording.scenario, recording.scenario.fit_judge(recording)
    env = DrivingEnv(scenario)
    starts, shown = starts_from(recording, seed, scenes), []
    for k, start in enumerate(starts):
        progress(f"driving scene {k + 1} of {len(starts)}")
        driven = drive_from(driver, env, recording, start, judge)
        shown.append([seen_episode(driver, scenario, episode) for episode in driven])
    env.close()
    path = Path(out) / "codes.html"
    text = f"{scenario.name}, {driver.algorithm}: every panel of a scene starts alike; only the code differs."
    write_page(path, f"{Path(run).resolve().name}, one panel per code", text, shown)
    return [path]


def seen_episode(driver: Driver, scenario: Scenario, episode: Episode) -> dict[str, Any]:
    """EPISODE of what `driver` drove, for the viewer."""
    belief = driver.belief(episode.observations, episode.actions)
    style = style_phrase(scenario, episode.style) or None
    return viewer_episode(scenario, episode, label=driver.labels.title(episode.code), belief=belief, style=style)


def drawn_scene(env: DrivingEnv, seed: int) -> Scene:
    """The scene drawn with `seed`."""
    env.reset(seed=seed)
    return env.scene


def drive_each_code(driver: Driver, env: DrivingEnv, scene: Scene, judge: StyleJudge) -> list[Episode]:
    """Drive from `scene` with each code."""
    return [drive_episode(driver, env, code, scene=scene, judge=judge) for code in range(driver.num_codes)]


def starts_from(recording: Recording, seed: int, most: int = 1) -> Sequence[int]:
    """Up to `most` starts for `drive_from`: windows of recorded people, or else seeds, from `seed` on."""
    return _windows(recording, seed, most) if recording.scenario.recorded else range(seed, seed + most)


def drive_from(driver: Driver, env: DrivingEnv, recording: Recording, start: int, judge: StyleJudge) -> list[Episode]:
    """Drive with each code from one of `starts_from`."""
    if recording.scenario.recorded:
        return _drive_one_window(driver, env, recording, start)
    return drive_each_code(driver, env, drawn_scene(env, start), judge)


def _drive_one_window(driver: Driver, env: DrivingEnv, recording: Recording, window: int) -> list[Episode]:
    """Drive this window with each code after the person's burn-in, if there is one."""
    return [drive_window(env, recording, window, Trained(driver), code) for code in range(driver.num_codes)]


def _windows(recording: Recording, seed: int, most: int = 1) -> list[int]:
    """Up to `most` different held-out windows, the first drawn with `seed`, the next with `seed` + 1, and so on.

    If no windows are held out, draw training windows and print a note.
    """
    seeds = range(seed, seed + most)
    drawn = [held_out(recording, 1, each) for each in seeds]
    if not len(drawn[0]):
        note(f"{NOTHING_HELD_OUT}; the film is of a training window")
        drawn = [np.random.default_rng(each).choice(recording.num_training, 1) for each in seeds]
    return list(dict.fromkeys(int(window) for (window,) in drawn))


def film(
    scenario: Scenario,
    episodes: Sequence[Episode],
    beliefs: Sequence[np.ndarray | None],
    labels: CodeLabels,
    judge: StyleJudge | None = None,
) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8, H and W even, one per physics step: one panel per episode, side by side.

    Args:
        episodes: usually of the same scene.
        beliefs: (T + 1, K) per episode, from `Driver.belief`, or None for a learner without a posterior.
        labels: of the codes; see `Driver.labels`.
        judge: the style judge, for styles not determined by geometry alone; see `Scenario.fit_judge`.
    """
    columns = min(scenario.view.columns, len(episodes))
    styles = [styles_so_far(scenario, judge or scenario.style, e.vehicle_states, e.scene) for e in episodes]
    panels = [_panel(scenario, *each, labels) for each in zip(episodes, beliefs, styles, strict=True)]
    for _ in range(_frames_per_decision(scenario) * _decisions_to_show(scenario, episodes, styles) + 1):
        frame = tile([next(panel) for panel in panels], columns)
        yield frame
    for _ in range(round(HOLD * scenario.simulation_frequency)):
        yield frame


def _frames_per_decision(scenario: Scenario) -> int:
    return scenario.simulation_frequency // scenario.policy_frequency


def _decisions_to_show(scenario: Scenario, episodes: Sequence[Episode], styles: Sequence[list[int]]) -> int:
    """Until shortly after the last code has completed its manoeuvre; everything if a code fails or never completes it,
    or if the styles are not manoeuvres."""
    everything = max(len(episode.actions) for episode in episodes)
    no_manoeuvre = scenario.measures or len(scenario.styles) == 1
    if no_manoeuvre or any(episode.failed for episode in episodes) or any(style[-1] == NO_STYLE for style in styles):
        return everything
    done = max(style.index(style[-1]) for style in styles)
    return min(done + round(LINGER * scenario.policy_frequency), everything)


def _panel(
    scenario: Scenario,
    episode: Episode,
    belief: np.ndarray | None,
    styles: list[int],
    labels: CodeLabels,
) -> Iterator[np.ndarray]:
    """Frames (header + H, W, 3) of one episode, replayed from its actions; after its end, the last one forever."""
    view = scenario.view
    width, _ = view.size
    frames = _frames_per_decision(scenario)
    stage = Stage(scenario, episode.scene, colour(episode.code))
    for k in range(frames * len(episode.actions) + 1):
        if k:
            stage.step(episode.actions[(k - 1) // frames])
        now = k // frames
        picture, states, chances = stage.picture(), stage.states[-1], None if belief is None else belief[now]
        readings = f"{3.6 * states[0, 3]:.0f} km/h", chances, labels, view.detail(states, episode.scene)
        until, prelude = view.prelude
        remark = prelude if now < until else style_phrase(scenario, styles[now])
        frame = np.vstack((caption(width, episode.code, remark, *readings), picture))
        yield frame
    if remark := episode.failure:
        frame = np.vstack((caption(width, episode.code, remark, *readings, ALARM), alarmed(picture)))
    while True:
        yield frame


def tile(panels: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Panels (H, W, 3) in a grid of `columns` with gaps, padded to an even width and height."""
    height, width, _ = panels[0].shape
    rows = -(-len(panels) // columns)
    size = rows * (height + GAP) - GAP, columns * (width + GAP) - GAP
    sheet = np.full((size[0] + size[0] % 2, size[1] + size[1] % 2, 3), TRACK, np.uint8)
    for k, panel in enumerate(panels):
        y, x = k // columns * (height + GAP), k % columns * (width + GAP)
        sheet[y : y + height, x : x + width] = panel
    return sheet
