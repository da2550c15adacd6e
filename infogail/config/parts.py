"""The parts of the configuration. `None` turns an optional feature off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from infogail.config.setting import AT_MOST_1, NON_NEGATIVE, POSITIVE, Bound, Part, setting

MOST_THREADS = 1024  # OpenMP aborts the process if it cannot start the requested number


@dataclass(frozen=True)
class RunConfig(Part):
    """Settings of the training run as a whole."""

    seed: int = setting(0, NON_NEGATIVE, Bound(lambda x: x < 2**63, "a number below 2^63"))
    """Seed for networks, environments and batches."""
    threads: int = setting(1, POSITIVE, Bound(lambda x: x <= MOST_THREADS, f"at most {MOST_THREADS}"))
    """Torch threads; they affect results at rounding level. On two cores, two runs beat one run with two threads."""
    device: str = setting("cpu")
    """Where networks, twin and batches live: cpu, cuda, or cuda:N for GPU number N."""
    num_envs: int = setting(1024, POSITIVE, sharded=True, varies=True)
    """Number B of environments that are driven together."""
    company: bool = setting(False)
    """On highway: every vehicle is driven by the policy and learns, each with its own code, on roads with and without a
    ramp, at all speeds (PS-GAIL); on replay, at the speeds of people, without a ramp; off: a single one does, among
    IDM drivers or recorded cars. --num-envs counts the vehicles."""
    older_selves: float = setting(0.0, NON_NEGATIVE, Bound(lambda x: x < 1, "a share below 1"))
    """In company: share of the vehicles that are driven by policies of earlier iterations, from which nothing is
    learned."""
    iterations: int = setting(30, POSITIVE, varies=True)
    """Maximum number of iterations; each is a rollout, then updates of discriminator, posterior and policy."""
    settling_iterations: int | None = setting(6, POSITIVE, varies=True)
    """Iterations per code from when the posterior recognises the policy's codes to the end of training, over which the
    learning rate falls; None: always run all iterations, and let it fall over all."""
    early_end: Literal["failure", "success", "neither"] | None = setting(None)
    """What a termination means in a Gymnasium environment: failure makes surviving pay, success makes haste pay; None:
    success if most demonstrations terminate, failure if none does, else neither."""
    checkpoint_interval: int = setting(5, POSITIVE)
    """Iterations from one checkpoint to the next."""
    demonstrations_limit: int | None = setting(None, POSITIVE)
    """Number of training demonstrations to learn from; None: all."""
    labelled: float | None = setting(None, POSITIVE, Bound(lambda x: x <= 1, "a share of at most 1"))
    """Fraction of the demonstrations whose style labels the learner sees, at least one per style (semi-supervision).
    Codes then correspond to styles. None: no labels."""
    replay_iterations: int = setting(0, NON_NEGATIVE)
    """Number of past iterations whose rollouts discriminator and posterior also learn from."""


@dataclass(frozen=True)
class CodesConfig(Part):
    """Latent codes and the information reward. GAIL and BC ignore these."""

    num_codes: int = setting(2, POSITIVE, varies=True)
    """Number K of latent codes, or of levels of a graded code."""
    graded_code: bool = setting(False, varies=True)
    """One code from -1 to 1 instead of K separate ones, for styles that differ by degree, as in turn-line."""
    info_coef: float = setting(3.0, NON_NEGATIVE, varies=True)
    """Weight of the information reward, which sums over an episode to log Q(c|τ) + log K."""
    info_reward: Literal["trajectory", "step"] = setting("trajectory")
    """trajectory: a step earns its contribution to log Q(c|τ). step: it earns log Q(c|s), as published, scaled so that
    an episode earns at most log K. The posterior's cross-entropy is over trajectories or single steps likewise."""


@dataclass(frozen=True)
class PolicyConfig(Part):
    """The policy, the value network, and their optimisation by PPO or TRPO."""

    update: Literal["ppo", "trpo"] = setting("ppo", name="policy_update")
    """Policy optimisation: PPO, or TRPO as in the GAIL and InfoGAIL papers."""
    hidden: int = setting(64, POSITIVE)
    """Width of the two hidden layers of policy, value and posterior."""
    learning_rate: float = setting(1e-3, POSITIVE, varies=True)
    """Adam's learning rate for the policy; TRPO does without."""
    value_learning_rate: float = setting(3e-3, POSITIVE)
    """Adam's learning rate for the value network."""
    final_learning_rate: float = setting(0.1, NON_NEGATIVE, AT_MOST_1)
    """Final learning rate of policy and value, as a fraction of the initial one; decay is linear; 1: no decay."""
    gamma: float = setting(0.95, NON_NEGATIVE, Bound(lambda x: x < 1, "a discount below 1"), varies=True)
    """Discount per decision."""
    gae_lambda: float = setting(0.95, NON_NEGATIVE, AT_MOST_1)
    """λ of generalised advantage estimation."""
    clip: float = setting(0.2, POSITIVE)
    """PPO's clip range of the probability ratio."""
    epochs: int = setting(1, POSITIVE, name="ppo_epochs", varies=True)
    """Passes over each rollout; with TRPO, for the value network only."""
    target_kl: float | None = setting(None, POSITIVE)
    """Once PPO's policy has moved by a larger KL divergence [nats], only the value network learns on from the rollout;
    None: both make all passes."""
    minibatches: int = setting(48, POSITIVE)
    """Minibatches per pass."""
    entropy_coef: float = setting(1e-3, NON_NEGATIVE)
    """Weight of the policy's entropy."""
    held_iterations: int = setting(2, NON_NEGATIVE, varies=True)
    """First iterations in which the policy stays as it is, while value network and discriminator catch up with it."""
    initial_log_std: float = setting(-2.5, varies=True)
    """Logarithm of the initial standard deviation of actions; cloning leaves it as it is."""
    learn_std: bool = setting(True)
    """Whether that standard deviation is learned or fixed."""
    failure_penalty: float = setting(0.0, NON_NEGATIVE)
    """Subtracted from the reward when an episode ends in a crash or road exit: InfoGAIL's reward augmentation."""


@dataclass(frozen=True)
class TRPOConfig(Part):
    """The trust region of TRPO."""

    max_kl: float = setting(0.01, POSITIVE)
    """TRPO's target for the mean KL divergence [nats] from the old policy to the new."""


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
    steps: int = setting(20, POSITIVE, name="discriminator_steps")
    """Discriminator updates per iteration."""
    batch: int = setting(1024, POSITIVE, name="discriminator_batch", sharded=True)
    """Pairs of each kind per discriminator update."""
    gradient_penalty: float = setting(0.3, NON_NEGATIVE, varies=True)
    """Weight of the gradient penalty, zero-centred for gan and one-centred for wasserstein."""
    weight_clip: float | None = setting(None, POSITIVE)
    """Clip the discriminator's weights to this magnitude, as in the original WGAN; None: no clipping."""
    reads_code: bool = setting(False, name="discriminator_reads_code", varies=True)
    """Whether the discriminator reads the code, too: it then compares the policy under each code with the
    demonstrations that were given this code before the first iteration, not all with all (conditional GAN, Mirza &
    Osindero 2014). Ignored by GAIL."""
    reads_context: bool = setting(True, name="discriminator_reads_context")
    """Whether the discriminator reads what surrounds a driver, too; where training differs from the demonstrations in
    that, it would hardly look at the driving."""
    absorbing: bool | None = setting(None)
    """Whether an early end leads to an absorbing state, whose reward the discriminator learns (DAC); None: if an early
    end means neither failure nor success."""


@dataclass(frozen=True)
class PosteriorConfig(Part):
    """The encoder posterior, which infers the codes."""

    input: Literal["style", "state", "pair"] = setting("style", name="posterior_input")
    """Input of the posterior: from the state that an action led to, the features relevant to style, or all features;
    or, as published, pairs of observation and action."""
    max_evidence: float | None = setting(0.1, POSITIVE)
    """Bound on the evidence [nats] of one step for or against a code, divided by the scenario's style tolerance; None:
    unbounded."""
    target: float | None = setting(None, POSITIVE, AT_MOST_1, name="posterior_target")
    """Polyak coefficient of a target posterior that computes the reward, updated at each posterior update; None: no
    target."""
    learning_rate: float = setting(3e-3, POSITIVE, name="posterior_learning_rate")
    """The posterior's learning rate."""
    steps: int = setting(4, POSITIVE, name="posterior_steps")
    """Posterior updates per iteration."""
    batch: int = setting(64, POSITIVE, name="posterior_batch", sharded=True)
    """Trajectories of each kind per posterior update."""


@dataclass(frozen=True)
class RIMConfig(Part):
    """Regularised information maximisation, by which the posterior clusters the unlabelled demonstrations."""

    coef: float = setting(10.0, NON_NEGATIVE, name="rim_coef")
    """Weight of regularised information maximisation on the unlabelled demonstrations."""
    tries: int = setting(12, POSITIVE, name="rim_tries")
    """Networks trained to cluster the demonstrations before the first iteration, for two codes, and proportionally more
    for more codes; the one with the lowest loss is kept."""
    steps: int = setting(60, NON_NEGATIVE, name="rim_steps")
    """Updates of each of these networks; 0: the demonstrations are not clustered beforehand."""
    shift: float = setting(1.0, NON_NEGATIVE, name="rim_shift")
    """Standard deviation of the random shifts of trajectories, in units of the scenario's style tolerance."""


@dataclass(frozen=True)
class CloningConfig(Part):
    """Behavioural cloning, as a learner in its own right and as a warm start."""

    steps: int = setting(1000, POSITIVE, name="bc_steps", varies=True)
    """Gradient steps of behavioural cloning, with or without codes."""
    warm_start_steps: int = setting(1000, NON_NEGATIVE, varies=True)
    """Gradient steps of behavioural cloning before the first iteration, with the codes that the posterior infers; 0:
    the policy starts from random weights."""
    refinements: int = setting(0, NON_NEGATIVE)
    """How often, after the warm start, each demonstration is given the code under which the policy would most likely
    have done it, and the policy is cloned again; for styles that actions show more clearly than states do."""
    batch: int = setting(512, POSITIVE, name="bc_batch", sharded=True)
    """Pairs per step of behavioural cloning."""
    learning_rate: float = setting(1e-2, POSITIVE, name="bc_learning_rate")
    """Adam's initial learning rate for cloning; it falls linearly to 0."""
