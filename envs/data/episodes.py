"""Episodes of any Gymnasium environment as a judge sees them, and the file that holds them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from infogail.envs.data.demonstrations import Demonstrations, concatenate, rows_of
from infogail.envs.data.recording import InvalidDemonstrations, labels_of, num_training_episodes
from infogail.envs.environment import EarlyEnd, Spec
from infogail.envs.files import UnreadableFile, seal, unseal, versions, write_atomically

SCHEMA = "infogail-episodes-1"


@dataclass(frozen=True)
class Episodes:
    """N decisions of E episodes, concatenated, with what only a judge may see: rewards, and styles where known."""

    environment: str
    """Gymnasium's id"""
    demonstrations: Demonstrations
    rewards: np.ndarray
    """(N,) float64"""
    terminated: np.ndarray
    """(E,) bool: the episode ended early, not by its time limit"""
    seeds: np.ndarray
    """(E,) int64: of the reset, -1 if unknown"""
    styles: np.ndarray
    """(E,) int64: -1 if unknown"""

    @property
    def num_training(self) -> int:
        """Number of episodes for training, from the first on; the others are held out for judging."""
        return num_training_episodes(self.demonstrations.num_episodes)

    @property
    def returns(self) -> np.ndarray:
        """(E,): the sum of each episode's rewards."""
        return np.add.reduceat(self.rewards, self.demonstrations.episode_bounds[:-1])

    @property
    def early_end(self) -> EarlyEnd:
        """What a termination seems to mean: success if most episodes end by one, failure if none does, else neither."""
        share = self.terminated.mean()
        return "success" if share > 0.5 else "failure" if share == 0 else "neither"

    def episodes(self, index: np.ndarray | slice) -> Episodes:
        """Only the episodes in `index`, in that order."""
        chosen = np.arange(self.demonstrations.num_episodes)[index]
        return Episodes(
            self.environment,
            self.demonstrations.episodes(index),
            self.rewards[rows_of(self.demonstrations.episode_bounds, chosen)],
            *(column[chosen] for column in (self.terminated, self.seeds, self.styles)),
        )

    def with_labels(self, share: float) -> Demonstrations:
        """The demonstrations, with this share of the episodes of known style labelled; see `Recording.with_labels`."""
        return replace(self.demonstrations, labels=labels_of(self.styles, share))

    def interpreted(self, early_end: EarlyEnd | None) -> Episodes:
        """The same episodes, with this meaning of a termination; None: see `early_end`."""
        demonstrations = self.demonstrations
        spec = replace(demonstrations.spec, early_end=early_end or self.early_end)
        return replace(self, demonstrations=replace(demonstrations, spec=spec))

    @classmethod
    def join(cls, parts: list[Episodes]) -> Episodes:
        """All episodes of `parts`, which are of one environment, in that order."""
        columns = ("rewards", "terminated", "seeds", "styles")
        joined = [np.concatenate([getattr(part, name) for part in parts]) for name in columns]
        return cls(parts[0].environment, concatenate([part.demonstrations for part in parts]), *joined)

    def save(self, path: Path) -> None:
        """Write the file at `path` atomically."""
        demonstrations = self.demonstrations
        arrays = {name: getattr(demonstrations, name) for name in ("observations", "actions", "episode_bounds")}
        arrays |= {name: getattr(self, name) for name in ("rewards", "terminated", "seeds", "styles")}
        metadata = {"schema": SCHEMA, "environment": self.environment, "versions": json.dumps(versions())}
        write_atomically(path, seal(arrays, metadata))

    @classmethod
    def load(cls, path: Path, environment: str, spec: Spec) -> Episodes:
        """Load the file at `path`, which must be of `environment`, whose interface is `spec`.

        Raises:
            InvalidDemonstrations: one line that names the file, the field, its value and the remedy.
        """
        remedy = f"record it again with 'infogail record {environment}'"
        if not path.is_file():
            command = f"infogail record {environment} --policy …"
            raise InvalidDemonstrations(f"{path}: no such file; make it with '{command}'")
        try:
            arrays, metadata = unseal(path, SCHEMA)
        except (UnreadableFile, OSError) as error:
            raise InvalidDemonstrations(f"{path}: {error}; {remedy}") from error
        if (recorded := metadata.get("environment")) != environment:
            raise InvalidDemonstrations(f"{path}: recorded in {recorded}, not in {environment}; give a file of it")
        problem = _problem(arrays, spec)
        if problem is not None:
            raise InvalidDemonstrations(f"{path}: {problem}; {remedy}")
        observations, actions, bounds = (arrays[key] for key in ("observations", "actions", "episode_bounds"))
        demonstrations = Demonstrations(spec, observations, actions, bounds)
        return cls(environment, demonstrations, *(arrays[key] for key in ("rewards", "terminated", "seeds", "styles")))


def _problem(arrays: dict[str, np.ndarray], spec: Spec) -> str | None:
    """What is wrong with the content of a file, or None."""
    bounds = arrays.get("episode_bounds")
    if bounds is None or bounds.dtype != np.int64 or bounds.ndim != 1 or len(bounds) < 2 or bounds[0] != 0:
        return "'episode_bounds' is not int64 (E + 1,) from 0 on"
    if (np.diff(bounds) < 1).any():
        return "'episode_bounds' has an empty or overlapping episode"
    if (longest := int(np.diff(bounds).max())) > spec.horizon:
        return f"an episode has {longest} decisions, more than the time limit of {spec.horizon}"
    rows, episodes = int(bounds[-1]), len(bounds) - 1
    expected = {
        "observations": (np.float32, (rows, spec.observation_size)),
        "actions": (np.float32, (rows, spec.action_size)),
        "episode_bounds": (np.int64, (episodes + 1,)),
        "rewards": (np.float64, (rows,)),
        "terminated": (np.bool_, (episodes,)),
        "seeds": (np.int64, (episodes,)),
        "styles": (np.int64, (episodes,)),
    }
    for key in expected.keys() | arrays.keys():
        if key not in arrays or key not in expected:
            return f"'{key}' is {'missing' if key in expected else 'unknown'}"
        array, (dtype, shape) = arrays[key], expected[key]
        if array.dtype != dtype or array.shape != shape:
            return f"'{key}' is {array.dtype} {array.shape}, not {np.dtype(dtype)} {shape}"
        if not np.isfinite(array).all():
            return f"'{key}' holds NaN or Inf"
    return None
