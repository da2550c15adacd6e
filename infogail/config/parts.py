"""The parts of the configuration. Where something can be off, it is off at `None`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from infogail.config.setting import AT_MOST_1, NON_NEGATIVE, POSITIVE, Bound, Part, setting

MOST_THREADS = 1024  # OpenMP ends the process where it cannot start as many as it is to


@dataclass(frozen=True)
class RunConfig(Part):
    """A training run as a whole."""

    seed: int = setting(0, NON_NEGATIVE, Bound(lambda x: x < 2**63, "a number below 2^63"))
    """Seed of the networks, the environments and the batches."""
    threads: int = setting(1, POSITIVE, Bound(lambda x: x <= MOST_THREADS, f"at most {MOST_THREADS}"))
    """Torch threads; the last bits of the results depend on them. With two cores, two runs beat one run on both."""
    num_envs: int = setting(1024, POSITIVE, sharded=True)
    """Environments B of the batched twin."""
    iterations: int = setting(30, POSITIVE, varies=True)
    """Iterations: in each a rollout, then updates of discriminator, posterior and policy."""
    checkpoint_interval: int = setting(5, POSITIVE)
    """Iterations from one checkpoint to the next."""
    demonstrations_limit: int | None = setting(None, POSITIVE)
    """Learn from this many of the training demonstrations; None: from all."""
    labelled: float | None = setting(None, POSITIVE, Bound(lambda x: x <= 1, "a share of at most 1"))
    """Share of the demonstrations whose styles are given to the learner, at least one of each style: semi-supervision.
    The codes are then the styles. None: no styles are given."""
    replay_iterations: int = setting(0, NON_NEGATIVE)
    """Earlier iterations whose rollouts discriminator and posterior learn from besides the newest."""


@dataclass(frozen=True)
class CodesConfig(Part):
    """Latent codes, and what the policy earns for showing them. GAIL and BC ignore these."""

    num_codes: int = setting(2, POSITIVE, varies=True)
    """Latent codes K, or levels of a graded code."""
    graded_code: bool = setting(False, varies=True)
    """One code from -1 to 1 instead of K separate ones: where styles differ by degrees, as in turn-line."""
    info_coef: float = setting(3.0, NON_NEGATIVE, varies=True)
    """Weight of the information reward, which sums over an episode to log Q(c|τ) + log K."""
    info_reward: Literal["trajectory", "step"] = setting("trajectory")
    """trajectory: a step earns what it adds to log Q(c|τ). step: it earns log Q(c|s), as published, scaled so that an
    episode earns log K at most. The posterior's cross-entropy is of whole trajectories, or single steps, likewise."""


@dataclass(frozen=True)
class PolicyConfig(Part):
    """The policy, the value network, and how they improve, by PPO or TRPO."""

    update: Literal["ppo", "trpo"] = setting("ppo", name="policy_update")
    """How the policy improves: PPO, or TRPO, with which GAIL and InfoGAIL were published."""
    hidden: int = setting(64, POSITIVE)
    """Width of the two hidden layers of policy, value and posterior."""
    learning_rate: float = setting(3e-3, POSITIVE)
    """Adam's learning rate for policy, value and posterior, and for cloning."""
    final_learning_rate: float = setting(0.1, NON_NEGATIVE, AT_MOST_1)
    """Share of the learning rate that policy and value have at the end, falling linearly; 1: no decay."""
    gamma: float = setting(0.95, NON_NEGATIVE, Bound(lambda x: x < 1, "a discount below 1"), varies=True)
    """Discount per decision."""
    gae_lambda: float = setting(0.95, NON_NEGATIVE, AT_MOST_1)
    """λ of generalised advantage estimation."""
    clip: float = setting(0.2, POSITIVE)
    """PPO's clip range of the probability ratio."""
    epochs: int = setting(2, POSITIVE, name="ppo_epochs")
    """Passes over each rollout; with TRPO, of the value network only."""
    minibatches: int = setting(24, POSITIVE)
    """Minibatches per pass."""
    entropy_coef: float = setting(1e-3, NON_NEGATIVE)
    """Weight of the policy's entropy."""
    initial_log_std: float = setting(-1.5, varies=True)
    """Logarithm of the initial standard deviation of actions."""
    learn_std: bool = setting(True)
    """Whether that standard deviation is learned, or stays."""
    failure_penalty: float = setting(0.0, NON_NEGATIVE)
    """Taken from the reward where an episode ends by a crash or road exit: InfoGAIL's reward augmentation."""


@dataclass(frozen=True)
class TRPOConfig(Part):
    """The trust region of TRPO."""

    max_kl: float = setting(0.01, POSITIVE)
    """Mean KL divergence [nats] from the old policy to the new that TRPO aims at."""


@dataclass(frozen=True)
class DiscriminatorConfig(Part):
    """The discriminator, or critic."""

    loss: Literal["gan", "wasserstein"] = setting("gan", name="discriminator_loss")
    """GAIL's cross-entropy, or a Wasserstein critic, whose output is the reward."""
    layers: int = setting(2, POSITIVE, name="discriminator_layers")
    """The discriminator's hidden layers."""
    hidden: int = setting(64, POSITIVE, name="discriminator_hidden")
    """Width of the discriminator's hidden layers."""
    activation: Literal["relu", "tanh"] = setting("relu", name="discriminator_activation")
    """Activation after each of the discriminator's hidden layers."""
    optimiser: Literal["adam", "rmsprop"] = setting("adam", name="discriminator_optimiser")
    """The discriminator's optimiser; WGAN uses RMSprop with clipped weights."""
    learning_rate: float = setting(3e-3, POSITIVE, name="discriminator_learning_rate")
    """The discriminator's learning rate."""
    steps: int = setting(30, POSITIVE, name="discriminator_steps")
    """Discriminator updates per iteration."""
    batch: int = setting(1024, POSITIVE, name="discriminator_batch", sharded=True)
    """Pairs of each kind per discriminator update."""
    gradient_penalty: float = setting(0.3, NON_NEGATIVE)
    """Weight of the gradient penalty, zero-centred for gan and one-centred for wasserstein."""
    weight_clip: float | None = setting(None, POSITIVE)
    """Clip each weight of the discriminator to this size, as WGAN first did; None: no clipping."""
    absorbing: bool = setting(False)
    """Whether an absorbing state follows a crash or road exit, whose reward the discriminator learns (DAC)."""


@dataclass(frozen=True)
class PosteriorConfig(Part):
    """The encoder posterior, which reads the codes back."""

    input: Literal["style", "state", "pair"] = setting("style", name="posterior_input")
    """What the posterior reads of the state that an action led to: the features in which a style can show, or all of
    them; or, as published, pairs of observation and action."""
    max_evidence: float | None = setting(0.1, POSITIVE)
    """Evidence [nats] that one step may add to a code or take from it, divided by the scenario's style tolerance; None:
    unbounded."""
    target: float | None = setting(None, POSITIVE, AT_MOST_1, name="posterior_target")
    """Give the reward by a copy of the posterior that moves towards it by this share at each update; None: no copy."""
    steps: int = setting(4, POSITIVE, name="posterior_steps")
    """Posterior updates per iteration."""
    batch: int = setting(64, POSITIVE, name="posterior_batch", sharded=True)
    """Trajectories of each kind per posterior update."""


@dataclass(frozen=True)
class RIMConfig(Part):
    """Regularised information maximisation: how the posterior divides the unlabelled demonstrations."""

    coef: float = setting(10.0, NON_NEGATIVE, name="rim_coef")
    """Weight of regularised information maximisation on the unlabelled demonstrations."""
    tries: int = setting(12, POSITIVE, name="rim_tries")
    """Networks that divide the demonstrations before the first iteration, for two codes, and for more in proportion;
    the one with the lowest loss is kept."""
    steps: int = setting(60, NON_NEGATIVE, name="rim_steps")
    """Updates of each of these networks; 0: the demonstrations are not divided beforehand."""
    shift: float = setting(1.0, NON_NEGATIVE, name="rim_shift")
    """Standard deviation of the random shifts of trajectories, in units of the scenario's style tolerance."""


@dataclass(frozen=True)
class CloningConfig(Part):
    """Behavioural cloning, as a learner of its own and as a warm start."""

    steps: int = setting(4000, POSITIVE, name="bc_steps")
    """Gradient steps of behavioural cloning."""
    batch: int = setting(512, POSITIVE, name="bc_batch", sharded=True)
    """Pairs per step of behavioural cloning."""
    warm_start_steps: int = setting(0, NON_NEGATIVE)
    """Gradient steps by which the policy clones the demonstrations, with random codes, before the first iteration."""
