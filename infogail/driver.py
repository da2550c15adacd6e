"""A trained driver, as users hold it: observation and code in, action out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from envs import SCENARIO_NAMES, BadInput, get_scenario
from envs.demonstrations import write_atomically
from infogail.networks import Policy
from infogail.posterior import Evidence, style_features

FILE, SCHEMA = "policy.safetensors", "infogail-driver-1"


class InvalidRun(BadInput):
    """A run folder is missing, incomplete or malformed; says which file, what is wrong, what to do."""


class Driver:
    """A policy, and the posterior that reads its code back if it has one."""

    def __init__(
        self,
        scenario: str,
        algorithm: str,
        num_codes: int,
        seed: int,
        policy: Policy,
        evidence: Evidence | None,
        hidden: int,
    ) -> None:
        self.scenario, self.algorithm, self.num_codes, self.seed = scenario, algorithm, num_codes, seed
        self.policy, self.evidence, self.hidden = policy, evidence, hidden

    @torch.inference_mode()
    def act(self, obs: np.ndarray, code: int | np.ndarray) -> np.ndarray:
        """The mean action, float32 (2,) or (B, 2) in [-1, 1], for obs (F,) or (B, F) and code () or (B,).

        Raises:
            ValueError: there is no such code.
        """
        observations, codes = torch.as_tensor(obs, dtype=torch.float32), torch.as_tensor(code)
        if ((codes < 0) | (codes >= self.num_codes)).any():
            raise ValueError(f"code {code}: the codes of this driver are 0 to {self.num_codes - 1}")
        inputs = self.policy.inputs(observations, codes.long().expand(observations.shape[:-1]))
        return self.policy(inputs)[0].clamp(-1.0, 1.0).numpy()

    @torch.inference_mode()
    def log_posterior(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray | None:
        """log Q(c|s) of each step, (N, K) for observations (N, F); None without a posterior.

        Summed over a trajectory's steps it is log Q(c|τ) up to a constant. Actions (N, 2) are not looked at.
        """
        if self.evidence is None:
            return None
        return self.evidence(torch.as_tensor(observations, dtype=torch.float32)).log_softmax(-1).numpy()

    def save(self, run: Path) -> None:
        """Write the driver into the folder `run`, whole or not at all."""
        modules = {"policy": self.policy} | ({"evidence": self.evidence} if self.evidence is not None else {})
        tensors = {f"{name}.{k}": v for name, module in modules.items() for k, v in module.state_dict().items()}
        settings = {
            "scenario": self.scenario,
            "algorithm": self.algorithm,
            "num_codes": self.num_codes,
            "seed": self.seed,
            "policy_codes": self.policy.num_codes,
            "hidden": self.hidden,
        }
        write_atomically(run / FILE, save(tensors, {"schema": SCHEMA, "settings": json.dumps(settings)}))


def load(run: str | Path) -> Driver:
    """The driver that was trained into the folder `run`.

    Raises:
        InvalidRun: no such run, or its file is not what this version writes.
    """
    path = Path(run) / FILE
    if not path.is_file():
        raise InvalidRun(f"{path}: no such file; make a run with 'infogail train SCENARIO --out {run}'")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        if metadata.get("schema") != SCHEMA:
            raise ValueError(f"schema is {metadata.get('schema')!r}, not {SCHEMA!r}")
        for key, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise ValueError(f"'{key}' holds NaN or Inf")
        settings = json.loads(metadata["settings"])
        scenario, hidden, num_codes = settings["scenario"], settings["hidden"], settings["num_codes"]
        if scenario not in SCENARIO_NAMES:
            raise ValueError(f"scenario is {scenario!r}, none of {', '.join(SCENARIO_NAMES)}")
        blank = torch.zeros(2, len(get_scenario(scenario).features))
        policy = Policy(blank, settings["policy_codes"], hidden, 0.0)
        policy.load_state_dict(_part(tensors, "policy."))
        evidence = None
        if evidence_tensors := _part(tensors, "evidence."):
            evidence = Evidence(blank, style_features(scenario), num_codes, hidden)
            evidence.load_state_dict(evidence_tensors)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InvalidRun(f"{path}: not a driver of this version ({reason}); train it anew") from error
    return Driver(scenario, settings["algorithm"], num_codes, settings["seed"], policy, evidence, hidden)


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
