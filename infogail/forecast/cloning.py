"""Behavioural cloning on paths: a classifier of the next move from where somebody is, goes, and wants to go."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from infogail.forecast.forecasters import Table, possible, steps_of
from infogail.forecast.grid import HEADINGS, MOVES
from infogail.forecast.walks import Walks

HIDDEN = (64, 64)
EPOCHS = 100
"""At most; fitting ends when a tenth of the moves, left out, become no likelier for ten epochs."""
UNLIKELY = 1e-3
"""Share of a uniform distribution over the possible moves, so that none has probability 0."""


def behavioural_cloning(walks: Walks) -> Table:
    """P(move | position, heading, goal) by a multi-layer perceptron."""
    goals, states, moves = steps_of(walks.training)
    classifier = MLPClassifier(HIDDEN, early_stopping=True, max_iter=EPOCHS, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(_inputs(walks, states, goals), moves)
    every = np.arange(len(walks.grid) * HEADINGS)
    chances = np.full((len(walks.goals), *walks.graph.next_state.shape), -np.inf, np.float32)
    for goal in range(len(walks.goals)):
        found = np.zeros((len(every), chances.shape[-1]))
        found[:, classifier.classes_] = classifier.predict_proba(_inputs(walks, every, np.full_like(every, goal)))
        exists = possible(walks, np.array(goal), every)
        found = np.where(exists, found, 0.0)
        found += UNLIKELY * exists / exists.sum(1, keepdims=True)
        with np.errstate(divide="ignore"):
            chances[goal, every] = np.log(found / found.sum(1, keepdims=True))
    return Table(walks, chances)


def _inputs(walks: Walks, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """(n, 15): position, heading, and direction and distance of the goal's centre, in about [-1, 1]."""
    grid = walks.grid
    places, scale = grid.places(states // HEADINGS), max(grid.columns, grid.rows)
    way = walks.goals.centres[goals] - places
    distance = np.hypot(*way.T)[:, None]
    heading = states % HEADINGS
    return np.concatenate(
        (
            2.0 * places / scale - 1.0,
            heading[:, None] == np.arange(HEADINGS),
            way / np.maximum(distance, 1.0),
            distance / scale,
            np.log1p(distance) / 3.0,
            (way * MOVES[heading]).sum(1, keepdims=True) / np.maximum(distance, 1.0),
        ),
        axis=1,
    )
