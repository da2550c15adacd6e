"""A memory of past rollouts, so that discriminator and posterior also learn from earlier policies."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from infogail.learning.rollout import Rollout, join


class RolloutMemory:
    """The rollouts of recent iterations, for discriminator and posterior; the policy learns only from the newest.

    A discriminator trained only on the newest rollout forgets earlier policies, and the policy may return to them.
    """

    def __init__(self, iterations: int, device: str = "cpu") -> None:
        self.past: deque[Rollout] = deque(maxlen=iterations)
        self.device = device

    def add(self, rollout: Rollout) -> Rollout:
        """Store `rollout`; returns it concatenated with the n past ones, (T, (n + 1) B, …)."""
        together = join([*self.past, rollout])
        self.past.append(rollout)
        return together

    def state_dict(self) -> dict[str, Tensor]:
        """Every field of every rollout, for checkpoints."""
        return {f"{k}.{name}": x for k, rollout in enumerate(self.past) for name, x in rollout.tensors().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of `state_dict`."""
        fields: dict[int, dict[str, Any]] = {}
        for key, value in state.items():
            number, name = key.split(".")
            fields.setdefault(int(number), {})[name] = value.to(self.device)
        self.past.clear()
        self.past.extend(Rollout.from_tensors(fields[number]) for number in sorted(fields))
