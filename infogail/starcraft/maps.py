"""Maps of where each type of unit is, and whose: the winners' share of those who had such units in a cell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from infogail.rendering.palette import PALETTE
from infogail.starcraft.games import CELL, Games

LEAST = 20
"""Players in a cell below whose number it is blank."""
DRAWN = 6  # types of units in the picture
Z = 1.96  # standard deviations of a 95 % interval
DENSITY = LinearSegmentedColormap.from_list("density", ("#ffffff", PALETTE[1], PALETTE[5], "#00243d"))
SHARE = LinearSegmentedColormap.from_list("share", (PALETTE[5], "#f4f4f4", PALETTE[4]))
CAUTION = (
    "Winning comes first: winners' units are far forward because they are winning, and no map here says that a place "
    "makes anybody win."
)


@dataclass(frozen=True)
class UnitMap:
    """Where units of one type are. Grids are (rows, columns), from the lower left corner of the map."""

    name: str
    players: int
    """that had such units"""
    winners: int
    """of them"""
    time: np.ndarray
    """share of each cell in the units' time"""
    visitors: np.ndarray
    """players who had such a unit there, at any moment"""
    share: np.ndarray
    """winners' share of these; NaN in cells of fewer than `LEAST`"""
    low: np.ndarray
    high: np.ndarray
    """its 95 % Wilson interval; of the two players of a game one won, which it does not count"""

    @property
    def telling(self) -> np.ndarray:
        """(rows, columns) bool: the interval excludes the winners' share of all who had such units."""
        return (self.low > self.winners / self.players) | (self.high < self.winners / self.players)


def unit_maps(games: Games) -> list[UnitMap]:
    """A map of each type, the most numerous first."""
    rows, columns = games.seen[:, 3].max() + 1, games.seen[:, 2].max() + 1
    maps = []
    for kind in np.unique(games.seen[:, 1]):
        player, _, column, row, count = games.seen[games.seen[:, 1] == kind].T
        time, visitors, winners = np.zeros((rows, columns)), np.zeros((rows, columns)), np.zeros((rows, columns))
        np.add.at(time, (row, column), count / count.sum())
        np.add.at(visitors, (row, column), 1)
        np.add.at(winners, (row, column), games.won[player])
        low, share, high = wilson(winners, np.where(visitors < LEAST, np.nan, visitors))
        had = np.unique(player)
        maps.append(UnitMap(games.types[kind], len(had), int(games.won[had].sum()), time, visitors, share, low, high))
    totals = np.bincount(games.seen[:, 1], games.seen[:, 4])
    return [maps[k] for k in np.argsort(-totals[np.unique(games.seen[:, 1])], kind="stable")]


def wilson(successes: np.ndarray, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower bound, share and upper bound (…) of the Wilson score interval (1927) at 95 %."""
    share = successes / trials
    middle = (share + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z / (1 + Z**2 / trials) * np.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2))
    return middle - half, share, middle + half


def as_json(games: Games, maps: list[UnitMap]) -> dict[str, Any]:
    """All maps; cells without a share are None."""

    def blank(grid: np.ndarray) -> list[list[float | None]]:
        return [[None if np.isnan(value) else round(float(value), 4) for value in row] for row in grid]

    return {
        "map": games.map_name,
        "games": len(np.unique(games.game)),
        "corner": games.corner.tolist(),
        "cell": CELL,
        "least_players": LEAST,
        "caution": CAUTION,
        "units": {
            each.name: {
                "players": each.players,
                "winners_share": each.winners / each.players,
                "time_share_by_cell": blank(each.time),
                "players_by_cell": each.visitors.astype(int).tolist(),
                **{
                    f"{name}_by_cell": blank(grid)
                    for name, grid in (("winners_share", each.share), ("low", each.low), ("high", each.high))
                },
            }
            for each in maps
        },
    }


def draw(games: Games, maps: list[UnitMap]) -> Figure:
    """The most numerous types: share of time above, winners' share below, with a dot where it is telling."""
    drawn = maps[:DRAWN]
    figure = Figure(figsize=(2.1 * len(drawn) + 1.2, 5.0), dpi=110, layout="constrained")
    panels = figure.subplots(2, len(drawn), squeeze=False, sharex=True, sharey=True)
    box = games.box(*drawn[0].time.shape)
    for (above, below), each in zip(panels.T, drawn, strict=True):
        time = above.imshow(100 * each.time, origin="lower", extent=box, cmap=DENSITY, vmin=0.0, vmax=5.0)
        share = below.imshow(100 * each.share, origin="lower", extent=box, cmap=SHARE, vmin=0.0, vmax=100.0)
        row, column = np.nonzero(each.telling)
        below.plot(*(games.corner[:, None] + CELL * (np.stack((column, row)) + 0.5)), "k.", ms=2.5)
        above.set_title(f"{each.name}\n{each.players:,} players", fontsize=9)
        below.set_title(f"{each.winners / each.players:.0%} of them won", fontsize=8)
        below.set_facecolor("#d9d9d9")
        for axes in (above, below):
            axes.plot(*games.starts[0], "^", color="black", ms=5)
            axes.plot(*games.starts[1], "v", color="black", ms=5, mfc="none")
            axes.set(xticks=[], yticks=[], xlim=box[:2], ylim=box[2:])
    figure.colorbar(time, ax=panels[0], shrink=0.8, label="share of time [%]", extend="max")
    figure.colorbar(share, ax=panels[1], shrink=0.8, label=f"winners' share [%]\ngrey: fewer than {LEAST} players")
    return figure


def write_maps(folder: Path, games: Games, maps: list[UnitMap]) -> Path:
    """Write the picture to `folder`; returns the file."""
    from infogail.rendering.diagrams import write_plot

    file = folder / "maps.png"
    write_plot(file, draw(games, maps))
    return file
