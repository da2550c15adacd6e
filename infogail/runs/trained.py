"""A driver as training leaves it: torch networks, in a run folder."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from shlex import quote

import numpy as np
import torch

from infogail.envs.files import UnreadableFile, seal, unseal
from infogail.envs.tasks import Task, named_in_file
from infogail.learning.networks import Policy, levels
from infogail.learning.posterior import Evidence, posterior_features
from infogail.runs.driver import FILE, SCHEMA, About, Driver, FastPolicy, mix_of, names_of
from infogail.runs.folder import InvalidRun, Manifest, verify


class TrainedDriver(Driver):
    """The driver of a run.

    Args:
        names: (K,) of its codes; by default the styles, if the learner saw labels.
        mix: see `About`.
    """

    def __init__(
        self,
        task: Task,
        manifest: Manifest,
        policy: Policy,
        evidence: Evidence | None,
        names: tuple[str | None, ...] | None = None,
        mix: tuple[float, ...] | None = None,
    ) -> None:
        run, num_codes, graded = manifest.config.run, manifest.config.codes.num_codes, manifest.config.codes.graded_code
        labelled, codes = run.labelled is not None, levels(num_codes).tolist() if graded else range(num_codes)
        if names is None:
            styles = [style.name for style in task.styles] if labelled else []
            names = tuple(styles[k] if k < len(styles) else None for k in range(num_codes))
        about = About(task.name, manifest.algorithm, run.seed, tuple(codes), graded, labelled, names, mix)
        super().__init__(about, None if evidence is None else evidence.prior.numpy())
        self.task, self.policy, self.evidence = task, policy, evidence

    @torch.inference_mode()
    def _act(self, obs: np.ndarray, codes: np.ndarray) -> np.ndarray:
        observations, given = torch.as_tensor(obs), torch.as_tensor(codes)
        level = (given + 1.0) / 2.0 * (self.num_codes - 1) if self.graded else given
        inputs = self.policy.inputs(observations, level.expand(observations.shape[:-1]))
        return self.policy(inputs).mode().clamp(-1.0, 1.0).numpy()

    def fast_policy(self) -> FastPolicy:
        """In NumPy: for a network this small, torch's call overhead dominates."""
        return NumpyPolicy(self.policy, self.num_codes)

    @torch.inference_mode()
    def log_posterior(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray | None:
        """See `Driver`."""
        if self.evidence is None:
            return None
        pairs = torch.cat([torch.as_tensor(x, dtype=torch.float32) for x in (observations, actions)], -1)
        return self.evidence(pairs).log_softmax(-1).numpy()

    def encode(self) -> bytes:
        """The driver as the content of a safetensors file, for `load`."""
        modules = {"policy": self.policy} | ({"evidence": self.evidence} if self.evidence is not None else {})
        arrays = {f"{name}.{k}": v.numpy() for name, module in modules.items() for k, v in module.state_dict().items()}
        return seal(arrays, {"schema": SCHEMA})


class NumpyPolicy:
    """The mean actions of a `policy` of continuous actions, for codes 0 to K - 1, in NumPy."""

    def __init__(self, policy: Policy, num_codes: int) -> None:
        policy = deepcopy(policy).double()
        first, *others = (layer for layer in policy.net if isinstance(layer, torch.nn.Linear))
        nothing = torch.zeros(num_codes, len(policy.standardise.mean), dtype=torch.float64)
        with torch.no_grad():
            self.weight = (first.weight[:, : nothing.shape[1]] / policy.standardise.scale).T.numpy()
            self.bias = first(policy.inputs(nothing, torch.arange(num_codes))).numpy()
            self.layers = [(layer.weight.T.numpy(), layer.bias.numpy()) for layer in others]

    def __call__(self, observations: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """The mean actions (N, A) in [-1, 1], for observations (N, F) and codes (N,)."""
        x = observations @ self.weight + self.bias[codes]
        for weight, bias in self.layers:
            x = np.maximum(x, 0.0) @ weight + bias
        return x.clip(-1.0, 1.0)


def load_trained(run: Path) -> TrainedDriver:
    """Load the driver from the run folder `run`.

    Raises:
        InvalidRun: the run is missing, or its file was not written by this version.
    """
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
    known = names_of(run, codes.num_codes), mix_of(run, codes.num_codes)
    return TrainedDriver(task, manifest, policy, evidence, *known)


def _fill(module: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    for key, tensor in module.state_dict().items():
        if key in tensors and tensors[key].dtype != tensor.dtype:  # torch would convert it silently
            raise ValueError(f"'{key}' is {tensors[key].dtype}, not {tensor.dtype}")
    module.load_state_dict(tensors)


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
