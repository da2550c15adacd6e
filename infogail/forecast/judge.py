"""How good forecasts of held-out paths are, beside those of simple peers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from infogail.baselines.maxent_irl import Paths
from infogail.forecast.cloning import behavioural_cloning
from infogail.forecast.forecasters import ENDED, Forecaster, Line, constant_velocity, count_table, straight
from infogail.forecast.grid import HEADINGS, Grid
from infogail.forecast.walks import Walks
from infogail.parallel import terminal

PEERS: dict[str, Callable[[Walks], Forecaster]] = {
    "straight": straight,
    "constant_velocity": constant_velocity,
    "table_goal_cell": lambda walks: count_table(walks, by_heading=False),
    "table_goal_cell_heading": lambda walks: count_table(walks, by_heading=True),
    "bc": behavioural_cloning,
}
SAMPLES = 20
"""Paths drawn for each held-out one."""
SMOOTHING = 0.01
"""Share of a uniform distribution in each occupancy, so that its logarithm is finite."""
COLUMNS = {
    "nll_per_step": "-log P per move [nats]\ngoal known",
    "nll_per_step_goal_unknown": "-log P per move [nats]\ngoal unknown",
    "mhd": "distance [cells]\nof samples",
    "mhd_best_guess": "distance [cells]\nof best guesses",
    "occupancy_kl": "KL of occupancy\n[nats]",
}


def judge(
    walks: Walks, model: Forecaster, seed: int, update: Callable[[str], None] = lambda name: None
) -> dict[str, Any]:
    """The metrics of `model` and of each of `PEERS`, as `PEER_KEY`, on the held-out paths.

    Args:
        update: called with the name of each before it is judged.
    """
    result: dict[str, Any] = {
        "paths": len(walks.training.goals) + len(walks.held_out.goals),
        "held_out_paths": len(walks.held_out.goals),
        "held_out_moves": sum(map(len, walks.held_out.moves)),
        "paths_left_out": walks.left_out,
        "cell": walks.grid.cell,
        "columns": walks.grid.columns,
        "rows": walks.grid.rows,
        "goals": len(walks.goals),
        "seed": seed,
    }
    update("maximum causal entropy IRL")
    result |= measure(walks, model, seed)
    result["occupancy_kl_floor"] = occupancy_floor(walks, seed)
    for name, make in PEERS.items():
        update(name.replace("_", " "))
        result |= {f"{name}_{key}": value for key, value in measure(walks, make(walks), seed).items()}
    return result


def measure(walks: Walks, forecaster: Forecaster, seed: int) -> dict[str, float]:
    """The metrics of one forecaster. The stop at the end of a path is a move too."""
    paths, grid = walks.held_out, walks.grid
    known = forecaster.log_likelihood(paths)
    unknown = logsumexp(known + np.log(forecaster.goal_prior(paths)), axis=1)
    moves = sum(map(len, paths.moves))
    rng = np.random.default_rng(seed)
    drawn = forecaster.sample(repeated(paths, SAMPLES), rng)
    cells = [row[row != ENDED] // HEADINGS for row in drawn]
    guesses = forecaster.guess(paths) if isinstance(forecaster, Line) else medoids(grid, cells)
    true = [states[:-1] // HEADINGS for states in paths.states]
    sampled = _distances(grid, zip(cells, [a for a in true for _ in range(SAMPLES)], strict=True))
    guessed = _distances(grid, zip(guesses, true, strict=True))
    return {
        "nll_per_step": float(-known[np.arange(len(paths.goals)), paths.goals].sum() / moves),
        "nll_per_step_goal_unknown": float(-unknown.sum() / moves),
        "mhd": sampled[0],
        "mhd_metres": sampled[1],
        "mhd_best_guess": guessed[0],
        "mhd_best_guess_metres": guessed[1],
        "occupancy_kl": divergence(occupancy(grid, true), occupancy(grid, cells)),
    }


def _distances(grid: Grid, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Mean distance between the cells (n,) and (m,) of each pair, in cells and in the unit of the paths."""
    found = []
    for pair in pairs:
        a, b = map(grid.places, pair)
        found.append((modified_hausdorff(a, b), modified_hausdorff(a * grid.size, b * grid.size)))
    in_cells, in_units = np.mean(found, axis=0).tolist()
    return in_cells, in_units


def repeated(paths: Paths, number: int) -> Paths:
    """Each of `paths`, `number` times."""
    states, moves = ([one for one in each for _ in range(number)] for each in (paths.states, paths.moves))
    return Paths(states, moves, np.repeat(paths.goals, number))


def medoids(grid: Grid, sampled: list[np.ndarray]) -> list[np.ndarray]:
    """Of each `SAMPLES` paths, that with the smallest mean distance from the others: the best guess by samples."""
    chosen = []
    for first in range(0, len(sampled), SAMPLES):
        places = [grid.places(cells) for cells in sampled[first : first + SAMPLES]]
        distances = np.zeros((SAMPLES, SAMPLES))
        for a, b in itertools.combinations(range(SAMPLES), 2):
            distances[a, b] = distances[b, a] = modified_hausdorff(places[a], places[b])
        chosen.append(sampled[first + int(distances.sum(1).argmin())])
    return chosen


def modified_hausdorff(a: np.ndarray, b: np.ndarray) -> float:
    """The modified Hausdorff distance (Dubuisson and Jain 1994) of the points `a` (n, 2) and `b` (m, 2).

    The mean distance of one path's points from the nearest of the other, or the other way around, whichever is larger.
    """
    distances = cdist(a, b)
    return float(max(distances.min(0).mean(), distances.min(1).mean()))


def occupancy(grid: Grid, paths: list[np.ndarray]) -> np.ndarray:
    """(C,): the share of each cell in all cells that `paths` enter."""
    counts = np.bincount(np.concatenate(paths), minlength=len(grid))
    return counts / counts.sum()


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Kullback-Leibler divergence KL(p ‖ q) [nats] of occupancies (C,), both with `SMOOTHING`."""
    p, q = ((1 - SMOOTHING) * each + SMOOTHING / len(each) for each in (p, q))
    return float((p * np.log(p / q)).sum())


def occupancy_floor(walks: Walks, seed: int) -> float:
    """The divergence of two random halves of the paths to learn from, the mean of both directions [nats]."""
    cells = [states[:-1] // HEADINGS for states in walks.training.states]
    order = np.random.default_rng(seed).permutation(len(cells))
    halves = [occupancy(walks.grid, [cells[k] for k in half]) for half in np.array_split(order, 2)]
    return (divergence(*halves) + divergence(*reversed(halves))) / 2


def print_table(result: dict[str, Any]) -> None:
    """Print the metrics of `judge` as a table."""
    lines = []
    for name in ("", *PEERS):
        numbers = [result[f"{name}_{key}" if name else key] for key in COLUMNS]
        lines.append([name.replace("_", " ") or "maximum causal entropy IRL", *(f"{number:.3f}" for number in numbers)])
    for name in (key.removesuffix("_episodes") for key in result if key.endswith("_episodes")):
        title, kl = f"{name.replace('_', ' ')}, {result[f'{name}_episodes']} drives", result[f"{name}_occupancy_kl"]
        lines.append([title, *("" for _ in list(COLUMNS)[1:]), f"{kl:.3f}"])
    lines.append(["people vs people", *("" for _ in list(COLUMNS)[1:]), f"{result['occupancy_kl_floor']:.3f}"])
    title = (
        f"{result['held_out_paths']} held-out of {result['paths']} paths, {result['columns']} x {result['rows']} cells "
        f"of {result['cell']:g}, {result['goals']} goals"
    )
    terminal.print_table(title, ["", *COLUMNS.values()], lines)
