"""A forecast in a folder, to forecast again: its paths, and in a sealed file the rewards learned from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from infogail.envs.errors import BadInput
from infogail.envs.files import UnreadableFile, seal, unseal, write_atomically
from infogail.forecast.forecasters import MaxEnt
from infogail.forecast.paths import RecordedPaths
from infogail.forecast.walks import make_walks

SCHEMA = "infogail-forecast-1"
MODEL, PATHS = "forecast.safetensors", "paths.safetensors"
REMEDY = "run 'infogail forecast' again"


def save(folder: Path, paths: RecordedPaths, model: MaxEnt, cell: float | None, number: int | None, seed: int) -> None:
    """Write `MODEL` and `PATHS` to `folder`; the last three are what `make_walks` was given.

    Raises:
        OSError: they cannot be written.
    """
    paths.save(folder / PATHS)
    arrays = {"weights": model.learner.weights.numpy(), "goals": model.walks.goals.centres}
    metadata = {"schema": SCHEMA, "settings": json.dumps([cell, number, seed])}
    write_atomically(folder / MODEL, seal(arrays, metadata))


def load(folder: Path) -> tuple[RecordedPaths, MaxEnt]:
    """What was saved in `folder`.

    Raises:
        BadInput: a file is missing or damaged, or they do not belong together.
    """
    arrays, settings = check(folder / MODEL)
    paths = RecordedPaths.load(folder / PATHS)
    walks = make_walks(paths, *settings)
    goals, weights = arrays["goals"], arrays["weights"]
    # Goals are found again; they may differ if the paths do, or the library that clusters them.
    same = goals.shape == walks.goals.centres.shape and np.allclose(goals, walks.goals.centres)
    if not same or len(weights) != walks.graph.features.shape[1]:
        raise BadInput(f"{folder / MODEL}: not learned from {PATHS} beside it; {REMEDY}")
    return paths, MaxEnt(walks, torch.from_numpy(weights))


def check(path: Path) -> tuple[dict[str, np.ndarray], tuple[float | None, int | None, int]]:
    """Arrays and settings in the file `path` of `save`.

    Raises:
        BadInput: it is missing or damaged.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file; {REMEDY}")
    try:
        arrays, metadata = unseal(path, SCHEMA)
        cell, number, seed = json.loads(metadata["settings"])
        for name, kind, axes in (("weights", np.float32, 1), ("goals", np.float64, 2)):
            if arrays[name].dtype != kind or arrays[name].ndim != axes or not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} is not finite, or not {np.dtype(kind)} with {axes} axes")
    except (UnreadableFile, ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{path}: {error}; {REMEDY}") from error
    return arrays, (cell, number, seed)
