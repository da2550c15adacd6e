"""How human-like a driver is: it takes over after the first second of each held-out window of recorded traffic.

In highway-env the ego repeats the person's first `BURN_IN` decisions; from these the posterior infers a code, with
which the policy drives the remaining 5 s, while the other cars are replayed. Without a posterior the code is 0. A car
that crashes or leaves the road stays where it stopped until the end: it counts as an error at every horizon and is
never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from infogail.envs.catalogue import get_scenario, is_environment
from infogail.envs.data.recording import Recording
from infogail.envs.data.world import NOTHING_HELD_OUT
from infogail.envs.physics.state import Scene
from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.recorded_road import RecordedState
from infogail.envs.scenarios.replay import BURN_IN, Replay
from infogail.envs.scenarios.scenario import EPISODE_STEPS, Scenario
from infogail.envs.scenarios.styles import NO_STYLE
from infogail.evaluation import metrics
from infogail.evaluation.codes import read_code
from infogail.evaluation.episodes import Act, Episode, run_episode, side_by_side
from infogail.evaluation.meaning import meaning
from infogail.evaluation.peers import ConstantVelocity, IntelligentDriver
from infogail.runs.driver import Driver
from infogail.runs.folder import DEMONSTRATIONS, Manifest

HORIZONS = {f"{second}s": 10 * second for second in range(1, 6)}  # decisions from the burn-in on
WINDOWS_PER_TASK = 8  # per task of one process
SAMPLED = ("speed", "acceleration", "jerk", "headway", "time_to_collision")
DRIVEN = ("headway", "speed")  # quantities whose mean is reported for each code
PERSON, CONSTANT_VELOCITY, IDM_MOBIL = "person", "constant_velocity", "idm_mobil"
PEERS = {PERSON: "person", CONSTANT_VELOCITY: "constant velocity", IDM_MOBIL: "IDM/MOBIL"}

TABLES: dict[str, dict[str, str]] = {
    "distance from the person, RMS [m]": {
        **{f"position_rmse_{horizon}": f"{horizon[0]} s" for horizon in HORIZONS},
        "position_rmse_best_5s": "5 s, best code",
    },
    "speed difference, RMS [m/s], and failure rates": {
        **{f"speed_rmse_{horizon}": f"{horizon[0]} s" for horizon in ("1s", "5s")},
        "collision_rate": "collisions",
        "off_road_rate": "off road",
        "hard_brake_rate": "hard brakes",
    },
    "Wasserstein distance from people": {
        f"wasserstein_{name}": f"{name.replace('_', ' ')}\n{unit}"
        for name, unit in zip(SAMPLED, ("m/s", "m/s²", "m/s³", "s", "s"), strict=True)
    },
}
"""The measures in the tables of `infogail evaluate`: by title, columns by key."""


class Pilot(Protocol):
    """A driver that replaces a recorded one."""

    num_codes: int
    """Every code is driven."""

    def choose_code(self, observations: np.ndarray, actions: np.ndarray) -> int:
        """Choose the code from the person's burn-in: observations (n, F), actions (n, 2)."""

    def start(self, code: int, scenario: Any, scene: Scene) -> Act:
        """Start driving a window of the recorded `scenario` with `code`; returns what chooses the actions."""


class Trained:
    """A trained driver as a pilot."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.num_codes = driver.num_distinct

    def choose_code(self, observations: np.ndarray, actions: np.ndarray) -> int:
        return read_code(self.driver, observations, actions) or 0

    def start(self, code: int, scenario: Scenario, scene: Scene) -> Act:
        return lambda obs, states: self.driver.act(obs, self.driver.codes[code])


class Person:
    """The recorded drivers themselves: replays the actions recovered from their trajectories in highway-env."""

    num_codes = 1

    def __init__(self, recording: Recording) -> None:
        self.actions = recording.demonstrations.actions
        self.bounds = recording.demonstrations.episode_bounds

    def choose_code(self, observations: np.ndarray, actions: np.ndarray) -> int:
        return 0

    def start(self, code: int, scenario: Replay, scene: Scene) -> Act:
        first = self.bounds[int(scene["demonstration"])]
        remaining = iter(self.actions[first + BURN_IN : first + EPISODE_STEPS])
        return lambda obs, states: next(remaining)


class DriveRecord(NamedTuple):
    """Measurements of one drive through a window, over H = 50 decisions after the burn-in."""

    positions: np.ndarray
    """(H, 2) [m] after each decision"""
    speeds: np.ndarray
    """(H,) [m/s] after each decision"""
    samples: dict[str, np.ndarray]
    """By the names in `SAMPLED`, until the drive ended: [m/s], [m/s²], [m/s³], [s], [s]"""
    crashed: bool
    off_road: bool

    @classmethod
    def of(
        cls, scenario: Replay, states: np.ndarray, scene: Scene, crashed: bool = False, off_road: bool = False
    ) -> DriveRecord:
        """Measure states (T + 1, V, 8), T at most `EPISODE_STEPS`."""
        steps = np.minimum(np.arange(BURN_IN + 1, EPISODE_STEPS + 1), len(states) - 1)
        stands = np.arange(BURN_IN + 1, EPISODE_STEPS + 1) >= len(states)
        driven = states[BURN_IN:]
        dt = 1 / scenario.policy_frequency
        acceleration = np.diff(driven[:, 0, 3]) / dt
        samples = {"speed": driven[1:, 0, 3], "acceleration": acceleration, "jerk": np.diff(acceleration) / dt}
        if len(driven) > 1:
            ego, others = RecordedState.of(driven[:, :1]), RecordedState.of(driven[:, 1:])
            samples["headway"] = scenario.road.headway(driven[1:], scene)
            samples["time_to_collision"] = metrics.time_to_collision(
                others.s - ego.s - (ego.length + others.length) / 2,
                others.d - ego.d,
                (ego.width[:-1] + others.width[:-1]) / 2,
                dt,
            )
        else:
            samples |= {"headway": np.empty(0), "time_to_collision": np.empty(0)}
        return cls(states[steps, 0, :2], np.where(stands, 0.0, states[steps, 0, 3]), samples, crashed, off_road)


@dataclass(frozen=True)
class Judged:
    """The drives through one window."""

    recorded: DriveRecord
    """The person's"""
    driven: list[DriveRecord]
    """The pilot's, one for each code"""
    code: int
    """The code that the pilot chose"""
    driver: int
    """Index of the recorded car"""


def held_out(recording: Recording, most: int, seed: int = 0) -> np.ndarray:
    """Indices of the held-out windows, or of a random sample of `most` of them, drawn with `seed`."""
    windows = np.arange(recording.num_training, recording.demonstrations.num_episodes)
    if len(windows) <= most:
        return windows
    return np.sort(np.random.default_rng(seed).choice(windows, most, replace=False))


def lacks_held_out(run: Path) -> bool:
    """Whether a run learned from people and no windows are held out for evaluation."""
    name = Manifest.load(run).scenario
    if is_environment(name):
        return False
    scenario = get_scenario(name)
    return scenario.recorded and not len(held_out(Recording.load(run / DEMONSTRATIONS, scenario), 1))


def drive_window(env: DrivingEnv, recording: Recording, window: int, pilot: Pilot, code: int | None = None) -> Episode:
    """Drive one window in highway-env: the person's burn-in, then `pilot` with `code`, or with the code it chooses.

    Args:
        env: for the scenario of this recording.
    """
    demonstrations = recording.demonstrations
    scenario, seen = env.scenario, list[np.ndarray]()
    given = demonstrations.actions[demonstrations.episode_bounds[window] :][: scenario.burn_in]
    take_over: Act | None = None

    def act(obs: np.ndarray, states: np.ndarray) -> np.ndarray:
        nonlocal code, take_over
        if len(seen) < scenario.burn_in:
            seen.append(obs)
            action = given[len(seen) - 1]
        else:
            if take_over is None:
                code = pilot.choose_code(np.stack(seen), given) if code is None else code
                take_over = pilot.start(code, scenario, env.scene)
            action = take_over(obs, states)
        return np.asarray(action, np.float32)

    episode = run_episode(env, act, scene=recording.scene(window))
    return replace(episode, code=code or 0, style=NO_STYLE if episode.failed else 0)


def judge_window(env: DrivingEnv, recording: Recording, window: int, pilot: Pilot) -> Judged:
    """Measure how the person drove through a window, and how the pilot does with each of its codes."""
    scenario, world = cast(Replay, env.scenario), recording.world
    assert world is not None
    chosen = drive_window(env, recording, window, pilot)
    episodes = [
        chosen if code == chosen.code else drive_window(env, recording, window, pilot, code)
        for code in range(pilot.num_codes)
    ]
    driven = [DriveRecord.of(scenario, e.vehicle_states, e.scene, e.crashed, e.off_road) for e in episodes]
    recorded = DriveRecord.of(scenario, scenario.road.recorded_states(window), chosen.scene)
    return Judged(recorded, driven, chosen.code, int(world.track[window]))


def drive_windows(
    file: Path,
    windows: Sequence[int],
    pilots: Sequence[Pilot],
    processes: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[list[Judged]]:
    """Measure how each of `pilots` drives these windows of the recording in `file`.

    Args:
        processes: number of parallel processes; all cores by default. 1 means this process.
        progress: called with the number of further windows driven by a pilot.
    """
    parts = [list(windows[k : k + WINDOWS_PER_TASK]) for k in range(0, len(windows), WINDOWS_PER_TASK)]
    judged = side_by_side(_judge_windows, [(file, part, p) for p in pilots for part in parts], processes, progress)
    return [judged[k * len(windows) : (k + 1) * len(windows)] for k in range(len(pilots))]


def _judge_windows(file: Path, windows: Sequence[int], pilot: Pilot) -> list[Judged]:
    recording = Recording.load(file, Replay())
    env = DrivingEnv(recording.scenario)
    return [judge_window(env, recording, window, pilot) for window in windows]


def realism(judged: Sequence[Judged]) -> dict[str, float | None]:
    """All metrics of how a pilot drove these windows; None where a metric is undefined."""
    if not judged:
        return {}
    chosen = [one.driven[one.code] for one in judged]
    result: dict[str, float | None] = {}
    for what, error in (("position", _distances), ("speed", _differences)):
        errors = np.array([[error(driven, one.recorded) for driven in one.driven] for one in judged])  # (E, K, H)
        errors_of_chosen = errors[np.arange(len(judged)), [one.code for one in judged]]
        for horizon, step in HORIZONS.items():
            result[f"{what}_rmse_{horizon}"] = metrics.root_mean_square(errors_of_chosen[:, step - 1])
            result[f"{what}_rmse_best_{horizon}"] = metrics.root_mean_square(errors[:, :, step - 1].min(1))
    result["collision_rate"] = float(np.mean([one.crashed for one in chosen]))
    result["off_road_rate"] = float(np.mean([one.off_road for one in chosen]))
    result["hard_brake_rate"] = metrics.hard_brake_rate([one.samples["acceleration"] for one in chosen])
    recorded = [one.recorded for one in judged]
    drivers = np.array([one.driver for one in judged])
    for name in SAMPLED:
        result[f"wasserstein_{name}"] = metrics.wasserstein(_sample(chosen, name), _sample(recorded, name))
        result[f"wasserstein_{name}_floor"] = metrics.distance_between_people(
            [one.samples[name] for one in recorded], drivers
        )
    for code in range(len(judged[0].driven) if len(judged[0].driven) > 1 else 0):
        for name in DRIVEN:
            sample = _sample([one.driven[code] for one in judged], name)
            result[f"code_{code}_driven_{name}"] = float(sample.mean()) if len(sample) else None
    return {key: float(value) if value is not None and np.isfinite(value) else None for key, value in result.items()}


def _distances(driven: DriveRecord, recorded: DriveRecord) -> np.ndarray:
    return np.linalg.norm(driven.positions - recorded.positions, axis=1)


def _differences(driven: DriveRecord, recorded: DriveRecord) -> np.ndarray:
    return np.abs(driven.speeds - recorded.speeds)


def _sample(records: Sequence[DriveRecord], name: str) -> np.ndarray:
    return np.concatenate([record.samples[name] for record in records]) if len(records) else np.empty(0)


def judge_replay(
    driver: Driver,
    run: Path,
    recording: Recording,
    episodes: int,
    seed: int,
    processes: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
    peers: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluate `driver` on the held-out windows, what its codes mean, and how its peers compare.

    If no windows are held out, only what its codes mean, and a `note` that explains why.

    Args:
        episodes: maximum number of held-out windows; usually all are used.
        peers: the peers' metrics, if already known; see `judge_peers`.
    """
    windows = held_out(recording, episodes, seed).tolist()
    if not windows:
        progress(episodes)
        return {"windows": 0, "note": NOTHING_HELD_OUT} | meaning(driver, recording) | {"peers": {}}
    (judged,) = drive_windows(Path(run) / DEMONSTRATIONS, windows, [Trained(driver)], processes, progress)
    progress(episodes - len(windows))
    if peers is None:
        peers = judge_peers(Path(run) / DEMONSTRATIONS, recording, episodes, seed, processes)
    rates = ("collision_rate", "off_road_rate", "hard_brake_rate")
    return (
        {"windows": len(windows)}
        | realism(judged)
        | {f"person_{rate}": peers[PERSON][rate] for rate in rates}
        | meaning(driver, recording)
        | {"peers": dict(peers)}
    )


def judge_peers(
    file: Path, recording: Recording, episodes: int, seed: int, processes: int | None = None
) -> dict[str, dict[str, Any]]:
    """The same metrics for the people themselves and for non-learning drivers, on the windows of `judge_replay`.

    Empty if no windows are held out.
    """
    windows = held_out(recording, episodes, seed).tolist()
    if not windows:
        return {}
    model = IntelligentDriver.fitted(recording)
    pilots: dict[str, Pilot] = {PERSON: Person(recording), CONSTANT_VELOCITY: ConstantVelocity(), IDM_MOBIL: model}
    judged = drive_windows(file, windows, list(pilots.values()), processes)
    results: dict[str, dict[str, Any]] = {n: dict(realism(j)) for n, j in zip(pilots, judged, strict=True)}
    results[IDM_MOBIL] |= model.parameters._asdict()
    return results
