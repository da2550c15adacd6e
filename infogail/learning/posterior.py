"""The encoder posterior Q(c|τ): reads the code back from where a car drives, and learns on two kinds of trajectories.

On the policy's, whose code is known, by cross-entropy: this tightens the lower bound on the mutual information of codes
and trajectories (InfoGAN, Chen et al. 2016, arXiv 1606.03657; InfoGAIL, Li et al. 2017, arXiv 1703.08840). On the
demonstrations, whose code nobody knows, by regularised information maximisation (Krause, Perona & Gomes 2010): sure of
each trajectory, balanced over all, and unmoved by small shifts (Hu et al. 2017, arXiv 1702.08720), so that it parts
them where there are few. So the codes settle on what divides the demonstrations, and not on some trivial bias of the
policy; for the same reason the posterior reads states, not actions, unless it is told to.

A graded code is a number in [-1, 1], of which K equally spaced levels are driven. Its posterior is a Gaussian between
the ends: each state adds to a slope and to a precision. All else is the same.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from infogail.config.config import Config
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.scenarios.scenario import Scene
from infogail.learning.networks import Standardise, adam, descend, levels, mlp, step_by_step
from infogail.learning.rollout import Rollout
from infogail.parallel.distributed import apart, everyones, mean, num_processes

MAX_PRECISION = 0.5
"""Of a graded code: what one step may add to the precision, and to the slope at 0. Bounded as other evidence is."""
THINNING = 3
DIVIDING_THINNING, EXEMPLAR_STEPS, EXEMPLAR_COPIES = 6, 20, 8
MIN_SHARE = 0.1  # of what a code would have if all were equally common: a rarer one could not be learned


def belief(evidence: Tensor, alive: Tensor | None = None, prior: Tensor | None = None) -> Tensor:
    """log Q(c|s_1…s_t) (T, n, K) after each step: the steps' evidence (T, n, K) adds up from the `prior` (K,).

    Without a prior, from a uniform one. Steps that are not `alive` (T, n) say nothing: an episode that ended early is
    followed by another, of which the code was told already.
    """
    if alive is not None:
        evidence = evidence * alive[..., None]
    logits = evidence.cumsum(0)
    return (logits if prior is None else logits + prior.log()).log_softmax(-1)


def info_reward(beliefs: Tensor, codes: Tensor, prior: Tensor) -> Tensor:
    """(T, n): how much each step adds to log Q(c|τ), for `beliefs` (T, n, K), the true codes (n,) and P(c) (K,).

    Summed over an episode it is log Q(c|τ) - log P(c), the trajectory's part of the bound on the mutual information. A
    reward of log Q(c|s) at every step, as published, would pay for showing the code again and again, and so keep a car
    in the left lane that should return to the middle; here a style that was recognised once need not be shown again.
    """
    chosen = beliefs.gather(-1, codes.expand(beliefs.shape[:-1])[..., None]).squeeze(-1)
    return chosen.diff(dim=0, prepend=prior.log()[codes][None])


def share_out(prior: Tensor, size: int) -> Tensor:
    """Codes (size,) int64, each as often as its share in `prior` (K,) says, in order."""
    middles = (torch.arange(size) + 0.5) / size
    return torch.searchsorted(prior.cumsum(0), middles).clamp(max=len(prior) - 1)


def spread_out(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices (count,) of some `points` (n, D) that are likely far apart (k-means++, Arthur & Vassilvitskii 2007)."""
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    while len(chosen) < count:
        squared_distance = torch.cdist(points, points[chosen]).amin(1).square()
        chosen.append(int(torch.multinomial(squared_distance + 1e-12, 1, generator=generator)))
    return torch.tensor(chosen)


def step_info_reward(evidence: Tensor, codes: Tensor, max_evidence: float) -> Tensor:
    """(T, n): log Q(c|s) + log K of each step, for `evidence` (T, n, K) and the true codes (n,); as published.

    So scaled that an episode earns log K at most, as with `info_reward`: divided by T, and by what one step can tell
    at most, as a share of log K. That is all where evidence is unbounded (`max_evidence` 0), and log K less
    log(1 + (K - 1) exp(-2 `max_evidence`)) where it is not.
    """
    steps, num_codes = len(evidence), evidence.shape[-1]
    log_k = math.log(num_codes)
    if num_codes == 1:
        return torch.zeros(evidence.shape[:-1])
    most = log_k - math.log1p((num_codes - 1) * math.exp(-2 * max_evidence)) if max_evidence else log_k
    log_q = evidence.log_softmax(-1).gather(-1, codes.expand(evidence.shape[:-1])[..., None]).squeeze(-1)
    return (log_q + log_k) * log_k / (most * steps)


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
    """Where in an observation the scenario's `style_features` are."""
    definition = get_scenario(scenario)
    return [definition.features.index(name) for name in definition.style_features]


def posterior_features(scenario: str, posterior_input: str) -> list[int]:
    """Which entries of a pair (F + 2,), observation and then action, a posterior reads (`Config.posterior_input`)."""
    entries = len(get_scenario(scenario).features)
    if posterior_input == "style":
        return style_features(scenario)
    return list(range(entries + 2 if posterior_input == "pair" else entries))


class Evidence(nn.Module):
    """What one state, or pair, says about the code, from its entries `features` alone.

    Evidence is an unnormalised log-probability: its log_softmax is log Q(c|s), that of its sum over time log Q(c|τ).
    The nearer to each other styles lie (`Scenario.style_tolerance`), the sharper it may be.
    """

    features: Tensor
    prior: Tensor
    """(K,): how common each code is."""

    def __init__(self, observations: Tensor, features: list[int], config: Config, tolerance: float = 1.0) -> None:
        super().__init__()
        num_codes = config.num_codes
        self.max_evidence = config.max_evidence / tolerance
        self.levels = levels(num_codes) if config.graded_code else None
        self.register_buffer("features", torch.tensor(features))
        self.register_buffer("prior", torch.full((num_codes,), 1 / num_codes))
        self.standardise = Standardise(observations[:, features])
        self.net = mlp(len(features), config.hidden, num_codes if self.levels is None else 2, last_gain=0.1)

    def inputs(self, obs: Tensor) -> Tensor:
        """What the network reads of obs (…, F), or pairs (…, F + 2), standardised."""
        return self.standardise(obs[..., self.features])

    def forward(self, obs: Tensor) -> Tensor:
        """Evidence (…, K) in obs (…, F), or in pairs (…, F + 2)."""
        return self.weigh(self.inputs(obs))

    def weigh(self, inputs: Tensor) -> Tensor:
        """Evidence (…, K) [nats] in what `inputs` gives.

        Bounded, no single state decides, and where no demonstration ever was the information reward stays as small as
        the imitation reward; unbounded, it made policies crash to escape it.
        """
        if self.levels is not None:
            slope, precision = self.net(inputs).split(1, -1)
            slope, precision = MAX_PRECISION * slope.tanh(), MAX_PRECISION * precision.sigmoid()
            return slope * self.levels - 0.5 * precision * self.levels.square()
        evidence = self.net(inputs)
        return self.max_evidence * evidence.tanh() if self.max_evidence else evidence


@torch.no_grad()
def follow(target: nn.Module, module: nn.Module, share: float) -> None:
    """θ' ← share · θ + (1 - share) · θ' for the parameters θ' of `target` and θ of `module` (Polyak averaging)."""
    for slow, fast in zip(target.parameters(), module.parameters(), strict=True):
        slow.lerp_(fast, share)


class Posterior:
    """The evidence network, and its training."""

    def __init__(self, demonstrations: Demonstrations, config: Config, generator: torch.Generator) -> None:
        self.config, self.generator = config.for_scenario(demonstrations.scenario), generator
        self.reads_pairs = config.posterior_input == "pair"
        padded = demonstrations.padded_pairs() if self.reads_pairs else demonstrations.padded_observations()
        self.demonstrations = torch.from_numpy(padded).transpose(0, 1)  # (T, E, F), or F + 2
        self.scenario = demonstrations.scenario
        self.poles = 2 if config.graded_code else self.config.num_codes  # of a graded code, the ends
        self.tolerance = get_scenario(self.scenario).style_tolerance
        self.rows = torch.from_numpy(demonstrations.pairs() if self.reads_pairs else demonstrations.observations)
        self.labels = demonstrations.labels
        self.evidence, self.optimiser = self._start()
        self.target = deepcopy(self.evidence)

    def reward(self, rollout: Rollout) -> Tensor:
        """The information reward, (T, B)."""
        reader = self.target if self.config.posterior_target else self.evidence
        evidence, prior = step_by_step(reader, self._read(rollout)), self.evidence.prior
        if self.config.info_reward == "step":
            return step_info_reward(evidence, rollout.codes, self.evidence.max_evidence)
        return info_reward(belief(evidence, rollout.first_episode(), prior), rollout.codes, prior)

    def divide_demonstrations(self) -> None:
        """Before any driving: divide the unlabelled demonstrations among the codes; keep the surest of some tries.

        A try begins with telling a few demonstrations apart that lie far from each other, one for each code; random
        networks rarely find a rare style. Some get stuck all the same, but their own loss tells: no label is needed to
        choose. How common each code is among the demonstrations is its prior from then on.

        Several processes share the tries, and not each step, for hundreds of tiny ones would wait for their messages.
        """
        if not self.config.rim_steps:
            return
        tries, batch = [], self.config.posterior_batch * num_processes()
        with apart(math.ceil(self.config.rim_tries * self.poles / 2)) as own_tries:
            for _ in own_tries:
                self.evidence, self.optimiser = self._start()
                self._tell_apart(*self._exemplars())
                for _ in range(self.config.rim_steps):
                    descend(self.optimiser, self.demonstrations_loss(batch, DIVIDING_THINNING))
                with torch.no_grad():
                    loss = float(sum(self.demonstrations_loss(batch, DIVIDING_THINNING) for _ in range(10)))
                tries.append((loss, self.evidence, self.optimiser))
        all_tries = (some for theirs in everyones(tries) for some in theirs)
        _, self.evidence, self.optimiser = min(all_tries, key=lambda some: some[0])
        self._count_codes()
        self.target.load_state_dict(self.evidence.state_dict())

    def _count_codes(self) -> None:
        """Take for the prior how common each code is among the demonstrations; the levels of a graded one stay even."""
        if not self.config.graded_code:
            shares = belief(step_by_step(self.evidence, self.demonstrations))[-1].exp().mean(0)
            shares.clamp_(min=MIN_SHARE / len(shares))
            self.evidence.prior.copy_(shares / shares.sum())

    @torch.no_grad()
    def codes(self, scene: Scene) -> Tensor:
        """Codes (B,) to drive in a `scene` of B environments, each (B, …), as common as the prior says.

        In the place of a person, the code that is read from all that this person did: then codes and situations go
        together as they do among people, as in Burn-InfoGAIL (arXiv 1710.05090).
        """
        codes = share_out(self.evidence.prior, len(next(iter(scene.values()))))
        if not get_scenario(self.scenario).recorded:
            return codes
        beliefs = belief(step_by_step(self.evidence, self.demonstrations), prior=self.evidence.prior)[-1]
        person = torch.from_numpy(scene["demonstration"]).long()
        known = person < len(beliefs)  # others than those to learn from
        return torch.where(known, beliefs.argmax(-1)[person.clamp(max=len(beliefs) - 1)], codes)

    def _exemplars(self) -> tuple[Tensor, Tensor]:
        """Some demonstrations, and the codes that they shall stand for: the labelled ones, or some that differ."""
        if self.labels:
            return torch.tensor(list(self.labels)), torch.tensor(list(self.labels.values()))
        rows = self.evidence.inputs(self.demonstrations[::DIVIDING_THINNING]).transpose(0, 1).flatten(1)
        codes = torch.linspace(0, self.config.num_codes - 1, self.poles).long()
        return spread_out(rows, self.poles, self.generator), codes

    def _tell_apart(self, episodes: Tensor, codes: Tensor) -> None:
        """Some steps of supervised learning on exemplars, moved as in `demonstrations_loss`."""
        x = self.evidence.inputs(self.demonstrations[::DIVIDING_THINNING, episodes.repeat(EXEMPLAR_COPIES)])
        for _ in range(EXEMPLAR_STEPS):
            beliefs = belief(DIVIDING_THINNING * self.evidence.weigh(self._moved(x)))
            descend(self.optimiser, nll_loss(beliefs[-1], codes.repeat(EXEMPLAR_COPIES)))

    def parts(self) -> dict[str, Any]:
        """All that an update changes, for a checkpoint."""
        target = {"posterior_target": self.target} if self.config.posterior_target else {}
        return target | {
            "posterior": self.evidence,
            "posterior_optimiser": self.optimiser,
            "posterior_generator": self.generator,
        }

    def update(self, rollout: Rollout) -> dict[str, float]:
        """A few steps on some trajectories of each kind; returns what to log."""
        inputs, alive = self._read(rollout), rollout.first_episode()
        for _ in range(self.config.posterior_steps):
            chosen = torch.randint(len(rollout.codes), (self.config.posterior_batch,), generator=self.generator)
            evidence, codes = self.evidence(inputs[:, chosen]), rollout.codes[chosen]
            if self.config.info_reward == "step":
                cross_entropy = nll_loss(evidence.log_softmax(-1).flatten(0, 1), codes.repeat(len(evidence)))
            else:
                cross_entropy = nll_loss(belief(evidence, alive[:, chosen], self.evidence.prior)[-1], codes)
            rim = self.demonstrations_loss(self.config.posterior_batch)
            descend(self.optimiser, cross_entropy + self.config.rim_coef * rim)
            if self.config.posterior_target:
                follow(self.target, self.evidence, self.config.posterior_target)
        return {"posterior/cross_entropy": cross_entropy.item(), "posterior/rim": rim.item()}

    def demonstrations_loss(self, batch: int, thinning: int = THINNING) -> Tensor:
        """`rim_loss` of `batch` demonstrations, moved by one random offset per trajectory and feature.

        Those that are labelled add their cross-entropy. Neighbouring states say nearly the same: only every so many
        speak (`thinning`), and count for as many.
        """
        episodes = self.demonstrations.shape[1]
        rows = torch.randint(episodes, (batch,), generator=self.generator)
        x = self.evidence.inputs(self.demonstrations[::thinning, rows])
        beliefs = belief(thinning * self.evidence.weigh(torch.cat((x, self._moved(x)), 1)))
        loss = rim_loss(*beliefs[-1].chunk(2))
        if self.labels:
            labelled = self.evidence(self.demonstrations[::thinning, list(self.labels)])
            loss = loss + nll_loss(belief(thinning * labelled)[-1], torch.tensor(list(self.labels.values())))
        return loss

    def _moved(self, x: Tensor) -> Tensor:
        """Inputs (T, n, F), each trajectory shifted by one random offset per feature."""
        shift = self.config.rim_shift * self.tolerance
        return x + shift * torch.randn(x.shape[1:], generator=self.generator)

    def _read(self, rollout: Rollout) -> Tensor:
        """What the evidence network is given of each step: (T, B, F), or pairs (T, B, F + 2)."""
        return rollout.pairs() if self.reads_pairs else rollout.next_observations

    def _start(self) -> tuple[Evidence, torch.optim.Optimizer]:
        """A random network and its optimiser."""
        features = posterior_features(self.scenario, self.config.posterior_input)
        evidence = Evidence(self.rows, features, self.config, self.tolerance)
        return evidence, adam([evidence], self.config.learning_rate)
