"""Pictures of what was learned: rewards, occupancies, and the forecast of one person's path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from infogail.forecast.forecasters import ENDED, MaxEnt
from infogail.forecast.grid import HEADINGS
from infogail.forecast.judge import SAMPLES, occupancy, repeated
from infogail.forecast.paths import RecordedPaths
from infogail.forecast.spread import Spread
from infogail.forecast.walks import Walks
from infogail.rendering.diagrams import write_plot
from infogail.rendering.palette import DEMONSTRATION, PALETTE

NAMES = ("reward.png", "occupancy.png", "forecast.png")
MOMENTS = (0.15, 0.35, 0.55, 0.75)
"""Shares of a person's time at which the rest of the path is forecast."""
SHARES = (0.25, 0.5, None)
"""Of the moves still to make, of which the first forecast is shown."""
MOST_LINES = 80  # paths drawn on a map
DENSITY = LinearSegmentedColormap.from_list("density", ("#ffffff", "#56B4E9", "#0072B2", "#00243d"))
DIFFERENCE = LinearSegmentedColormap.from_list("difference", ("#0072B2", "#ffffff", "#D55E00"))
WIDTH = 4.2  # [inch] of a panel


def write_pictures(folder: Path, paths: RecordedPaths, walks: Walks, model: MaxEnt, seed: int) -> list[Path]:
    """Write `NAMES` to `folder`; returns the files."""
    k, spread = typical(walks, model), Spread(model)
    figures = (
        draw_reward(paths, walks, model),
        draw_occupancy(walks, model, seed),
        draw_forecast(paths, walks, spread, k),
    )
    files = [folder / name for name in NAMES]
    for file, figure in zip(files, figures, strict=True):
        write_plot(file, figure)
    return files


def draw_reward(paths: RecordedPaths, walks: Walks, model: MaxEnt) -> Figure:
    """The reward of entering each cell that people enter, with their paths and goals."""
    grid = walks.grid
    figure, (axes,) = maps(walks, 1, 1.5)
    reward = model.rewards
    entered = np.zeros(len(grid), bool)
    entered[np.concatenate([states[:-1] for states in walks.training.states]) // HEADINGS] = True
    largest = float(abs(reward[entered]).max())
    image = _show(axes, walks, np.where(entered, reward, np.nan), DIFFERENCE.reversed(), Normalize(-largest, largest))
    axes.set_facecolor("#d9d9d9")
    for path in some_paths(paths):
        axes.plot(*path.T, color="black", lw=0.5, alpha=0.2)
    _mark_goals(axes, walks, np.full(len(walks.goals), 1.0))
    axes.set_title("reward of entering a cell [nats]; grey: never entered; lines: paths")
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def draw_occupancy(walks: Walks, model: MaxEnt, seed: int) -> Figure:
    """The share of each cell in all cells entered: by held-out people, by the model, and the difference."""
    drawn = model.sample(repeated(walks.held_out, SAMPLES), np.random.default_rng(seed))
    people = occupancy(walks.grid, [states[:-1] // HEADINGS for states in walks.held_out.states])
    predicted = occupancy(walks.grid, [drawn[drawn != ENDED] // HEADINGS])
    figure, panels = maps(walks, 3)
    top = float(np.quantile(np.concatenate((people, predicted)), 0.998))
    for axes, shares, title in zip(panels, (people, predicted), ("held-out people", "model"), strict=False):
        image = _show(axes, walks, 100 * shares, DENSITY, Normalize(0.0, 100 * top))
        axes.set_title(title)
    figure.colorbar(image, ax=panels[:2], shrink=0.8, label="cells entered [%]")
    difference = _show(panels[2], walks, 100 * (predicted - people), DIFFERENCE, Normalize(-100 * top, 100 * top))
    panels[2].set_title("model - people")
    figure.colorbar(difference, ax=panels[2], shrink=0.8, label="difference [%]")
    return figure


def draw_forecast(paths: RecordedPaths, walks: Walks, spread: Spread, k: int) -> Figure:
    """Of one held-out path, its goal unknown: the forecast from its first seconds, as it spreads; and from later on."""
    points, seconds = paths.path(int(walks.recorded[k])), paths.seconds(int(walks.recorded[k]))
    figure, panels = maps(walks, len(SHARES), rows=2)
    first = moment(seconds, MOMENTS[0])
    forecast = spread.after(points[:first], k)
    left = len(walks.held_out.moves[k]) - len(spread.states(points[:first], k))
    for axes, share in zip(panels, SHARES, strict=False):
        moves = None if share is None else max(1, round(share * left))
        title = "all moves" if moves is None else f"next {moves} moves"
        show_forecast(axes, walks, forecast.entries(moves), forecast.chances, points, first)
        axes.set_title(f"after {seconds[first - 1]:.1f} s: {title}")
    for axes, share in zip(panels[len(SHARES) :], MOMENTS[1:], strict=True):
        seen = moment(seconds, share)
        forecast = spread.after(points[:seen], k)
        image = show_forecast(axes, walks, forecast.entries(), forecast.chances, points, seen)
        axes.set_title(f"after {seconds[seen - 1]:.1f} s: all moves")
    figure.colorbar(image, ax=panels, shrink=0.6, label="expected entries")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def show_forecast(
    axes: Axes, walks: Walks, entries: np.ndarray, chances: np.ndarray, points: np.ndarray, seen: int
) -> AxesImage:
    """Draw entries of cells (C,) and goals with their chances (G,) over a path (n, 2); returns the image."""
    image = _show(axes, walks, entries, DENSITY, PowerNorm(0.5, 0.0, 1.0))
    _mark_goals(axes, walks, chances)
    axes.plot(*points[seen - 1 :].T, color=PALETTE[4], lw=1.8, ls="--", label="goes")
    axes.plot(*points[:seen].T, color="black", lw=2.2, label="went")
    axes.plot(*points[seen - 1], "o", color="black", ms=6)
    return image


def some_paths(paths: RecordedPaths) -> list[np.ndarray]:
    """(n, 2) each: at most `MOST_LINES` of the paths to learn from."""
    numbers = np.flatnonzero(~paths.held_out())
    return [paths.path(k) for k in numbers[:: -(-len(numbers) // MOST_LINES)]]


def moment(seconds: np.ndarray, share: float) -> int:
    """The number of points, at least two, in the first `share` of the time of a path with `seconds` (n,)."""
    return max(2, int(np.searchsorted(seconds, share * seconds[-1], side="right")))


def typical(walks: Walks, model: MaxEnt) -> int:
    """Of the longer half of the held-out paths, the one with the median -log P per move, the goal known."""
    paths = walks.held_out
    lengths = np.array([len(moves) for moves in paths.moves])
    mean = -model.log_likelihood(paths)[np.arange(len(lengths)), paths.goals] / lengths
    longer = np.flatnonzero(lengths >= np.median(lengths))
    return int(longer[np.argsort(mean[longer], kind="stable")[len(longer) // 2]])


def maps(walks: Walks, number: int, scale: float = 1.0, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with rows of `number` maps."""
    width = WIDTH * scale
    height = width * min(max(walks.grid.rows / walks.grid.columns, 0.3), 2.0)
    figure = Figure(figsize=(number * width + 1.0, rows * (height + 0.7)), dpi=150, layout="constrained")
    panels = figure.subplots(rows, number, squeeze=False, sharex=True, sharey=True)
    for axes in panels[:, 0]:
        axes.set_ylabel(walks.axes[1])
    for axes in panels[-1]:
        axes.set_xlabel(walks.axes[0])
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels.flatten().tolist()


def _show(axes: Axes, walks: Walks, values: np.ndarray, colours: LinearSegmentedColormap, norm: Normalize) -> AxesImage:
    """Draw `values` (C,) as a map; returns the image."""
    grid = walks.grid
    for x1, y1, x2, y2 in walks.obstacles:
        axes.plot((x1, x2), (y1, y2), color="#555555", lw=1.5, scalex=False, scaley=False)
    return axes.imshow(
        values.reshape(grid.rows, grid.columns),
        origin="lower",
        extent=grid.extent,
        aspect="auto" if grid.stretch != 1.0 else "equal",
        cmap=colours,
        norm=norm,
    )


def _mark_goals(axes: Axes, walks: Walks, chances: np.ndarray) -> None:
    """A circle at the centre of each goal, with an area as its chance (G,)."""
    places = walks.grid.middles(walks.goals.centres)
    axes.scatter(places[:, 0], places[:, 1], s=260 * chances, facecolor="none", edgecolor=PALETTE[2], lw=1.8, zorder=4)
    axes.scatter(places[:, 0], places[:, 1], s=5, color=DEMONSTRATION, zorder=4)
