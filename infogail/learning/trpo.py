"""Trust region policy optimisation (Schulman et al. 2015, arXiv 1502.05477), as used in the GAIL and InfoGAIL
papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from infogail.config.config import Config
from infogail.envs.environment import Spec
from infogail.learning.devices import Log, read
from infogail.learning.gae import explained_variance
from infogail.learning.networks import Policy, adam, descend, mlp
from infogail.learning.ppo import decay, standardised_advantages, value_scale
from infogail.learning.rollout import Rollout
from infogail.parallel.distributed import broadcast_parameters, mean

CG_ITERATIONS = 10
DAMPING = 0.1
"""Added to the diagonal of the Fisher matrix, since a batch underestimates its curvature in some directions."""
FISHER_SHARE = 0.1
"""Fraction of the batch used to estimate the Fisher matrix: a tenth suffices (the paper's appendix C)."""
KL_WALL = 2.0
"""The divergence above which a step is rejected, in multiples of `max_kl`, as in GAIL's original code. The step length
comes from a quadratic model, which meets `max_kl` only approximately; with a limit of 1, a step 1 % too long would be
halved."""
BACKTRACKS = 10
ACCEPTED = 0.1
"""Fraction of the improvement predicted by the gradient that a step has to achieve."""


def surrogate_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor) -> Tensor:
    """-mean ρA with ρ = exp(log_probs - old_log_probs), all (n,); eq. 14."""
    return -((log_probs - old_log_probs).exp() * advantages).mean()


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> Tensor:
    """Solve Ax ≈ b for x (D,), given b (D,) and a positive definite A as its `product` x ↦ Ax.

    Hestenes & Stiefel 1952; exact after D iterations, up to rounding.
    """
    x, residual, direction = torch.zeros_like(b), b.clone(), b.clone()
    square = residual.dot(residual)
    for _ in range(iterations):
        if square <= 1e-10 * b.dot(b):
            break
        image = product(direction)
        step = square / direction.dot(image)
        x, residual = x + step * direction, residual - step * image
        square, before = residual.dot(residual), square
        direction = residual + square / before * direction
    return x


@torch.no_grad()
def line_search(
    parameters: Sequence[Tensor],
    step: Tensor,
    promised: float,
    evaluate: Callable[[], tuple[float, float]],
    max_kl: float,
) -> float:
    """Move `parameters` along `step`, halving it until it is accepted; if it never is, restore them.

    A step is accepted if the loss decreases by more than the fraction `ACCEPTED` of the predicted decrease and the
    divergence is at most `max_kl`; a NaN loss or divergence is rejected.

    Args:
        parameters: modified in place.
        step: (D,), for all parameters concatenated.
        promised: the decrease of the loss that a linear model predicts for the full step.
        evaluate: returns the loss, and the mean KL [nats] from the old policy, at the current parameters.

    Returns:
        the fraction of the step that was taken, 0 for none.
    """
    start, (before, _) = [parameter.clone() for parameter in parameters], evaluate()
    steps = step.split([parameter.numel() for parameter in parameters])

    def move(share: float) -> None:
        for parameter, old, part in zip(parameters, start, steps, strict=True):
            parameter.copy_(old + share * part.view_as(old) if share else old)

    for share in (0.5**k for k in range(BACKTRACKS)):
        move(share)
        loss, kl = evaluate()
        if before - loss > ACCEPTED * share * promised and kl <= max_kl:
            return share
    move(0.0)
    return 0.0


class TRPO:
    """The policy, a value network V(s,c), and the latter's optimiser; same interface as `PPO`."""

    def __init__(self, spec: Spec, num_codes: int, config: Config, generator: torch.Generator) -> None:
        self.config, self.max_kl, self.generator = config.policy, config.trpo.max_kl, generator
        self.policy = Policy(spec, num_codes, config.policy, config.codes.graded_code)
        self.policy.to(config.run.device)
        broadcast_parameters(self.policy.parameters())
        self.value = mlp(self.policy.num_inputs, config.policy.hidden, 1).to(config.run.device)
        self.optimiser = adam([self.value], config.policy.value_learning_rate)

    def parts(self) -> dict[str, Any]:
        """The state that updates change, for checkpoints."""
        return {"policy": self.policy, "value": self.value, "value_optimiser": self.optimiser}

    def update(self, rollout: Rollout, rewards: Tensor, progress: float = 0.0, hold: bool = False) -> Log:
        """One policy step and several value steps on a rollout with its rewards (T, B); returns the log.

        Args:
            progress, hold: see `PPO.update`.
        """
        self.optimiser.param_groups[0]["lr"] = self.config.value_learning_rate * decay(self.config, progress)
        advantages, returns, values = standardised_advantages(self.policy, self.value, rollout, rewards, self.config)
        inputs = rollout.decided(self.policy.inputs(rollout.observations, rollout.codes))
        values, returns, advantages = (rollout.decided(column) for column in (values, returns, advantages))
        log = {} if hold else self.improve_policy(inputs, rollout.decided(rollout.actions), advantages)
        return log | {
            "trpo/value_loss": self._fit_value(inputs, returns),
            "trpo/explained_variance": explained_variance(values, returns),
        }

    def improve_policy(self, inputs: Tensor, actions: Tensor, advantages: Tensor) -> Log:
        """One step along F⁻¹∇, of the length that the quadratic model of the trust region allows, with backtracking.

        Args:
            inputs: (n, num_inputs), see `Policy.inputs`.
            actions: (n, A), sampled from the current policy.
            advantages: (n,)

        Returns:
            the log.
        """
        parameters = [parameter for parameter in self.policy.parameters() if parameter.requires_grad]
        with torch.no_grad():
            old = self.policy(inputs)
            old_log_probs = old.log_prob(actions)

        def objective() -> tuple[Tensor, Tensor]:
            new = self.policy(inputs)
            surrogate = surrogate_loss(new.log_prob(actions), old_log_probs, advantages)
            return surrogate - self.config.entropy_coef * new.entropy().mean(), old.kl(new).mean()

        @torch.no_grad()
        def evaluate() -> tuple[float, float]:
            loss, kl = read(*mean(torch.stack(objective())))
            return loss, kl

        gradient = mean(flat_gradient(objective()[0], parameters))
        # At random, since a fixed stride through (T, B) might select environments of only one code.
        size = max(1, int(FISHER_SHARE * len(inputs)))
        rows = torch.randint(len(inputs), (size,), generator=self.generator, device=inputs.device)
        product = fisher_vector_product(self.policy, inputs[rows], parameters)
        direction = conjugate_gradient(product, -gradient, CG_ITERATIONS)
        curvature = direction.dot(product(direction)).clamp(min=1e-12)
        step = (2.0 * self.max_kl / curvature).sqrt() * direction
        (promised,) = read(-gradient.dot(step))
        taken = line_search(parameters, step, promised, evaluate, KL_WALL * self.max_kl)
        loss, kl = evaluate()
        spread = self.policy(inputs[:1]).summary()
        return {"trpo/policy_loss": loss, "trpo/kl": kl, "trpo/step": taken} | {
            f"trpo/{name}": value for name, value in spread.items()
        }

    def _fit_value(self, inputs: Tensor, returns: Tensor) -> Tensor:
        """Fit the value network by minibatches of Adam; returns the last minibatch's loss."""
        targets = returns / value_scale(self.config)
        for _ in range(self.config.epochs):
            order = torch.randperm(len(inputs), generator=self.generator, device=inputs.device)
            for rows in order.chunk(self.config.minibatches):
                loss = (self.value(inputs[rows]).squeeze(-1) - targets[rows]).square().mean()
                descend(self.optimiser, loss)
        return loss


def flat_gradient(loss: Tensor, parameters: Sequence[Tensor], create_graph: bool = False) -> Tensor:
    """d loss / d parameters, as one vector (D,)."""
    gradients = torch.autograd.grad(loss, parameters, create_graph=create_graph)
    return torch.cat([gradient.flatten() for gradient in gradients])


def fisher_vector_product(policy: Policy, inputs: Tensor, parameters: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """v (D,) ↦ (F + `DAMPING` · 1)v, where F is the Fisher matrix of the policy's actions at `inputs` (n, num_inputs).

    F is the Hessian of the mean KL divergence from the current policy, at that policy (appendix C).
    """
    distribution = policy(inputs)
    kl = distribution.detach().kl(distribution).mean()
    gradient = flat_gradient(kl, parameters, create_graph=True)

    def product(vector: Tensor) -> Tensor:
        twice = torch.autograd.grad(gradient.dot(vector), parameters, retain_graph=True)
        return mean(torch.cat([part.flatten() for part in twice])) + DAMPING * vector

    return product
