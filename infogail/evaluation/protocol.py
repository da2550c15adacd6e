"""`infogail evaluate`: drive in highway-env, which nobody here wrote, and judge what came of it."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.catalogue import environment_id, get_scenario
from infogail.envs.data.demonstrations import Recording, num_training_episodes
from infogail.envs.files import write_atomically
from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE, NO_STYLE, Scenario, Scene
from infogail.evaluation import metrics
from infogail.parallel.workers import workers
from infogail.runs.driver import Driver, InvalidRun, load

EVALUATION = 0xE7A1  # keeps the seeds of judging apart from those of recording and training
EPISODES_PER_TASK = 10  # for one process at a time: short enough for an even load, and for progress to be seen
UNKNOWN_CODE = -1
FLOORS = 5  # ways to halve the demonstrations of a style
MIN_FLOOR = 1e-4  # of an MMD: below it, it is noise
VERSIONED = ("torch", "highway-env", "gymnasium", "numpy")
TRAINING_KEYS = ("env_steps", "train_seconds", "env_steps_to_styles", "seconds_to_styles")


@dataclass(frozen=True)
class Episode:
    """One episode of T decisions in highway-env; T is smaller than usual if it ended in a crash or road exit."""

    code: int
    """Fixed over the episode; `UNKNOWN_CODE` for a demonstration."""
    observations: np.ndarray
    """(T, F) float32, before each decision"""
    actions: np.ndarray
    """(T, 2) float32 in [-1, 1]"""
    vehicle_states: np.ndarray
    """(T + 1, V, 4) float64: before each decision, and after the last"""
    scene: Scene
    crashed: bool
    off_road: bool
    style: int
    """Read from the trajectory by geometry; `NO_STYLE` if it crashed, left the road or did not do the manoeuvre."""


def evaluate(
    run: Path,
    episodes: int = 200,
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
    peers: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Judge one run in highway-env and write its `metrics.json`; see `evaluate_many`."""
    return evaluate_many([run], episodes, seed, processes, progress, peers)[0]


def evaluate_many(
    runs: Sequence[Path],
    episodes: int = 200,
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
    peers: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Judge each of `runs` on the same fresh starts, every code equally often, and write its `metrics.json`.

    A run of the scenario replay is judged on the windows of its recording that were held out; see `evaluation.people`.

    Args:
        runs: run folders, of any scenarios and learners; they share one pool of processes.
        episodes: for each run; of a replay, how many windows at most.
        seed: of the starts. Results depend on it and on nothing else, neither on `processes` nor on the other runs.
        processes: how many drive at a time; all cores by default. One drives in this process.
        progress: told every now and then how many more episodes are done, of `len(runs) * episodes`.
        peers: what `infogail.evaluation.people.judge_peers` says of the recording of all runs, if that is known.

    Returns:
        what the files hold: plain numbers, None where a metric is not defined.

    Raises:
        ValueError: no episodes are asked for.
        InvalidRun: a folder is not a run.
        InvalidDemonstrations: a run's copy of its demonstrations is damaged.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, not {episodes}")
    runs = [Path(run) for run in runs]
    drivers = [load(run) for run in runs]  # all that may be wrong with a folder shows before the first mile
    recordings = [
        Recording.load(run / "demonstrations.safetensors", driver.scenario)
        for run, driver in zip(runs, drivers, strict=True)
    ]
    costs = [_training_cost(run) for run in runs]
    replays = [get_scenario(driver.scenario).recorded for driver in drivers]
    others = [run for run, replay in zip(runs, replays, strict=True) if not replay]
    driven = iter(drive(load, others, episodes, seed, processes, progress) if others else ())
    results = []
    for run, driver, recording, replay, cost in zip(runs, drivers, recordings, replays, costs, strict=True):
        if replay:
            from infogail.evaluation.people import judge_replay

            judgement = judge_replay(driver, run, recording, episodes, seed, processes, progress, peers)
        else:
            judgement = judge(driver, next(driven), demonstrated_episodes(recording))
        result = (
            {"scenario": driver.scenario, "algorithm": driver.algorithm, "num_codes": driver.num_codes}
            | {"training_seed": driver.seed, "seed": seed, "episodes": episodes}
            | judgement
            | cost
            | {"versions": {name: version(name) for name in VERSIONED}}
        )
        write_atomically(run / "metrics.json", (json.dumps(result, indent=2, allow_nan=False) + "\n").encode())
        results.append(result)
    return results


def _training_cost(run: Path) -> dict[str, Any]:
    path = run / "training.json"
    try:
        spent = json.loads(path.read_text())
        return {key: spent[key] for key in TRAINING_KEYS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRun(f"{path}: not what training leaves there ({error!r}); train it anew") from error


def drive_episode(
    driver: Driver, env: DrivingEnv, code: int, seed: int | None = None, scene: Scene | None = None
) -> Episode:
    """Let `driver` drive one episode with code number `code`, from the start that `seed` draws, or from `scene`.

    Args:
        env: highway-env's form of the scenario, `gymnasium.make(environment_id(driver.scenario)).unwrapped`.
    """
    obs, info = env.reset(seed=seed, options=None if scene is None else {"scene": scene})
    observations, actions, states = [], [], [env.vehicle_state]
    terminated = truncated = False
    while not (terminated or truncated):
        action = driver.act(obs, driver.codes[code])
        observations.append(obs)
        actions.append(action)
        obs, _, terminated, truncated, info = env.step(action)
        states.append(env.vehicle_state)
    vehicle_states, start = np.stack(states), env.scene
    style = NO_STYLE if terminated else style_of(env.scenario, driver, vehicle_states, start)
    return Episode(
        code,
        np.stack(observations),
        np.stack(actions),
        vehicle_states,
        start,
        info["crashed"],
        info["off_road"],
        style,
    )


def style_of(scenario: Scenario, driver: Driver, states: np.ndarray, scene: Scene) -> int:
    """The style of a trajectory (T, V, 4) that did not end in a failure."""
    return int(scenario.style(states, scene, driver.characters) if scenario.measures else scenario.style(states, scene))


def drive(
    load_driver: Callable[[Path], Driver],
    runs: Sequence[Path],
    episodes: int,
    seed: int,
    processes: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[list[Episode]]:
    """The drive of `evaluate_many`: for each run `episodes` episodes, number e with code e modulo `num_codes`.

    `load_driver` makes a driver of a run folder; the processes find it by its name.
    """
    seeds = np.random.SeedSequence([seed, EVALUATION]).generate_state(episodes).tolist()
    numbered = list(enumerate(seeds))
    parts = [numbered[first : first + EPISODES_PER_TASK] for first in range(0, episodes, EPISODES_PER_TASK)]
    tasks = [(run, part) for run in runs for part in parts]
    task = partial(_drive_some, load_driver)
    driven: list[Episode] = []
    processes = min(processes or os.cpu_count() or 1, len(tasks))
    with workers(processes) if processes > 1 else nullcontext(map) as mapped:
        for some in mapped(task, *zip(*tasks, strict=True)):
            driven += some
            progress(len(some))
    return [driven[k * episodes : (k + 1) * episodes] for k in range(len(runs))]


def _drive_some(load_driver: Callable[[Path], Driver], run: Path, numbered: list[tuple[int, int]]) -> list[Episode]:
    """Episodes with these numbers and seeds. One torch thread: more would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        driver = load_driver(run)
        env: Any = gymnasium.make(environment_id(driver.scenario)).unwrapped
        return [drive_episode(driver, env, number % driver.num_codes, seed) for number, seed in numbered]
    finally:
        torch.set_num_threads(threads)


def demonstrated_episodes(recording: Recording) -> list[Episode]:
    """The demonstrations as episodes like the driven ones, with the style that each demonstrator was told to drive."""
    demonstrations = recording.demonstrations
    episodes = []
    for e, style in enumerate(recording.styles):
        rows = slice(*demonstrations.episode_bounds[e : e + 2])
        observations, actions = demonstrations.observations[rows], demonstrations.actions[rows]
        states, scene = recording.trajectory(e), recording.scene(e)
        episodes.append(Episode(UNKNOWN_CODE, observations, actions, states, scene, False, False, int(style)))
    return episodes


def judge(driver: Driver, driven: Sequence[Episode], demonstrated: Sequence[Episode]) -> dict[str, float | None]:
    """Every metric of how `driver` drove, but for what training spent; None where one is not defined.

    The posterior is judged on the demonstrations that training has not seen, all else on all of them. What depends on
    the mix of styles is taken of as many episodes as are as common as the driver's prior over codes says.
    """
    scenario = get_scenario(driver.scenario)
    codes = np.array([episode.code for episode in driven])
    styles, demonstrated_styles = (np.array([e.style for e in some]) for some in (driven, demonstrated))
    held_out = demonstrated[num_training_episodes(len(demonstrated)) :]
    ours, theirs = ([_quantities(scenario, e) for e in some] for some in (driven, demonstrated))
    mixed = metrics.as_common_as(driver.prior, codes)
    distance, demonstrated_distance = (np.array([q.pop("distance") for q in some]) for some in (ours, theirs))
    result = {
        "style_nmi": metrics.style_nmi(codes, styles),
        "style_ami": metrics.style_ami(codes, styles),
        "style_ari": metrics.style_ari(codes, styles),
        "style_accuracy": metrics.style_accuracy(codes, styles),
        "style_accuracy_merged": metrics.merged_accuracy(codes, styles),
        "style_accuracy_named": float((codes == styles).mean()) if driver.named else None,
        "style_rank_correlation": _rank_correlation(scenario, driven) if driver.graded else None,
        "style_coverage": metrics.style_coverage(styles, demonstrated_styles),
        "style_kl": metrics.style_kl(styles[mixed], demonstrated_styles, len(scenario.styles)),
        **_posterior_accuracies(driver, held_out),
        "success_rate": metrics.success_rate(styles),
        "collision_rate": float(np.mean([episode.crashed for episode in driven])),
        "off_road_rate": float(np.mean([episode.off_road for episode in driven])),
        "hard_brake_rate": metrics.hard_brake_rate([q["acceleration"] for q in ours]),
        "distance_ratio": metrics.distance_ratio(distance, demonstrated_distance),
    }
    for name in theirs[0]:
        sample = np.concatenate([q[name] for q, counts in zip(ours, mixed, strict=True) if counts])
        result[f"wasserstein_{name}"] = metrics.wasserstein(sample, np.concatenate([q[name] for q in theirs]))
    chosen = [episode for episode, counts in zip(driven, mixed, strict=True) if counts]
    result["occupancy_mmd"] = metrics.occupancy_mmd(_pairs(chosen), _pairs(demonstrated))
    if len(demonstrated) > 1:
        result["occupancy_mmd_floor"] = metrics.occupancy_mmd(_pairs(demonstrated[::2]), _pairs(demonstrated[1::2]))
    else:
        result["occupancy_mmd_floor"] = None
    result["occupancy_mmd_worst_code"] = None if driver.graded else _worst_code(driver, driven, demonstrated)
    return {key: value if value is not None and math.isfinite(value) else None for key, value in result.items()}


def _rank_correlation(scenario: Scenario, driven: Sequence[Episode]) -> float | None:
    values = np.array([float(scenario.style_value(e.vehicle_states, e.scene)) for e in driven])
    return metrics.rank_correlation(np.array([e.code for e in driven]), values, np.array([e.style for e in driven]))


def _worst_code(driver: Driver, driven: Sequence[Episode], demonstrated: Sequence[Episode]) -> float | None:
    """Largest over the codes of: MMD of its episodes from demonstrations of its commonest style ÷ that style's floor.

    Codes that share a style are taken together, each as common as its prior: where there are more codes than styles,
    each drives a part of its style.
    A code that only fails has no style, and is compared with all demonstrations. The floor is the mean over some ways
    to halve the demonstrations of the style. None if a style has too few demonstrations to be halved.
    """
    by_style: dict[int, list[Episode]] = {}
    for code in sorted({episode.code for episode in driven}):
        own = [episode for episode in driven if episode.code == code]
        styles = Counter(episode.style for episode in own if episode.style != NO_STYLE)
        by_style.setdefault(styles.most_common(1)[0][0] if styles else NO_STYLE, []).extend(own)
    rng, ratios = np.random.default_rng(0), []
    for style, own in by_style.items():
        like = [episode for episode in demonstrated if style in (NO_STYLE, episode.style)]
        if len(like) < 4:
            return None
        floors = []
        for _ in range(FLOORS):
            order = rng.permutation(len(like))
            one, other = ([like[k] for k in half] for half in (order[::2], order[1::2]))
            floors.append(metrics.occupancy_mmd(_pairs(one), _pairs(other)) or 0.0)
        codes, prior = np.array([episode.code for episode in own]), np.zeros(driver.num_codes)
        prior[np.unique(codes)] = driver.prior[np.unique(codes)]
        mixed = [e for e, counts in zip(own, metrics.as_common_as(prior, codes), strict=True) if counts]
        distance = metrics.occupancy_mmd(_pairs(mixed), _pairs(like)) or 0.0
        ratios.append(distance / max(float(np.mean(floors)), MIN_FLOOR))
    return max(ratios)


def _posterior_accuracies(driver: Driver, held_out: Sequence[Episode]) -> dict[str, float | None]:
    """A learner without a posterior draws a dummy code for each step: what it scores is chance."""
    if not held_out:
        return dict.fromkeys(("posterior_accuracy", "posterior_ami", "posterior_accuracy_step"))
    observations, actions = (np.concatenate([getattr(e, n) for e in held_out]) for n in ("observations", "actions"))
    log_posterior = driver.log_posterior(observations, actions)
    if log_posterior is None:
        log_posterior = np.log(np.random.default_rng(0).dirichlet(np.ones(driver.num_codes), len(observations)))
    bounds = np.cumsum([0] + [len(episode.actions) for episode in held_out])
    styles = np.array([episode.style for episode in held_out])
    return {
        "posterior_accuracy": metrics.posterior_accuracy(log_posterior, bounds, styles),
        "posterior_ami": metrics.posterior_ami(log_posterior, bounds, styles),
        "posterior_accuracy_step": metrics.posterior_accuracy_step(log_posterior, bounds, styles),
    }


def _quantities(scenario: Scenario, episode: Episode) -> dict[str, Any]:
    """What is measured of an episode: `distance` driven along the road [m], and at each decision (T,) the others.

    Acceleration and steering are those asked for, which highway-env carries out unless the car has crashed.
    """
    states, scene = episode.vehicle_states, episode.scene
    # Seen from vehicle k on, vehicle k is the ego of which a scenario gives distance and lane offset.
    each = [states[:, k:] for k in range(scenario.num_vehicles)]
    distances = np.stack([scenario.distance(some, scene) for some in each], axis=1)
    offsets = np.stack([scenario.lane_offset(some, scene) for some in each], axis=1)
    return {
        "distance": distances[-1, 0] - distances[0, 0],
        "speed": states[:-1, 0, 3],
        "lane_offset": offsets[:-1, 0],
        "acceleration": np.interp(episode.actions[:, 0], (-1, 1), ACCELERATION_RANGE),
        "steering": np.interp(episode.actions[:, 1], (-1, 1), scenario.steering_range),
        "time_to_collision": metrics.time_to_collision(
            distances[:, 1:] - distances[:, :1] - Vehicle.LENGTH,
            offsets[:, 1:] - offsets[:, :1],
            Vehicle.WIDTH,
            1 / scenario.policy_frequency,
        ),
    }


def _pairs(episodes: Sequence[Episode]) -> np.ndarray:
    """(N, F + 2) float64: all steps' observations, each with its action."""
    return np.concatenate([np.concatenate((e.observations, e.actions), axis=1, dtype=np.float64) for e in episodes])
