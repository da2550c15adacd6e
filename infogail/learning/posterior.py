"""The encoder posterior Q(c|τ), which infers an episode's code from its states. It is trained on two kinds of episodes:

- The policy's, whose code is known, by cross-entropy: this tightens the lower bound on the mutual information of codes
  and trajectories (InfoGAN, Chen et al. 2016, arXiv 1606.03657; InfoGAIL, Li et al. 2017, arXiv 1703.08840).
- The demonstrations, whose code is unknown, by regularised information maximisation (RIM; Krause, Perona & Gomes 2010):
  Q should be confident on each demonstration, balanced over all of them, and invariant to small shifts (Hu et al. 2017,
  arXiv 1702.08720), which puts the boundaries between codes where demonstrations are sparse.

The second makes codes latch on to what separates the demonstrations rather than to an arbitrary bias of the policy.
For the same reason the posterior reads states rather than actions, unless `PosteriorConfig.input` says otherwise.

A graded code is a number in [-1, 1]; episodes are driven at K equally spaced levels. Its posterior is a Gaussian
truncated to [-1, 1]; each state adds to its slope and its precision. The rest is the same.

Which states: action a_t is rewarded for the evidence in the state it leads to, so for a rollout Q reads s_1 … s_T
(`Rollout.next_observations`). Demonstrations, and the input of `Driver.log_posterior`, hold the state before each
action, s_0 … s_{T-1}. Both are T consecutive states of an episode, and time is not an input of Q, so they differ only
in which end of the episode is left out. Pairs (s_t, a_t) are the same steps everywhere.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from infogail.config.config import Config
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.environment import Spec
from infogail.learning.devices import Log, read
from infogail.learning.networks import Standardise, adam, descend, levels, mlp, step_by_step
from infogail.learning.rollout import Rollout, start_of_each
from infogail.parallel.distributed import Group, all_gather_objects, mean, shard_range, world_size

MAX_PRECISION = 0.5
"""Maximum that one step can add to a graded code's precision, and to its slope; see `Evidence.evidence_of_inputs`."""
THINNING = 3
DIVIDING_THINNING, EXEMPLAR_STEPS, EXEMPLAR_COPIES = 6, 20, 8
AGREEING = 3
MIN_SHARE = 0.1
"""Minimum prior of a code, in multiples of 1 / K: a rarer code would hardly be driven, and so not be learned."""


def belief(
    evidence: Tensor, counted: Tensor | None = None, prior: Tensor | None = None, starts: Tensor | None = None
) -> Tensor:
    """log Q(c|s_1…s_t) (T, n, K) after each step: log `prior` (K,) plus the sum of the steps' evidence (T, n, K).

    Without a `prior`, it is uniform. Steps that are not `counted` (T, n) are ignored. The sum begins anew at each step
    of `starts` (T, n); see `Rollout`.
    """
    if counted is not None:
        evidence = evidence * counted[..., None]
    logits = evidence.cumsum(0)
    if starts is not None:
        start = start_of_each(starts)[..., None].expand_as(logits)
        logits = logits - (logits - evidence).gather(0, start)
    return (logits if prior is None else logits + prior.log()).log_softmax(-1)


def info_reward(beliefs: Tensor, codes: Tensor, prior: Tensor, starts: Tensor) -> Tensor:
    """(T, n): how much each step adds to log Q(c|τ).

    For `beliefs` (T, n, K), the true codes (T, n) or (n,), P(c) (K,) and the first steps of episodes (T, n).

    Its sum over an episode is log Q(c|τ) - log P(c), the trajectory's term in the bound on the mutual information. The
    published reward, log Q(c|s) at every step, rewards showing the code again and again, and so keeps a car in the left
    lane that should return to the middle; here, a style once recognised need not be shown again.
    """
    codes = codes.expand(beliefs.shape[:-1])
    chosen = beliefs.gather(-1, codes[..., None]).squeeze(-1)
    return chosen - torch.where(starts, prior.log()[codes], chosen.roll(1, 0))


def last_cross_entropy(beliefs: Tensor, codes: Tensor, starts: Tensor) -> Tensor:
    """(): mean -log Q(c|τ) at the last steps of episodes, for `beliefs` (T, n, K), codes and first steps (T, n)."""
    ends = starts.roll(-1, 0)  # the rollout's last step ends an episode, too, as its first step starts one
    log_q = beliefs.gather(-1, codes[..., None]).squeeze(-1)
    return -(log_q * ends).sum() / ends.sum()


def share_out(prior: Tensor, size: int) -> Tensor:
    """Codes (size,) int64 in ascending order, each in proportion to its `prior` (K,)."""
    middles = (torch.arange(size, device=prior.device) + 0.5) / size
    return torch.searchsorted(prior.cumsum(0), middles).clamp(max=len(prior) - 1)


def spread_out(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices (count,) of `points` (n, D) that are likely to be far apart, chosen like the centres of k-means++.

    Arthur & Vassilvitskii 2007.
    """
    chosen = torch.randint(len(points), (1,), generator=generator, device=points.device)
    while len(chosen) < count:
        squared_distance = torch.cdist(points, points[chosen]).amin(1).square()
        chosen = torch.cat((chosen, torch.multinomial(squared_distance + 1e-12, 1, generator=generator)))
    return chosen


def same_division(codes: Tensor, others: Tensor) -> bool:
    """Whether two codes (n,) and (n,) of the same trajectories are equal up to renaming."""
    pairs = torch.stack((codes, others)).unique(dim=1).shape[1]
    return pairs == len(codes.unique()) == len(others.unique())


def step_info_reward(evidence: Tensor, codes: Tensor, max_evidence: float | None) -> Tensor:
    """(T, n): log Q(c|s) + log K of each step, as published, for `evidence` (T, n, K) and codes (T, n) or (n,).

    Scaled by log K / (T · most) so that, as with `info_reward`, an episode earns at most log K. Here `most` is the
    maximum of log Q(c|s) + log K: log K if evidence is unbounded (`max_evidence` None), otherwise
    log K - log(1 + (K - 1) exp(-2 `max_evidence`)).
    """
    steps, num_codes = len(evidence), evidence.shape[-1]
    log_k = math.log(num_codes)
    if num_codes == 1:
        return torch.zeros_like(evidence[..., 0])
    most = log_k if max_evidence is None else log_k - math.log1p((num_codes - 1) * math.exp(-2 * max_evidence))
    log_q = evidence.log_softmax(-1).gather(-1, codes.expand(evidence.shape[:-1])[..., None]).squeeze(-1)
    return (log_q + log_k) * log_k / (most * steps)


def entropy(log_probabilities: Tensor) -> Tensor:
    """Entropy (…) [nats] of log-probabilities (…, K)."""
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def rim_loss(log_q: Tensor, log_q_shifted: Tensor, group: Group = Group.WORLD) -> Tensor:
    """Mean cross-entropy between q and the q of slightly shifted trajectories, minus the entropy of the mean q.

    The first term favours confidence, and boundaries where trajectories are sparse; the second favours balance.

    Args:
        log_q, log_q_shifted: (n, K).
        group: the processes whose batches the mean q covers.
    """
    cross_entropy = -(log_q.exp() * log_q_shifted).sum(-1).mean()
    return cross_entropy - entropy(mean(log_q.exp().mean(0), group).clamp(min=1e-12).log())


def posterior_features(spec: Spec, posterior_input: str) -> list[int]:
    """Indices of the entries of a pair (F + A,), observation then action, that the posterior reads.

    Args:
        posterior_input: see `PosteriorConfig.input`.
    """
    if posterior_input == "style":
        return list(spec.style_features)
    return list(range(spec.observation_size + (spec.action_size if posterior_input == "pair" else 0)))


class Evidence(nn.Module):
    """The evidence for each code in one state or pair: an unnormalised log-probability.

    Its log_softmax is log Q(c|s); the log_softmax of its sum over time is log Q(c|τ).

    Args:
        features: the entries of a state or pair that the network reads.
        num_codes: K.
        tolerance: `Scenario.style_tolerance`; the smaller, the stronger the evidence of one step may be.
    """

    features: Tensor
    prior: Tensor
    """(K,): how common each code is."""
    levels: Tensor | None
    """(K,): the values of a graded code."""

    def __init__(self, features: list[int], num_codes: int, config: Config, tolerance: float = 1.0) -> None:
        super().__init__()
        bound = config.posterior.max_evidence
        self.max_evidence = None if bound is None else bound / tolerance
        self.register_buffer("levels", levels(num_codes) if config.codes.graded_code else None, persistent=False)
        self.register_buffer("features", torch.tensor(features))
        self.register_buffer("prior", torch.full((num_codes,), 1 / num_codes))
        self.standardise = Standardise(len(features))
        self.net = mlp(len(features), config.policy.hidden, num_codes if self.levels is None else 2, last_gain=0.1)

    def fit_standardisation(self, obs: Tensor) -> None:
        """Standardise by the mean and standard deviation of obs (N, F), or pairs (N, F + A)."""
        self.standardise.fit(obs[:, self.features])

    def inputs(self, obs: Tensor) -> Tensor:
        """The network's standardised input, from obs (…, F) or pairs (…, F + A)."""
        return self.standardise(obs[..., self.features])

    def forward(self, obs: Tensor) -> Tensor:
        """Evidence (…, K) in obs (…, F) or pairs (…, F + A)."""
        return self.evidence_of_inputs(self.inputs(obs))

    def evidence_of_inputs(self, inputs: Tensor) -> Tensor:
        """Evidence (…, K) [nats], from the output of `inputs`.

        It is bounded so that no single state is decisive, and so that in states unlike any demonstration the
        information reward does not dominate the imitation reward: without a bound, policies crashed to escape it.
        """
        if self.levels is not None:
            slope, precision = self.net(inputs).split(1, -1)
            slope, precision = MAX_PRECISION * slope.tanh(), MAX_PRECISION * precision.sigmoid()
            return slope * self.levels - 0.5 * precision * self.levels.square()
        evidence = self.net(inputs)
        return evidence if self.max_evidence is None else self.max_evidence * evidence.tanh()


@torch.no_grad()
def polyak_update(target: nn.Module, module: nn.Module, share: float) -> None:
    """θ' ← share · θ + (1 - share) · θ' for the parameters θ' of `target` and θ of `module`."""
    for slow, fast in zip(target.parameters(), module.parameters(), strict=True):
        slow.lerp_(fast, share)


@dataclass
class Known:
    """Demonstrations whose code is known: labelled ones, or all of them after `Posterior.learn`."""

    episodes: Tensor
    """(n,) int64"""
    codes: Tensor
    """(n,) int64"""

    def state_dict(self) -> dict[str, Tensor]:
        """For checkpoints."""
        return {"episodes": self.episodes, "codes": self.codes}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the result of `state_dict`."""
        self.episodes, self.codes = state["episodes"], state["codes"]


class Posterior:
    """The evidence network, and its training."""

    def __init__(self, demonstrations: Demonstrations, config: Config, generator: torch.Generator) -> None:
        self.config, self.generator = config, generator
        self.reads_pairs = config.posterior.input == "pair"
        padded = demonstrations.padded_pairs() if self.reads_pairs else demonstrations.padded_observations()
        self.device = config.run.device
        self.demonstrations = torch.from_numpy(padded).to(self.device).transpose(0, 1)  # (T, E, F), or F + A
        self.spec = demonstrations.spec
        # A graded code has one exemplar at each end.
        self.num_exemplars = 2 if config.codes.graded_code else config.codes.num_codes
        self.num_tries = math.ceil(config.rim.tries * self.num_exemplars / 2)
        self.tolerance = self.spec.style_tolerance
        rows = demonstrations.pairs() if self.reads_pairs else demonstrations.observations
        self.rows, self.lengths = (torch.from_numpy(x).to(self.device) for x in (rows, demonstrations.lengths))
        labels = [list(demonstrations.labels), list(demonstrations.labels.values())]
        self.known = Known(*torch.tensor(labels, dtype=torch.int64, device=self.device))
        self.evidence, self.optimiser = self._start()
        self.target = deepcopy(self.evidence)

    def reward(self, rollout: Rollout) -> Tensor:
        """The information reward, (T, B)."""
        reader = self.target if self.config.posterior.target is not None else self.evidence
        evidence, prior = step_by_step(reader, self._read(rollout)), self.evidence.prior
        if self.config.codes.info_reward == "step":
            return step_info_reward(evidence, rollout.codes, self.evidence.max_evidence)
        starts = rollout.starts(self.spec)
        return info_reward(belief(evidence, rollout.counted(self.spec), prior, starts), rollout.codes, prior, starts)

    def divide_demonstrations(self) -> None:
        """Cluster the unlabelled demonstrations by code, before any driving.

        Several networks are trained, until `AGREEING` of them, the one with the lowest loss among them, divide the
        demonstrations alike; the one with the lowest loss is kept. Each code's share of the demonstrations becomes its
        prior.

        Each network first learns one demonstration per code, chosen far apart, since a random network rarely finds a
        rare style. A network that gets stuck has a high loss, so selection needs no labels.

        Multiple processes divide the networks among them, not the steps, which are so short that communication would
        dominate.
        """
        if not self.config.rim.steps:
            return
        tries: list[tuple[float, Evidence, torch.optim.Optimizer]] = []
        divisions, batch = [], self.config.posterior.batch * world_size()
        for _ in shard_range(self.num_tries):
            self.evidence, self.optimiser = self._start(Group.ALONE)
            self._fit_exemplars(*self._exemplars())
            for _ in range(self.config.rim.steps):
                loss = self.demonstrations_loss(batch, DIVIDING_THINNING, Group.ALONE)
                descend(self.optimiser, loss, Group.ALONE)
            with torch.no_grad():
                losses = [self.demonstrations_loss(batch, DIVIDING_THINNING, Group.ALONE) for _ in range(10)]
            (total,) = read(torch.stack(losses).sum())
            tries.append((total, self.evidence, self.optimiser))
            divisions.append(self._inferred_codes())
            best = divisions[min(range(len(tries)), key=lambda k: tries[k][0])]
            if sum(same_division(best, division) for division in divisions) >= AGREEING:
                break
        all_tries = chain.from_iterable(all_gather_objects(tries))
        _, self.evidence, self.optimiser = min(all_tries, key=itemgetter(0))
        self._set_prior()
        self.target.load_state_dict(self.evidence.state_dict())

    def learn(self, codes: Tensor) -> None:
        """From now on, take `codes` (E,) for those of the demonstrations; keeps those of labelled ones."""
        codes = codes.clone()
        codes[self.known.episodes] = self.known.codes
        self.known = Known(torch.arange(len(codes), device=self.device), codes)
        for _ in range(self.config.rim.steps):
            descend(self.optimiser, self.demonstrations_loss(self.config.posterior.batch))
        self._set_prior()
        self.target.load_state_dict(self.evidence.state_dict())

    def _set_prior(self) -> None:
        """Set the prior to each code's share of the demonstrations; for a graded code it stays uniform."""
        if not self.config.codes.graded_code:
            shares = belief(step_by_step(self.evidence, self.demonstrations))[-1].exp().mean(0)
            shares.clamp_(min=MIN_SHARE / len(shares))
            self.evidence.prior.copy_(shares / shares.sum())

    @torch.no_grad()
    def codes(self, in_place_of: Tensor | None = None) -> Tensor:
        """Codes (B,) for `RunConfig.num_envs` episodes, in proportion to the prior.

        Where the policy replaces a recorded person, its code is inferred from that person's whole episode, so that
        codes and situations are correlated as they are for people, as in Burn-InfoGAIL (arXiv 1710.05090).

        Args:
            in_place_of: (B,) int64, the demonstration that each episode replaces, -1 for none.
        """
        codes = share_out(self.evidence.prior, self.config.run.num_envs)
        if in_place_of is None:
            return codes
        inferred = self._assigned_codes()
        known = (in_place_of >= 0) & (in_place_of < len(inferred))  # the others are held out
        return torch.where(known, inferred[in_place_of.clamp(0, len(inferred) - 1)], codes)

    @torch.no_grad()
    def recognises(self, rollout: Rollout) -> Tensor:
        """(B,) bool: the code of the first episode is inferred (a graded one to the next level), and none failed."""
        evidence = step_by_step(self.evidence, self._read(rollout))
        inferred = belief(evidence, rollout.first_episode(), self.evidence.prior)[-1].argmax(-1)
        error = (inferred - rollout.codes[0]).abs()
        return (error <= self.config.codes.graded_code) & rollout.finished(self.spec)

    def demonstration_codes(self) -> Tensor | None:
        """(E,) int64: the most likely code of each demonstration, or the known one; None if they were not divided."""
        return self._assigned_codes() if self.config.rim.steps else None

    def row_codes(self) -> Tensor | None:
        """(N,) int64: `demonstration_codes` for each row, if the discriminator reads them."""
        codes = self.demonstration_codes() if self.config.discriminator.reads_code else None
        return None if codes is None else codes.repeat_interleave(self.lengths)

    def _assigned_codes(self) -> Tensor:
        """(E,) int64: the known codes, and the most likely ones of the other demonstrations."""
        if len(self.known.codes) == self.demonstrations.shape[1]:
            return self.known.codes
        codes = self._inferred_codes()
        codes[self.known.episodes] = self.known.codes
        return codes

    def _inferred_codes(self) -> Tensor:
        return belief(step_by_step(self.evidence, self.demonstrations), prior=self.evidence.prior)[-1].argmax(-1)

    def _exemplars(self) -> tuple[Tensor, Tensor]:
        """Demonstrations (n,) and the codes (n,) they exemplify: the labelled ones, if any, else ones far apart."""
        if len(self.known.codes):
            return self.known.episodes, self.known.codes
        rows = self.evidence.inputs(self.demonstrations[::DIVIDING_THINNING]).transpose(0, 1).flatten(1)
        codes = torch.linspace(0, self.config.codes.num_codes - 1, self.num_exemplars, device=self.device).long()
        return spread_out(rows, self.num_exemplars, self.generator), codes

    def _fit_exemplars(self, episodes: Tensor, codes: Tensor) -> None:
        """A few steps of supervised learning on exemplars, shifted as in `demonstrations_loss`."""
        rows = self.demonstrations[::DIVIDING_THINNING, episodes.repeat(EXEMPLAR_COPIES)]
        for _ in range(EXEMPLAR_STEPS):
            beliefs = belief(DIVIDING_THINNING * self.evidence.evidence_of_inputs(self.altered(rows)))
            descend(self.optimiser, nll_loss(beliefs[-1], codes.repeat(EXEMPLAR_COPIES)), Group.ALONE)

    def parts(self) -> dict[str, Any]:
        """The state that updates change, for checkpoints."""
        extra: dict[str, Any] = {"posterior_target": self.target} if self.config.posterior.target is not None else {}
        if self.config.cloning.refinements or self.config.discriminator.reads_code:
            extra["posterior_known"] = self.known
        return extra | {
            "posterior": self.evidence,
            "posterior_optimiser": self.optimiser,
            "posterior_generator": self.generator,
        }

    def update(self, rollout: Rollout) -> Log:
        """A few steps on random trajectories of the rollout and the demonstrations; returns the log."""
        inputs, counted, starts = self._read(rollout), rollout.counted(self.spec), rollout.starts(self.spec)
        for _ in range(self.config.posterior.steps):
            chosen = self._random(rollout.codes.shape[1], self.config.posterior.batch)
            evidence, codes = self.evidence(inputs[:, chosen]), rollout.codes[:, chosen]
            if self.config.codes.info_reward == "step":
                cross_entropy = nll_loss(evidence.log_softmax(-1).flatten(0, 1), codes.flatten())
            elif self.spec.one_episode:
                cross_entropy = nll_loss(belief(evidence, counted[:, chosen], self.evidence.prior)[-1], codes[-1])
            else:
                beliefs = belief(evidence, prior=self.evidence.prior, starts=starts[:, chosen])
                cross_entropy = last_cross_entropy(beliefs, codes, starts[:, chosen])
            rim = self.demonstrations_loss(self.config.posterior.batch)
            descend(self.optimiser, cross_entropy + self.config.rim.coef * rim)
            if self.config.posterior.target is not None:
                polyak_update(self.target, self.evidence, self.config.posterior.target)
        return {"posterior/cross_entropy": cross_entropy, "posterior/rim": rim}

    def demonstrations_loss(self, batch: int, thinning: int = THINNING, group: Group = Group.WORLD) -> Tensor:
        """`rim_loss` of `batch` random demonstrations and `shifted` copies, plus the labelled ones' cross-entropy.

        Neighbouring states are nearly alike, so only every `thinning`-th is read, and its evidence counts `thinning`
        times.
        """
        episodes = self.demonstrations.shape[1]
        rows = self._random(episodes, batch)
        chosen = self.demonstrations[::thinning, rows]
        x = torch.cat((self.evidence.inputs(chosen), self.altered(chosen)), 1)
        beliefs = belief(thinning * self.evidence.evidence_of_inputs(x))
        log_q, log_q_shifted = beliefs[-1].chunk(2)
        loss = rim_loss(log_q, log_q_shifted, group)
        if len(self.known.codes):
            labelled = self.evidence(self.demonstrations[::thinning, self.known.episodes])
            loss = loss + nll_loss(belief(thinning * labelled)[-1], self.known.codes)
        return loss

    def altered(self, rows: Tensor) -> Tensor:
        """The network's inputs of states or pairs (T, n, …), of each trajectory altered so that its style stays.

        It is shifted by one random offset per feature, and reflected at random; see `Spec.reflections`.
        """
        if self.spec.reflections:
            rows = rows.clone()
        for entries in self.spec.reflections:
            signs = 1 - 2 * torch.randint(2, (rows.shape[1], 1), generator=self.generator, device=rows.device)
            rows[..., list(entries)] *= signs
        x, shift = self.evidence.inputs(rows), self.config.rim.shift * self.tolerance
        return x + shift * torch.randn(x.shape[1:], generator=self.generator, device=x.device)

    def _random(self, count: int, size: int) -> Tensor:
        """(size,) int64: random numbers below `count`."""
        return torch.randint(count, (size,), generator=self.generator, device=self.device)

    def _read(self, rollout: Rollout) -> Tensor:
        """The evidence network's argument for each step: (T, B, F), or pairs (T, B, F + A)."""
        return rollout.pairs() if self.reads_pairs else rollout.next_observations

    def _start(self, group: Group = Group.WORLD) -> tuple[Evidence, torch.optim.Optimizer]:
        """A new network and its optimiser, the same in all processes of `group`."""
        features = posterior_features(self.spec, self.config.posterior.input)
        evidence = Evidence(features, self.config.codes.num_codes, self.config, self.tolerance).to(self.device)
        evidence.fit_standardisation(self.rows)
        return evidence, adam([evidence], self.config.posterior.learning_rate, group=group)
