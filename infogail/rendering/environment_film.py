"""Film what each code of a run does in a Gymnasium environment: `codes.mp4`, `codes.gif` and `codes.png`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from infogail.envs.errors import BadInput, one_line
from infogail.envs.tasks import GymTask
from infogail.evaluation.returns import Trajectory, drive
from infogail.rendering.camera import draw_offscreen
from infogail.rendering.captions import caption
from infogail.rendering.film import HOLD, tile
from infogail.rendering.video import write_film, write_png
from infogail.runs.driver import CodeLabels, load

WIDTH = 600  # [px] of a panel
FPS = 30  # [Hz] at most; environments that render faster are shown in real time, with frames left out
MOMENTS = 5  # in the still


def render_environment(
    run: Path, out: Path, seed: int = 0, progress: Callable[[str], None] = lambda message: None
) -> list[Path]:
    """Film every code of `run` from the same reset, side by side; the still shows moments from start to end.

    Returns:
        the files written into `out`: codes.mp4, codes.gif, codes.png.

    Raises:
        BadInput: the environment does not render pictures.
    """
    draw_offscreen()
    driver = load(run)
    task = driver.task
    assert isinstance(task, GymTask)
    env = task.make(render_mode="rgb_array")
    modes = env.metadata.get("render_modes", [])
    if "rgb_array" not in modes:
        offered = ", ".join(map(str, modes)) or "nothing"
        raise BadInput(f"{task.name}: cannot be filmed, for it renders {offered} and not 'rgb_array'")
    num_codes = driver.num_codes if driver.evidence is not None else 1
    panels = []
    for code in range(num_codes):
        progress(f"driving code {code}")
        pictures: list[np.ndarray] = []
        watch = partial(keep_picture, env, pictures)
        driven = drive(driver, env, task.interface, driver.codes[code], seed, watch)
        panels.append([panel(driven, code, t, shot, driver.labels) for t, shot in enumerate(pictures)])
    env.close()
    mp4, gif, png = (Path(out) / f"codes.{suffix}" for suffix in ("mp4", "gif", "png"))
    write_png(png, tile([one[t] for one in panels for t in moments(len(one))], MOMENTS))
    rate = env.metadata.get("render_fps") or FPS
    every = max(1, round(rate / FPS))
    write_film(mp4, gif, film(panels, every, round(rate / every)), progress, round(rate / every))
    return [mp4, gif, png]


def keep_picture(env: Any, pictures: list[np.ndarray]) -> None:
    """Add (H, W, 3) uint8, what the environment shows, `WIDTH` wide."""
    try:
        frame = np.asarray(env.render())
    except Exception as error:  # of whatever draws it
        problem = one_line(error)
        raise BadInput(
            f"{env.spec.id}: rendering failed ({problem}); for MuJoCo, try MUJOCO_GL=egl or osmesa"
        ) from error
    height, width = frame.shape[:2]
    enlarge = cv2.INTER_NEAREST if 2 * width <= WIDTH else cv2.INTER_AREA
    size = WIDTH, round(height * WIDTH / width)
    pictures.append(cv2.resize(frame[..., :3].astype(np.uint8), size, interpolation=enlarge))


def panel(driven: Trajectory, code: int, t: int, shot: np.ndarray, labels: CodeLabels) -> np.ndarray:
    """The picture after t steps, below its caption."""
    ended = t == len(driven.rewards)
    remark = "" if not ended else "terminated" if driven.terminated else "time limit"
    if ended and driven.success is not None:
        remark = "succeeded" if driven.success else "failed"
    chances = None if driven.belief is None or driven.belief.shape[1] < 2 else driven.belief[t]
    reading = f"return {driven.rewards[:t].sum():.4g}"
    return np.vstack((caption(WIDTH, code, remark, reading, chances, labels, f"step {t}"), shot))


def moments(length: int) -> list[int]:
    """`MOMENTS` indices from the first to the last of `length`, equally far apart."""
    return [round(index) for index in np.linspace(0, length - 1, MOMENTS)]


def film(panels: list[list[np.ndarray]], every: int, fps: int) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) of all codes' panels side by side; an episode that has ended keeps its last one."""
    longest = max(map(len, panels))
    columns = min(len(panels), 3)
    for t in [*range(0, longest - 1, every), longest - 1]:
        frame = tile([one[min(t, len(one) - 1)] for one in panels], columns)
        yield frame
    for _ in range(round(HOLD * fps)):
        yield frame
