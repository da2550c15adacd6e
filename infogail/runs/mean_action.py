"""Whether the policy's mean actions show the demonstrated styles: what the time to styles is measured by."""

from __future__ import annotations

import torch

from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.scenarios.styles import StyleJudge
from infogail.envs.twin import DrivingEnvironment
from infogail.learning.networks import Policy
from infogail.learning.rollout import style_nmi

EPISODES = 256
SEED = 0x57A1E  # of the episodes' starts, the same each time


class MeanActionCheck:
    """Drives the policy's mean actions in a twin of its own, so that training does not notice."""

    def __init__(self, scenario: Scenario, judge: StyleJudge, num_codes: int, device: str = "cpu") -> None:
        self.env = DrivingEnvironment(scenario, EPISODES, judge, device)
        self.codes = torch.arange(EPISODES, device=device) % num_codes

    @torch.no_grad()
    def style_nmi(self, policy: Policy) -> float:
        """Normalised mutual information of codes and styles; see `infogail.learning.rollout.style_nmi`."""
        obs = self.env.reset(seed=SEED)
        for _ in range(self.env.spec.horizon):
            obs = self.env.step(policy(policy.inputs(obs, self.codes)).mode()).observations
        styles = self.env.styles()
        assert styles is not None
        return style_nmi(self.codes.cpu().numpy(), styles.cpu().numpy())
