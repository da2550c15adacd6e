"""Generalised advantage estimation (Schulman et al. 2015, arXiv 1506.02438, eq. 16)."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    rewards: Tensor, values: Tensor, next_values: Tensor, terminated: Tensor, done: Tensor, gamma: float, lam: float
) -> Tensor:
    """Advantages (T, B): A_t = δ_t + γλ (1 - done_t) A_{t+1}, with δ_t = r_t + γ (1 - terminated_t) V(s'_t) - V(s_t).

    Args:
        rewards, values: (T, B).
        next_values: (T, B), value of the state after each step, including the final state of an episode: a time limit
            (done but not terminated) bootstraps from it.
        terminated, done: (T, B) bool.
        gamma, lam: discount and λ.
    """
    delta = rewards + gamma * next_values * ~terminated - values
    decay = gamma * lam * ~done
    advantages = torch.empty_like(rewards)
    running = torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        running = torch.addcmul(delta[t], decay[t], running)
        advantages[t] = running
    return advantages


def explained_variance(values: Tensor, returns: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns), () float64: 1 for perfect values, 0 for a
    constant, negative for anything worse.

    0 if the returns do not vary.
    """
    variance = returns.var()
    explained = 1.0 - ((returns - values).var() / variance).double()
    return torch.where(variance > 0.0, explained, 0.0)
