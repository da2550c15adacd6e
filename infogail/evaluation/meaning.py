"""What a driver's codes mean: how the people drive for whom the posterior infers each code.

All windows of the recording are used, for training and held out. Windows of one car overlap and are not independent,
so tests use one window per car, and permute the cars.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np

from infogail.envs.data.recording import Recording
from infogail.envs.scenarios.replay import Replay
from infogail.evaluation.codes import read_codes
from infogail.evaluation.metrics import style_ami
from infogail.runs.driver import Driver

PERMUTATIONS = 1000
STEADY = 10  # states in the new lane before a lane change counts


@dataclass(frozen=True)
class Manner:
    """How a person drove through one window of T decisions."""

    headways: np.ndarray
    """(T + 1,) [s], at most `LONGEST_HEADWAY`"""
    relative_speeds: np.ndarray
    """(T + 1,) [m/s] relative to the mean of the cars in its lane within 100 m; NaN if there are none"""
    accelerations: np.ndarray
    """(T,) [m/s²]"""
    jerk: float
    """[m/s³], mean magnitude"""
    left: int
    """Number of lane changes to the left"""
    right: int
    """Number of lane changes to the right"""
    minutes: float

    @property
    def headway(self) -> float:
        return float(self.headways.mean())

    @property
    def relative_speed(self) -> float:
        """[m/s], mean; NaN if the car was always alone."""
        known = self.relative_speeds[~np.isnan(self.relative_speeds)]
        return float(known.mean()) if len(known) else np.nan


def manner(scenario: Replay, demonstration: int) -> Manner:
    """Measure a demonstration, from the recorded states rather than the recovered actions."""
    states, scene = scenario.road.recorded_states(demonstration), {"demonstration": np.float64(demonstration)}
    accelerations = np.diff(states[:, 0, 3]) * scenario.policy_frequency
    jerks = np.diff(accelerations) * scenario.policy_frequency
    return Manner(
        scenario.road.headway(states, scene),
        scenario.road.relative_speed(states, scene),
        accelerations,
        float(np.abs(jerks).mean()),
        *lane_changes(scenario.road.lane(states, scene)),
        len(accelerations) / scenario.policy_frequency / 60,
    )


def lane_changes(lanes: np.ndarray) -> tuple[int, int]:
    """Number of lane changes to the left and right, from lane numbers (T,), counted from the left; a lane counts once
    it has been kept for a second."""
    starts = np.flatnonzero(np.diff(lanes, prepend=lanes[0] - 1))
    kept = np.diff(starts, append=len(lanes)) >= STEADY
    steps = np.diff(lanes[starts[kept]])
    return int(np.maximum(-steps, 0).sum()), int(np.maximum(steps, 0).sum())


def meaning(driver: Driver, recording: Recording) -> dict[str, float | None]:
    """What each code means, whether that is more than chance, and whether people keep their code.

    Empty for a driver without a posterior.
    """
    codes, world = read_codes(driver, recording.demonstrations), recording.world
    if codes is None:
        return {}
    assert world is not None
    manners = manners_of(recording)
    half = len(manners[0].accelerations) // 2
    first, second = (read_codes(driver, recording.demonstrations, part) for part in (slice(half), slice(half, None)))
    assert first is not None and second is not None
    cars = one_of_each(world.track)
    result: dict[str, float | None] = {"meaning_windows": len(codes), "meaning_cars": len(cars)}
    for code in range(driver.num_codes):
        result |= {
            f"code_{code}_{what}": value
            for what, value in _character([m for m, c in zip(manners, codes, strict=True) if c == code]).items()
        }
    chosen = [manners[k] for k in cars]
    labels = {
        "headway": terciles(np.array([m.headway for m in chosen])),
        "speed": terciles(np.array([m.relative_speed for m in chosen])),
        "lane_change": np.array([int(m.left + m.right > 0) for m in chosen]),
    }
    for name, label in labels.items():
        known = label >= 0
        result[f"ami_{name}"] = style_ami(codes[cars][known], label[known])
        result[f"ami_{name}_p"] = permutation_test(codes[cars][known], label[known], mutual_information)[1]
    result["consistency"] = agreement(first[cars], second[cars])
    chance, p = permutation_test(first[cars], second[cars], agreement)
    return result | {"consistency_chance": chance, "consistency_p": p}


def manners_of(recording: Recording) -> list[Manner]:
    """How the person drove through each window."""
    scenario = cast(Replay, recording.scenario)
    return [manner(scenario, e) for e in range(recording.demonstrations.num_episodes)]


def _character(manners: list[Manner]) -> dict[str, float | None]:
    minutes = sum(m.minutes for m in manners)
    speeds = [m.relative_speed for m in manners if not np.isnan(m.relative_speed)]
    return {
        "windows": len(manners),
        "headway": float(np.mean([m.headway for m in manners])) if manners else None,
        "relative_speed": float(np.mean(speeds)) if speeds else None,
        "left_per_minute": sum(m.left for m in manners) / minutes if manners else None,
        "right_per_minute": sum(m.right for m in manners) / minutes if manners else None,
        "jerk": float(np.mean([m.jerk for m in manners])) if manners else None,
    }


def one_of_each(track: np.ndarray) -> np.ndarray:
    """(n,): the index of one random window, always the same, for each car in `track` (E,)."""
    order = np.random.default_rng(0).permutation(len(track))
    return order[np.unique(track[order], return_index=True)[1]]


def terciles(values: np.ndarray) -> np.ndarray:
    """(n,): the tercile, 0 to 2, of each of `values` (n,) among those that are not NaN; -1 for NaN."""
    if np.isnan(values).all():
        return np.full(len(values), -1)
    thirds = np.searchsorted(np.nanquantile(values, (1 / 3, 2 / 3)), values)
    return np.where(np.isnan(values), -1, thirds)


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Mutual information [nats] of labels (n,), which start at 0.

    Under permutation, AMI is an affine function of it, but slower to compute.
    """
    table = np.bincount(a * (b.max() + 1) + b, minlength=(a.max() + 1) * (b.max() + 1)) / len(a)
    table = table.reshape(a.max() + 1, -1)
    independent = table.sum(1, keepdims=True) * table.sum(0)
    occurs = table > 0
    return float((table[occurs] * np.log(table[occurs] / independent[occurs])).sum())


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Fraction of equal labels (n,)."""
    return float((a == b).mean())


def permutation_test(
    a: np.ndarray, b: np.ndarray, statistic: Callable[[np.ndarray, np.ndarray], float], seed: int = 0
) -> tuple[float | None, float | None]:
    """The mean of the statistic of labels (n,) under permutation, and its p-value (Phipson & Smyth 2010).

    None if there are no labels.
    """
    if not len(a):
        return None, None
    rng = np.random.default_rng(seed)
    by_chance = np.array([statistic(a, rng.permutation(b)) for _ in range(PERMUTATIONS)])
    as_large = (by_chance >= statistic(a, b) - 1e-12).sum()
    return float(by_chance.mean()), float((1 + as_large) / (1 + PERMUTATIONS))
