"""What predicts paths: maximum causal entropy IRL, and the simple peers that it has to beat.

All know the state in which a path starts. The peers' policies do not depend on the time:

- straight: turns toward the centre of the goal; P(move) ∝ exp(κ cos(angle between the move and the goal)), a discrete
  von Mises distribution. Its best guess is the straight line to the centre.
- constant velocity: the same with the heading in place of the goal's direction. Its best guess is straight ahead, for
  as many moves as the true path has, which no other knows.
- tables: how often people made each move in a cell on the way to a goal, or with this heading, plus α.

κ and α are those under which the paths to learn from are likeliest, α by cross-validation. Both straight and constant
velocity stop in their goal's cells with the probability with which people do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from infogail.baselines.maxent_irl import NOWHERE, MaxEntIRL, Paths
from infogail.forecast.grid import HEADINGS, MOVES, STOP, TURNS
from infogail.forecast.intersections.lanes import FEATURES as LANE_FEATURES
from infogail.forecast.walks import Walks

ENDED = -1
"""In place of a state: the path has ended before."""
ITERATIONS = 40
PENALTY = 3.0
FOLDS = 5
ALPHAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


class Forecaster(Protocol):
    """Predicts moves toward each of G goals."""

    def goal_prior(self, paths: Paths) -> np.ndarray:
        """(n, G): P(goal | start) of each path."""

    def log_likelihood(self, paths: Paths) -> np.ndarray:
        """(n, G) [nats]: log P(moves | start, goal) of each path."""

    def sample(self, paths: Paths, rng: np.random.Generator) -> np.ndarray:
        """(n, T + 1) int64: a path from the start of each of `paths` to its goal: states, then `ENDED`."""


class MaxEnt:
    """Maximum causal entropy IRL, with `weights` (F,), or fitted to the paths to learn from, near `centre` (F,).

    Where there are lanes, the goal is learned too: the likelihood is that of moves and goal given the start, that is,
    P(path | start) = exp(θ·Σf) / Σ_g exp(V_g(start)), so that P(goal | start) ∝ exp(V_goal(start)). The lane in which a
    car starts then tells where it goes. Elsewhere goals are given, and how often people go to each is counted.
    """

    def __init__(self, walks: Walks, weights: torch.Tensor | None = None, centre: torch.Tensor | None = None) -> None:
        self.walks, grid = walks, walks.grid
        goals = torch.from_numpy(walks.goal_states)
        features = walks.graph.features.shape[1]
        lanes = range(features - LANE_FEATURES, features) if walks.has_lanes else range(0)
        costs = (*grid.costs, *lanes)
        self.learner = MaxEntIRL(walks.graph, goals, walks.horizon, PENALTY, costs, centre)
        if weights is None:
            learned, training = self.learner, walks.training
            if walks.has_lanes:
                learned = MaxEntIRL(walks.graph, goals.any(0, keepdim=True), walks.horizon, PENALTY, costs, centre)
                training = Paths(training.states, training.moves, np.zeros_like(training.goals))
            if centre is None:
                first, length = grid.costs[0], grid.costs[-1]
                learned.weights[first + 1 : first + TURNS] = -2.0
                learned.weights[[length, *lanes]] = -1.0
            learned.fit(training, ITERATIONS)
            weights = learned.weights
        self.learner.weights = weights
        self.values = self.learner.values()
        self.reward = walks.graph.reward(self.learner.weights)

    def log_likelihood(self, paths: Paths) -> np.ndarray:
        values, horizon, found = self.values, self.learner.horizon, []
        for states, moves in zip(paths.states, paths.moves, strict=True):
            reward = self.reward[states[:-1], moves].sum(dtype=torch.float64)
            left = values[horizon - len(moves), :, states[-1]].double() - values[horizon, :, states[0]].double()
            found.append((reward + left).nan_to_num(nan=-torch.inf, neginf=-torch.inf))  # of goals too far away
        return torch.stack(found).numpy()

    @property
    def rewards(self) -> np.ndarray:
        """(C,) [nats]: the reward of entering each cell, of being near obstacles included."""
        grid, weights = self.walks.grid, self.learner.weights.numpy()
        near = grid.near(self.walks.obstacles)
        after = len(weights) - LANE_FEATURES * self.walks.has_lanes
        return weights[: len(grid)] + near @ weights[after - near.shape[1] : after]

    def goal_prior(self, paths: Paths) -> np.ndarray:
        if self.walks.has_lanes:
            return self.goal_chances(np.array([states[0] for states in paths.states]), 0)
        return self.walks.goal_prior(paths)

    def goal_chances(self, states: np.ndarray, made: int) -> np.ndarray:
        """(n, G): P(goal) in `states` (n,) after `made` moves, where goals are learned too."""
        return self.values[self.learner.horizon - made, :, states].T.double().softmax(-1).numpy()

    def goal_posterior(self, states: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """(n + 1, G): P(goal | the path so far) along a path with `states` (n + 1,), whose `prior` is (G,)."""
        return self.learner.goal_posterior(self.values, states, torch.from_numpy(prior)).numpy()

    def sample(self, paths: Paths, rng: np.random.Generator) -> np.ndarray:
        starts = np.array([states[0] for states in paths.states])
        return self.continue_from(starts, paths.goals, 0, rng)

    def continue_from(self, states: np.ndarray, goals: np.ndarray, made: int, rng: np.random.Generator) -> np.ndarray:
        """(n, T + 1 - made) int64: paths on from `states` (n,) to `goals` (n,), where `made` moves were made before."""

        def logits(states: np.ndarray, goals: np.ndarray, k: int) -> np.ndarray:
            after = self.values[self.learner.horizon - made - k - 1]
            return (self.reward[states] + after[goals[:, None], following[states].clip(min=0)]).numpy()

        following = self.walks.graph.next_state.numpy()
        return _sampled(self.walks, states, goals, self.learner.horizon - made, logits, rng)


@dataclass(frozen=True)
class Table:
    """A policy by counts, or of another kind, that does not depend on the time."""

    walks: Walks
    log_chances: np.ndarray
    """(G, S, A) float32: log P(move | state, goal)"""

    def goal_prior(self, paths: Paths) -> np.ndarray:
        return self.walks.goal_prior(paths)

    def log_likelihood(self, paths: Paths) -> np.ndarray:
        pairs = zip(paths.states, paths.moves, strict=True)
        return np.stack([self.log_chances[:, s[:-1], m].sum(1, dtype=np.float64) for s, m in pairs])

    def sample(self, paths: Paths, rng: np.random.Generator) -> np.ndarray:
        starts = np.array([states[0] for states in paths.states])
        return _sampled(
            self.walks,
            starts,
            paths.goals,
            self.walks.horizon,
            lambda states, goals, k: self.log_chances[goals, states],
            rng,
        )


@dataclass(frozen=True)
class Line(Table):
    """A policy whose best guess is a straight line."""

    ahead: bool
    """Along the first heading, for as long as the true path; else to the goal's centre."""

    def guess(self, paths: Paths) -> list[np.ndarray]:
        """(m,) int64 of each path: the cells of the line."""
        grid, drawn = self.walks.grid, []
        for states, goal in zip(paths.states, paths.goals.tolist(), strict=True):
            start = grid.places(states[:1] // HEADINGS)[0]
            if self.ahead:
                places = start + MOVES[states[0] % HEADINGS] * np.arange(len(states) - 1)[:, None]
                inside = ((places >= 0) & (places < (grid.columns, grid.rows))).all(1)
                drawn.append(places[inside] @ (1, grid.columns))
            else:
                drawn.append(grid.walk(grid.middles(np.stack((start, self.walks.goals.centres[goal])))))
        return drawn


def straight(walks: Walks) -> Line:
    """Turns toward the centre of the goal."""
    centres = walks.grid.places(np.arange(len(walks.grid)))
    x, y = np.moveaxis(walks.goals.centres[:, None] - centres, -1, 0)
    return _toward(walks, np.arctan2(y, x).repeat(HEADINGS, axis=1), ahead=False)


def constant_velocity(walks: Walks) -> Line:
    """Keeps its heading."""
    headings = np.tile(np.arange(HEADINGS) * np.pi / 4, len(walks.grid))
    return _toward(walks, np.broadcast_to(headings, (len(walks.goals), len(headings))), ahead=True)


def _toward(walks: Walks, directions: np.ndarray, ahead: bool) -> Line:
    """Moves along `directions` (G, S) [rad], each a von Mises distribution over the moves that exist."""
    angles = np.arange(HEADINGS) * np.pi / 4
    alike = np.cos(angles - directions[..., None]).astype(np.float32)
    exists = (walks.graph.next_state != NOWHERE).numpy()[: alike.shape[1], :HEADINGS]
    paths = walks.training
    goals, states, moves = steps_of(paths)
    own = walks.graph.next_state[states, STOP].numpy() == len(walks.grid) * HEADINGS + goals
    stopping = np.log(len(paths.goals) / (own.sum() + 1))  # plus one, lest going on be impossible
    going = moves != STOP

    def log_chances(kappa: float, alike: np.ndarray, exists: np.ndarray) -> np.ndarray:
        logits = np.where(exists, kappa * alike, -np.inf)
        return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)

    seen, among, made = alike[goals, states][going], exists[states][going], moves[going]
    kappa = minimize_scalar(
        lambda kappa: -log_chances(kappa, seen, among)[np.arange(len(made)), made].mean(),
        bounds=(0.0, 50.0),
        method="bounded",
    ).x
    chances = np.full((len(walks.goals), *walks.graph.next_state.shape), -np.inf, np.float32)
    chances[:, : alike.shape[1], :HEADINGS] = log_chances(kappa, alike, exists)
    for goal in range(len(walks.goals)):
        inside = (walks.graph.next_state[:, STOP] == len(walks.grid) * HEADINGS + goal).numpy()
        chances[goal, inside, STOP] = stopping
        chances[goal, inside, :HEADINGS] += np.log1p(-np.exp(stopping))
    return Line(walks, chances, ahead)


def count_table(walks: Walks, by_heading: bool) -> Table:
    """How often people made each move in a cell, on the way to a goal, and perhaps with a heading; plus α."""
    paths = walks.training
    number = np.arange(len(paths.goals))
    fold = np.repeat(number % FOLDS, [len(moves) for moves in paths.moves])
    steps = steps_of(paths)
    scores = np.zeros(len(ALPHAS))
    for k in range(FOLDS):
        counts = _counts(walks, by_heading, *(part[fold != k] for part in steps))
        goals, states, moves = (part[fold == k] for part in steps)
        for j, alpha in enumerate(ALPHAS):
            scores[j] += _smoothed(walks, counts[goals, states], alpha, goals, states)[
                np.arange(len(moves)), moves
            ].sum()
    goals, states = np.indices((len(walks.goals), len(walks.graph.next_state)), sparse=True)
    alpha = ALPHAS[int(scores.argmax())]
    return Table(walks, _smoothed(walks, _counts(walks, by_heading, *steps), alpha, goals, states))


def steps_of(paths: Paths) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Goal, state and move of each move of all paths, (M,) each."""
    goals = np.repeat(paths.goals, [len(moves) for moves in paths.moves])
    return goals, np.concatenate([states[:-1] for states in paths.states]), np.concatenate(paths.moves)


def _counts(walks: Walks, by_heading: bool, goals: np.ndarray, states: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """(G, S, A): how often each move was made in a state, or in any state of its cell."""
    counts = np.zeros((len(walks.goals), *walks.graph.next_state.shape), np.float32)
    np.add.at(counts, (goals, states, moves), 1.0)
    if not by_heading:
        of_cells = counts[:, : len(walks.grid) * HEADINGS]
        sums = of_cells.reshape(len(counts), -1, HEADINGS, counts.shape[-1]).sum(2)
        of_cells[:] = sums.repeat(HEADINGS, axis=1)
    return counts


def possible(walks: Walks, goals: np.ndarray, states: np.ndarray) -> np.ndarray:
    """(…, A) bool: the moves that exist in `states`, of which the stop must lead to the own one of `goals`."""
    following = walks.graph.next_state.numpy()[states]
    ends = len(walks.grid) * HEADINGS
    return (following != NOWHERE) & ((following < ends) | (following == ends + goals[..., None]))


def _smoothed(walks: Walks, counts: np.ndarray, alpha: float, goals: np.ndarray, states: np.ndarray) -> np.ndarray:
    """log P (…, A) from counts (…, A) of moves toward `goals` in `states`, of those moves that lead there."""
    weights = np.where(possible(walks, goals, states), counts + alpha, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):  # of end states, from which no move leads
        return np.log(weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def _sampled(
    walks: Walks,
    states: np.ndarray,
    goals: np.ndarray,
    horizon: int,
    logits: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """(n, T + 1): paths on from `states` by `logits(states, goals, k)` (n, A) of move k, each until it stops."""
    following = walks.graph.next_state.numpy()
    sampled = np.full((len(states), horizon + 1), ENDED)
    sampled[:, 0] = states
    going = np.arange(len(states))
    for k in range(horizon):
        here = sampled[going, k]
        noisy = logits(here, goals[going], k) + rng.gumbel(size=(len(going), following.shape[1]))
        there = following[here, noisy.argmax(1)]
        goes_on = there < len(walks.grid) * HEADINGS
        going = going[goes_on]
        sampled[going, k + 1] = there[goes_on]
    return sampled
