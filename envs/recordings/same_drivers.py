"""Find drivers that are in several files: recordings are cut into files that overlap in time."""

from __future__ import annotations

import numpy as np

from infogail.envs.recordings.commonroad import Car, RecordedScene
from infogail.envs.scenarios.scenario import EPISODE_STEPS

SAME_STEPS = 20  # this many equal speeds in a row identify a driver
SAME_ROUNDING, SAME_SPREAD = 1e-3, 0.05  # [m/s]: rounding of these speeds, and their least standard deviation


def repeated_drivers(recorded: list[RecordedScene], held_out: set[int]) -> dict[tuple[int, int], str]:
    """Cars, by file and id, that are left out because their driver is in another file too: with the reason.

    Of one driver's recordings among the training files, and among the held-out ones, the longest is kept.
    """
    prints = {
        (file, car.id): fingerprints(car.states[:, 3]) for file, scene in enumerate(recorded) for car in scene.cars
    }
    in_held_out = set[bytes]().union(*(own_prints for (file, _), own_prints in prints.items() if file in held_out))
    long = {
        (file, car.id): car
        for file, scene in enumerate(recorded)
        for car in scene.cars
        if len(car.states) > EPISODE_STEPS
    }
    reasons = {}
    kept: dict[bool, dict[bytes, list[tuple[int, int]]]] = {False: {}, True: {}}
    for key in sorted(long, key=lambda key: (-len(long[key].states), *key)):
        own_prints, judged = prints[key], key[0] in held_out
        alike = {other for fingerprint in own_prints for other in kept[judged].get(fingerprint, ())}
        if not judged and own_prints & in_held_out:
            reasons[key] = "also in held-out files"
        elif any(other[0] != key[0] or not _at_once(long[other], long[key]) for other in alike):
            reasons[key] = "recorded twice"
        else:
            for fingerprint in own_prints:
                kept[judged].setdefault(fingerprint, []).append(key)
    return reasons


def _at_once(one: Car, other: Car) -> bool:
    """Both are present at some step; in one file, they are then two people, however alike."""
    return one.first_step < other.first_step + len(other.states) and other.first_step < one.first_step + len(one.states)


def fingerprints(speeds: np.ndarray) -> set[bytes]:
    """One for every `SAME_STEPS` consecutive `speeds` (T,) [m/s] that are not nearly constant."""
    if len(speeds) < SAME_STEPS:
        return set()
    runs = np.lib.stride_tricks.sliding_window_view(speeds, SAME_STEPS)
    rounded = np.round(runs[runs.std(1) > SAME_SPREAD] / SAME_ROUNDING).astype(np.int64)
    return {run.tobytes() for run in rounded}
