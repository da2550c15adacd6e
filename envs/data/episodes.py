"""Episodes of any Gymnasium environment as a judge sees them, and the file that holds them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from infogail.envs.data.demonstrations import Demonstrations, rows_of
from infogail.envs.data.recording import InvalidDemonstrations, join_sources, labels_of, source_problem
from infogail.envs.environment import EarlyEnd
from infogail.envs.files import UnreadableFile, seal, unseal, versions, write_atomically
from infogail.envs.interface import Interface

SCHEMA = "infogail-episodes-2"
COLUMNS = ("observations", "actions", "rewards", "terminated", "seeds", "styles")


@dataclass(frozen=True)
class Episodes:
    """N decisions of E episodes, concatenated, with what only a judge may see: rewards, and styles where known."""

    interface: Interface
    observations: np.ndarray
    """(N + E, F) as the environment gave them, flattened: before each decision, and after the last of each episode"""
    actions: np.ndarray
    """(N, …) as the environment took them"""
    episode_bounds: np.ndarray
    """(E + 1,) int64: episode e has the decisions from `episode_bounds[e]` up to `episode_bounds[e + 1]`."""
    rewards: np.ndarray
    """(N,) float64"""
    terminated: np.ndarray
    """(E,) bool: the episode ended early, not by its time limit"""
    seeds: np.ndarray
    """(E,) int64: of the reset, -1 if unknown"""
    styles: np.ndarray
    """(E,) int64: -1 if unknown"""
    source: str = ""
    """Who demonstrated, in words; empty if unknown."""

    @property
    def environment(self) -> str:
        """Gymnasium's id."""
        return self.interface.name

    task = environment
    divisible: ClassVar[bool] = True
    """Whether episodes can be taken out or added."""
    rate: ClassVar[float] = 1.0
    """Decisions per second; an environment does not say."""
    style_names: ClassVar[list[str]] = []
    """Names of the styles, by number; an environment has none."""

    @property
    def judged_styles(self) -> np.ndarray:
        """`styles`: nothing else judges them."""
        return self.styles

    @cached_property
    def demonstrations(self) -> Demonstrations:
        """What a learner may see."""
        before = np.delete(self.observations, self.observation_bounds[1:] - 1, axis=0).astype(np.float32)
        actions = self.interface.encode(self.actions)
        return Demonstrations(self.interface.spec, before, actions, self.episode_bounds)

    @property
    def observation_bounds(self) -> np.ndarray:
        """(E + 1,) int64: as `episode_bounds`, of `observations`."""
        return self.episode_bounds + np.arange(len(self.episode_bounds))

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.seeds)

    @property
    def num_training(self) -> int:
        """All of them, for judging takes new resets."""
        return self.num_episodes

    @property
    def returns(self) -> np.ndarray:
        """(E,): the sum of each episode's rewards."""
        return np.add.reduceat(self.rewards, self.episode_bounds[:-1])

    @property
    def early_end(self) -> EarlyEnd:
        """What a termination seems to mean: success if most episodes end by one, failure if none does, else neither.

        Those in the last decision before the time limit cut nothing off and do not count.
        """
        share = (self.terminated & (np.diff(self.episode_bounds) < self.interface.spec.horizon)).mean()
        return "success" if share > 0.5 else "failure" if share == 0 else "neither"

    def episodes(self, index: np.ndarray | slice) -> Episodes:
        """Only the episodes in `index`, in that order."""
        chosen = np.arange(self.num_episodes)[index]
        rows = rows_of(self.episode_bounds, chosen)
        return Episodes(
            self.interface,
            self.observations[rows_of(self.observation_bounds, chosen)],
            self.actions[rows],
            np.concatenate([[0], np.cumsum(np.diff(self.episode_bounds)[chosen])]),
            self.rewards[rows],
            self.terminated[chosen],
            self.seeds[chosen],
            self.styles[chosen],
            self.source,
        )

    def with_labels(self, share: float) -> Demonstrations:
        """The demonstrations, with this share of the episodes of known style labelled; see `Recording.with_labels`."""
        return replace(self.demonstrations, labels=labels_of(self.styles, share))

    def interpreted(self, early_end: EarlyEnd | None) -> Episodes:
        """The same episodes, with this meaning of a termination; None: what the environment says, else `early_end`."""
        meant = self.interface.spec.early_end if self.interface.declared else self.early_end
        return replace(self, interface=self.interface.interpreted(early_end or meant))

    @classmethod
    def join(cls, parts: list[Episodes]) -> Episodes:
        """All episodes of `parts`, which are of one environment, in that order."""
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
        lengths = np.concatenate([np.diff(part.episode_bounds) for part in parts])
        bounds, source = np.concatenate([[0], np.cumsum(lengths)]), join_sources([part.source for part in parts])
        return cls(parts[0].interface, episode_bounds=bounds, source=source, **joined)

    def save(self, path: Path) -> None:
        """Write the file at `path` atomically."""
        arrays = {name: getattr(self, name) for name in ("episode_bounds", *COLUMNS)}
        metadata = {"schema": SCHEMA, "environment": self.environment, "versions": json.dumps(versions())}
        metadata |= {"source": self.source}
        write_atomically(path, seal(arrays, metadata))

    @classmethod
    def load(cls, path: Path, interface: Interface) -> Episodes:
        """Load the file at `path`, which must be of the environment with this interface.

        Raises:
            InvalidDemonstrations: one line that names the file, the field, its value and the remedy.
        """
        environment = interface.name
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
        if problem := problem_of(arrays, interface) or source_problem(metadata):
            raise InvalidDemonstrations(f"{path}: {problem}; {remedy}")
        return cls(interface, **arrays, source=metadata.get("source", ""))


def environment_of(path: Path) -> str:
    """The id of the environment that the file at `path` names.

    Raises:
        InvalidDemonstrations: it is not a file of episodes.
    """
    try:
        _, metadata = unseal(path, SCHEMA)
    except (UnreadableFile, OSError) as error:
        remedy = "give a file that 'infogail record ENVIRONMENT --policy …' wrote"
        raise InvalidDemonstrations(f"{path}: {error}; {remedy}") from error
    return metadata["environment"]


def problem_of(arrays: dict[str, np.ndarray], interface: Interface) -> str | None:
    """What is wrong with the content of a file, or None."""
    bounds = arrays.get("episode_bounds")
    if bounds is None or bounds.dtype != np.int64 or bounds.ndim != 1 or len(bounds) < 2 or bounds[0] != 0:
        return "'episode_bounds' is not int64 (E + 1,) from 0 on"
    if (np.diff(bounds) < 1).any():
        return "'episode_bounds' has an empty or overlapping episode"
    if (longest := int(np.diff(bounds).max())) > (horizon := interface.spec.horizon):
        return f"an episode has {longest} decisions, more than the time limit of {horizon}"
    rows, episodes = int(bounds[-1]), len(bounds) - 1
    expected = {
        "observations": (interface.dtype, (rows + episodes, interface.spec.observation_size)),
        "actions": (interface.action_space.dtype, (rows, *(interface.action_space.shape or ()))),
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
    if not (allowed := interface.allowed(arrays["actions"])).all():
        return f"the action of decision {allowed.argmin()} is outside {interface.action_space}"
    return None
