"""Which cars of several files are the same driver: recordings are cut into files that overlap in time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from infogail.envs.recordings.commonroad import Car, RecordedScene
from infogail.envs.scenarios.scenario import EPISODE_STEPS

SAME_STEPS = 20  # so many equal speeds in a row are one driver's
SAME_ROUNDING, SAME_SPREAD = 1e-3, 0.05  # [m/s]: of these speeds, and how much they must differ from each other


def repeated_drivers(recorded: list[RecordedScene], held_out: set[int]) -> dict[tuple[int, int], str]:
    """Cars, by file and id, whose driver is in another file too, and from which none is to be learned: with the reason.

    Of one driver's recordings among the training files, and among the held-out ones, the longest is kept.
    """
    prints = {
        (file, car.id): set(_fingerprints(car.states[:, 3]))
        for file, scene in enumerate(recorded)
        for car in scene.cars
    }
    in_held_out = set[bytes]().union(*(found for (file, _), found in prints.items() if file in held_out))
    long = {
        (file, car.id): car
        for file, scene in enumerate(recorded)
        for car in scene.cars
        if len(car.states) > EPISODE_STEPS
    }
    reasons = {}
    kept: dict[bool, dict[bytes, list[tuple[int, int]]]] = {False: {}, True: {}}
    for key in sorted(long, key=lambda key: (-len(long[key].states), *key)):
        found, judged = prints[key], key[0] in held_out
        alike = {other for each in found for other in kept[judged].get(each, ())}
        if not judged and found & in_held_out:
            reasons[key] = "also in held-out files"
        elif any(other[0] != key[0] or not _at_once(long[other], long[key]) for other in alike):
            reasons[key] = "recorded twice"
        else:
            for each in found:
                kept[judged].setdefault(each, []).append(key)
    return reasons


def _at_once(one: Car, other: Car) -> bool:
    """Both are there at some step; of one file, they are two people then, however alike."""
    return one.first_step < other.first_step + len(other.states) and other.first_step < one.first_step + len(one.states)


def _fingerprints(speeds: np.ndarray) -> Iterator[bytes]:
    """Of every `SAME_STEPS` speeds (T,) [m/s] in a row that are not nearly one and the same."""
    if len(speeds) < SAME_STEPS:
        return
    runs = np.lib.stride_tricks.sliding_window_view(speeds, SAME_STEPS)
    for run in runs[runs.std(1) > SAME_SPREAD]:
        yield np.round(run / SAME_ROUNDING).astype(np.int64).tobytes()
