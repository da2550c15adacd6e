"""What somebody at the keyboard achieves by the page alone: `python -m tests.studio.figures [--sessions 5]`.

Drives pass and turn by simple rules through a browser's keys, in real time; then, in each session, records passes in an
empty folder, presses Train, and has the run judged in highway-env. A session takes five minutes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from playwright.sync_api import sync_playwright

from infogail.evaluation.protocol import evaluate
from tests.studio.conftest import RunningStudio
from tests.studio.keys import begin, discard, drive, end, following, keep, middle_of, passed, passing, wait


@contextmanager
def opened(folder: Path) -> Iterator[tuple[RunningStudio, Any]]:
    """A studio over `folder`, and its page."""
    studio = RunningStudio(folder)
    try:
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(studio.address)
            wait(page, "document.getElementById('drive-start') !== null")
            yield studio, page
            browser.close()
    finally:
        studio.stop()


def first_paint(page: Any) -> float:
    """[ms] from the request to the first paint, of a page that is loaded afresh."""
    page.reload()
    wait(page, "performance.getEntriesByName('first-contentful-paint').length > 0")
    return float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))


def passes(page: Any, tries: int, rng: np.random.Generator) -> int:
    """How many tries pass the lead car and return, on alternate sides."""
    begin(page, "pass", None)
    done = 0
    for number in range(tries):
        frame = drive(page, passing(-1 if number % 2 else 1, rng), passed)
        done += passed(frame)
        if page.locator("#drive-canvas").get_attribute("data-phase") == "driving":
            page.keyboard.press("Space")
        discard(page)
    end(page)
    return done


def turns(page: Any, tries: int, rng: np.random.Generator) -> int:
    """How many tries drive through the bend to the end without leaving the road."""
    begin(page, "turn", None)
    done = 0
    for _ in range(tries):
        wait(page, "document.getElementById('drive-canvas').dataset.phase === 'waiting'")
        drive(page, following(middle_of(page.evaluate("window.studio.begun.road")), rng))
        done += page.locator("#drive-status").inner_text().startswith("The episode is complete")
        discard(page)
    end(page)
    return done


def session(folder: Path, seed: int) -> dict[str, Any]:
    """Record ten passes on each side by the page, train by the page, and judge the run in highway-env."""
    rng = np.random.default_rng(seed)
    with opened(folder) as (_, page):
        begin(page, "pass", "mine")
        left = [side for side in (-1, 1) for _ in range(10)]
        failed = 0
        while left:
            side = left[int(rng.integers(len(left)))]
            drive(page, passing(side, rng))
            if (
                page.locator("#drive-status").inner_text()
                == f"The episode is complete: {'left' if side < 0 else 'right'}"
            ):
                left.remove(side)
                keep(page)
            else:
                failed += 1
                discard(page)
        wait(page, "document.getElementById('drive-kept').textContent === '20'")
        end(page)
        page.get_by_role("button", name="Train on it").click()
        page.locator("#train-start").click()
        start = time.monotonic()
        both = "new Set((window.studio.shown ?? []).map(({ style }) => style)).size === 2 && "
        wait(page, both + "window.studio.shown.every(({ style }) => style)", 240)
        seen = time.monotonic() - start
        wait(page, "window.studio.trained.state === 'finished'", 240)
        trained = time.monotonic() - start
        run = folder / page.evaluate("window.studio.trained.run")
    metrics = evaluate(run)
    return {
        "seed": seed,
        "failed_drives": failed,
        "seconds_to_both_styles": round(seen, 1),
        "seconds_to_the_end": round(trained, 1),
        "style_nmi": round(metrics["style_nmi"], 3),
        "success_rate": metrics["success_rate"],
    }


def main(sessions: int = 5, tries: int = 10, seed: int = 0, out: Path | None = None) -> None:
    """Measure, and print JSON.

    Args:
        sessions: with the seeds from `seed` on.
        tries: to drive each of pass and turn; 0: none.
        out: folder to keep the sessions in.
    """
    place = out or Path(tempfile.mkdtemp())
    result: dict[str, Any] = {}
    if tries:
        (place / "tries").mkdir(parents=True)
        with opened(place / "tries") as (_, page):
            result |= {"first_paint_ms": [round(first_paint(page)) for _ in range(5)]}
            wait(page, "document.getElementById('drive-start') !== null")
            rng = np.random.default_rng(seed)
            result |= {"tries": tries, "passed": passes(page, tries, rng), "turned": turns(page, tries, rng)}
        print(json.dumps(result), flush=True)
    for number in range(seed, seed + sessions):
        (place / f"session-{number}").mkdir(parents=True)
        print(json.dumps(session(place / f"session-{number}", number)), flush=True)


if __name__ == "__main__":
    tyro.cli(main)
