"""What reading a driver's code adds to the forecast of its path.

Each code has rewards of its own, learned by maximum causal entropy IRL from the paths whose likeliest code it is, once
all of each was read; the penalty on weights pulls them to those learned from all paths. A forecast is the mixture of
theirs: P(rest | seen) = Σ_c P(c | seen) P(rest | seen, c), where P(c | seen) is the posterior Q(c|τ) of a run, which
reads observations, up to then. In its place, for comparison: Bayes' rule on the moves, P(c | seen) ∝ P(c) P(moves seen
| c). In both, each code's goals follow from the moves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.special import log_softmax, logsumexp

from infogail.baselines.maxent_irl import Paths
from infogail.envs.data.recording import Recording
from infogail.forecast.forecasters import MaxEnt
from infogail.forecast.paths import RecordedPaths
from infogail.forecast.pictures import maps, show_forecast, typical
from infogail.forecast.spread import Spread
from infogail.forecast.walks import Walks
from infogail.parallel import terminal
from infogail.rendering.diagrams import write_plot
from infogail.runs.driver import Driver

SECONDS = range(7)
"""[s] from the start, at which the rest of each path is forecast."""
SHOWN = (0, 1, 2)
"""[s] at which a picture shows the forecast."""
PICTURE = "reading.png"
NAMES = {
    "nll_rest": "no codes",
    "nll_rest_codes_by_moves": "codes, by moves",
    "nll_rest_codes_read": "codes, read by the posterior",
}


class Reading:
    """A model for each code, and what the posterior of `driver` believes along each demonstration of `recording`."""

    def __init__(self, model: MaxEnt, driver: Driver, recording: Recording) -> None:
        walks, centre = model.walks, model.learner.weights
        demonstrations, self.rate = recording.demonstrations, recording.scenario.policy_frequency
        self.beliefs = []  # (T + 1, K) of each demonstration
        for rows in map(slice, demonstrations.episode_bounds, demonstrations.episode_bounds[1:]):
            belief = driver.belief(demonstrations.observations[rows], demonstrations.actions[rows])
            assert belief is not None, "the run has a posterior"
            self.beliefs.append(belief)
        codes = np.array([self.beliefs[number][-1].argmax() for number in walks.learned])
        self.codes, counts = np.unique(codes, return_counts=True)
        self.prior = counts / counts.sum()
        chosen = [walks.learning_from(np.flatnonzero(codes == code)) for code in self.codes]
        self.models = [MaxEnt(own, centre=centre) for own in chosen]

    def belief(self, number: int, seconds: float) -> np.ndarray:
        """(K',): P(code | what was observed of demonstration `number`), of the `codes` that have a model."""
        beliefs = self.beliefs[number]
        read = beliefs[min(round(seconds * self.rate), len(beliefs) - 1), self.codes] + 1e-12
        return read / read.sum()


def judge_reading(walks: Walks, paths: RecordedPaths, model: MaxEnt, reading: Reading) -> dict[str, Any]:
    """-log P per move [nats] of the rest of held-out paths after each of `SECONDS`, goals unknown, by `NAMES`."""
    result: dict[str, Any] = {"rest_after_seconds": list(SECONDS)} | {name: [] for name in NAMES}
    every = walks.held_out
    for seconds in SECONDS:
        made = [moves_made(walks, paths, k, reading.rate * seconds) for k in range(len(every.goals))]
        seen = Paths(
            [states[: m + 1] for states, m in zip(every.states, made, strict=True)],
            [moves[:m] for moves, m in zip(every.moves, made, strict=True)],
            every.goals,
        )
        (plain, _), *coded = [_rest(each, every, seen) for each in (model, *reading.models)]
        rest, past = (np.stack(part, -1) for part in zip(*coded, strict=True))
        read = np.log([reading.belief(number, seconds) for number in walks.recorded.tolist()])
        by_moves = log_softmax(past + np.log(reading.prior), axis=1)
        moves = sum(map(len, every.moves)) - sum(made)
        for name, chances in (
            ("nll_rest", plain),
            ("nll_rest_codes_by_moves", logsumexp(rest + by_moves, axis=1)),
            ("nll_rest_codes_read", logsumexp(rest + read, axis=1)),
        ):
            result[name].append(float(-chances.sum() / moves))
    return result


def _rest(model: MaxEnt, every: Paths, seen: Paths) -> tuple[np.ndarray, np.ndarray]:
    """(n,) each [nats]: log P of the rest of each path given what was seen, and of that given the start."""
    prior = np.log(model.goal_prior(every))
    past = logsumexp(prior + model.log_likelihood(seen), axis=1)
    return logsumexp(prior + model.log_likelihood(every), axis=1) - past, past


def moves_made(walks: Walks, paths: RecordedPaths, k: int, points: int) -> int:
    """How many moves of the held-out path `k` its first point and the next `points` show for certain."""
    path = paths.path(int(walks.recorded[k]))
    so_far, whole = walks.grid.walk(path[: points + 1]), walks.grid.walk(path)
    length = min(len(so_far), len(whole))  # its last cell may be cut as a corner later
    alike = so_far[:length] == whole[:length]
    return max((length if alike.all() else int(alike.argmin())) - 2, 0)


def write_reading(folder: Path, walks: Walks, paths: RecordedPaths, model: MaxEnt, reading: Reading) -> Path:
    """Write `PICTURE` to `folder`; returns the file."""
    write_plot(folder / PICTURE, draw_reading(walks, paths, model, reading, typical(walks, model)))
    return folder / PICTURE


def draw_reading(walks: Walks, paths: RecordedPaths, model: MaxEnt, reading: Reading, k: int) -> Figure:
    """The forecast of the held-out path `k` in its first seconds: above without codes, below as the posterior reads."""
    number = int(walks.recorded[k])
    points, spread, coded = paths.path(number), Spread(model), [Spread(each) for each in reading.models]
    figure, panels = maps(walks, len(SHOWN), rows=2)
    for column, seconds in enumerate(SHOWN):
        seen = round(seconds * reading.rate) + 1
        plain = spread.after(points[:seen], k)
        belief, each = reading.belief(number, seconds), [one.after(points[:seen], k) for one in coded]
        mixed = sum(share * one.entries() for share, one in zip(belief, each, strict=True))
        chances = sum(share * one.chances for share, one in zip(belief, each, strict=True))
        shares = ", ".join(f"{share:.0%}" for share in belief)
        for axes, entries, likely, title in (
            (panels[column], plain.entries(), plain.chances, "no codes"),
            (panels[len(SHOWN) + column], mixed, chances, f"codes {shares}"),
        ):
            image = show_forecast(axes, walks, entries, likely, points, seen)
            axes.set_title(f"after {seconds} s: {title}")
    figure.colorbar(image, ax=panels, shrink=0.6, label="expected entries")
    return figure


def print_reading(result: dict[str, Any]) -> None:
    """Print what `judge_reading` found."""
    columns = ["", *(f"after {seconds} s" for seconds in result["rest_after_seconds"])]
    rows = [[title, *(f"{value:.3f}" for value in result[name])] for name, title in NAMES.items()]
    terminal.print_table("-log P per move of the rest [nats], goal unknown", columns, rows)
