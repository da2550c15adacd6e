"""Checkpoints: the complete training state, so that a resumed run is bit-identical to an uninterrupted one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infogail.envs.files import UnreadableFile, seal, unseal
from infogail.runs.folder import InvalidRun, RunFolder

SCHEMA = "infogail-checkpoint-1"
FOLDER = "checkpoints"
KEEP = 2  # a fallback in case the newest is damaged
LOG = "log"  # the bytes of metrics.jsonl at the checkpoint


def state_of(parts: Mapping[str, Any]) -> dict[str, Tensor]:
    """All tensors in a learner's `parts` (modules, optimisers, generators, environments), and torch's global random
    state, by name, on the CPU."""
    named = {f"{name}/{key}": value.cpu() for name, part in parts.items() for key, value in _tensors(part).items()}
    return named | {"torch/random": torch.get_rng_state()}


def merge(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Merge the states of several processes: the first one's, plus what differs in process k's, as `processk/…`."""
    first, *others = states
    differences = {
        f"process{k}/{name}": tensor
        for k, state in enumerate(others, 1)
        for name, tensor in state.items()
        if name not in first or not torch.equal(tensor, first[name])
    }
    return {**first, **differences}


def part_of(state: Mapping[str, Tensor], process: int) -> dict[str, Tensor]:
    """The state of one process, from the result of `merge`."""
    names = [name for name in state if not name.startswith("process")]
    return {name: state.get(f"process{process}/{name}", state[name]) for name in names}


def restore(parts: Mapping[str, Any], state: Mapping[str, Tensor]) -> bool:
    """Restore the result of `state_of`, on whatever device the parts are.

    Returns:
        whether the random numbers go on where they stopped. CPU and GPU have different generators: those of `parts`
        stay as they are if the state is of the other kind.

    Raises:
        KeyError, RuntimeError: the state does not match `parts`.
    """
    goes_on = True
    for name, part in parts.items():
        tensors = {key.removeprefix(f"{name}/"): value for key, value in state.items() if key.startswith(f"{name}/")}
        if isinstance(part, torch.Generator):
            if tensors["random"].shape == part.get_state().shape:
                part.set_state(tensors["random"])
            else:
                goes_on = False
        elif isinstance(part, torch.optim.Optimizer):
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                parameter, moment = key.split(".")
                moments.setdefault(int(parameter), {})[moment] = value
            part.load_state_dict({"state": moments, "param_groups": part.state_dict()["param_groups"]})
        else:
            part.load_state_dict(tensors)
    torch.set_rng_state(state["torch/random"])
    return goes_on


def first_not_finite(values: Mapping[str, Any]) -> str | None:
    """The name of the first of `values` (numbers or tensors) that contains NaN or Inf."""
    return next((name for name, value in values.items() if not torch.as_tensor(value).isfinite().all()), None)


def save(folder: RunFolder, iteration: int, state: Mapping[str, Tensor], log: bytes) -> None:
    """Add a checkpoint to the run and drop all but the last `KEEP`."""
    arrays = {name: tensor.numpy() for name, tensor in state.items()} | {LOG: np.frombuffer(log, np.uint8)}
    name = f"{FOLDER}/{iteration:06d}.safetensors"
    outdated = [other for other in checkpoints(folder) if other != name][: 1 - KEEP]
    folder.write(name, seal(arrays, {"schema": SCHEMA, "iteration": str(iteration)}), outdated)
    _remove_unlisted(folder)


def checkpoints(folder: RunFolder) -> list[str]:
    """The names of the run's checkpoints, oldest first."""
    return sorted(name for name in folder.manifest.files if name.startswith(FOLDER))


def load_newest(folder: RunFolder, warn: Callable[[str], None]) -> tuple[int, dict[str, Tensor], bytes] | None:
    """Iteration, state and log of the newest intact checkpoint, or None if none has been saved yet.

    Args:
        warn: called with a message for each damaged checkpoint.

    Raises:
        InvalidRun: all checkpoints are damaged.
    """
    _remove_unlisted(folder)
    names = checkpoints(folder)
    for name in reversed(names):
        path = folder.path / name
        try:
            folder.verify(name)
            arrays, metadata = unseal(path, SCHEMA)
        except (UnreadableFile, OSError) as error:
            warn(f"{path}: {error}; using the previous checkpoint")
            continue
        log = arrays.pop(LOG).tobytes()
        return int(metadata["iteration"]), {key: torch.from_numpy(array) for key, array in arrays.items()}, log
    if names:
        raise InvalidRun(f"{folder.path / FOLDER}: all checkpoints are damaged; train the run again")
    return None


def _remove_unlisted(folder: RunFolder) -> None:
    """Remove outdated checkpoints, and leftovers of a process that was killed while saving one."""
    listed = checkpoints(folder)
    for file in (folder.path / FOLDER).glob("*"):
        if f"{FOLDER}/{file.name}" not in listed:
            file.unlink()


def _tensors(part: Any) -> dict[str, Tensor]:
    if isinstance(part, torch.Generator):
        return {"random": part.get_state()}
    if isinstance(part, torch.optim.Optimizer):
        states = part.state_dict()["state"]
        return {
            f"{parameter}.{moment}": value for parameter, moments in states.items() for moment, value in moments.items()
        }
    return part.state_dict()
