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
from infogail.forecast.walks import Walks
from infogail.rendering.diagrams import write_plot
from infogail.rendering.palette import DEMONSTRATION, PALETTE

NAMES = ("reward.png", "occupancy.png", "forecast.png")
MOMENTS = (0.15, 0.35, 0.6)
"""Shares of a person's time at which the rest of the path is forecast."""
MOST_LINES = 80  # paths drawn with the rewards
CONTINUATIONS = 4000
"""Paths drawn for a forecast."""
DENSITY = LinearSegmentedColormap.from_list("density", ("#ffffff", "#56B4E9", "#0072B2", "#00243d"))
DIFFERENCE = LinearSegmentedColormap.from_list("difference", ("#0072B2", "#ffffff", "#D55E00"))
WIDTH = 4.2  # [inch] of a panel


def write_pictures(folder: Path, paths: RecordedPaths, walks: Walks, model: MaxEnt, seed: int) -> list[Path]:
    """Write `NAMES` to `folder`; returns the files."""
    figures = (
        draw_reward(paths, walks, model),
        draw_occupancy(walks, model, seed),
        draw_forecast(paths, walks, model, seed),
    )
    files = [folder / name for name in NAMES]
    for file, figure in zip(files, figures, strict=True):
        write_plot(file, figure)
    return files


def draw_reward(paths: RecordedPaths, walks: Walks, model: MaxEnt) -> Figure:
    """The reward of entering each cell that people enter, with their paths and goals."""
    grid = walks.grid
    figure, (axes,) = _panels(walks, 1, 1.5)
    reward = model.learner.weights[: len(grid)].numpy()
    entered = np.zeros(len(grid), bool)
    entered[np.concatenate([states[:-1] for states in walks.training.states]) // HEADINGS] = True
    largest = float(abs(reward[entered]).max())
    image = _show(axes, walks, np.where(entered, reward, np.nan), DIFFERENCE.reversed(), Normalize(-largest, largest))
    axes.set_facecolor("#d9d9d9")
    for k in range(0, len(paths), -(-len(paths) // MOST_LINES)):
        axes.plot(*paths.path(k).T, color="black", lw=0.5, alpha=0.2)
    _mark_goals(axes, walks, np.full(len(walks.goals), 1.0))
    axes.set_title("reward of entering a cell [nats]; grey: never entered; lines: paths")
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def draw_occupancy(walks: Walks, model: MaxEnt, seed: int) -> Figure:
    """The share of each cell in all cells entered: by held-out people, by the model, and the difference."""
    drawn = model.sample(repeated(walks.held_out, SAMPLES), np.random.default_rng(seed))
    people = occupancy(walks.grid, [states[:-1] // HEADINGS for states in walks.held_out.states])
    predicted = occupancy(walks.grid, [drawn[drawn != ENDED] // HEADINGS])
    figure, panels = _panels(walks, 3)
    top = float(np.quantile(np.concatenate((people, predicted)), 0.998))
    for axes, shares, title in zip(panels, (people, predicted), ("held-out people", "model"), strict=False):
        image = _show(axes, walks, 100 * shares, DENSITY, Normalize(0.0, 100 * top))
        axes.set_title(title)
    figure.colorbar(image, ax=panels[:2], shrink=0.8, label="share of the cells entered [%]")
    difference = _show(panels[2], walks, 100 * (predicted - people), DIFFERENCE, Normalize(-100 * top, 100 * top))
    panels[2].set_title("model - people")
    figure.colorbar(difference, ax=panels[2], shrink=0.8, label="difference [%]")
    return figure


def draw_forecast(paths: RecordedPaths, walks: Walks, model: MaxEnt, seed: int) -> Figure:
    """From three moments of one held-out path, its goal unknown: how likely each cell is still to be entered."""
    k = typical(walks, model)
    number = int(walks.recorded[k])
    points, seconds = paths.path(number), paths.seconds(number)
    prior = walks.goal_prior(walks.held_out)[k]
    rng = np.random.default_rng(seed)
    figure, panels = _panels(walks, len(MOMENTS))
    for axes, share in zip(panels, MOMENTS, strict=True):
        seen = max(2, int(np.searchsorted(seconds, share * seconds[-1], side="right")))
        states, moves = walks.grid.moves(walks.grid.walk(points[:seen]))
        if not len(states):  # still in the first cell
            states = walks.held_out.states[k][:1]
        posterior = model.goal_posterior(states, prior)[-1]
        goals = rng.choice(len(posterior), CONTINUATIONS, p=posterior / posterior.sum())
        drawn = model.continue_from(np.full(CONTINUATIONS, states[-1]), goals, len(moves), rng)
        chance = np.zeros(len(walks.grid))
        for row in drawn:
            chance[np.unique(row[row != ENDED] // HEADINGS)] += 1 / CONTINUATIONS
        image = _show(axes, walks, 100 * chance, DENSITY, PowerNorm(0.5, 0.0, 100.0))
        _mark_goals(axes, walks, posterior)
        axes.plot(*points[seen - 1 :].T, color=PALETTE[4], lw=1.8, ls="--", label="goes")
        axes.plot(*points[:seen].T, color="black", lw=2.2, label="went")
        axes.plot(*points[seen - 1], "o", color="black", ms=6)
        axes.set_title(f"after {seconds[seen - 1]:.1f} s")
    figure.colorbar(image, ax=panels, shrink=0.8, label="P(enters the cell) [%]")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def typical(walks: Walks, model: MaxEnt) -> int:
    """Of the longer half of the held-out paths, the one with the median -log P per move, the goal known."""
    paths = walks.held_out
    lengths = np.array([len(moves) for moves in paths.moves])
    mean = -model.log_likelihood(paths)[np.arange(len(lengths)), paths.goals] / lengths
    longer = np.flatnonzero(lengths >= np.median(lengths))
    return int(longer[np.argsort(mean[longer], kind="stable")[len(longer) // 2]])


def _panels(walks: Walks, number: int, scale: float = 1.0) -> tuple[Figure, list[Axes]]:
    """A figure with a row of maps."""
    width = WIDTH * scale
    height = width * min(max(walks.grid.rows / walks.grid.columns, 0.3), 2.0)
    figure = Figure(figsize=(number * width + 1.0, height + 0.7), dpi=150, layout="constrained")
    panels = figure.subplots(1, number, squeeze=False, sharey=True)[0].tolist()
    panels[0].set_ylabel("y")
    for axes in panels:
        axes.set_xlabel("x")
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _show(axes: Axes, walks: Walks, values: np.ndarray, colours: LinearSegmentedColormap, norm: Normalize) -> AxesImage:
    """Draw `values` (C,) as a map; returns the image."""
    grid = walks.grid
    right, top = grid.left + grid.columns * grid.cell, grid.bottom + grid.rows * grid.cell
    return axes.imshow(
        values.reshape(grid.rows, grid.columns),
        origin="lower",
        extent=(grid.left, right, grid.bottom, top),
        cmap=colours,
        norm=norm,
    )


def _mark_goals(axes: Axes, walks: Walks, chances: np.ndarray) -> None:
    """A circle at the centre of each goal, with an area as its chance (G,)."""
    places = (walks.goals.centres + 0.5) * walks.grid.cell + (walks.grid.left, walks.grid.bottom)
    axes.scatter(places[:, 0], places[:, 1], s=260 * chances, facecolor="none", edgecolor=PALETTE[2], lw=1.8, zorder=4)
    axes.scatter(places[:, 0], places[:, 1], s=5, color=DEMONSTRATION, zorder=4)
