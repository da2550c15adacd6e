"""Film the forecast of one held-out person: how it spreads from the first seconds, and sharpens as the person walks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from infogail.forecast.forecasters import MaxEnt
from infogail.forecast.grid import HEADINGS
from infogail.forecast.paths import RecordedPaths
from infogail.forecast.pictures import DENSITY, MOMENTS, moment, some_paths, typical
from infogail.forecast.spread import Forecast, Spread
from infogail.forecast.walks import Walks
from infogail.rendering.captions import MARGIN, write_text
from infogail.rendering.palette import BACKGROUND, DIMMED, WHITE, Colour, colour
from infogail.rendering.video import write_film

NAMES = ("forecast.mp4", "forecast.gif")
FPS = 15  # [Hz]
WALK, SPREADING, HOLD = 8.0, 3.0, 1.0  # [s] of the walk at most, of the spread from the first moment, of a still frame
LONGER = 560  # [px] of the map
CAPTION = 76  # [px]
GOAL = 36  # [px], the radius of a goal that is certain
ON_THE_WAY = 0.05  # so probable it is to be still on the way when the spread is over
COLOURS = (255 * DENSITY(np.arange(256))[:, :3]).round().astype(np.uint8)
INK, FAINT, OBSTACLE = (20, 20, 20), (215, 215, 215), (90, 90, 90)
AHEAD, REACHED = colour(4), colour(2)


def film_forecast(folder: Path, paths: RecordedPaths, model: MaxEnt, progress: Callable[[str], None]) -> list[Path]:
    """Write `NAMES` to `folder`, of the person in forecast.png; returns the files."""
    mp4, gif = (folder / name for name in NAMES)
    frames = film(paths, model.walks, Spread(model), typical(model.walks, model))
    write_film(mp4, gif, frames, progress, FPS)
    return [mp4, gif]


def film(paths: RecordedPaths, walks: Walks, spread: Spread, k: int) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8, H and W even, of the held-out path `k`."""
    points, seconds = paths.path(int(walks.recorded[k])), paths.seconds(int(walks.recorded[k]))
    stage = Map(paths, walks)
    first = moment(seconds, MOMENTS[0])
    step = max(1.0, seconds[-1] / WALK) / FPS
    times = np.append(np.arange(0.0, seconds[-1], step), seconds[-1])
    halt = int(np.searchsorted(times, seconds[first - 1]))
    forecast, cells = None, -1
    for number, now in enumerate(times):
        seen = int(np.searchsorted(seconds, now, side="right"))
        if len(states := spread.states(points[:seen], k)) != cells:
            forecast, cells = spread.after(points[:seen], k), len(states)
        here = np.array([np.interp(now, seconds, axis) for axis in points.T])
        went, goes = np.vstack((points[:seen], here)), np.vstack((here, points[seen:]))
        assert forecast is not None
        frame = stage.picture(forecast, None, went, goes, now)
        yield frame
        if number == halt:
            true = walks.grid.places(walks.held_out.states[k][cells - 1 : -1] // HEADINGS)
            yield from _spreading(stage, forecast, went, goes, now, walks.grid.middles(true))
    for _ in range(round(HOLD * FPS)):
        yield frame


def _spreading(
    stage: Map, forecast: Forecast, went: np.ndarray, goes: np.ndarray, now: float, true: np.ndarray
) -> Iterator[np.ndarray]:
    """The same moment with more and more of the moves ahead; `true` (m, 2): where the person then is."""
    most = 1 + int((forecast.ahead.sum(1) > ON_THE_WAY).sum())
    for moves in np.linspace(0.0, most, round(SPREADING * FPS)):
        frame = stage.picture(forecast, float(moves), went, goes, now)
        index = min(float(moves), len(true) - 1.0)
        stage.mark(frame, [np.interp(index, np.arange(len(true)), axis) for axis in true.T])
        yield frame
    for _ in range(round(HOLD * FPS)):
        yield frame


class Map:
    """The area as a picture; each frame is painted over the same ground."""

    def __init__(self, paths: RecordedPaths, walks: Walks) -> None:
        self.walks, grid = walks, walks.grid
        shape = min(max(grid.rows / grid.columns, 0.3), 2.0)
        width, height = (LONGER / max(shape, 1.0), LONGER * min(shape, 1.0))
        self.size = 2 * round(width / 2), 2 * round(height / 2)
        self.ground = np.full((self.size[1], self.size[0], 3), 255, np.uint8)
        for path in some_paths(paths):
            self._line(self.ground, path, FAINT, 1)
        for segment in walks.obstacles:
            self._line(self.ground, segment.reshape(2, 2), OBSTACLE, 2)

    def picture(
        self, forecast: Forecast, moves: float | None, went: np.ndarray, goes: np.ndarray, now: float
    ) -> np.ndarray:
        """(CAPTION + H, W, 3): the entries within the next `moves`, over the path that somebody `went` and `goes`.

        Args:
            moves: perhaps between two whole numbers; None for all.
        """
        grid = self.walks.grid
        entries = forecast.entries(None if moves is None else int(moves))
        if moves is not None and int(moves) < len(forecast.ahead):
            entries = entries + moves % 1 * forecast.ahead[int(moves)]
        shades = (255 * np.sqrt(entries.clip(0, 1))).astype(np.uint8).reshape(grid.rows, grid.columns)[::-1]
        density = COLOURS[cv2.resize(shades, self.size, interpolation=cv2.INTER_LINEAR)]
        picture = (density.astype(np.uint16) * self.ground // 255).astype(np.uint8)
        self._dashes(picture, goes)
        self._line(picture, went, INK, 3)
        for (x, y), chance in zip(self._pixels(grid.middles(self.walks.goals.centres)), forecast.chances, strict=True):
            cv2.circle(picture, (x, y), 2, OBSTACLE, cv2.FILLED, cv2.LINE_AA)
            cv2.circle(picture, (x, y), round(GOAL * chance**0.5), REACHED, 2, cv2.LINE_AA)
        for radius, paint in ((9, WHITE), (7, INK)):
            cv2.circle(picture, self._pixels(went[-1:])[0], radius, paint, cv2.FILLED, cv2.LINE_AA)
        return np.vstack((self._caption(moves, now, float(forecast.chances.max())), picture))

    def mark(self, frame: np.ndarray, place: list[float]) -> None:
        """Draw a ring at `place`."""
        x, y = self._pixels(np.array([place]))[0]
        cv2.circle(frame, (x, y + CAPTION), 9, AHEAD, 3, cv2.LINE_AA)

    def _caption(self, moves: float | None, now: float, chance: float) -> np.ndarray:
        width = self.size[0]
        strip = np.full((CAPTION, width, 3), BACKGROUND, np.uint8)
        write_text(strip, f"after {now:.1f} s", (MARGIN, 32), 0.9, WHITE)
        text = "all moves ahead" if moves is None else f"moves ahead: {int(moves)}"
        write_text(strip, text, (MARGIN, 60), 0.6, DIMMED)
        write_text(strip, f"likeliest goal {100 * chance:.0f} %", (width - MARGIN, 32), 0.6, REACHED, right=True)
        return strip

    def _pixels(self, points: np.ndarray) -> list[tuple[int, int]]:
        left, right, bottom, top = self.walks.grid.extent
        x = (points[:, 0] - left) / (right - left) * self.size[0]
        y = (top - points[:, 1]) / (top - bottom) * self.size[1]
        return list(zip(x.round().astype(int).tolist(), y.round().astype(int).tolist(), strict=True))

    def _line(self, picture: np.ndarray, points: np.ndarray, paint: Colour, width: int) -> None:
        cv2.polylines(picture, [np.array(self._pixels(points))], False, paint, width, cv2.LINE_AA)

    def _dashes(self, picture: np.ndarray, points: np.ndarray) -> None:
        """A dashed line."""
        corners = np.array(self._pixels(points), float)
        along = np.concatenate(([0.0], np.hypot(*np.diff(corners, axis=0).T).cumsum()))
        for start in np.arange(0.0, along[-1], 16.0):
            x, y = (np.interp((start, start + 9.0), along, axis).round().astype(int).tolist() for axis in corners.T)
            cv2.line(picture, (x[0], y[0]), (x[1], y[1]), AHEAD, 2, cv2.LINE_AA)
