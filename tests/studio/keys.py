"""Somebody at the keyboard: simple rules that press the arrow keys of a real browser, with a person's delay."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

KEYS = {"faster": "ArrowUp", "slower": "ArrowDown", "left": "ArrowLeft", "right": "ArrowRight"}
LOOK = 60  # [ms] between two looks at the road
Rule = Callable[[dict[str, Any]], set[str]]
"""What to hold down, for the newest frame."""


class Keyboard:
    """Holds keys of a page down."""

    def __init__(self, page: Any) -> None:
        self.page, self.held = page, set[str]()

    def hold(self, wanted: set[str]) -> None:
        """Let go of all keys but these."""
        for name in self.held - wanted:
            self.page.keyboard.up(KEYS[name])
        for name in wanted - self.held:
            self.page.keyboard.down(KEYS[name])
        self.held = wanted


def passing(side: int, rng: np.random.Generator) -> Rule:
    """Pass the lead car on its left (-1) or right (1), with a person's differences from one try to the next."""
    offset, speed = side * 4.0 + rng.normal(0.0, 0.25), rng.normal(25.0, 0.8)
    pull_out, pull_in = rng.uniform(24.0, 31.0), rng.uniform(-14.0, -9.0)
    patience = rng.uniform(1.2, 1.6)  # [s] in which it wants to be where it aims

    def rule(frame: dict[str, Any]) -> set[str]:
        (_, x, y, heading, pace, *_), (_, lead, *_) = frame["cars"][:2]
        aim = offset if pull_in < lead - x < pull_out else 0.0
        wanted = np.clip((aim - y) / (patience * pace), -0.13, 0.13)
        return steer(wanted - heading, 0.02) | keep_speed(pace, speed)

    return rule


def following(line: np.ndarray, rng: np.random.Generator) -> Rule:
    """Follow a line (n, 2) [m] at about 9.5 m/s."""
    speed = rng.normal(9.5, 0.3)

    def rule(frame: dict[str, Any]) -> set[str]:
        _, x, y, heading, pace, *_ = frame["cars"][0]
        nearest = int(np.hypot(*(line - (x, y)).T).argmin())
        ahead = line[min(nearest + 7, len(line) - 1)]  # the points are a metre apart
        error = np.arctan2(ahead[1] - y, ahead[0] - x) - heading
        return steer(float(np.arctan2(np.sin(error), np.cos(error))), 0.05) | keep_speed(pace, speed)

    return rule


def steer(error: float, tolerance: float) -> set[str]:
    """Towards a heading that is `error` [rad] to the right."""
    return set() if abs(error) < tolerance else {"right" if error > 0 else "left"}


def keep_speed(pace: float, speed: float) -> set[str]:
    """Within 1 m/s of a speed [m/s]."""
    return {"faster"} if pace < speed - 0.5 else {"slower"} if pace > speed + 0.5 else set()


def middle_of(road: dict[str, Any]) -> np.ndarray:
    """(n, 2): the dashed line along a road, a point for each metre."""
    striped = [side["points"] for lane in road["lanes"] for side in lane["sides"] if side["type"] == "striped"]
    pieces = [np.array(points, dtype=float) for points in striped]
    line = [pieces.pop(int(np.argmin([min(piece[:, 0]) for piece in pieces])))]
    while pieces:
        gaps = [np.hypot(*(piece[0] - line[-1][-1])) for piece in pieces]
        line.append(pieces.pop(int(np.argmin(gaps))))
    corners = np.concatenate(line)
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    at = np.arange(0.0, along[-1])
    return np.stack([np.interp(at, along, corners[:, k]) for k in (0, 1)], 1)


def begin(page: Any, scenario: str, file: str | None, style: int = -1, recorder: str = "") -> None:
    """Start to drive, in the room Drive."""
    page.locator("#drive-scenario").select_option(scenario)
    if file is None:
        page.locator("#drive-file").select_option(":none")
    else:
        page.locator("#drive-file").select_option(":new")
        page.locator("#drive-name").fill(file)
        page.locator("#drive-recorder").fill(recorder)
    page.locator("#drive-start").click()
    wait(page, "window.studio.driving?.t === 0")


def keep(page: Any) -> None:
    """Keep the episode that has ended or is paused."""
    page.wait_for_timeout(350)  # keys that are still held from driving decide nothing
    page.keyboard.press("ArrowRight")


def discard(page: Any) -> None:
    """Discard it, and begin again."""
    page.wait_for_timeout(350)
    page.keyboard.press("ArrowLeft")


def end(page: Any) -> None:
    """End the session, when the next episode is waiting."""
    wait(page, "document.getElementById('drive-canvas').dataset.phase === 'waiting'")
    page.wait_for_timeout(350)
    page.keyboard.press("Escape")
    page.locator("#drive-start").wait_for()


def drive(page: Any, rule: Rule, until: Callable[[dict[str, Any]], bool] = lambda frame: False) -> dict[str, Any]:
    """Drive one episode to its end, or pause it when `until`; returns the last frame."""
    keyboard = Keyboard(page)
    wait(page, "window.studio.driving?.t === 0 && document.getElementById('drive-canvas').dataset.phase === 'waiting'")
    page.keyboard.press("Space")
    while True:
        frame = page.evaluate("window.studio.driving")
        if page.locator("#drive-canvas").get_attribute("data-phase") == "ended" or until(frame):
            break
        keyboard.hold(rule(frame))
        page.wait_for_timeout(LOOK)
    keyboard.hold(set())
    return frame


def wait(page: Any, condition: str, seconds: float = 30.0) -> None:
    """Until the condition holds; Playwright's own way needs `eval`, which the page's policy forbids."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition):
        if time.monotonic() > deadline:
            raise TimeoutError(condition)
        page.wait_for_timeout(20)


def passed(frame: dict[str, Any]) -> bool:
    """Whether the pass is over: well ahead of the lead car and back in the middle lane, pointing along it."""
    (_, x, y, heading, *_), (_, lead, *_) = frame["cars"][:2]
    return x - lead > 22.0 and abs(y) < 0.7 and abs(heading) < 0.02
