"""How human-like a driver follows: it drives in the place of people it never saw, behind their leaders.

Each person's track has two halves. From the first, the posterior infers a code; with it, the policy drives windows of
20 s of the second, in highway-env. Without a posterior the code is 0. A car that crashes stays where it stopped until
the end, and counts at every horizon. Only likelihoods, which take many rollouts, are of the twin, whose motion is
highway-env's to 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.data.recording import Recording
from infogail.envs.data.world import NOTHING_HELD_OUT, FollowedLeaders
from infogail.envs.errors import BadInput
from infogail.envs.recordings.same_drivers import fingerprints
from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.following import JUDGED_STEPS, WINDOW, Follow, headway
from infogail.envs.twin import DrivingVectorEnv
from infogail.evaluation import metrics
from infogail.evaluation.codes import read_code
from infogail.evaluation.episodes import Act, run_episode, side_by_side
from infogail.evaluation.following_peers import ConstantSpeed, Person, cut_out, fitted, windows
from infogail.evaluation.meaning import agreement, mutual_information, permutation_test, terciles
from infogail.evaluation.realism import realism
from infogail.evaluation.responses import responses
from infogail.evaluation.transfer import transfer
from infogail.runs.driver import Driver
from infogail.runs.folder import DEMONSTRATIONS

STEP = 1 / Follow.policy_frequency  # [s]
HORIZONS = {"5s": 50, "10s": 100, "20s": WINDOW}  # decisions
ROLLOUTS = 32
WINDOWS_PER_TASK = 10  # per task of one process
SAMPLED = ("headway", "speed", "acceleration")
PERSON = "person"
PEERS = {
    PERSON: "person",
    "constant_speed": "constant speed",
    "pooled_idm": "one IDM",
    "own_idm": "own IDM",
    "k_idm": "K IDMs",
}
TABLES: dict[str, dict[str, str]] = {
    "distance from the person, RMS [m]": {
        **{f"position_rmse_{horizon}": horizon.replace("s", " s") for horizon in HORIZONS},
        "position_rmse": "over 20 s",
        "best_of_k_position_rmse_20s": "20 s, best code",
        "gap_median_error_20s": "20 s, median",
    },
    "speed difference after 20 s, RMS [m/s], failure rates and realism": {
        "speed_rmse_20s": "speed",
        "collision_rate": "collisions",
        "hard_brake_rate": "hard brakes",
        "realism": "realism",
    },
    "Wasserstein distance from people": {
        f"wasserstein_{name}": f"{name}\n{unit}" for name, unit in zip(SAMPLED, ("s", "m/s", "m/s²"), strict=True)
    },
}
"""As `people.TABLES`."""


class Pilot(Protocol):
    """A driver that takes a recorded one's place."""

    def start(self, driver: int, row: int, code: int) -> Act:
        """Begin a window of recorded driver number `driver`, at this row of the world, with `code`; returns what
        chooses the actions."""


class Trained(NamedTuple):
    """A trained driver as a pilot."""

    driver: Driver

    def start(self, driver: int, row: int, code: int) -> Act:
        return lambda obs, states: self.driver.act(obs, self.driver.codes[code])


class Drives(NamedTuple):
    """n drives of H decisions behind the same leaders as people."""

    x: np.ndarray
    """(n, H + 1) [m]"""
    speed: np.ndarray
    """(n, H + 1) [m/s]; 0 once it has crashed"""
    steps: np.ndarray
    """(n,) decisions until it ended"""
    crashed: np.ndarray
    """(n,) bool"""

    @classmethod
    def of(cls, states: Sequence[np.ndarray], crashed: Sequence[bool]) -> Drives:
        """Of the states (T + 1, 2, 7) of each drive, T at most `WINDOW`."""
        steps = np.array([len(each) - 1 for each in states])
        padded = np.stack([np.pad(each[:, 0], ((0, WINDOW + 1 - len(each)), (0, 0)), "edge") for each in states])
        after = np.arange(WINDOW + 1) > steps[:, None]
        return cls(padded[..., 0], np.where(after, 0.0, padded[..., 3]), steps, np.array(crashed))

    def driving(self) -> np.ndarray:
        """(n, H + 1) bool: the steps until it ended."""
        return np.arange(self.x.shape[1]) <= self.steps[:, None]


class Scenes(NamedTuple):
    """What is driven: windows of people, as a world of their own."""

    world: FollowedLeaders
    """Its demonstrations are the windows."""
    people: np.ndarray
    """(P,): drivers that are judged, by number"""

    @classmethod
    def of(cls, world: FollowedLeaders, people: np.ndarray) -> Scenes:
        chosen = windows(world, people, (0.5, 1.0), WINDOW)
        apart = [bool((world.gaps(k, slice(row, row + WINDOW + 1)) > 0).all()) for k, row in chosen.tolist()]
        track, row = chosen[apart].T
        cut = replace(world, track=track, demonstration_row=row, num_training=np.array([len(row)]))
        return cls(cut, np.unique(track))

    @property
    def driver(self) -> np.ndarray:
        """(n,): whose window it is"""
        return self.world.track

    def gap(self, x: np.ndarray) -> np.ndarray:
        """(n, H + 1) [m] from bumper to bumper, at positions x (n, H + 1)."""
        rows = self.world.demonstration_row[:, None] + np.arange(x.shape[1])
        return self.world.leader[rows, 0] - x - self.world.lengths[self.driver].mean(1)[:, None]

    def recorded(self) -> Drives:
        """The people's own drives."""
        rows = self.world.demonstration_row[:, None] + np.arange(WINDOW + 1)
        none, number = np.zeros(len(rows), bool), len(rows)
        return Drives(self.world.follower[rows, 0], self.world.follower[rows, 1], np.full(number, WINDOW), none)

    def samples(self, drives: Drives) -> dict[str, list[np.ndarray]]:
        """The `SAMPLED` quantities of each drive, until it ended: [s], [m/s], [m/s²]."""
        until = drives.driving()
        quantities = {
            "headway": headway(self.gap(drives.x), drives.speed)[:, 1:],
            "speed": drives.speed[:, 1:],
            "acceleration": np.diff(drives.speed) / STEP,
        }
        return {name: [row[now] for row, now in zip(x, until[:, 1:], strict=True)] for name, x in quantities.items()}


def judge_following(
    driver: Driver,
    run: Path,
    recording: Recording,
    episodes: int,
    seed: int,
    processes: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
    peers: Mapping[str, Any] | None = None,
    others: Path | None = None,
    elsewhere: bool = False,
) -> dict[str, Any]:
    """Judge `driver` by the people in held-out files, or by all in the file `others`.

    Args:
        episodes: only for `progress`: all windows are driven.
        seed: for the rollouts with the policy's noise.
        peers: the peers' metrics, if already known; see `judge_peers`.
        elsewhere: also drive in highway-v0 and among IDM cars; see `evaluation.transfer`.

    Raises:
        BadInput: some of `others` were learned from.
    """
    scenes = people_to_judge(recording, others)
    there = transfer(driver, run, seed) if elsewhere else {}
    if scenes is None:
        progress(episodes)
        return {"windows": 0, "note": NOTHING_HELD_OUT} | responses(driver) | there | {"peers": {}}
    if peers is None:
        peers = judge_peers(run / DEMONSTRATIONS, recording, episodes, seed, processes, others, driver.num_codes)
    first, second = (_codes(driver, scenes, half) for half in (0, 1))
    tasks = [(Trained(driver), code) for code in range(driver.num_distinct)]
    driven = _drive(scenes, tasks, processes, _shares(progress, episodes, len(tasks) * len(scenes.driver)))
    code = np.array([first[np.flatnonzero(scenes.people == person)[0]] for person in scenes.driver])
    chosen = _choose(driven, code)
    result: dict[str, Any] = {"windows": len(scenes.driver), "people": len(scenes.people)}
    result |= closeness(scenes, chosen, driven) | floors(scenes)
    result["realism"] = likelihood(scenes, _rollouts(driver, scenes, code, seed))
    result |= _recognition(driver, scenes, first, second) | _effects(driver, scenes, driven) | responses(driver)
    result |= there
    result |= {f"{name}_{key}": value for name, numbers in peers.items() for key, value in numbers.items()}
    return {key: _plain(value) for key, value in result.items()} | {"peers": dict(peers)}


def judge_peers(
    file: Path,
    recording: Recording,
    episodes: int,
    seed: int,
    processes: int | None = None,
    others: Path | None = None,
    kinds: int | None = None,
) -> dict[str, dict[str, Any]]:
    """The same metrics for the people themselves and for non-learning drivers, on the windows of `judge_following`.

    Args:
        kinds: of IDM; by default, the scenario's recommended number of codes. Empty if nobody is held out.
    """
    scenes = people_to_judge(recording, others)
    if scenes is None:
        return {}
    world = _world(recording)
    models = fitted(world, learned_from(world), scenes.world, scenes.people, kinds or Follow().recommended["num_codes"])
    pilots: dict[str, Pilot] = {PERSON: Person.of(scenes.world, WINDOW), "constant_speed": ConstantSpeed(), **models}
    driven = _drive(scenes, [(pilot, 0) for pilot in pilots.values()], processes)
    results = {}
    for name, drives in zip(pilots, driven, strict=True):
        repeated = Drives(*(np.repeat(field[None], ROLLOUTS, axis=0) for field in drives))
        results[name] = closeness(scenes, drives) | {"realism": likelihood(scenes, repeated)}
    return {name: {key: _plain(value) for key, value in result.items()} for name, result in results.items()}


def people_to_judge(recording: Recording, others: Path | None = None) -> Scenes | None:
    """The held-out people who are recorded for long enough, or all in the file `others`; None if there are none.

    Raises:
        BadInput: some of `others` were learned from, or none is recorded for long enough.
    """
    world = _world(recording)
    if others is None:
        chosen = np.unique(world.track[int(world.num_training[0]) :])
    else:
        learned, world = learned_from(world), _world(Recording.load(others, Follow()))
        known = set[bytes]().union(*(_prints(_world(recording), driver) for driver in learned.tolist()))
        chosen = np.arange(len(world.lengths))
        if again := sum(bool(_prints(world, driver) & known) for driver in chosen.tolist()):
            raise BadInput(f"{others}: {again} of its {len(chosen)} people were learned from; give a file of others")
    chosen = chosen[np.diff(world.first_row)[chosen] > JUDGED_STEPS]
    scenes = Scenes.of(world, chosen)
    if len(scenes.people):
        return scenes
    if others is None:
        return None
    raise BadInput(f"{others}: nobody follows one leader for {JUDGED_STEPS * STEP:.0f} s; give longer recordings")


def learned_from(world: FollowedLeaders) -> np.ndarray:
    """Drivers, by number, of the training demonstrations."""
    return np.unique(world.track[: int(world.num_training[0])])


def closeness(scenes: Scenes, drives: Drives, of_codes: Sequence[Drives] = ()) -> dict[str, float | None]:
    """How near the people `drives` are, and with the best of each window's drives in `of_codes`."""
    person, result = scenes.recorded(), dict[str, float | None]()
    off = np.abs(drives.x - person.x)
    every = [("", off[None])]
    if of_codes:
        every.append(("best_of_k_", np.array([np.abs(each.x - person.x) for each in of_codes])))
    for prefix, errors in every:  # (K, n, H + 1)
        result[f"{prefix}position_rmse"] = float(np.sqrt((errors[..., 1:] ** 2).mean(-1).min(0).mean()))
        for horizon, step in HORIZONS.items():
            result[f"{prefix}position_rmse_{horizon}"] = metrics.root_mean_square(errors[..., step].min(0))
        result[f"{prefix}gap_median_error_20s"] = float(np.median(errors[..., WINDOW].min(0)))
    result["speed_rmse_20s"] = metrics.root_mean_square(drives.speed[:, WINDOW] - person.speed[:, WINDOW])
    if of_codes:
        faster = np.min([np.abs(each.speed - person.speed)[:, WINDOW] for each in of_codes], axis=0)
        result["best_of_k_speed_rmse_20s"] = metrics.root_mean_square(faster)
    result["collision_rate"] = float(drives.crashed.mean())
    ours, theirs = scenes.samples(drives), scenes.samples(person)
    result["hard_brake_rate"] = metrics.hard_brake_rate(ours["acceleration"])
    for name in SAMPLED:
        result[f"wasserstein_{name}"] = metrics.wasserstein(np.concatenate(ours[name]), np.concatenate(theirs[name]))
    return result


def floors(scenes: Scenes) -> dict[str, float | None]:
    """How far people are from other people, in the quantities of `closeness`."""
    samples = scenes.samples(scenes.recorded())
    return {
        f"wasserstein_{name}_floor": metrics.distance_between_people(samples[name], scenes.driver) for name in SAMPLED
    }


def realism_quantities(scenes: Scenes, drives: Drives) -> dict[str, np.ndarray]:
    """What `realism` compares, (n, H) each: [m/s], [m/s²], [m], [s]"""
    gap = scenes.gap(drives.x)
    closing = -np.diff(gap) / STEP
    with np.errstate(divide="ignore", invalid="ignore"):
        time = np.where(closing > 0, np.maximum(gap[:, 1:], 0.0) / closing, np.inf)
    accelerations = np.diff(drives.speed) / STEP
    return {"speed": drives.speed[:, 1:], "acceleration": accelerations, "gap": gap[:, 1:], "time_to_collision": time}


def likelihood(scenes: Scenes, rollouts: Drives) -> float:
    """The `realism` of rollouts, fields (R, n, …)."""
    each = [realism_quantities(scenes, Drives(*(field[r] for field in rollouts))) for r in range(len(rollouts.x))]
    return realism(realism_quantities(scenes, scenes.recorded()), each, rollouts.crashed)


def _rollouts(driver: Driver, scenes: Scenes, codes: np.ndarray, seed: int) -> Drives:
    """`ROLLOUTS` drives of each window in the twin, with the policy's noise: fields (R, n, …)."""
    number, generator = len(codes) * ROLLOUTS, torch.Generator().manual_seed(seed)
    env = DrivingVectorEnv(Follow.of_world(scenes.world, WINDOW), number, dtype="float64", tensors=True)
    scene = {"demonstration": np.tile(np.arange(len(codes)), ROLLOUTS) + 0.5}
    obs, _ = env.reset(options={"scene": scene})
    level = torch.from_numpy(np.tile(codes, ROLLOUTS))
    alive, steps = torch.ones(number, dtype=torch.bool), torch.zeros(number, dtype=torch.int64)
    x, speed = [env.states[:, 0, 0]], [env.states[:, 0, 3]]
    for _ in range(WINDOW):
        with torch.inference_mode():
            action = driver.policy(driver.policy.inputs(obs.float(), level)).sample(generator)
        obs, _, terminated, _, infos = env.step(action)
        states = infos["final_info"]["vehicle_state"][:, 0]
        x.append(torch.where(alive, states[:, 0], x[-1]))
        speed.append(torch.where(alive, states[:, 3], 0.0))
        steps += alive
        alive = alive & ~terminated
    shaped = [torch.stack(column, 1).numpy().reshape(ROLLOUTS, len(codes), -1) for column in (x, speed)]
    return Drives(*shaped, *(each.numpy().reshape(ROLLOUTS, -1) for each in (steps, ~alive)))


def _recognition(
    driver: Driver, scenes: Scenes, first: np.ndarray, second: np.ndarray
) -> dict[str, float | list[float] | None]:
    """Whether people keep their code, and whether codes distinguish headways."""
    if driver.evidence is None:
        names = ("halves_agreement", "halves_agreement_chance", "halves_agreement_p", "headway_ami", "headway_ami_p")
        return dict.fromkeys(names)
    world, headways = scenes.world, []
    for person in scenes.people.tolist():
        rows = slice(*world.first_row[person : person + 2])
        headways.append(float(np.median(headway(world.gaps(person, rows), world.follower[rows, 1]))))
    thirds, whole = terciles(np.array(headways)), _codes(driver, scenes, None)
    chance, p = permutation_test(first, second, agreement)
    return {
        "halves_agreement": agreement(first, second),
        "halves_agreement_chance": chance,
        "halves_agreement_p": p,
        "headway_ami": metrics.style_ami(whole, thirds),
        "headway_ami_p": permutation_test(whole, thirds, mutual_information)[1],
        "code_shares": (np.bincount(whole, minlength=driver.num_codes) / len(whole)).tolist(),
    }


def _effects(driver: Driver, scenes: Scenes, driven: Sequence[Drives]) -> dict[str, float | None]:
    """What each code does in the same scenes."""
    result: dict[str, float | None] = {}
    samples = [scenes.samples(drives) for drives in driven]
    for code, (sample, drives) in enumerate(zip(samples, driven, strict=True)):
        for name in SAMPLED:
            result[f"code_{code}_driven_{name}"] = float(np.concatenate(sample[name]).mean())
        result[f"code_{code}_collision_rate"] = float(drives.crashed.mean())
        result[f"code_{code}_hard_brake_rate"] = metrics.hard_brake_rate(sample["acceleration"])
    means = np.array([[row.mean() for row in sample["headway"]] for sample in samples])  # (K, n)
    result["headway_rank_correlation"] = _rank_correlation(means) if driver.graded and len(driven) > 1 else None
    return result


def _rank_correlation(means: np.ndarray) -> float:
    """Magnitude of Spearman's correlation of code and headway (K, n), of the mean over scenes; ties count as none.

    The learner cannot know which end of the code should be which.
    """
    from scipy.stats import rankdata

    ranks = rankdata(means, axis=0) - (len(means) + 1) / 2
    steps, spread = np.arange(len(means)) - (len(means) - 1) / 2, np.sqrt((ranks**2).sum(0))
    correlations = steps @ ranks / np.maximum(spread * np.sqrt((steps**2).sum()), 1e-12)
    return float(abs(correlations.mean()))


def _codes(driver: Driver, scenes: Scenes, half: int | None) -> np.ndarray:
    """(P,): the code of each person, inferred from a half of his track, or from all of it."""
    read = [read_code(driver, *_seen(scenes.world, person, half)) for person in scenes.people.tolist()]
    return np.array([0 if code is None else code for code in read])


def _seen(world: FollowedLeaders, driver: int, half: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Observations (T, F) and actions (T, 1) of a person in the first (0) or second (1) half of his track, or all."""
    first, last = world.first_row[driver : driver + 2].tolist()
    middle = first + (last - first) // 2
    begin, end = {0: (first, middle), 1: (middle, last - 1), None: (first, last - 1)}[half]
    part = Follow.of_world(cut_out(world, np.array([(driver, begin)]), end - begin), end - begin)
    seen: Demonstrations = part.demonstrations(np.arange(1))
    return seen.observations, seen.actions


def _drive(
    scenes: Scenes,
    pilots: Sequence[tuple[Pilot, int]],
    processes: int | None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Drives]:
    """The drives of each pilot with its code, in highway-env."""
    chosen = np.column_stack((scenes.driver, scenes.world.demonstration_row))
    parts = [chosen[k : k + WINDOWS_PER_TASK] for k in range(0, len(chosen), WINDOWS_PER_TASK)]
    tasks = [(cut_out(scenes.world, part, WINDOW), part, pilot, code) for pilot, code in pilots for part in parts]
    driven = side_by_side(_drive_windows, tasks, processes, progress)
    return [Drives.of(*zip(*driven[k * len(chosen) : (k + 1) * len(chosen)], strict=True)) for k in range(len(pilots))]


def _drive_windows(
    world: FollowedLeaders, chosen: np.ndarray, pilot: Pilot, code: int
) -> list[tuple[np.ndarray, bool]]:
    """States (T + 1, 2, 7) of the drive through each window of a world, cut out at `chosen` (n, 2) of another, and
    whether it crashed."""
    env = DrivingEnv(Follow.of_world(world, WINDOW))
    driven = []
    for window, (driver, row) in enumerate(chosen.tolist()):
        episode = run_episode(env, pilot.start(driver, row, code), scene={"demonstration": np.float64(window)})
        driven.append((episode.vehicle_states, episode.crashed))
    return driven


def _choose(driven: Sequence[Drives], code: np.ndarray) -> Drives:
    """Of each window, the drive with its code (n,)."""
    windows = np.arange(len(code))
    code = code if len(driven) > 1 else np.zeros_like(code)
    return Drives(*(np.stack(fields)[code, windows] for fields in zip(*driven, strict=True)))


def _world(recording: Recording) -> FollowedLeaders:
    assert isinstance(recording.world, FollowedLeaders)
    return recording.world


def _shares(progress: Callable[[int], None], total: int, steps: int) -> Callable[[int], None]:
    """`progress`, called with `total` in all while `steps` are done."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        before, done = done, done + count
        progress(total * done // steps - total * before // steps)

    return advance


def _prints(world: FollowedLeaders, driver: int) -> set[bytes]:
    return fingerprints(world.follower[slice(*world.first_row[driver : driver + 2]), 1])


def _plain(value: Any) -> Any:
    """None for what JSON cannot hold."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
