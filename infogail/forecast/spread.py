"""Where somebody will be after each further move, the goal unknown: exactly, without samples.

With the goal g, Z_k(s) is the sum of exp(reward) over all paths to it of at most k moves from s, and u_j(s) over all
paths of j moves from here to s; then P(in s after j of k moves) = u_j(s) Z_{k-j}(s) / Z_k(here). Both follow from one
another by products with the same sparse matrix. For a mixture of goals the numerator is linear in Z, so that a single
vector does for all: that which has P(g) / Z_k(here) at each goal in place of 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from infogail.baselines.maxent_irl import Paths
from infogail.forecast.forecasters import MaxEnt
from infogail.forecast.grid import HEADINGS

GONE = 1e-4
"""So improbable is it to be still on the way when nothing more is computed."""


@dataclass(frozen=True)
class Forecast:
    """Where somebody goes."""

    chances: np.ndarray
    """(G,): P(goal); 0 of all if none can be reached"""
    ahead: np.ndarray
    """(K, C): P(in each cell, and still on the way) after 1 to K further moves"""

    def entries(self, moves: int | None = None) -> np.ndarray:
        """(C,): how often each cell is expected to be entered within the next `moves`, or from now on."""
        return self.ahead[:moves].sum(0)


class Spread:
    """Forecasts under the rewards of `model`."""

    def __init__(self, model: MaxEnt) -> None:
        following = model.walks.graph.next_state.numpy()
        reward = model.reward.double().numpy()
        exists = np.isfinite(reward)
        rows = np.append(0, exists.sum(1).cumsum())
        self.model, self.ends = model, len(model.walks.grid) * HEADINGS
        self.forward = csr_array((np.exp(reward[exists]), following[exists], rows), shape=(len(following),) * 2)
        self.back = self.forward.T.tocsr()

    def after(self, points: np.ndarray, k: int) -> Forecast:
        """Of the held-out path `k`, after its first `points` (n, 2)."""
        walks, states = self.model.walks, self.states(points, k)
        prior = self.model.goal_prior(walks.held_out)[k]
        return self._forecast(states[-1], self.model.goal_posterior(states, prior)[-1], len(states) - 1)

    def states(self, points: np.ndarray, k: int) -> np.ndarray:
        """(m + 1,): the states of the held-out path `k` along its first `points` (n, 2)."""
        walks = self.model.walks
        states, _ = walks.grid.moves(walks.grid.walk(points))
        return states if len(states) else walks.held_out.states[k][:1]  # which is still in the first cell

    def start(self, state: int) -> Forecast:
        """Of somebody who starts in `state`.

        The first heading tells of the goal, too: toward a goal, each is the likelier the larger its exp(V).
        """
        walks, model = self.model.walks, self.model
        prior = model.goal_prior(Paths([np.array([state])], [], np.zeros(0)))[0]
        if walks.has_lanes:
            return self._forecast(state, prior, 0)  # P(goal | state)
        first = state // HEADINGS * HEADINGS
        values = model.values[model.learner.horizon, :, first : first + HEADINGS].double()
        likelihood = values.softmax(-1)[:, state - first].nan_to_num().numpy()
        return self._forecast(state, prior * likelihood, 0)

    def _forecast(self, state: int, weights: np.ndarray, made: int) -> Forecast:
        """From `state` after `made` moves, where P(goal) is proportional to `weights` (G,)."""
        left, cells = self.model.learner.horizon - made, len(self.model.walks.grid)
        values = self.model.values[left, :, state].double().numpy()
        chances = np.where(np.isfinite(values), weights, 0.0)
        if not chances.any():
            return Forecast(chances, np.zeros((0, cells)))
        chances /= chances.sum()
        with np.errstate(divide="ignore"):
            logs = np.log(chances) - np.where(chances > 0, values, 0.0)
        after, scales = self._after(logs, left)
        here, scale, found = np.zeros(len(after[0])), 0.0, []
        here[state] = 1.0
        for k in range(1, left + 1):
            here = self.back @ here
            here[self.ends :] = 0.0  # at its goal a path ends
            largest = here.max()
            if not largest:
                break
            here /= largest
            scale += np.log(largest)
            chance = here * after[left - k] * np.exp(scale + scales[left - k])
            found.append(chance[: self.ends].reshape(cells, HEADINGS).sum(1))
            if found[-1].sum() < GONE:
                break
        return Forecast(chances, np.array(found).reshape(-1, cells))

    def _after(self, logs: np.ndarray, horizon: int) -> tuple[list[np.ndarray], list[float]]:
        """Σ_g exp(logs_g) Z_k (S,) for k = 0 to `horizon`, each divided by exp of its scale, and the scales."""
        scale = float(logs.max())
        one = np.zeros(self.forward.shape[0])
        one[self.ends :] = np.exp(logs - scale)
        after, scales = [one], [scale]
        for _ in range(horizon):
            one = self.forward @ after[-1]
            one[self.ends :] = np.exp(logs - scale)
            largest = float(one.max())
            scale += np.log(largest)
            after.append(one / largest)
            scales.append(scale)
        return after, scales
