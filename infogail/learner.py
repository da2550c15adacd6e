"""InfoGAIL (Li, Song & Ermon 2017, arXiv 1703.08840): the loop, on one screen."""

from __future__ import annotations

import torch

from envs.demonstrations import Demonstrations
from envs.vector import DrivingVectorEnv
from infogail.config import Config
from infogail.discriminator import imitation_reward, update_discriminator
from infogail.gae import gae
from infogail.metrics import style_nmi
from infogail.networks import Discriminator, Policy, Posterior, Value
from infogail.posterior import belief, info_reward, pretrain_posterior, update_posterior
from infogail.ppo import update_policy
from infogail.rollout import collect


class InfoGAIL:
    """One learner; `iterate()` is one turn of: drive, judge, tell codes apart, improve."""

    algorithm = "infogail"

    def __init__(self, demonstrations: Demonstrations, config: Config) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.generator = torch.Generator().manual_seed(config.seed)
        self.env = DrivingVectorEnv(demonstrations.scenario, config.num_envs)
        self.env.reset(seed=config.seed)
        self.codes = torch.arange(config.num_envs) % config.num_codes
        observations = torch.from_numpy(demonstrations.observations)
        actions = torch.from_numpy(demonstrations.actions)
        self.demonstration_pairs = torch.cat((observations, actions), -1)
        self.demonstration_trajectories = torch.from_numpy(demonstrations.padded_observations()).transpose(0, 1)
        features = [self.env.scenario.features.index(name) for name in self.env.scenario.style_features]
        self.policy = Policy(observations, config.num_codes, config.hidden, config.initial_log_std)
        self.value = Value(observations, config.num_codes, config.hidden, scale=0.2 / (1.0 - config.gamma))
        self.discriminator = Discriminator(observations, actions, config.hidden)
        self.posterior = Posterior(observations, features, config.num_codes, config.hidden)

        def adam(*modules: torch.nn.Module) -> torch.optim.Adam:
            parameters = [parameter for module in modules for parameter in module.parameters()]
            return torch.optim.Adam(parameters, lr=config.learning_rate, fused=True)

        self.policy_optimiser = adam(self.policy, self.value)
        self.discriminator_optimiser = adam(self.discriminator)
        self.posterior_optimiser = adam(self.posterior)
        pretrain_posterior(
            self.posterior, self.posterior_optimiser, self.demonstration_trajectories, config, self.generator
        )
        self.iteration = 0
        self.env_steps = 0

    def info_coef(self) -> float:
        """High at first, so that the codes spread before they imitate; then down to its final value."""
        config = self.config
        left = max(0.0, 1.0 - self.iteration / max(1, config.info_coef_iterations))
        return config.info_coef + (config.info_coef_start - config.info_coef) * left

    def iterate(self) -> dict[str, float]:
        """One iteration; returns what to log."""
        config = self.config
        rollout = collect(self.env, self.policy, self.codes, self.generator)
        discriminator_log = update_discriminator(
            self.discriminator,
            self.discriminator_optimiser,
            self.demonstration_pairs,
            rollout.pairs(),
            config.discriminator_steps,
            config.discriminator_batch,
            config.gradient_penalty,
            self.generator,
        )
        alive = rollout.first_episode()
        posterior_log = update_posterior(
            self.posterior,
            self.posterior_optimiser,
            rollout.next_observations,
            alive,
            self.codes,
            self.demonstration_trajectories,
            config,
            self.generator,
        )
        with torch.no_grad():
            codes = rollout.step_codes()
            imitation = imitation_reward(self.discriminator(rollout.pairs())).view(codes.shape)
            info = info_reward(belief(self.posterior(rollout.next_observations), alive), self.codes)
            rewards = imitation + self.info_coef() * info
            values = self.value(rollout.observations, codes)
            next_values = self.value(rollout.next_observations, codes)
            advantages = gae(
                rewards, values, next_values, rollout.terminated, rollout.done, config.gamma, config.gae_lambda
            )
        ppo_log = update_policy(
            self.policy,
            self.value,
            self.policy_optimiser,
            rollout,
            advantages,
            advantages + values,
            config,
            self.generator,
        )
        self.iteration += 1
        self.env_steps += rollout.size
        return {
            "rollout/style_nmi": style_nmi(self.codes.numpy(), rollout.styles),
            "rollout/success_rate": float((rollout.styles >= 0).mean()),
            "rollout/terminated_rate": rollout.terminated.any(0).float().mean().item(),
            "reward/imitation": imitation.mean().item(),
            "reward/info": info.sum(0).mean().item(),
            **discriminator_log,
            **posterior_log,
            **ppo_log,
        }
