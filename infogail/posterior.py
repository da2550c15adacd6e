"""The encoder posterior Q(c|τ): reads the code back from where a car drives, and learns on two kinds of trajectories.

On the policy's, whose code is known, by cross-entropy: this tightens the lower bound on the mutual information of codes
and trajectories (InfoGAN, Chen et al. 2016, arXiv 1606.03657; InfoGAIL, Li et al. 2017, arXiv 1703.08840). On the
demonstrations, whose code nobody knows, by regularised information maximisation (Krause, Perona & Gomes 2010): sure of
each trajectory, balanced over all, and unmoved by small shifts (Hu et al. 2017, arXiv 1702.08720), so that it parts
them where there are few. So the codes settle on what divides the demonstrations, and not on some trivial bias of the
policy; for the same reason the posterior reads states, not actions.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from envs import get_scenario
from envs.demonstrations import Demonstrations
from infogail.config import Config
from infogail.distributed import apart, everyones, mean, num_processes
from infogail.networks import Standardise, adam, descend, mlp, step_by_step
from infogail.rollout import Rollout

MAX_EVIDENCE = 0.1
"""[nats] that one step may add to, or take from, a code. No single state decides, and where no demonstration ever was
the information reward stays as small as the imitation reward; unbounded, it made policies crash to escape it."""
THINNING = 3


def belief(evidence: Tensor, alive: Tensor | None = None) -> Tensor:
    """log Q(c|s_1…s_t) (T, n, K) after each step: the steps' evidence (T, n, K) adds up from a uniform prior.

    Steps that are not `alive` (T, n) say nothing: an episode that ended early is followed by another, of which the
    code was told already.
    """
    if alive is not None:
        evidence = evidence * alive[..., None]
    return evidence.cumsum(0).log_softmax(-1)


def info_reward(beliefs: Tensor, codes: Tensor) -> Tensor:
    """(T, n): how much each step adds to log Q(c|τ), for `beliefs` (T, n, K) and the true codes (n,).

    Summed over an episode it is log Q(c|τ) + log K, the trajectory's part of the bound on the mutual information. A
    reward of log Q(c|s) at every step, as published, would pay for showing the code again and again, and so keep a car
    in the left lane that should return to the middle; here a style that was recognised once need not be shown again.
    """
    chosen = beliefs.gather(-1, codes.expand(beliefs.shape[:-1])[..., None]).squeeze(-1)
    prior = torch.full_like(chosen[:1], -math.log(beliefs.shape[-1]))
    return chosen.diff(dim=0, prepend=prior)


def entropy(log_probabilities: Tensor) -> Tensor:
    """Entropy (…) [nats] of log-probabilities (…, K)."""
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def rim_loss(log_q: Tensor, log_q_moved: Tensor) -> Tensor:
    """Mean cross-entropy of q and q of the same trajectories slightly moved, less the entropy of the mean; (n, K) each.

    The first term asks for confidence and for a boundary where there are few trajectories, the second for balance.
    """
    cross_entropy = -(log_q.exp() * log_q_moved).sum(-1).mean()
    return cross_entropy - entropy(mean(log_q.exp().mean(0)).clamp(min=1e-12).log())


def style_features(scenario: str) -> list[int]:
    """Where in the observation the scenario's `style_features` are."""
    definition = get_scenario(scenario)
    return [definition.features.index(name) for name in definition.style_features]


class Evidence(nn.Module):
    """What one state says about the code, from the observation's entries `features` alone.

    Evidence is an unnormalised log-probability: its log_softmax is log Q(c|s), that of its sum over time log Q(c|τ).
    """

    features: Tensor

    def __init__(self, observations: Tensor, features: list[int], num_codes: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.tensor(features))
        self.standardise = Standardise(observations[:, features])
        self.net = mlp(len(features), hidden, num_codes, last_gain=0.1)

    def inputs(self, obs: Tensor) -> Tensor:
        """What the network reads of obs (…, F), standardised."""
        return self.standardise(obs[..., self.features])

    def forward(self, obs: Tensor) -> Tensor:
        """Evidence (…, K) in obs (…, F)."""
        return self.weigh(self.inputs(obs))

    def weigh(self, inputs: Tensor) -> Tensor:
        """Evidence (…, K) [nats] in what `inputs` gives."""
        return MAX_EVIDENCE * self.net(inputs).tanh()


class Posterior:
    """The evidence network, and its training."""

    def __init__(self, demonstrations: Demonstrations, config: Config, generator: torch.Generator) -> None:
        self.config, self.generator = config, generator
        self.demonstrations = torch.from_numpy(demonstrations.padded_observations()).transpose(0, 1)  # (T, E, F)
        self.scenario = demonstrations.scenario
        self.observations = torch.from_numpy(demonstrations.observations)
        self.evidence, self.optimiser = self._start()

    def reward(self, rollout: Rollout) -> Tensor:
        """The information reward, (T, B)."""
        beliefs = belief(step_by_step(self.evidence, rollout.next_observations), rollout.first_episode())
        return info_reward(beliefs, rollout.codes)

    def divide_demonstrations(self) -> None:
        """Before any driving: divide the unlabelled demonstrations among the codes; of a few tries keep the surest.

        Some random networks get stuck with a poor division. Their own loss tells, so no label is needed to choose.
        Several processes share the tries, and not each step, for hundreds of tiny ones would wait for their messages.
        """
        tries, batch = [], self.config.posterior_batch * num_processes()
        with apart(self.config.rim_tries) as own_tries:
            for _ in own_tries:
                self.evidence, self.optimiser = self._start()
                for _ in range(self.config.rim_steps):
                    descend(self.optimiser, self.demonstrations_loss(batch))
                with torch.no_grad():
                    loss = float(sum(self.demonstrations_loss(batch) for _ in range(10)))
                tries.append((loss, self.evidence, self.optimiser))
        all_tries = (some for theirs in everyones(tries) for some in theirs)
        _, self.evidence, self.optimiser = min(all_tries, key=lambda some: some[0])

    def parts(self) -> dict[str, Any]:
        """All that an update changes, for a checkpoint."""
        return {
            "posterior": self.evidence,
            "posterior_optimiser": self.optimiser,
            "posterior_generator": self.generator,
        }

    def update(self, rollout: Rollout) -> dict[str, float]:
        """A few steps on some trajectories of each kind; returns what to log."""
        alive = rollout.first_episode()
        for _ in range(self.config.posterior_steps):
            chosen = torch.randint(len(rollout.codes), (self.config.posterior_batch,), generator=self.generator)
            beliefs = belief(self.evidence(rollout.next_observations[:, chosen]), alive[:, chosen])
            cross_entropy = nll_loss(beliefs[-1], rollout.codes[chosen])
            rim = self.demonstrations_loss(self.config.posterior_batch)
            descend(self.optimiser, cross_entropy + self.config.rim_coef * rim)
        return {"posterior/cross_entropy": cross_entropy.item(), "posterior/rim": rim.item()}

    def demonstrations_loss(self, batch: int) -> Tensor:
        """`rim_loss` of `batch` demonstrations, moved by one random offset per trajectory and feature."""
        episodes = self.demonstrations.shape[1]
        rows = torch.randint(episodes, (batch,), generator=self.generator)
        # Neighbouring states say nearly the same: every third speaks, and counts for three.
        x = self.evidence.inputs(self.demonstrations[::THINNING, rows])
        offset = self.config.rim_shift * torch.randn(x.shape[1:], generator=self.generator)
        beliefs = belief(THINNING * self.evidence.weigh(torch.cat((x, x + offset), 1)))
        return rim_loss(*beliefs[-1].chunk(2))

    def _start(self) -> tuple[Evidence, torch.optim.Optimizer]:
        """A random network and its optimiser."""
        evidence = Evidence(self.observations, style_features(self.scenario), self.config.num_codes, self.config.hidden)
        return evidence, adam([evidence], self.config.learning_rate)
