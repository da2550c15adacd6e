"""Recordings as a judge sees them, and the file that holds them.

One safetensors file holds demonstrations and what only a judge may know: the style labels, the vehicles' states and the
scenes. A learner gets only `Recording.demonstrations`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from infogail.envs.data.demonstrations import Demonstrations, concatenate, rows_of
from infogail.envs.data.world import World
from infogail.envs.environment import NO_STYLE
from infogail.envs.errors import BadInput
from infogail.envs.files import UnreadableFile, seal, unseal, versions, write_atomically
from infogail.envs.physics.state import Scene

if TYPE_CHECKING:
    from infogail.envs.scenarios.scenario import Scenario

SCHEMA = "infogail-demonstrations-2"
MAX_SOURCE = 200  # characters


class InvalidDemonstrations(BadInput):
    """A demonstrations file is missing, malformed, or of another scenario; names the file, the field and the remedy."""


@dataclass(frozen=True)
class Recording:
    """Demonstrations with what only a judge may see: where all vehicles were, and the style assigned to each driver."""

    scenario: Scenario
    demonstrations: Demonstrations
    vehicle_states: np.ndarray
    """(N + E, V, 4) float64: before each decision, and after the last of each episode."""
    scenes: Scene
    """(E,) or (E, size) float64 each"""
    styles: np.ndarray
    """(E,) int64, indices into the scenario's `styles`; `NO_STYLE` where nobody labelled the episode"""
    world: World | None = None
    """Road and traffic around the demonstrations, if the drivers were people."""
    source: str = ""
    """Who demonstrated, in words; empty if unknown."""

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        observations: Sequence[np.ndarray],
        actions: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        scenes: Sequence[Scene],
        styles: Sequence[int],
        source: str = "",
    ) -> Recording:
        """From one entry per episode, of T decisions each.

        Args:
            observations, actions: (T, F) and (T, 2) float32.
            states: (T + 1, V, 4) float64.
        """
        bounds = np.cumsum([0] + [len(episode) for episode in actions])
        demonstrations = Demonstrations(scenario.spec, np.concatenate(observations), np.concatenate(actions), bounds)
        named = {name: np.array([scene[name] for scene in scenes]) for name in scenario.draws}
        return cls(scenario, demonstrations, np.concatenate(states), named, np.array(styles), source=source)

    @classmethod
    def join(cls, parts: Sequence[Recording]) -> Recording:
        """All episodes of `parts`, in that order.

        Raises:
            ValueError: they are of different scenarios, or in recorded traffic, of which each has its own.
        """
        first = parts[0]
        if any(part.world is not None or part.scenario.name != first.scenario.name for part in parts):
            raise ValueError("join needs recordings of one scenario, and none in recorded traffic")
        return cls(
            first.scenario,
            concatenate([part.demonstrations for part in parts]),
            np.concatenate([part.vehicle_states for part in parts]),
            {name: np.concatenate([part.scenes[name] for part in parts]) for name in first.scenes},
            np.concatenate([part.styles for part in parts]),
            source=join_sources([part.source for part in parts]),
        )

    @property
    def task(self) -> str:
        """The scenario's name."""
        return self.scenario.name

    @property
    def rate(self) -> float:
        """Decisions per second."""
        return self.scenario.policy_frequency

    @property
    def style_names(self) -> list[str]:
        """Names of the styles, by number."""
        return [str(style) for style in self.scenario.styles]

    @property
    def divisible(self) -> bool:
        """Whether episodes can be taken out or added: in recorded traffic, they share a world."""
        return self.world is None

    @property
    def num_training(self) -> int:
        """Number of episodes for training, from the first on; the others are held out for judging."""
        total = self.demonstrations.num_episodes
        return num_training_episodes(total) if self.world is None else int(self.world.num_training[0])

    def trajectory(self, episode: int) -> np.ndarray:
        """States (T + 1, V, 4) of one episode."""
        first, last = self.demonstrations.episode_bounds[episode : episode + 2] + (episode, episode + 1)
        return self.vehicle_states[first:last]

    def scene(self, episode: int) -> Scene:
        return {name: values[episode] for name, values in self.scenes.items()}

    def episodes(self, index: np.ndarray | slice) -> Recording:
        """Only the episodes in `index`, in that order."""
        chosen = np.arange(self.demonstrations.num_episodes)[index]
        bounds = self.demonstrations.episode_bounds + np.arange(len(self.demonstrations.episode_bounds))
        return Recording(
            self.scenario,
            self.demonstrations.episodes(index),
            self.vehicle_states[rows_of(bounds, chosen)],
            {name: values[chosen] for name, values in self.scenes.items()},
            self.styles[chosen],
            self.world,
            self.source,
        )

    @property
    def judged_styles(self) -> np.ndarray:
        """(E,) int64: `styles`, those of unlabelled episodes judged by geometry, where geometry suffices."""
        if self.scenario.measures or self.world is not None:
            return self.styles
        judged = self.styles.copy()
        for episode in np.flatnonzero(self.styles == NO_STYLE).tolist():
            judged[episode] = self.scenario.style(self.trajectory(episode), self.scene(episode))
        return judged

    @property
    def judgeable(self) -> bool:
        """Whether styles can be told at all: by geometry, or by comparison with demonstrations that are labelled."""
        if self.scenario.recorded:
            return False
        return not self.scenario.measures or bool((self.styles != NO_STYLE).any())

    def with_labels(self, share: float) -> Demonstrations:
        """The demonstrations, with this share of the episodes labelled by style, equally many of each style.

        The first episodes of each style are labelled, at least one of each that occurs, unless `share` is 0.
        """
        return replace(self.demonstrations, labels=labels_of(self.styles, share))

    @classmethod
    def load(cls, path: Path, scenario: Scenario) -> Recording:
        """Load the file at `path`, which must be of `scenario`.

        Raises:
            InvalidDemonstrations: see `validate`.
        """
        arrays, metadata = _read(Path(path), scenario)
        kind = scenario.world_type
        world = None if kind is None else kind.from_arrays(_named(arrays, "world."), metadata["files"])
        observations, actions, bounds = (arrays[key] for key in ("observations", "actions", "episode_bounds"))
        demonstrations = Demonstrations(scenario.spec, observations, actions, bounds)
        states, styles = arrays["vehicle_states"], arrays["styles"]
        source = metadata.get("source", "")
        recording = cls(scenario, demonstrations, states, _named(arrays, "scene."), styles, world, source)
        return replace(recording, scenario=scenario.with_recording(recording))

    def save(self, path: Path) -> None:
        """Write the file at `path` atomically."""
        demonstrations, scenario = self.demonstrations, self.scenario
        arrays = {
            "observations": demonstrations.observations,
            "actions": demonstrations.actions,
            "episode_bounds": demonstrations.episode_bounds,
            "vehicle_states": self.vehicle_states,
            "styles": self.styles,
        } | {f"scene.{name}": values for name, values in self.scenes.items()}
        metadata = {
            "schema": SCHEMA,
            "scenario": scenario.name,
            "features": json.dumps(scenario.features),
            "decisions_per_second": str(scenario.policy_frequency),
            "versions": json.dumps(versions()),
            "source": self.source,
        }
        if self.world is not None:
            arrays |= {f"world.{name}": values for name, values in self.world.arrays().items()}
            metadata["files"] = json.dumps(self.world.files)
        validate(arrays, metadata, str(path), scenario)
        write_atomically(path, seal(arrays, metadata))


def join_sources(sources: Sequence[str]) -> str:
    """Each of the sources once, in words."""
    distinct = dict.fromkeys(name for source in sources for name in source.split(", ") if name)
    return ", ".join(distinct)[:MAX_SOURCE]


def source_problem(metadata: Mapping[str, str]) -> str | None:
    """What is wrong with the source that a file names, or None."""
    source = metadata.get("source", "")
    if isinstance(source, str) and len(source) <= MAX_SOURCE and source.isprintable():
        return None
    return f"source is not a line of at most {MAX_SOURCE} characters"


def labels_of(styles: np.ndarray, share: float) -> dict[int, int]:
    """The labels that `Recording.with_labels` gives episodes with `styles` (E,), of which -1 is unknown."""
    by_style = [np.flatnonzero(styles == style) for style in np.unique(styles[styles >= 0])]
    count = max(1, round(share * len(styles) / len(by_style))) if share and by_style else 0
    return {int(e): int(styles[e]) for episodes in by_style for e in episodes[:count]}


def num_training_episodes(total: int) -> int:
    """Number of the `total` episodes that are for training, from the first on; the others are held out for judging."""
    return max(1, total * 4 // 5)


def validate(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str], source: str, scenario: Scenario) -> None:
    """Check everything that a learner or a judge of `scenario` relies on.

    Raises:
        InvalidDemonstrations: one line that names `source`, the field, its value and the remedy.
    """

    def require(condition: bool | np.bool_, problem: str) -> None:
        if not condition:
            raise InvalidDemonstrations(f"{source}: {problem}; {_remedy(scenario)}")

    if (name := metadata.get("scenario")) != scenario.name:
        remedy = f"give a file of {scenario.name}"
        raise InvalidDemonstrations(f"{source}: recorded in {name}, not in {scenario.name}; {remedy}")
    require(
        metadata.get("features") == json.dumps(scenario.features),
        f"features are {metadata.get('features')}, but {name} has {json.dumps(scenario.features)}",
    )
    rate = metadata.get("decisions_per_second")
    require(rate == str(scenario.policy_frequency), f"decisions_per_second is {rate}, not {scenario.policy_frequency}")
    scenes = tuple(f"scene.{draw}" for draw in scenario.draws)
    world = scenario.world_type
    worlds = () if world is None else tuple(f"world.{part}" for part in world.names())
    expected = ("observations", "actions", "episode_bounds", "vehicle_states", "styles", *scenes, *worlds)
    for key in expected:
        require(key in arrays, f"'{key}' is missing")
    for key in arrays:
        require(key in expected, f"'{key}' is unknown")
    bounds = arrays["episode_bounds"]
    require(bounds.dtype == np.int64 and bounds.ndim == 1, f"episode_bounds is {_kind(bounds)}, not int64 (E + 1,)")
    require(len(bounds) > 1 and bounds[0] == 0, "episode_bounds does not begin at 0 or holds no episode")
    require((np.diff(bounds) > 0).all(), "episode_bounds has an empty or overlapping episode")
    rows, episodes = int(bounds[-1]), len(bounds) - 1
    shapes = {
        "observations": (np.float32, (rows, len(scenario.features))),
        "actions": (np.float32, (rows, scenario.spec.action_size)),
        # In recorded traffic, the others' states are in the world.
        "vehicle_states": (np.float64, (rows + episodes, 1 if scenario.recorded else scenario.num_vehicles, 4)),
        "styles": (np.int64, (episodes,)),
    } | {f"scene.{name}": (np.float64, (episodes, *draw.shape)) for name, draw in scenario.draws.items()}
    for key, (dtype, shape) in shapes.items():
        array = arrays[key]
        require(
            array.dtype == dtype and array.shape == shape, f"'{key}' is {_kind(array)}, not {np.dtype(dtype)} {shape}"
        )
        require(np.isfinite(array).all(), f"'{key}' holds NaN or Inf")
    require((np.abs(arrays["actions"]) <= 1).all(), "'actions' are outside [-1, 1]")
    styles = arrays["styles"]
    require(
        ((styles >= NO_STYLE) & (styles < len(scenario.styles))).all(),
        f"'styles' are outside {NO_STYLE} to {len(scenario.styles) - 1}",
    )
    require((wrong_source := source_problem(metadata)) is None, str(wrong_source))
    if world is not None:
        wrong = world.problem(_named(arrays, "world."), metadata.get("files"), episodes, scenario.horizon)
        require(wrong is None, f"its world: {wrong}")


def _named(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def _read(path: Path, scenario: Scenario) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    if path.is_dir():
        raise InvalidDemonstrations(f"{path}: is a folder; give a file from 'infogail record'")
    if not path.is_file():
        command = f"{'import FILES' if scenario.recorded else f'record {scenario.name}'} --out {shlex.quote(str(path))}"
        raise InvalidDemonstrations(f"{path}: no such file; make it with 'infogail {command}'")
    try:
        arrays, metadata = unseal(path, SCHEMA)
    except (UnreadableFile, OSError) as error:
        raise InvalidDemonstrations(f"{path}: {error}; {_remedy(scenario)}") from error
    validate(arrays, metadata, str(path), scenario)
    return arrays, metadata


def _remedy(scenario: Scenario) -> str:
    make = "import" if scenario.recorded else "record"
    return f"{make} it again with 'infogail {make}'"


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"
