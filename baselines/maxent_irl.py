"""Maximum causal entropy inverse reinforcement learning on a graph of states (Ziebart 2010; Kitani et al. 2012).

People move from state to state, and each move has features f(s, a). A path of at most T moves that ends at its goal is
the more likely the larger its reward θ·Σf: P(path | s₀, goal) = exp(θ·Σf) / Z. Where moves have one outcome, as here,
that is the distribution of maximum causal entropy among those with the same expected features, and

- log Z is the soft value V_T(s₀): V_k(s) = log Σ_a exp(θ·f(s, a) + V_{k-1}(s')), 0 at the goal, -∞ elsewhere if k = 0;
- the policy with k moves left is π_k(a|s) = exp(θ·f(s, a) + V_{k-1}(s') - V_k(s));
- the gradient of the log-likelihood is the features of the paths, less those expected of paths from the same starts.

All goals are computed together: values are (G, S), for G goals and S states. Learning computes exp(V), which takes a
product with a sparse matrix per move and is several times faster, and V itself only where exp(V) overflows float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

NOWHERE = -1
"""The next state of a move that does not exist."""


@dataclass(frozen=True)
class Graph:
    """S states with A moves each, and their features."""

    next_state: Tensor
    """(S, A) int64: where a move leads, or `NOWHERE`"""
    features: Tensor
    """(S A, F) sparse, float32 or float64, which is that of all results: of each move, state by state"""

    def __post_init__(self) -> None:
        states, moves = self.next_state.shape
        if self.features.shape[0] != states * moves:
            raise ValueError(
                f"features has {self.features.shape[0]} rows, not one for each of {states} x {moves} moves"
            )

    def reward(self, weights: Tensor) -> Tensor:
        """(S, A): θ·f of each move for `weights` θ (F,); -∞ where there is none."""
        reward = (self.features @ weights[:, None]).view(self.next_state.shape)
        return reward.masked_fill(self.next_state == NOWHERE, -torch.inf)


def soft_values(graph: Graph, reward: Tensor, goals: Tensor, horizon: int) -> Tensor:
    """V (T + 1, G, S): log of the sum of exp(reward) over all paths to each goal, by the number of moves left.

    Args:
        reward: (S, A), see `Graph.reward`.
        goals: (G, S) bool, the states of each goal.
        horizon: T, the largest number of moves.
    """
    values = torch.full((horizon + 1, *goals.shape), -torch.inf, dtype=reward.dtype, device=reward.device)
    values[0][goals] = 0.0
    for k in range(1, horizon + 1):
        values[k] = torch.logsumexp(_next_values(graph, reward, values[k - 1]), -1).masked_fill(goals, 0.0)
    return values


def expected_moves(graph: Graph, reward: Tensor, values: Tensor, goals: Tensor, starts: Tensor) -> Tensor:
    """(S, A): how often each move is expected to be made, by all paths together.

    Args:
        values: (T + 1, G, S), from `soft_values`.
        starts: (G, S), the number of paths to each goal that start in each state.
    """
    moves, here = torch.zeros_like(reward), starts.clone()
    target = graph.next_state.clamp(min=0).flatten()
    for k in range(len(values) - 1, 0, -1):
        chances = policy(graph, reward, values[k - 1], values[k])
        made = here.masked_fill(goals, 0.0)[..., None] * chances  # (G, S, A); at its goal a path ends
        moves += made.sum(0)
        here = torch.zeros_like(here).index_add_(1, target, made.flatten(1))
    return moves


def policy(graph: Graph, reward: Tensor, after: Tensor, now: Tensor) -> Tensor:
    """π(a|s) (G, S, A) from the values (G, S) `after` a move and `now`; 0 where the goal cannot be reached."""
    logits = _next_values(graph, reward, after) - now[..., None]
    return logits.nan_to_num(nan=-torch.inf).exp()


def _by_products(
    graph: Graph, reward: Tensor, goals: Tensor, horizon: int, starts: Tensor
) -> tuple[Tensor, Tensor] | None:
    """V_T (G, S) and the expected moves (S, A), as of `soft_values` and `expected_moves`; None if exp(V) overflows.

    Z_k = exp(V_k) is M Z_{k-1}, with exp(reward) of the moves from s to s' in M (S, S). The expected visits are
    u_k Z_k, with u_{k-1} = Mᵀ u_k, so that no policy is computed.
    """
    states, moves = graph.next_state.shape
    exists = (graph.next_state != NOWHERE).numpy()
    following = graph.next_state.clamp(min=0).numpy()
    weights = reward.double().exp().numpy()
    ends = np.append(0, exists.sum(1).cumsum())
    matrix = csr_array((weights[exists], following[exists], ends), shape=(states, states))
    back, at_goal = matrix.T.tocsr(), goals.T.numpy()
    z = np.zeros((horizon + 1, *at_goal.shape))
    z[0] = at_goal
    with np.errstate(all="ignore"):
        for k in range(1, horizon + 1):
            z[k] = np.where(at_goal, 1.0, matrix @ z[k - 1])
        started = starts.T.double().numpy()
        u = np.divide(started, z[-1], out=np.zeros_like(started), where=~at_goal & (started > 0))
        made = np.zeros((states, moves))
        for k in range(horizon, 0, -1):
            made += np.einsum("sg,sag->sa", u, z[k - 1][following])
            u = np.where(at_goal, 0.0, back @ u)
        made *= weights
        if not (np.isfinite(made).all() and np.isfinite(z[-1]).all()):
            return None
        values = np.log(z[-1]).T
    return torch.from_numpy(values).to(reward.dtype), torch.from_numpy(made).to(reward.dtype)


def _next_values(graph: Graph, reward: Tensor, after: Tensor) -> Tensor:
    """(G, S, A): the reward of each move, and the value of where it leads."""
    return reward + after[:, graph.next_state.clamp(min=0)]


@dataclass(frozen=True)
class Paths:
    """N paths of people, each a sequence of moves to its goal."""

    states: Sequence[np.ndarray]
    """(n + 1,) int64 of each path: its states, the last one at its goal"""
    moves: Sequence[np.ndarray]
    """(n,) int64 of each path: the number of each move"""
    goals: np.ndarray
    """(N,) int64"""

    @property
    def longest(self) -> int:
        """The largest number of moves."""
        return max(len(moves) for moves in self.moves)


class MaxEntIRL:
    """Maximum causal entropy IRL: rewards of moves from people's paths.

    Args:
        goals: (G, S) bool, the states of each goal.
        horizon: T, the largest number of moves.
        penalty: λ of the penalty λ/2 ‖θ - θ₀‖² that is added to the negative log-likelihood of all paths.
        costs: features (n,) whose weights must not be positive, such as those of turns.
        centre: θ₀ (F,), from which learning also starts, such as the weights of people of all kinds; 0 by default.
    """

    def __init__(
        self,
        graph: Graph,
        goals: Tensor,
        horizon: int,
        penalty: float = 0.1,
        costs: Sequence[int] = (),
        centre: Tensor | None = None,
    ) -> None:
        self.graph, self.goals, self.horizon, self.penalty, self.costs = graph, goals, horizon, penalty, tuple(costs)
        self.dtype = graph.features.dtype
        self.centre = torch.zeros(graph.features.shape[1], dtype=self.dtype) if centre is None else centre
        self.weights = self.centre.clone()

    def fit(self, paths: Paths, iterations: int = 100) -> float:
        """Choose the weights under which `paths` are likeliest, by L-BFGS; returns the mean -log P per move [nats].

        Raises:
            ValueError: a path is longer than the horizon, or does not end at its goal.
        """
        from scipy.optimize import minimize

        counts, starts = self._counts(paths)
        bounds = [(None, 0.0) if k in self.costs else (None, None) for k in range(len(self.weights))]
        found = minimize(
            lambda x: self._objective(torch.from_numpy(x).to(self.dtype), counts, starts),
            self.weights.double().numpy(),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": iterations},
        )
        self.weights = torch.from_numpy(found.x).to(self.dtype)
        return self.negative_log_likelihood(paths)

    def values(self) -> Tensor:
        """V (T + 1, G, S), see `soft_values`."""
        return soft_values(self.graph, self.graph.reward(self.weights), self.goals, self.horizon)

    def negative_log_likelihood(self, paths: Paths) -> float:
        """Mean -log P per move [nats] of paths, their goals known."""
        counts, starts = self._counts(paths)
        total, _ = self._likelihood(self.weights, counts, starts)
        return float(total) / sum(len(moves) for moves in paths.moves)

    def goal_posterior(self, values: Tensor, states: np.ndarray, prior: Tensor) -> Tensor:
        """(n + 1, G): P(goal | the path so far) after each move of a path with `states` (n + 1,).

        By Bayes' rule: what has been done has the same reward whatever the goal, so that only values remain.

        Args:
            values: from `values`.
            prior: (G,) P(goal).
        """
        left = self.horizon - torch.arange(len(states))
        likelihood = values[left, :, torch.from_numpy(states)] - values[self.horizon, :, states[0]]
        return (prior.log() + likelihood.nan_to_num(nan=-torch.inf)).softmax(-1)

    def _objective(self, weights: Tensor, counts: Tensor, starts: Tensor) -> tuple[float, np.ndarray]:
        total, gradient = self._likelihood(weights, counts, starts)
        away = weights - self.centre
        penalised = total + 0.5 * self.penalty * away.square().sum()
        return float(penalised), (gradient + self.penalty * away).double().numpy()

    def _likelihood(self, weights: Tensor, counts: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """-log P of all paths, and its gradient (F,)."""
        reward = self.graph.reward(weights)
        found = _by_products(self.graph, reward, self.goals, self.horizon, starts)
        if found is None:
            every = soft_values(self.graph, reward, self.goals, self.horizon)
            found = every[-1], expected_moves(self.graph, reward, every, self.goals, starts)
        values, moves = found
        expected = self._features(moves)
        reached = values.masked_fill(starts == 0, 0.0)
        return (starts * reached).sum() - counts @ weights, expected - counts

    def _counts(self, paths: Paths) -> tuple[Tensor, Tensor]:
        """Features (F,) of all paths together, and the number (G, S) of paths to each goal from each state."""
        if paths.longest > self.horizon:
            raise ValueError(f"a path has {paths.longest} moves, more than the horizon of {self.horizon}")
        moves, starts = (
            torch.zeros(shape, dtype=self.dtype) for shape in (self.graph.next_state.shape, self.goals.shape)
        )
        once = torch.ones((), dtype=self.dtype)
        for states, made, goal in zip(paths.states, paths.moves, paths.goals.tolist(), strict=True):
            if not self.goals[goal, states[-1]]:
                raise ValueError(f"a path ends in state {states[-1]}, not at its goal {goal}")
            moves.index_put_((torch.from_numpy(states[:-1]), torch.from_numpy(made)), once, accumulate=True)
            starts[goal, states[0]] += 1
        return self._features(moves), starts

    def _features(self, moves: Tensor) -> Tensor:
        """(F,): features of moves that were made so often (S, A)."""
        return (moves.flatten()[None] @ self.graph.features).flatten()
