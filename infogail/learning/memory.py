"""A memory of rollouts, so that discriminator and posterior also learn from what earlier policies did."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from infogail.learning.rollout import Rollout, join


class RolloutMemory:
    """The rollouts of the last iterations, for discriminator and posterior; the policy learns from the newest alone.

    A discriminator that sees only the newest rollout forgets earlier policies, and the policy returns to them.
    """

    def __init__(self, iterations: int) -> None:
        self.past: deque[Rollout] = deque(maxlen=iterations)

    def add(self, rollout: Rollout) -> Rollout:
        """`rollout` and those before it, side by side: (T, (n + 1) B, …) after n iterations, B of each."""
        together = join([*self.past, rollout])
        self.past.append(rollout)
        return together

    def state_dict(self) -> dict[str, Tensor]:
        """Every field of every rollout, for a checkpoint."""
        return {f"{k}.{name}": x for k, rollout in enumerate(self.past) for name, x in rollout.tensors().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state_dict` took."""
        fields: dict[int, dict[str, Any]] = {}
        for key, value in state.items():
            number, name = key.split(".")
            fields.setdefault(int(number), {})[name] = value
        self.past.clear()
        self.past.extend(Rollout.from_tensors(fields[number]) for number in sorted(fields))
