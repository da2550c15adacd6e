"""The room Forecast: where somebody goes who starts here, or who has gone so far; told anew whenever the page asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from infogail.envs.errors import BadInput
from infogail.forecast.grid import HEADINGS
from infogail.forecast.paths import RecordedPaths
from infogail.forecast.pictures import some_paths
from infogail.forecast.saved import load
from infogail.forecast.spread import Forecast, Spread
from infogail.studio.processes import Channel, Message

SHADES = 255


def forecast(channel: Channel, folder: Path) -> None:
    """A session in front of the map of the forecast in `folder`; ends when the page goes."""
    paths, model = load(folder)
    session = ForecastSession(paths, Spread(model))
    channel.send(session.opening())
    while True:
        *_, latest = channel.messages(None)  # what the page has asked before is out of date
        channel.send(session.answer(latest))


class ForecastSession:
    """What the page is shown of one forecast."""

    def __init__(self, paths: RecordedPaths, spread: Spread) -> None:
        self.paths, self.spread, self.walks = paths, spread, spread.model.walks

    def opening(self) -> Message:
        """The area, the rewards, some of the paths to learn from, and the held-out people."""
        walks, grid = self.walks, self.walks.grid
        rewards, entered = self.spread.model.rewards, np.zeros(len(grid), bool)
        entered[np.concatenate([states[:-1] for states in walks.training.states]) // HEADINGS] = True
        shares = rewards / max(float(abs(rewards[entered]).max()), 1e-9)
        first = int(walks.held_out.states[0][0])
        column, row = grid.places(np.array([first // HEADINGS]))[0].tolist()
        return {
            "type": "begin",
            "extent": list(grid.extent),
            "columns": grid.columns,
            "rows": grid.rows,
            "goals": _rounded(grid.middles(walks.goals.centres)),
            "rewards": [round(100 * share) if known else None for share, known in zip(shares, entered, strict=True)],
            "obstacles": _rounded(walks.obstacles),
            "paths": [_rounded(path) for path in some_paths(self.paths)],
            "people": [
                {
                    "points": _rounded(self.paths.path(number)),
                    "seconds": self.paths.seconds(number).round(2).tolist(),
                    "goal": goal,
                }
                for number, goal in zip(walks.recorded.tolist(), walks.held_out.goals.tolist(), strict=True)
            ],
            "start": {"column": column, "row": row, "heading": first % HEADINGS},
        }

    def answer(self, asked: Message) -> Message:
        """The forecast that the page asks for.

        Raises:
            BadInput: there is no such cell or person.
        """
        found = self.spread.start(self._start(asked)) if asked["type"] == "start" else self._so_far(asked)
        return {
            "type": "forecast",
            "asked": asked,
            "entries": (SHADES * np.sqrt(found.entries(asked["moves"]).clip(0, 1))).round().astype(int).tolist(),
            "chances": found.chances.round(4).tolist(),
            "moves": len(found.ahead),
        }

    def _start(self, asked: Message) -> int:
        grid, column, row = self.walks.grid, asked["column"], asked["row"]
        if column >= grid.columns or row >= grid.rows:
            raise BadInput(f"there is no cell {column}, {row}; the last is {grid.columns - 1}, {grid.rows - 1}")
        return (row * grid.columns + column) * HEADINGS + int(asked["heading"])

    def _so_far(self, asked: Message) -> Forecast:
        person, people = asked["person"], self.walks.recorded
        if person >= len(people):
            raise BadInput(f"person {person}: the last one is {len(people) - 1}; choose one up to it")
        return self.spread.after(self.paths.path(int(people[person]))[: asked["points"]], person)


def _rounded(points: np.ndarray) -> list[list[float]]:
    """To five digits, which is enough to draw them."""
    scale = 10.0 ** (4 - np.floor(np.log10(max(float(abs(points).max(initial=0.0)), 1e-9))))
    return (np.round(points * scale) / scale).tolist()
