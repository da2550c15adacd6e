"""Annotations of films: text, the caption above each panel, the frame around a failed episode."""

from __future__ import annotations

import cv2
import numpy as np

from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.scenarios.styles import NO_STYLE
from infogail.rendering.palette import ALARM, BACKGROUND, DIMMED, TRACK, WHITE, Colour, colour
from infogail.runs.driver import CodeLabels

TOP, ROW, MARGIN = 28, 28, 16  # [px]
FONT = cv2.FONT_HERSHEY_DUPLEX


def style_phrase(scenario: Scenario, style: int) -> str:
    """A phrase for `style`, such as 'passed left'; empty for `NO_STYLE`."""
    return "" if style == NO_STYLE else scenario.view.phrase.format(scenario.styles[style])


def caption(
    width: int,
    code: int,
    remark: str,
    reading: str,
    chances: np.ndarray | None,
    labels: CodeLabels,
    detail: str = "",
    paint: Colour = WHITE,
) -> np.ndarray:
    """A strip (h, width, 3): the code and its name, a remark in the colour `paint`, a reading such as the speed, a
    detail, and a bar for each of the posterior's probabilities `chances` (K,) of the codes, which are called `labels`.
    """
    rows = 2 if chances is None else max(2, len(chances))
    strip = np.full((TOP + rows * ROW, width, 3), BACKGROUND, np.uint8)
    number, name = f"code {labels.numbers[code]}", labels.names[code] or ""
    room = int(0.55 * width) - text_width(reading, 0.85) - 2 * MARGIN
    needed = text_width(number, 1.05) + (MARGIN + text_width(name, 0.85) if name else 0)
    fit = min(1.0, max(0.3, room / needed))  # still smaller, nobody could read it
    end = write_text(strip, number, (MARGIN, 36), 1.05 * fit, colour(code))
    write_text(strip, name, (end + round(MARGIN * fit), 36), 0.85 * fit, colour(code))
    write_text(strip, remark, (MARGIN, 70), 0.85, paint)
    write_text(strip, reading, (int(0.55 * width), 36), 0.85, WHITE, right=True)
    write_text(strip, detail, (int(0.55 * width), 70), 0.7, DIMMED, right=True)
    if chances is None:
        return strip
    left, right = int(0.66 * width), width - MARGIN - 62
    write_text(strip, "posterior's belief", (left - 28, 20), 0.58, DIMMED)
    for k, chance in enumerate(chances):
        top, bottom = TOP + k * ROW, TOP + (k + 1) * ROW - 6
        write_text(strip, labels.numbers[k], (left - 12, bottom - 4), 0.6, colour(k), right=True)
        cv2.rectangle(strip, (left, top), (right, bottom), TRACK, cv2.FILLED)
        if (end := left + round(chance * (right - left))) > left:
            cv2.rectangle(strip, (left, top), (end, bottom), colour(k), cv2.FILLED)
        write_text(strip, f"{100 * chance:.0f} %", (width - MARGIN, bottom - 4), 0.6, WHITE, right=True)
    return strip


def alarmed(picture: np.ndarray) -> np.ndarray:
    """`picture` (H, W, 3), darkened, with a frame in the alarm colour."""
    dark = (picture * 0.6).astype(np.uint8)
    return cv2.rectangle(dark, (4, 4), (dark.shape[1] - 5, dark.shape[0] - 5), ALARM, 8)


def text_width(text: str, size: float) -> int:
    """[px], as `write_text` writes it."""
    (width, _), _ = cv2.getTextSize(text, FONT, size, 1)
    return width


def write_text(
    image: np.ndarray, text: str, at: tuple[int, int], size: float, paint: Colour, right: bool = False
) -> int:
    """Write `text` with its baseline starting at `at` [px], or, with `right`, ending there; returns where it ends."""
    width = text_width(text, size)
    start = at[0] - width * right
    cv2.putText(image, text, (start, at[1]), FONT, size, paint, 1, cv2.LINE_AA)
    return start + width
