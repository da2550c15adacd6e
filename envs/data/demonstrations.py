"""Demonstrations: recorded driving, as learners see it, and as judges see it.

One safetensors file holds both. `Demonstrations.load` gives a learner observations, actions and episode bounds, nothing
else; the style label, the vehicles' states and the scenes are reached through `Recording.load`, which is for judging.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from infogail.envs.catalogue import SCENARIO_NAMES, environment_id, get_scenario
from infogail.envs.data.world import ARRAYS, Replays
from infogail.envs.data.world import problem as world_problem
from infogail.envs.errors import BadInput
from infogail.envs.files import UnreadableFile, seal, unseal, write_atomically
from infogail.envs.scenarios.scenario import EPISODE_STEPS, Characters, Scene

SCHEMA = "infogail-demonstrations-2"
VERSIONED = ("highway-env", "gymnasium", "numpy")


class InvalidDemonstrations(BadInput):
    """A demonstrations file is missing, malformed, or of another scenario; says which file, which field, what to do."""


@dataclass(frozen=True)
class Demonstrations:
    """What a learner may see. N decisions of E episodes, one after the other."""

    scenario: str
    observations: np.ndarray
    """(N, F) float32"""
    actions: np.ndarray
    """(N, 2) float32 in [-1, 1]"""
    episode_bounds: np.ndarray
    """(E + 1,) int64: episode e is the rows from `episode_bounds[e]` to `episode_bounds[e + 1]`."""
    labels: Mapping[int, int] = field(default_factory=dict)
    """Styles by episode, of those few whose style is told; none, unless semi-supervision is asked for."""
    characters: Characters | None = None
    """By what other episodes are judged, where geometry alone cannot tell styles apart; learners do not look at it."""
    road: Mapping[str, Any] = field(default_factory=dict)
    """What environments of the scenario are to be made with: for a replay its recording."""

    @property
    def num_episodes(self) -> int:
        return len(self.episode_bounds) - 1

    def episodes(self, index: np.ndarray | slice) -> Demonstrations:
        """Only the episodes in `index`, in that order."""
        chosen = np.arange(self.num_episodes)[index]
        lengths = np.diff(self.episode_bounds)[chosen]
        rows = _rows(self.episode_bounds, chosen)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        return replace(
            self, observations=self.observations[rows], actions=self.actions[rows], episode_bounds=bounds, labels={}
        )

    def pairs(self) -> np.ndarray:
        """(N, F + 2): observations beside actions."""
        return np.concatenate((self.observations, self.actions), -1)

    def padded_observations(self) -> np.ndarray:
        """(E, T, F): one row per episode, the shorter ones filled up by repeating their last observation."""
        return self._padded(self.observations)

    def padded_pairs(self) -> np.ndarray:
        """(E, T, F + 2): the same with `pairs`."""
        return self._padded(self.pairs())

    def _padded(self, rows: np.ndarray) -> np.ndarray:
        lengths = np.diff(self.episode_bounds)
        steps = np.minimum(np.arange(lengths.max()), lengths[:, None] - 1)
        return rows[self.episode_bounds[:-1, None] + steps]

    @classmethod
    def load(cls, path: Path, scenario: str | None = None) -> Demonstrations:
        """The learner's part of the file at `path`; `scenario` is the one it must be of, if given.

        Raises:
            InvalidDemonstrations: see `validate`.
        """
        return Recording.load(path, scenario).demonstrations


@dataclass(frozen=True)
class Recording:
    """What a judge may see besides: where everything was, and the style that each driver was told to drive."""

    demonstrations: Demonstrations
    vehicle_states: np.ndarray
    """(N + E, V, 4) float64: before each decision, and after the last of each episode."""
    scenes: Scene
    """(E,) or (E, size) float64 each"""
    styles: np.ndarray
    """(E,) int64, indices into the scenario's `styles`"""
    world: Replays | None = None
    """What was around, where people were recorded."""

    @property
    def num_training(self) -> int:
        """How many of the episodes, from the first on, are for training; the others are held out for judging."""
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
            self.demonstrations.episodes(index),
            self.vehicle_states[_rows(bounds, chosen)],
            {name: values[chosen] for name, values in self.scenes.items()},
            self.styles[chosen],
            self.world,
        )

    def _judgeable(self) -> Recording:
        """With the characters of its styles, if geometry alone cannot tell styles apart."""
        scenario = get_scenario(self.demonstrations.scenario)
        if not scenario.measures:
            return self
        measures = [scenario.measure(self.trajectory(e)) for e in range(self.demonstrations.num_episodes)]
        characters = Characters.of(np.stack(measures, axis=1), self.styles)
        return replace(self, demonstrations=replace(self.demonstrations, characters=characters))

    def with_labels(self, share: float) -> Demonstrations:
        """The learner's part, told the styles of this share of the episodes, of each style equally many.

        The first ones, and at least one of each style that occurs, unless `share` is 0.
        """
        of_each = [np.flatnonzero(self.styles == style) for style in np.unique(self.styles)]
        count = max(1, round(share * len(self.styles) / len(of_each))) if share else 0
        labels = {int(e): int(self.styles[e]) for episodes in of_each for e in episodes[:count]}
        return replace(self.demonstrations, labels=labels)

    @classmethod
    def load(cls, path: Path, scenario: str | None = None) -> Recording:
        """Everything in the file at `path`.

        Raises:
            InvalidDemonstrations: see `validate`.
        """
        arrays, metadata = _read(path, scenario)
        name = metadata["scenario"]
        world = (
            Replays.from_arrays(_named(arrays, "world."), metadata["files"]) if get_scenario(name).recorded else None
        )
        road = {} if world is None else {"recording": Path(path)}
        observations, actions, bounds = (arrays[key] for key in ("observations", "actions", "episode_bounds"))
        demonstrations = Demonstrations(name, observations, actions, bounds, road=road)
        states, styles = arrays["vehicle_states"], arrays["styles"]
        return cls(demonstrations, states, _named(arrays, "scene."), styles, world)._judgeable()

    def save(self, path: Path) -> None:
        """Write the file at `path`, whole or not at all."""
        demonstrations, scenario = self.demonstrations, get_scenario(self.demonstrations.scenario)
        arrays = {
            "observations": demonstrations.observations,
            "actions": demonstrations.actions,
            "episode_bounds": demonstrations.episode_bounds,
            "vehicle_states": self.vehicle_states,
            "styles": self.styles,
        } | {f"scene.{name}": values for name, values in self.scenes.items()}
        metadata = {
            "schema": SCHEMA,
            "scenario": demonstrations.scenario,
            "features": json.dumps(scenario.features),
            "decisions_per_second": str(scenario.policy_frequency),
            "versions": json.dumps({name: version(name) for name in VERSIONED}),
        }
        if self.world is not None:
            arrays |= {f"world.{name}": values for name, values in self.world.arrays().items()}
            metadata["files"] = json.dumps(self.world.files)
        validate(arrays, metadata, str(path))
        write_atomically(path, seal(arrays, metadata))


def record(
    scenario: str, episodes: int, seed: int, on_episode: Callable[[], None] = lambda: None
) -> tuple[Recording, int]:
    """Let scripted experts drive in highway-env until `episodes` of them did what their style says.

    Returns:
        the recording, and how many more episodes failed (crash, road exit, manoeuvre not done) and were left out.

    Raises:
        BadInput: the scenario is one of recorded people.
    """
    if get_scenario(scenario).recorded:
        raise BadInput(f"record {scenario}: its drivers are people; import recordings of them with 'infogail import'")
    from infogail.envs.recordings.experts import Expert

    env: Any = gymnasium.make(environment_id(scenario)).unwrapped
    definition = get_scenario(scenario)
    rng = np.random.default_rng(seed)
    observations: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    states: list[np.ndarray] = []
    styles: list[int] = []
    scenes: list[Scene] = []
    failed = 0
    while len(styles) < episodes:
        obs, _ = env.reset(seed=int(rng.integers(2**31)))
        kinds, mix = len(definition.styles), definition.style_mix
        style = int(rng.integers(kinds) if mix is None else rng.choice(kinds, p=mix))
        expert = Expert(definition, env.scene, style, rng)
        episode_obs: list[np.ndarray] = []
        episode_actions: list[np.ndarray] = []
        trajectory, terminated = [env.vehicle_state], False
        while not terminated and len(episode_actions) < EPISODE_STEPS:
            action = expert.act(trajectory[-1]).astype(np.float32)
            episode_obs.append(obs)
            episode_actions.append(action)
            obs, _, terminated, _, _ = env.step(action)
            trajectory.append(env.vehicle_state)
        # Where styles are told by what is usual, nobody can say of one episode that it is not of its style.
        done = bool(definition.measures) or definition.style(np.stack(trajectory), env.scene) == style
        if terminated or not done:
            failed += 1
            continue
        observations.append(np.stack(episode_obs))
        actions.append(np.stack(episode_actions))
        states.append(np.stack(trajectory))
        styles.append(style)
        scenes.append(env.scene)
        on_episode()
    env.close()
    bounds = np.cumsum([0] + [len(episode) for episode in actions])
    demonstrations = Demonstrations(scenario, np.concatenate(observations), np.concatenate(actions), bounds)
    named = {name: np.array([scene[name] for scene in scenes]) for name in definition.draws}
    return Recording(demonstrations, np.concatenate(states), named, np.array(styles))._judgeable(), failed


def num_training_episodes(total: int) -> int:
    """How many of `total` episodes, from the first on, are for training; the others are held out for judging."""
    return max(1, total * 4 // 5)


def validate(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str], source: str) -> None:
    """Check everything that a learner or a judge relies on.

    Raises:
        InvalidDemonstrations: one line that names `source`, the field, its value and the remedy.
    """

    def require(condition: bool | np.bool_, problem: str) -> None:
        if not condition:
            raise InvalidDemonstrations(f"{source}: {problem}; record it anew with 'infogail record'")

    name = metadata.get("scenario")
    require(name in SCENARIO_NAMES, f"scenario is {name!r}, none of {', '.join(SCENARIO_NAMES)}")
    scenario = get_scenario(str(name))
    require(
        metadata.get("features") == json.dumps(scenario.features),
        f"features are {metadata.get('features')}, but {name} has {json.dumps(scenario.features)}",
    )
    rate = metadata.get("decisions_per_second")
    require(rate == str(scenario.policy_frequency), f"decisions_per_second is {rate}, not {scenario.policy_frequency}")
    scenes = tuple(f"scene.{draw}" for draw in scenario.draws)
    worlds = tuple(f"world.{part}" for part in ARRAYS) if scenario.recorded else ()
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
        "actions": (np.float32, (rows, 2)),
        "vehicle_states": (np.float64, (rows + episodes, scenario.num_vehicles, 4)),
        "styles": (np.int64, (episodes,)),
    } | {f"scene.{name}": (np.float64, (episodes, *draw.shape)) for name, draw in scenario.draws.items()}
    for key, (dtype, shape) in shapes.items():
        array = arrays[key]
        require(
            array.dtype == dtype and array.shape == shape, f"'{key}' is {_kind(array)}, not {np.dtype(dtype)} {shape}"
        )
        require(np.isfinite(array).all(), f"'{key}' holds NaN or Inf")
    require((np.abs(arrays["actions"]) <= 1).all(), "'actions' leave [-1, 1]")
    styles = arrays["styles"]
    require(((styles >= 0) & (styles < len(scenario.styles))).all(), f"'styles' leave 0 to {len(scenario.styles) - 1}")
    if worlds:
        wrong = world_problem(_named(arrays, "world."), metadata.get("files"), episodes, EPISODE_STEPS)
        require(wrong is None, f"its world: {wrong}")


def _named(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def _read(path: Path, scenario: str | None) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    if Path(path).is_dir():
        raise InvalidDemonstrations(f"{path}: is a folder; give a file from 'infogail record'")
    if not Path(path).is_file():
        recorded = scenario is not None and get_scenario(scenario).recorded
        command = "import FILES" if recorded else f"record {scenario or 'SCENARIO'}"
        raise InvalidDemonstrations(f"{path}: no such file; make it with 'infogail {command} --out {path}'")
    try:
        arrays, metadata = unseal(Path(path), SCHEMA)
    except (UnreadableFile, OSError) as error:
        raise InvalidDemonstrations(f"{path}: {error}; record it anew with 'infogail record'") from error
    validate(arrays, metadata, str(path))
    name = metadata["scenario"]
    if scenario is not None and name != scenario:
        raise InvalidDemonstrations(f"{path}: recorded in {name}, not in {scenario}; give a file of {scenario}")
    return arrays, metadata


def _rows(bounds: np.ndarray, episodes: np.ndarray) -> np.ndarray:
    return np.concatenate([np.arange(bounds[e], bounds[e + 1]) for e in episodes])


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"
