"""The studio's pictures and animation in the docs: `python -m tests.studio.pictures` writes videos/studio/.

With a folder in which there is a forecast, `python -m tests.studio.pictures FOLDER` takes the picture of that instead.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from infogail.envs.catalogue import get_scenario
from infogail.envs.files import write_atomically
from infogail.envs.recordings.record import record
from infogail.rendering.video import write_gif
from tests.studio.figures import opened
from tests.studio.keys import Keyboard, begin, end, passing, wait

OUT = Path(__file__).parents[2] / "videos" / "studio"
SIZE = (1120, 640)  # [px]
FPS = 16  # of the frames, of which the animation shows each; see `write_gif`


def main() -> None:
    """Drive, train and watch, taking pictures."""
    folder, rng = Path(tempfile.mkdtemp()), np.random.default_rng(4)
    frames: list[np.ndarray] = []
    with opened(folder) as (_, page):
        page.set_viewport_size({"width": SIZE[0], "height": SIZE[1]})

        def shoot(seconds: float, act: Callable[[], None] = lambda: None) -> None:
            for _ in range(round(seconds * FPS / 2)):
                act()
                picture = Image.open(io.BytesIO(page.screenshot(type="png"))).convert("RGB")
                frames.append(np.asarray(picture.resize((800, 800 * SIZE[1] // SIZE[0]), Image.Resampling.LANCZOS)))
                page.wait_for_timeout(30)

        train(page, folder)
        room(page, "Drive")
        page.locator("#drive-scenario").select_option("pass")
        page.locator("#drive-run").select_option(index=1)
        begin(page, "pass", "mine")
        page.keyboard.press("Space")
        keyboard, rule = Keyboard(page), passing(-1, rng)
        shoot(6.0, lambda: keyboard.hold(rule(page.evaluate("window.studio.driving"))))
        keyboard.hold(set())
        page.keyboard.press("Space")
        shoot(0.7)
        page.wait_for_timeout(350)
        page.keyboard.press("ArrowRight")
        end(page)
        room(page, "Train")
        page.locator("#train-seed").fill("1")
        page.locator("#train-start").click()
        wait(page, "(window.studio.shown ?? []).length === 2", 60)
        shoot(4.5)
        wait(page, "window.studio.trained.state === 'finished'", 120)
        page.locator("#train-watch").click()
        page.wait_for_timeout(500)
        page.locator("#watch-start").click()
        wait(page, "window.studio.watched !== null")
        shoot(1.0)
        page.locator("#watch-panels article").first.get_by_role("button", name="code 1").click()
        shoot(4.0)
        save("studio.png", page)
    write_gif(OUT / "studio.gif", frames, FPS)


def forecast(folder: Path) -> None:
    """The room Forecast, with the start in the middle of the map."""
    with opened(folder) as (_, page):
        page.set_viewport_size({"width": SIZE[0], "height": SIZE[1] + 120})
        room(page, "Forecast")
        wait(page, "window.studio.forecast !== null")
        box = page.locator("#forecast-map").bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.locator("#folder").evaluate("folder => folder.replaceChildren()")
        page.wait_for_timeout(500)
        save("forecast.png", page)


def save(name: str, page: Any) -> None:
    """A picture of the page, with few colours."""
    picture = io.BytesIO()
    Image.open(io.BytesIO(page.screenshot(type="png"))).quantize(128).save(picture, "PNG")
    write_atomically(OUT / name, picture.getvalue())


def room(page: Any, name: str) -> None:
    page.get_by_role("link", name=name).click()


def train(page: Any, folder: Path) -> None:
    """A first run, whose posterior guesses the style in the room Drive."""
    recording, _ = record(get_scenario("pass"), 100, seed=0)
    recording.save(folder / "demos" / "pass.safetensors")
    page.reload()
    room(page, "Train")
    wait(page, "document.querySelector('#train-file')?.options.length > 0")
    page.locator("#train-start").click()
    wait(page, "window.studio.trained?.state === 'finished'", 120)


if __name__ == "__main__":
    forecast(Path(sys.argv[1])) if len(sys.argv) > 1 else main()
