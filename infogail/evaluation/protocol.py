"""`infogail evaluate`: drive in highway-env itself, not in the batched twin, and compute metrics."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.data.recording import Recording, num_training_episodes
from infogail.envs.errors import BadInput
from infogail.envs.files import versions, write_atomically
from infogail.envs.physics.state import VehicleState
from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE, Scenario
from infogail.envs.scenarios.styles import NO_STYLE, StyleJudge
from infogail.evaluation import metrics
from infogail.evaluation.codes import read_code, read_step_codes
from infogail.evaluation.episodes import Episode, Perturbation, demonstrated_episodes, drive_episode, side_by_side
from infogail.evaluation.judges import JUDGES
from infogail.learning.rollout import style_nmi
from infogail.runs.driver import Driver, load
from infogail.runs.folder import DEMONSTRATIONS, InvalidRun

EVALUATION = 0xE7A1  # keeps evaluation seeds distinct from those of recording and training
EPISODES_PER_TASK = 10  # small enough for load balancing and visible progress
HALVINGS = 5  # random splits of a style's demonstrations into halves, over which its floor is averaged
MIN_FLOOR = 1e-4  # of an MMD; smaller values are noise
UNPERTURBED = Perturbation()
JUDGED = (
    *("style_nmi", "style_ami", "style_ari", "style_accuracy", "style_accuracy_merged", "style_accuracy_named"),
    *("style_rank_correlation", "occupancy_mmd_worst_code"),
)
"""What takes a style for each episode that was driven."""
TRAINING_KEYS = ("env_steps", "train_seconds", "env_steps_to_styles", "seconds_to_styles")


def evaluate(
    run: Path,
    episodes: int = 200,
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
    peers: Mapping[str, Any] | None = None,
    perturbation: Perturbation = UNPERTURBED,
    others: Path | None = None,
    elsewhere: bool = False,
) -> dict[str, Any]:
    """Evaluate one run in highway-env and write its `metrics.json`; see `evaluate_many`."""
    return evaluate_many([run], episodes, seed, processes, progress, peers, perturbation, others, elsewhere)[0]


def evaluate_many(
    runs: Sequence[Path],
    episodes: int = 200,
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
    peers: Mapping[str, Any] | None = None,
    perturbation: Perturbation = UNPERTURBED,
    others: Path | None = None,
    elsewhere: bool = False,
) -> list[dict[str, Any]]:
    """Evaluate each of `runs` on the same new initial scenes, every code equally often, and write its `metrics.json`.

    A run that learned from recorded people is evaluated on held-out ones; see `evaluation.judges`.

    Args:
        runs: run folders, of any scenarios and learners; they share one pool of processes.
        episodes: per run; for recorded people, the maximum number of windows.
        seed: for the initial scenes. Results do not depend on `processes` or on the other runs.
        processes: number of parallel processes; all cores by default. 1 means this process.
        progress: called with the number of further episodes done, of `len(runs) * episodes`.
        peers: for recorded people, the result of `PeopleJudge.judge_peers`, if already known.
        perturbation: not for recorded people. The file is then `metrics-noise-X-spread-Y.json`.
        others: for people who follow, a file with other people to judge by; `metrics-on-NAME.json` is written then.
        elsewhere: for people who follow, also drive in highway-v0 and among IDM cars; see `evaluation.transfer`.

    Returns:
        the content of the files: plain numbers, None where a metric is undefined.

    Raises:
        ValueError: `episodes` is less than 1.
        BadInput: a run of recorded people is to be perturbed, `others` is given for a run of another kind, or some of
            these people were learned from.
        InvalidRun: a folder is not a run.
        InvalidDemonstrations: a run's copy of its demonstrations is damaged.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, not {episodes}")
    runs = [Path(run) for run in runs]
    drivers = [load(run) for run in runs]  # all first, to reject a bad folder before driving
    recordings = [
        Recording.load(run / DEMONSTRATIONS, driver.scenario) for run, driver in zip(runs, drivers, strict=True)
    ]
    costs = [training_cost(run) for run in runs]
    people = [driver.scenario.recorded for driver in drivers]
    if perturbation != UNPERTURBED and any(people):
        raise BadInput(
            f"{runs[people.index(True)]}: starts of recorded people cannot be perturbed; leave the flags out"
        )
    following: dict[str, Any] = {"others": others} if others is not None else {}
    following |= {"elsewhere": True} if elsewhere else {}
    for run, driver in zip(runs, drivers, strict=True):
        world = driver.scenario.world_type
        if following and (world is None or not JUDGES[world].is_of_followers):
            flag = "--transfer" if others is None else f"--demonstrations {others}"
            raise BadInput(f"{flag}: {run} is of {driver.scenario.name}, not of follow; leave it out")
    simulated = [run for run, recorded in zip(runs, people, strict=True) if not recorded]
    judges = [recording.scenario.fit_judge(recording) for recording in recordings if not recording.scenario.recorded]
    driven = iter(drive(load, simulated, episodes, seed, processes, progress, judges, perturbation))
    results, on = [], "" if others is None else f"-on-{others.stem}"
    for run, driver, recording, cost in zip(runs, drivers, recordings, costs, strict=True):
        if (world := driver.scenario.world_type) is not None:
            judge_people = JUDGES[world].judge
            judgement = judge_people(driver, run, recording, episodes, seed, processes, progress, peers, **following)
        else:
            seen = next(driven)
            judgement = {
                **judge(driver, seen, demonstrated_episodes(recording)),
                "code_names": code_names(driver, seen),
            }
        result = (
            {"scenario": driver.scenario.name, "algorithm": driver.algorithm, "num_codes": driver.num_codes}
            | {"training_seed": driver.seed, "seed": seed, "episodes": episodes}
            | judgement
            | cost
            | ({} if perturbation == UNPERTURBED else {"perturbation": asdict(perturbation)})
            | ({} if others is None else {"demonstrations": str(others)})
            | {"versions": versions()}
        )
        write_atomically(
            run / f"metrics{perturbation.name}{on}.json",
            (json.dumps(result, indent=2, allow_nan=False) + "\n").encode(),
        )
        results.append(result)
    return results


def training_cost(run: Path) -> dict[str, Any]:
    """What training cost: the entries `TRAINING_KEYS` of its `training.json`."""
    path = run / "training.json"
    try:
        spent = json.loads(path.read_text())
        return {key: spent[key] for key in TRAINING_KEYS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRun(f"{path}: not written by training ({error!r}); train it again") from error


def drive(
    load_driver: Callable[[Path], Driver],
    runs: Sequence[Path],
    episodes: int,
    seed: int,
    processes: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
    judges: Sequence[StyleJudge | None] | None = None,
    perturbation: Perturbation = UNPERTURBED,
) -> list[list[Episode]]:
    """Drive `episodes` episodes for each run, episode e with code e modulo `num_codes`; see `evaluate_many`.

    `load_driver` loads a driver from a run folder and must be picklable. `judges` holds the style judge of each run;
    see `drive_episode`.
    """
    seeds = np.random.SeedSequence([seed, EVALUATION]).generate_state(episodes).tolist()
    numbered = list(enumerate(seeds))
    parts = [numbered[first : first + EPISODES_PER_TASK] for first in range(0, episodes, EPISODES_PER_TASK)]
    tasks = [
        (run, judge, part) for run, judge in zip(runs, judges or [None] * len(runs), strict=True) for part in parts
    ]
    driven = side_by_side(partial(_drive_numbered, load_driver, perturbation), tasks, processes, progress)
    return [driven[k * episodes : (k + 1) * episodes] for k in range(len(runs))]


def _drive_numbered(
    load_driver: Callable[[Path], Driver],
    perturbation: Perturbation,
    run: Path,
    judge: StyleJudge | None,
    numbered: list[tuple[int, int]],
) -> list[Episode]:
    """Episodes with these numbers and seeds."""
    driver = load_driver(run)
    env = DrivingEnv(perturbation.widened(driver.scenario))
    return [
        drive_episode(driver, env, number % driver.num_codes, seed, judge=judge, perturbation=perturbation)
        for number, seed in numbered
    ]


def judge(driver: Driver, driven: Sequence[Episode], demonstrated: Sequence[Episode]) -> dict[str, float | None]:
    """All metrics of how `driver` drove, except the training cost; None where a metric is undefined.

    The posterior is evaluated on the held-out demonstrations, everything else on all demonstrations. Metrics that
    depend on the mix of styles use the largest subset of episodes whose codes follow the driver's prior.
    """
    scenario = driver.scenario
    codes = np.array([episode.code for episode in driven])
    styles, demonstrated_styles = (np.array([e.style for e in episodes]) for episodes in (driven, demonstrated))
    held_out = demonstrated[num_training_episodes(len(demonstrated)) :]
    policy, expert = ([quantities(scenario, e) for e in episodes] for episodes in (driven, demonstrated))
    mixed = metrics.as_common_as(driver.prior, codes)
    distance, demonstrated_distance = (np.array([q.pop("distance") for q in each]) for each in (policy, expert))
    result = {
        "style_nmi": style_nmi(codes, styles),
        "style_ami": metrics.style_ami(codes, styles),
        "style_ari": metrics.style_ari(codes, styles),
        "style_accuracy": metrics.style_accuracy(codes, styles),
        "style_accuracy_merged": metrics.merged_accuracy(codes, styles),
        "style_accuracy_named": float((codes == styles).mean()) if driver.labelled else None,
        "style_rank_correlation": _rank_correlation(scenario, driven) if driver.graded else None,
        "style_coverage": metrics.style_coverage(styles, demonstrated_styles),
        "style_kl": metrics.style_kl(styles[mixed], demonstrated_styles, len(scenario.styles)),
        **_posterior_accuracies(driver, held_out),
        "success_rate": metrics.success_rate(styles),
        "collision_rate": float(np.mean([episode.crashed for episode in driven])),
        "off_road_rate": float(np.mean([episode.off_road for episode in driven])),
        "hard_brake_rate": metrics.hard_brake_rate([q["acceleration"] for q in policy]),
        "distance_ratio": metrics.distance_ratio(distance, demonstrated_distance),
    }
    for name in expert[0]:
        sample = np.concatenate([q[name] for q, counts in zip(policy, mixed, strict=True) if counts])
        result[f"wasserstein_{name}"] = metrics.wasserstein(sample, np.concatenate([q[name] for q in expert]))
    chosen = [episode for episode, counts in zip(driven, mixed, strict=True) if counts]
    result["occupancy_mmd"] = metrics.occupancy_mmd(_pairs(chosen), _pairs(demonstrated))
    if len(demonstrated) > 1:
        result["occupancy_mmd_floor"] = metrics.occupancy_mmd(_pairs(demonstrated[::2]), _pairs(demonstrated[1::2]))
    else:
        result["occupancy_mmd_floor"] = None
    result["occupancy_mmd_worst_code"] = None if driver.graded else _worst_code(driver, driven, demonstrated)
    if scenario.measures and (demonstrated_styles == NO_STYLE).all():  # no labelled demonstration to compare with
        result |= dict.fromkeys(JUDGED) | {"success_rate": float(np.mean([not episode.failed for episode in driven]))}
    return {key: value if value is not None and math.isfinite(value) else None for key, value in result.items()}


def code_names(driver: Driver, driven: Sequence[Episode]) -> list[str | None]:
    """(K,): the style that each code realises, by which people may call it; None where that is not clear.

    It is found after training, from how the codes drive; no learner sees it. Of a graded code, the two ends have names.
    """
    if driver.num_distinct == 1:
        return [None] * driver.num_codes
    codes, styles = (np.array([getattr(episode, name) for episode in driven]) for name in ("code", "style"))
    if driver.graded:
        ends = (codes == 0) | (codes == driver.num_codes - 1)
        codes, styles = codes[ends], styles[ends]
    found = metrics.styles_of_codes(codes, styles, driver.num_codes)
    return [None if style == NO_STYLE else driver.scenario.styles[style].name for style in found]


def _rank_correlation(scenario: Scenario, driven: Sequence[Episode]) -> float | None:
    values = np.array([float(scenario.style_value(e.vehicle_states, e.scene)) for e in driven])
    return metrics.rank_correlation(np.array([e.code for e in driven]), values, np.array([e.style for e in driven]))


def _worst_code(driver: Driver, driven: Sequence[Episode], demonstrated: Sequence[Episode]) -> float | None:
    """Maximum over codes of the MMD of its episodes from demonstrations of its commonest style, ÷ the style's floor.

    Codes that share a style are pooled in proportion to their priors: with more codes than styles, each drives part of
    its style. A code that always fails has no style, and is compared with all demonstrations. The floor is the mean MMD
    between random halves of the style's demonstrations. None if a style has too few demonstrations to split.
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
        for _ in range(HALVINGS):
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
    """None for a learner without a posterior, or if no held-out demonstration has a known style."""
    held_out = [episode for episode in held_out if episode.style != NO_STYLE]
    codes = [read_code(driver, episode.observations, episode.actions) for episode in held_out]
    if not codes or None in codes:
        return dict.fromkeys(("posterior_accuracy", "posterior_ami", "posterior_accuracy_step"))
    observations, actions = (np.concatenate([getattr(e, n) for e in held_out]) for n in ("observations", "actions"))
    step_codes = read_step_codes(driver, observations, actions)
    assert step_codes is not None
    read, styles = np.array(codes), np.array([episode.style for episode in held_out])
    lengths = np.array([len(episode.actions) for episode in held_out])
    return {
        "posterior_accuracy": metrics.posterior_accuracy(read, styles),
        "posterior_ami": metrics.style_ami(read, styles),
        "posterior_accuracy_step": metrics.posterior_accuracy_step(step_codes, lengths, styles),
    }


def quantities(scenario: Scenario, episode: Episode) -> dict[str, Any]:
    """Measurements of an episode: `distance` driven along the road [m], and the others at each decision (T,).

    Acceleration and steering are the commanded ones, which highway-env executes unless the car has crashed.
    """
    states, scene = episode.vehicle_states, episode.scene
    distances, offsets = scenario.placement(VehicleState(*np.moveaxis(states, -1, 0)), scene)  # (T + 1, V) each
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
    """(N, F + 2) float64: the observation and action of every step."""
    return np.concatenate([np.concatenate((e.observations, e.actions), axis=1, dtype=np.float64) for e in episodes])
