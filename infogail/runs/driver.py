"""The user-facing trained driver: observation and code in, action out."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import numpy as np
import torch

from infogail.envs.errors import BadInput
from infogail.envs.files import UnreadableFile, seal, unseal
from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.tasks import GymTask, Task, named_in_file
from infogail.learning.networks import Policy, levels
from infogail.learning.posterior import Evidence, posterior_features
from infogail.runs.folder import InvalidRun, Manifest, verify

FILE, SCHEMA = "policy.safetensors", "infogail-driver-3"


class Driver:
    """A policy and, if the learner has one, the posterior that infers its code."""

    def __init__(self, task: Task, manifest: Manifest, policy: Policy, evidence: Evidence | None) -> None:
        self.task, self.algorithm = task, manifest.algorithm
        run, codes = manifest.config.run, manifest.config.codes
        self.num_codes, self.graded = codes.num_codes, codes.graded_code
        self.seed, self.named = run.seed, run.labelled is not None
        self.policy, self.evidence = policy, evidence

    @property
    def scenario(self) -> Scenario:
        """The scenario that it drives in.

        Raises:
            BadInput: it was trained in another Gymnasium environment.
        """
        if isinstance(self.task, GymTask):
            raise BadInput(f"a run of {self.task.name}: this is for driving scenarios; 'infogail evaluate' judges it")
        return self.task

    @property
    def num_distinct(self) -> int:
        """The number of codes that drive differently: without a posterior, codes have no effect."""
        return self.num_codes if self.evidence is not None else 1

    @property
    def codes(self) -> list[int] | list[float]:
        """The codes to evaluate: 0 to K - 1, or K values of a graded code from -1 to 1."""
        return levels(self.num_codes).tolist() if self.graded else list(range(self.num_codes))

    @property
    def prior(self) -> np.ndarray:
        """(K,): each code's share of the demonstrations according to the posterior; uniform without one."""
        return np.full(self.num_codes, 1 / self.num_codes) if self.evidence is None else self.evidence.prior.numpy()

    @torch.inference_mode()
    def act(self, obs: np.ndarray, code: float | np.ndarray) -> np.ndarray:
        """The mean or likeliest action, float32 (A,) or (B, A), for obs (F,) or (B, F) and code () or (B,).

        A graded code is any number from -1 to 1; other codes are integers.

        Raises:
            ValueError: the code is out of range.
        """
        observations, codes = torch.as_tensor(obs, dtype=torch.float32), torch.as_tensor(code)
        low, high = self.codes[0], self.codes[-1]
        if not ((codes >= low) & (codes <= high)).all():
            raise ValueError(f"code {code}: the codes of this driver are {low} to {high}")
        level = (codes + 1.0) / 2.0 * (self.num_codes - 1) if self.graded else codes.long()
        inputs = self.policy.inputs(observations, level.expand(observations.shape[:-1]))
        return self.policy(inputs).mode().clamp(-1.0, 1.0).numpy()

    @torch.inference_mode()
    def log_posterior(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray | None:
        """log Q(c|s) of each step, (N, K) for observations (N, F) and actions (N, 2); None without a posterior.

        Its sum over a trajectory is log Q(c|τ) up to a constant. Only a posterior of pairs uses the actions.
        """
        if self.evidence is None:
            return None
        pairs = torch.cat([torch.as_tensor(x, dtype=torch.float32) for x in (observations, actions)], -1)
        return self.evidence(pairs).log_softmax(-1).numpy()

    def belief(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray | None:
        """P(c | the trajectory so far), float64 (T + 1, K): the prior, then the belief after each decision.

        For one trajectory of observations (T, F) and actions (T, 2); None without a posterior.
        """
        evidence = self.log_posterior(observations, actions)
        if evidence is None:
            return None
        logits = np.cumsum(np.vstack((np.log(np.maximum(self.prior, 1e-12)), evidence)), axis=0, dtype=np.float64)
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        return odds / odds.sum(-1, keepdims=True)

    def encode(self) -> bytes:
        """The driver as the content of a safetensors file, for `load`."""
        modules = {"policy": self.policy} | ({"evidence": self.evidence} if self.evidence is not None else {})
        arrays = {f"{name}.{k}": v.numpy() for name, module in modules.items() for k, v in module.state_dict().items()}
        return seal(arrays, {"schema": SCHEMA})


def load(run: str | Path) -> Driver:
    """Load the trained driver from the run folder `run`.

    Raises:
        InvalidRun: the run is missing, or its file was not written by this version.
    """
    run = Path(run)
    manifest = Manifest.load(run)
    config, path, task = manifest.config, run / FILE, named_in_file(manifest.scenario)
    try:
        verify(run, manifest, FILE)
    except (UnreadableFile, OSError) as error:
        remedy = f"'infogail train --resume {quote(str(run))}' restores it from the last checkpoint"
        raise InvalidRun(f"{path}: {error}; {remedy}") from error
    try:
        arrays, _ = unseal(path, SCHEMA)
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
        for key, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise ValueError(f"'{key}' contains NaN or Inf")
        evidence_tensors, spec = _part(tensors, "evidence."), task.spec
        # Only learners with a posterior condition the policy on codes.
        codes = config.codes
        num_codes = codes.num_codes if evidence_tensors else 1
        policy = Policy(spec, num_codes, config.policy, codes.graded_code)
        _fill(policy, _part(tensors, "policy."))
        evidence = None
        if evidence_tensors:
            read = posterior_features(spec, config.posterior.input)
            evidence = Evidence(read, codes.num_codes, config, spec.style_tolerance)
            _fill(evidence, evidence_tensors)
    except (UnreadableFile, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InvalidRun(f"{path}: not a driver of this version ({reason}); train it again") from error
    return Driver(task, manifest, policy, evidence)


def _fill(module: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    for key, tensor in module.state_dict().items():
        if key in tensors and tensors[key].dtype != tensor.dtype:  # torch would convert it silently
            raise ValueError(f"'{key}' is {tensors[key].dtype}, not {tensor.dtype}")
    module.load_state_dict(tensors)


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
