"""How long training lasts, and how fast the policy learns meanwhile."""

from __future__ import annotations

import torch
from torch import Tensor

from infogail.config.parts import RunConfig
from infogail.learning.devices import read
from infogail.parallel.distributed import mean

RECOGNISED = 0.98
"""Share of a rollout's episodes whose code must be recognised for the styles to count as found."""


class Schedule:
    """Training ends `settling_iterations` per code after the styles are found, and after `iterations` at the latest.

    The styles count as found once the posterior recognises the codes of a fresh rollout and hardly any episode fails.
    This needs no labels. The more codes share a rollout, the longer each takes to settle.

    Args:
        config: with `settling_iterations` None, training always takes `iterations`.
    """

    def __init__(self, config: RunConfig, num_codes: int = 1) -> None:
        self.longest, settling = config.iterations, config.settling_iterations
        self.settling = None if settling is None else settling * num_codes
        self.found: int | None = None
        self.length: int | None = None

    @classmethod
    def fixed(cls, iterations: int) -> Schedule:
        """A schedule of a fixed length, of at least one iteration."""
        return cls(RunConfig(iterations=max(1, iterations), settling_iterations=None))

    @property
    def iterations(self) -> int:
        """Iterations to run: `length`, if it was set to overrule the schedule, or else until training has settled."""
        if self.length is not None:
            return self.length
        return self.longest if self.found is None or self.settling is None else self.found + self.settling

    def observe(self, iteration: int, recognised: Tensor) -> None:
        """Take note of whether each episode (B,) bool of iteration number `iteration` was recognised."""
        if self.found is not None or self.settling is None or iteration + self.settling >= self.longest:
            return
        (share,) = read(mean(recognised.float().mean()))
        if share >= RECOGNISED:
            self.found = iteration

    def progress(self, iteration: int) -> float:
        """How far the learning rate has fallen in iteration number `iteration`, from 0 to 1.

        Large steps find the styles; small ones make the driving precise.
        """
        if self.found is None or self.settling is None or iteration <= self.found:
            return min(iteration / self.longest, 1.0)
        before = self.found / self.longest
        return min(before + (1.0 - before) * (iteration - self.found) / self.settling, 1.0)

    def state_dict(self) -> dict[str, Tensor]:
        """The iteration in which the styles were found, -1 if not yet, for checkpoints."""
        return {"found": torch.tensor(-1 if self.found is None else self.found)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the result of `state_dict`."""
        found = int(state["found"])
        self.found = None if found < 0 else found
