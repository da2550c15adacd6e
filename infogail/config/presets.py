"""Named settings: the published methods, ablations of the default, and additions to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from infogail.config.config import Config

if TYPE_CHECKING:
    from infogail.envs.tasks import Task

DEFAULT = "default"


@dataclass(frozen=True)
class Preset:
    """A named group of settings."""

    summary: str
    """A one-line description."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ from the default, by flat name."""
    algorithm: Literal["infogail", "gail"] = "infogail"
    """The learner it is for."""


def settings(scenario: Task, preset: str = DEFAULT, overrides: Mapping[str, Any] = MappingProxyType({})) -> Config:
    """All settings, in order of precedence: `overrides`, the preset, the scenario's recommendations, the defaults.

    Args:
        preset: a name in `PRESETS`.
        overrides: settings by flat name, such as `{"num_envs": 32}`.

    Raises:
        BadInput: a setting is unknown or invalid, or cannot be used to train in the scenario.
    """
    config = Config.of(**{**scenario.recommended, **PRESETS[preset].changes, **overrides})
    config.check(scenario)
    return config


_WASSERSTEIN = {"discriminator_loss": "wasserstein"}
_NO_WARM_START = {"warm_start_steps": 0, "held_iterations": 0, "initial_log_std": -1.5, "learning_rate": 3e-3}
_NO_RIM = {"rim_coef": 0.0, "rim_steps": 0, "rim_tries": 1, "discriminator_reads_code": False}

PAPER = Preset(
    "InfoGAIL as in its authors' code: clipped WGAN critic, TRPO, log Q(c|s, a) at each step, replay, target network",
    _WASSERSTEIN
    | _NO_RIM
    | {
        # TRPO, with a value network fitted by 25 steps of Adam; the standard deviation of actions is fixed.
        "policy_update": "trpo",
        "max_kl": 0.01,
        "gamma": 0.95,
        "gae_lambda": 0.97,
        "entropy_coef": 0.0,
        "learning_rate": 1e-4,
        "value_learning_rate": 1e-4,
        "posterior_learning_rate": 1e-4,
        "bc_learning_rate": 1e-4,
        "final_learning_rate": 1.0,
        "settling_iterations": None,
        "held_iterations": 0,
        "ppo_epochs": 5,
        "minibatches": 5,
        "initial_log_std": -3.0,
        "learn_std": False,
        "hidden": 128,
        # Their critic makes 120, 100, … 40 steps in the first iterations and 10 in each later one: 17 on average.
        "iterations": 37,
        "discriminator_steps": 17,
        "discriminator_batch": 500,
        "discriminator_hidden": 128,
        "discriminator_optimiser": "rmsprop",
        "discriminator_learning_rate": 5e-5,
        "weight_clip": 0.01,
        "gradient_penalty": 0.0,
        "replay_iterations": 6,
        # Theirs: 50 batches of 500 pairs. Ours: 50 batches of eight whole trajectories, 480 pairs.
        "posterior_steps": 50,
        "posterior_batch": 8,
        "posterior_input": "pair",
        "max_evidence": None,
        "posterior_target": 0.5,
        "info_reward": "step",
        # Their reward is 2 + 0.1 f(s, a) + log Q(c|s, a) on pass, so ten times that 20 + f + 10 log Q. Ours divides
        # log Q + log 2 by the 60 steps of an episode, hence 600. Of the 20, 20 - 10 log 2 = 13.07 remains for each step
        # survived, which for a policy is equivalent to a penalty of 13.07 γ / (1 - γ) where survival ends.
        "info_coef": 600.0,
        "failure_penalty": 248.0,
        "warm_start_steps": 5000,
    },
)
"""Li, Song & Ermon 2017 (arXiv 1703.08840), github.com/YunzhuLi/InfoGAIL, folder wgail_info_0. Where ours differs:

- Observations. Their policy reads ResNet features of shape 7 × 13 × 1024, their critic and posterior read 50 × 50
  images, each with ten more numbers (damage, speed, the last two actions); ours read the scenario's 7 to 9 standardised
  features.
- Networks. Theirs are convolutions and dense layers of 256 and 128 leaky ReLUs; ours are two layers of 128 ReLUs.
- Actions. Theirs are steering, throttle and brake, squashed by tanh and sigmoid, with log standard deviations of -2.8,
  -3.5 and -4 (after 30 steps -3.5, -4 and -5); ours are two, unsquashed, with -3 throughout.
- Batches. Theirs drives 10 episodes of up to 100 steps per iteration, keeps 75 and samples 50 of them; TRPO learns from
  these too, as if the current policy had driven them. Ours drives 1,024 episodes of 60 steps, and replays six
  iterations for critic and posterior, but not for TRPO. Their critic takes the steps in order, ours at random; theirs
  holds out 30 % of the pairs for posterior and value network, ours none.
- Cloning. Theirs makes up to 5,000 passes with the squared error at a decaying learning rate; ours takes 5,000 steps on
  the likelihood, which for a fixed standard deviation amounts to the squared error, at a learning rate that falls to 0.
- Values. Their network takes the time as an input, and regresses on one tenth of the new returns plus nine tenths of
  its previous prediction; ours regresses on λ-returns. Theirs does not bootstrap after a full episode but does from the
  last value after a crash; ours does the reverse. Theirs divides advantages by their standard deviation; ours also
  subtracts the mean.
- Trust region. Their Fisher-vector product uses the whole batch, ours a tenth; their line search does not check the
  divergence, ours does.
- On turn their reward is 1.2 + 0.2 f + log Q, with 20 critic steps in later iterations; ours keeps the weights of pass.
"""

PRESETS: dict[str, Preset] = {
    DEFAULT: Preset("the scenario's recommended settings"),
    "paper": PAPER,
    "gail-trpo": Preset(
        "GAIL (1606.03476): TRPO, and a tanh discriminator of three layers of 20 without a gradient penalty",
        {
            "policy_update": "trpo",
            "max_kl": 0.01,
            "gae_lambda": 0.97,
            "entropy_coef": 0.0,
            "final_learning_rate": 1.0,
            "settling_iterations": None,
            "gradient_penalty": 0.0,
            "discriminator_layers": 3,
            "discriminator_hidden": 20,
            "discriminator_activation": "tanh",
        }
        | _NO_WARM_START,
        "gail",
    ),
    "no-rim": Preset("without RIM: the posterior learns from the policy alone", _NO_RIM),
    "one-rim-try": Preset(
        "the first random network's clustering of the demonstrations, not the best of twelve", {"rim_tries": 1}
    ),
    "no-rim-shift": Preset(
        "RIM without IMSAT's random shifts, which put boundaries where demonstrations are sparse",
        {"rim_shift": 0.0},
    ),
    "unbounded-evidence": Preset(
        "the evidence of one step is unbounded, so a single state may determine the code", {"max_evidence": None}
    ),
    "all-features": Preset("the posterior reads the whole state", {"posterior_input": "state"}),
    "pair-posterior": Preset("the posterior reads observation and action, as published", {"posterior_input": "pair"}),
    "step-reward": Preset("log Q(c|s) of each step is learned and rewarded, as published", {"info_reward": "step"}),
    "no-gradient-penalty": Preset("no gradient penalty on the discriminator", {"gradient_penalty": 0.0}),
    "no-decay": Preset("the learning rate does not decay", {"final_learning_rate": 1.0}),
    "no-entropy": Preset("no entropy bonus", {"entropy_coef": 0.0}),
    "no-info-reward": Preset("codes are inferred, but the policy is not rewarded for it", {"info_coef": 0.0}),
    "gamma-0.99": Preset("a horizon of 20 s instead of 4 s", {"gamma": 0.99}),
    "trpo": Preset("TRPO instead of PPO", {"policy_update": "trpo"}),
    # A critic is defined only up to a constant, but an episode that ends early collects that constant less often. Only
    # an absorbing state cancels it; without one, chance decided whether policies learned to crash.
    "wgan-clip": Preset(
        "a Wasserstein critic with clipped weights, by RMSprop, and an absorbing state",
        _WASSERSTEIN
        | {"absorbing": True, "weight_clip": 0.1, "gradient_penalty": 0.0}
        | {"discriminator_optimiser": "rmsprop", "discriminator_learning_rate": 3e-4},
    ),
    "wgan-gp": Preset(
        "a Wasserstein critic with the one-centred gradient penalty, and an absorbing state",
        _WASSERSTEIN | {"absorbing": True, "gradient_penalty": 10.0},
    ),
    "target-posterior": Preset("the reward uses a slowly updated copy of the posterior", {"posterior_target": 0.05}),
    "replay": Preset("discriminator and posterior also learn from the last five rollouts", {"replay_iterations": 5}),
    "failure-penalty": Preset("a crash or road exit costs 3, about what five steps earn", {"failure_penalty": 3.0}),
    "no-warm-start": Preset("the policy starts from random weights, with more noise and larger steps", _NO_WARM_START),
    "no-hold": Preset(
        "the policy moves from the first iteration on, with an untrained value network", {"held_iterations": 0}
    ),
    "fixed-length": Preset("always 30 iterations, over which the learning rate falls", {"settling_iterations": None}),
    "surplus-codes": Preset("four codes, whatever the number of styles", {"num_codes": 4}),
    "few-demonstrations": Preset("only 20 demonstrations", {"demonstrations_limit": 20}),
    "by-hand": Preset(
        "for some twenty demonstrations by hand: more exploration, since the clone of so few follows their accidents",
        {"initial_log_std": -1.5},
    ),
    "labelled": Preset("the styles of 1 % of the demonstrations are given", {"labelled": 0.01}),
    "company": Preset(
        "highway drivers learn among themselves and older selves; crashes cost 60 (1803.01044, 1710.03748, 1903.05766)",
        {
            "company": True,
            "older_selves": 0.25,
            "num_envs": 1280,
            "iterations": 500,
            "settling_iterations": None,
            "discriminator_reads_code": True,
            "discriminator_reads_context": False,
            "failure_penalty": 60.0,
            "info_coef": 10.0,
            "gamma": 0.97,
            "initial_log_std": -1.6,
            "learning_rate": 3e-3,
            "ppo_epochs": 4,
            "target_kl": 0.02,
            "minibatches": 24,
        },
    ),
    "absorbing": Preset("an absorbing state follows a crash or road exit (1809.02925)", {"absorbing": True}),
}
"""Presets by name, for `infogail train --preset`: the published methods, ablations of the default, additions to it."""
