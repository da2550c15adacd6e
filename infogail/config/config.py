"""The settings of a training run; the defaults are those behind every published number."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal, get_args, get_type_hints

from infogail.envs.catalogue import get_scenario
from infogail.envs.errors import BadInput

LEVELS = 7  # of a graded code, by default
CODES_OF_PEOPLE = 3  # by default, where nobody knows how many styles there are
LOG_STD, LOG_STD_OF_PEOPLE = -1.5, -2.0  # initially; people steer in finer steps than scripts do
DISCOUNT, USUAL_RATE = 0.95, 5  # per decision, at so many a second
INFO_COEF, INFO_COEF_OF_PEOPLE = 3.0, 1.0  # styles of people show little in 6 s; told to show them, drivers crash more
MOST_THREADS = 1024  # OpenMP ends the process where it cannot start as many as it is to
ITERATIONS, ITERATIONS_FOR_MEANS = 30, 45  # the latter where a style shows in means alone, as in dense traffic

SHARDED = {"sharded": True}
"""Metadata of totals that several processes divide among them (`infogail.parallel.distributed.shard_config`)."""


@dataclass(frozen=True)
class Config:
    """Settings of all learners; each reads what concerns it."""

    num_codes: int = 0
    """Latent codes K, 0: as many as the scenario has styles, 3 for people, or 7 levels of a graded one. GAIL and BC
    ignore it."""
    graded_code: bool = False
    """One code from -1 to 1 instead of K separate ones: where styles differ by degrees, as in turn-line."""
    demonstrations_limit: int = 0
    """Learn from so many of the demonstrations, 0: from all that are for training."""
    labelled: float = 0.0
    """Share of them whose style is told, at least one of each: semi-supervision. The codes are then the styles."""
    seed: int = 0
    """Seed of the networks, the environments and the batches."""
    threads: int = 1
    """Torch threads; results depend on it in the last bits. A second run gains more from a second core."""
    num_envs: int = field(default=1024, metadata=SHARDED)
    """Environments B of the batched twin."""
    iterations: int = 0
    """Iterations: rollout, discriminator, posterior, PPO; 0: 30, or 45 in dense traffic."""
    hidden: int = 64
    """Width of the two hidden layers of policy, value and posterior."""
    learning_rate: float = 3e-3
    """Adam's learning rate, for every network."""
    final_learning_rate: float = 0.1
    """Share of it that the policy and value networks have at the end, falling linearly; 1: no decay."""
    gamma: float = 0.0
    """Discount per decision; 0: 0.95 at 5 decisions a second, and at other rates as much in the same time."""
    gae_lambda: float = 0.95
    """λ of generalised advantage estimation."""
    policy_update: Literal["ppo", "trpo"] = "ppo"
    """How the policy improves: PPO, or TRPO, with which GAIL and InfoGAIL were published."""
    max_kl: float = 0.01
    """Mean KL divergence [nats] from the old policy to the new that TRPO aims at."""
    clip: float = 0.2
    """PPO's clip range of the probability ratio."""
    ppo_epochs: int = 2
    """Passes over each rollout; with TRPO of the value network only."""
    minibatches: int = 24
    """Minibatches per pass."""
    entropy_coef: float = 1e-3
    """Weight of the policy's entropy."""
    initial_log_std: float = 0.0
    """Logarithm of the initial standard deviation of actions; 0: -1.5, or -2 where people were recorded."""
    learn_std: bool = True
    """Whether that deviation is learned; or else it stays."""
    warm_start_steps: int = 0
    """Gradient steps by which the policy clones the demonstrations, with random codes, before the first iteration."""
    failure_penalty: float = 0.0
    """Taken from the reward where an episode ends by a crash or road exit: reward augmentation, as InfoGAIL has it."""
    replay_iterations: int = 0
    """Earlier iterations whose rollouts discriminator and posterior go on to learn from; 0: only from the newest."""
    discriminator_steps: int = 30
    """Discriminator updates per iteration."""
    discriminator_batch: int = field(default=1024, metadata=SHARDED)
    """Pairs of each kind per discriminator update."""
    gradient_penalty: float = 0.3
    """Weight of the gradient penalty, zero-centred for gan and one-centred for wasserstein."""
    discriminator_loss: Literal["gan", "wasserstein"] = "gan"
    """GAIL's cross-entropy, or a Wasserstein critic, whose output is the reward."""
    weight_clip: float = 0.0
    """Largest size of a discriminator's weight, as WGAN first had it; 0: none."""
    discriminator_layers: int = 2
    """Its hidden layers."""
    discriminator_hidden: int = 64
    """Their width."""
    discriminator_activation: Literal["relu", "tanh"] = "relu"
    """What follows each of them."""
    discriminator_optimiser: Literal["adam", "rmsprop"] = "adam"
    """RMSprop is what WGAN asks for with clipped weights."""
    discriminator_learning_rate: float = 0.0
    """Its learning rate; 0: `learning_rate`."""
    absorbing: bool = False
    """Whether an absorbing state follows a crash or road exit, whose reward the discriminator learns (DAC)."""
    info_coef: float = -1.0
    """Weight of the information reward, which adds up to log Q(c|τ) + log K; -1: 3, or 1 where people were recorded."""
    info_reward: Literal["trajectory", "step"] = "trajectory"
    """What each step adds to log Q(c|τ), or, as published, log Q(c|s) of each step, on the same scale: an episode earns
    log K at most. The posterior's cross-entropy is that of whole trajectories or of single steps, likewise."""
    posterior_input: Literal["style", "state", "pair"] = "style"
    """What the posterior reads: of the state that an action led to the features in which a style can show, or all of
    them; or, as published, pairs of observation and action."""
    max_evidence: float = 0.1
    """Evidence [nats] that one step may add to, or take from, a code, in scenarios whose styles lie near each other
    more; 0: unbounded."""
    posterior_target: float = 0.0
    """Share by which each update moves a copy of the posterior towards it, which then gives the reward; 0: no copy."""
    posterior_steps: int = 4
    """Posterior updates per iteration."""
    posterior_batch: int = field(default=64, metadata=SHARDED)
    """Trajectories of each kind per posterior update."""
    rim_coef: float = 10.0
    """Weight of regularised information maximisation on the unlabelled demonstrations."""
    rim_tries: int = 12
    """Networks that divide the demonstrations before the first iteration, for two codes, and for more in proportion;
    the surest is kept."""
    rim_steps: int = 60
    """Updates of each of them."""
    rim_shift: float = 1.0
    """Standard deviation by which it moves trajectories, in units of what the scenario's styles tolerate."""
    bc_steps: int = 4000
    """Gradient steps of behavioural cloning."""
    bc_batch: int = field(default=512, metadata=SHARDED)
    """Pairs per step of behavioural cloning."""

    checkpoint_interval: int = 5
    """Iterations from one checkpoint to the next."""

    def for_scenario(self, scenario: str) -> Config:
        """These settings with the kind of code that `scenario` asks for, and with what depends on it where not set:
        numbers of codes and iterations, discount, information's weight, initial noise.

        Raises:
            BadInput: fewer codes than styles that labels are told of, or nobody knows labels.
        """
        if get_scenario(scenario).graded and not self.graded_code:
            return replace(self, graded_code=True).for_scenario(scenario)
        definition = get_scenario(scenario)
        styles, people = len(definition.styles), definition.recorded
        if self.labelled and people:
            raise BadInput(f"--labelled {self.labelled}: nobody knows the styles of people in {scenario}; leave it out")
        if self.labelled and 0 < self.num_codes < styles:
            raise BadInput(
                f"--num-codes {self.num_codes}: {scenario} has {styles} styles; give no fewer with --labelled"
            )
        return replace(
            self,
            num_codes=self.num_codes or (LEVELS if self.graded_code else CODES_OF_PEOPLE if people else styles),
            gamma=self.gamma or DISCOUNT ** (USUAL_RATE / definition.policy_frequency),
            info_coef=self.info_coef if self.info_coef >= 0 else INFO_COEF_OF_PEOPLE if people else INFO_COEF,
            initial_log_std=self.initial_log_std or (LOG_STD_OF_PEOPLE if people else LOG_STD),
            iterations=self.iterations or (ITERATIONS_FOR_MEANS if definition.measures else ITERATIONS),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Config:
        """The settings in `values`, all of them.

        Raises:
            BadInput: one is unknown, missing, or cannot be.
        """
        if not isinstance(values, Mapping):
            raise BadInput(f"config is {values!r}, not an object of settings")
        names = [setting.name for setting in fields(cls)]
        for name in values:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1)
                raise BadInput(f"config has an unknown setting '{name}'{f'; did you mean {near[0]}?' if near else ''}")
        for name in names:
            if name not in values:
                raise BadInput(f"config lacks '{name}'")
        return cls(**values)  # type: ignore[arg-type] # __post_init__ checks the types

    def __post_init__(self) -> None:
        """Reject what cannot be.

        Raises:
            BadInput: naming the setting, its value and what it may be.
        """
        may_be_zero = {"seed", "gamma", "gae_lambda", "entropy_coef", "gradient_penalty", "info_coef", "iterations"}
        may_be_zero |= {"posterior_steps", "rim_coef", "rim_steps", "rim_shift", "final_learning_rate", "num_codes"}
        may_be_zero |= {"weight_clip", "discriminator_learning_rate", "warm_start_steps", "failure_penalty"}
        may_be_zero |= {"replay_iterations", "max_evidence", "posterior_target", "demonstrations_limit", "labelled"}
        hints = get_type_hints(Config)
        for setting in fields(self):
            value = getattr(self, setting.name)
            option = "--" + setting.name.replace("_", "-")
            if choices := (True, False) if hints[setting.name] is bool else get_args(hints[setting.name]):
                if not any(value is choice or (value == choice and isinstance(value, str)) for choice in choices):
                    raise BadInput(f"{option} {value}: give one of {', '.join(map(str, choices))}")
                continue
            if isinstance(value, bool) or not isinstance(value, int if setting.type == "int" else (int, float)):
                raise BadInput(f"{option} {value}: give a {'whole ' if setting.type == 'int' else ''}number")
            if isinstance(value, float) and not math.isfinite(value):
                raise BadInput(f"{option} {value}: give a finite number")
            zero = setting.name in may_be_zero
            unset = setting.name == "info_coef" and value == -1
            if setting.name != "initial_log_std" and not unset and (value < 0 or (value == 0 and not zero)):
                raise BadInput(f"{option} {value}: give {'0 or more' if zero else 'a number above 0'}")
        if self.gamma >= 1:
            raise BadInput(f"--gamma {self.gamma}: give a discount below 1")
        for name in ("gae_lambda", "final_learning_rate", "posterior_target"):
            if getattr(self, name) > 1:
                raise BadInput(f"--{name.replace('_', '-')} {getattr(self, name)}: give a number from 0 to 1")
        if self.threads > MOST_THREADS:
            raise BadInput(f"--threads {self.threads}: give at most {MOST_THREADS}")
        if self.seed >= 2**63:
            raise BadInput(f"--seed {self.seed}: give a number below 2^63")
        if self.labelled > 1:
            raise BadInput(f"--labelled {self.labelled}: give a share from 0 to 1")
        if self.labelled and self.graded_code:
            raise BadInput("--labelled: styles have no labels where they differ by degrees; leave out --graded-code")
        if self.num_envs < self.num_codes:
            raise BadInput(f"--num-envs {self.num_envs}: give at least one for each of the {self.num_codes} codes")
