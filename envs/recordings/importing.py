"""Demonstrations of recorded drivers: CommonRoad files become the arrays of a demonstrations file.

Every recorded car is a driver, each six seconds of it an episode, in the midst of all the other cars of its file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from infogail.envs.data.demonstrations import Demonstrations, Recording
from infogail.envs.data.world import Replays
from infogail.envs.recordings.commonroad import TIME_STEP, Car, InvalidScenario, RecordedScene, read_commonroad
from infogail.envs.recordings.recover import Recovered, mean_absolute_jerk, recover
from infogail.envs.recordings.roadway import Frame, find_frames
from infogail.envs.scenarios.replay import Replay
from infogail.envs.scenarios.scenario import EPISODE_STEPS

TRAINING_STRIDE = 10  # steps from one training window of a car to the next; held-out ones do not overlap
HELD_OUT_EVERY = 4  # files
LARGEST_MISS = 0.2  # [m], root mean square over a window, of demonstrations from the recorded positions
SAME_STEPS = 20  # so many equal speeds in a row are one driver's
SAME_ROUNDING, SAME_SPREAD = 1e-3, 0.05  # [m/s]: of these speeds, and how much they must differ from each other
MAX_STATES = 20_000_000  # of all cars at all steps, present or not: as many as a demonstrations file can hold


class Imported(NamedTuple):
    """Demonstrations of recorded drivers; N decisions of E episodes, `EPISODE_STEPS` each."""

    replays: Replays
    actions: np.ndarray
    """(N, 2) float32 in [-1, 1]"""
    vehicle_states: np.ndarray
    """(N + E, 1, 4) float64: what the ego drives through by these actions; see `Recording`"""
    report: Report

    def recording(self) -> Recording:
        """With what the drivers saw."""
        episodes = len(self.replays.track)
        bounds = EPISODE_STEPS * np.arange(episodes + 1)
        blind = np.zeros((len(self.actions), len(Replay.features)), np.float32)
        scenes = {"demonstration": np.arange(episodes, dtype=np.float64)}
        styles = np.zeros(episodes, np.int64)
        demonstrations = Demonstrations("replay", blind, self.actions, bounds)
        recording = Recording(demonstrations, self.vehicle_states, scenes, styles, self.replays)
        observations = Replay(recording).observations(self.vehicle_states)
        return replace(recording, demonstrations=replace(demonstrations, observations=observations))


@dataclass(frozen=True)
class Report:
    """What came of an import."""

    files: int
    held_out_files: tuple[str, ...]
    scenes: int
    cars: int
    """Recorded vehicles, in all files."""
    not_cars: Mapping[str, int]
    """Obstacles that are no cars, by the reason."""
    cars_left_out: Mapping[str, int]
    """Cars from which no demonstration is made, by the reason."""
    training: int
    """Demonstrations for training."""
    held_out: int
    """Demonstrations for judging."""
    windows_left_out: Mapping[str, int]
    """Demonstrations that were not made, by the reason."""
    reproduced: float
    """Share of the demonstrating cars whose recovered actions stay within `LARGEST_MISS` of the recorded positions."""
    median_miss: float
    """[m]: root mean square over a car's track"""
    high_miss: float
    """[m]: its 95th percentile"""
    recorded_jerk: float
    """[m/s³]: mean absolute jerk, as the recorded speeds have it"""
    recovered_jerk: float
    """[m/s³]: as the recovered actions have it"""

    def lines(self) -> list[str]:
        """For people to read."""

        def listed(counts: Mapping[str, int]) -> str:
            return ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count) or "none"

        return [
            f"files: {self.files}, of {self.scenes} scenes; held out: {', '.join(self.held_out_files) or 'none'}",
            f"cars: {self.cars:,}; obstacles that are no cars: {listed(self.not_cars)}",
            f"cars left out: {listed(self.cars_left_out)}",
            f"demonstrations: {self.training:,} for training, {self.held_out:,} held out",
            f"demonstrations left out: {listed(self.windows_left_out)}",
            f"recovered actions: {self.reproduced:.1%} of the cars within {LARGEST_MISS} m of the recorded positions "
            f"(median {self.median_miss:.3f} m, 95th percentile {self.high_miss:.3f} m)",
            f"mean absolute jerk: {self.recorded_jerk:.2f} m/s³ recorded, {self.recovered_jerk:.2f} m/s³ recovered",
        ]


class _Scene(NamedTuple):
    """One file along one way; its cars are those in any of the file's ways, its drivers those in this one."""

    file: int
    frame: Frame
    cars: list[Car]
    drivers: list[int]
    """Indices into `cars`."""
    first_step: int
    steps: int


class _Window(NamedTuple):
    scene: int
    car: int
    row: int
    track: int
    actions: np.ndarray
    """(EPISODE_STEPS, 2)"""
    states: np.ndarray
    """(EPISODE_STEPS + 1, 4)"""


def import_files(paths: Sequence[Path], on_file: Callable[[], None] = lambda: None) -> Imported:
    """Demonstrations of the cars in CommonRoad files.

    Args:
        paths: the files, in any order.
        on_file: called twice for each file: when it was read, and when its actions were recovered.

    Raises:
        InvalidScenario: a file cannot be used, or no demonstration can be made of all; see `read_commonroad`.
    """
    paths = sorted(paths, key=lambda path: (natural_order(Path(path).name), str(path)))
    for path, following in pairwise(paths):
        if Path(path).resolve() == Path(following).resolve():
            raise InvalidScenario(f"{path}: is given twice; give each file once")
    recorded: list[RecordedScene] = []
    scenes: list[_Scene] = []
    cars_left_out = Counter[str](
        dict.fromkeys(("off the lanes", "too short", "also in held-out files", "recorded twice"), 0)
    )
    for index, path in enumerate(paths):
        recorded.append(read_commonroad(Path(path)))
        found = _scenes(index, recorded[-1])
        scenes += found
        seen = len(found[0].cars) if found else 0
        cars_left_out["off the lanes"] += len(recorded[-1].cars) - seen
        on_file()
    if not scenes:
        raise InvalidScenario(f"{paths[0]}: no car drives on its lanelets; give files whose map fits their cars")
    world = _world(paths, scenes)
    held_out = set(held_out_files(len(paths)))
    repeated = _repeated(recorded, held_out)
    windows: dict[bool, list[_Window]] = {False: [], True: []}
    windows_left_out = Counter[str](dict.fromkeys(("touching another car", "not reproducible", "off the lanes"), 0))
    tracks: list[tuple[Car, Recovered]] = []
    for k, scene in enumerate(scenes):
        for driver in scene.drivers:
            car = scene.cars[driver]
            reason = "too short" if len(car.states) <= EPISODE_STEPS else repeated.get((scene.file, car.id))
            if reason is not None:
                cars_left_out[reason] += 1
                continue
            recovered = recover(car.states, car.length, Replay.steering_range[1], TIME_STEP)
            touching = _touching(world, k, driver, car, recovered)
            off_lanes = ~scene.frame.on_lanes(recovered.states)
            stride = EPISODE_STEPS if scene.file in held_out else TRAINING_STRIDE
            for start in range(0, len(car.states) - EPISODE_STEPS, stride):
                steps = slice(start, start + EPISODE_STEPS + 1)
                if touching[steps].any():
                    windows_left_out["touching another car"] += 1
                elif _root_mean_square(recovered.misses[steps]) > LARGEST_MISS:
                    windows_left_out["not reproducible"] += 1
                elif off_lanes[steps].any():
                    windows_left_out["off the lanes"] += 1
                else:
                    row = int(world["first_row"][k]) + car.first_step - scene.first_step + start
                    actions = recovered.actions[start : start + EPISODE_STEPS]
                    window = _Window(k, driver, row, len(tracks), actions, recovered.states[steps])
                    windows[scene.file in held_out].append(window)
            tracks.append((car, recovered))
        if k + 1 == len(scenes) or scenes[k + 1].file != scene.file:
            on_file()
    chosen = windows[False] + windows[True]
    if not windows[False]:
        what = ", ".join(f"{number} {reason}" for reason, number in (cars_left_out + windows_left_out).items())
        raise InvalidScenario(f"{paths[0]}: no demonstration can be made ({what}); give longer recordings, or more")
    misses = np.array([_root_mean_square(recovered.misses) for _, recovered in tracks])
    report = Report(
        files=len(paths),
        held_out_files=tuple(recorded[k].name for k in sorted(held_out)),
        scenes=len(scenes),
        cars=sum(len(scene.cars) for scene in recorded),
        not_cars=sum((Counter(scene.left_out) for scene in recorded), Counter()),
        cars_left_out=cars_left_out,
        training=len(windows[False]),
        held_out=len(windows[True]),
        windows_left_out=windows_left_out,
        reproduced=float((misses <= LARGEST_MISS).mean()),
        median_miss=float(np.median(misses)),
        high_miss=float(np.quantile(misses, 0.95)),
        recorded_jerk=float(np.mean([mean_absolute_jerk(car.states[:, 3], TIME_STEP) for car, _ in tracks])),
        recovered_jerk=float(np.mean([mean_absolute_jerk(found.states[:, 3], TIME_STEP) for _, found in tracks])),
    )
    replays = Replays(
        **world,
        demonstration_scene=np.array([window.scene for window in chosen]),
        demonstration_car=np.array([window.car for window in chosen]),
        demonstration_row=np.array([window.row for window in chosen]),
        track=np.array([window.track for window in chosen]),
        num_training=np.array([len(windows[False])]),
        files=tuple(scene.name for scene in recorded),
    )
    actions = np.concatenate([window.actions for window in chosen])
    return Imported(replays, actions, np.concatenate([window.states for window in chosen])[:, None], report)


def natural_order(name: str) -> list[str | int]:
    """By which names sort as people count: 9 before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name)]


def held_out_files(number: int) -> list[int]:
    """Which of so many files are for judging: every fourth, of fewer than that the last; a single one is not."""
    if number < HELD_OUT_EVERY:
        return [number - 1] if number > 1 else []
    return list(range(HELD_OUT_EVERY - 1, number, HELD_OUT_EVERY))


def rectangles_touch(states: np.ndarray, size: np.ndarray, others: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(...) bool: rectangles of `size` (..., 2) = length, width [m] in `states` (..., 4) overlap the others.

    No axis of either separates them. All shapes broadcast.
    """
    x, y = others[..., 0] - states[..., 0], others[..., 1] - states[..., 1]
    turned = others[..., 2] - states[..., 2]
    cos, sin = abs(np.cos(turned)), abs(np.sin(turned))
    half, halves = np.moveaxis(size, -1, 0) / 2, np.moveaxis(sizes, -1, 0) / 2
    touch = np.full(np.broadcast_shapes(x.shape, half.shape[1:], halves.shape[1:]), True)
    for heading, own, other in ((states[..., 2], half, halves), (others[..., 2], halves, half)):
        ahead, aside = np.cos(heading) * x + np.sin(heading) * y, np.cos(heading) * y - np.sin(heading) * x
        touch &= abs(ahead) <= own[0] + other[0] * cos + other[1] * sin
        touch &= abs(aside) <= own[1] + other[0] * sin + other[1] * cos
    return touch


def _scenes(file: int, recorded: RecordedScene) -> list[_Scene]:
    frames, member = find_frames(recorded.lanelets, recorded.cars)
    seen = np.flatnonzero(member >= 0)
    cars = [recorded.cars[k] for k in seen]
    if not cars:
        return []
    first = min(car.first_step for car in cars)
    steps = max(car.first_step + len(car.states) for car in cars) - first
    return [
        _Scene(file, frame, cars, np.flatnonzero(member[seen] == k).tolist(), first, steps)
        for k, frame in enumerate(frames)
    ]


def _world(paths: Sequence[Path], scenes: list[_Scene]) -> dict[str, np.ndarray]:
    """All of `Replays` that does not depend on the demonstrations, by name."""
    first_row = np.cumsum([0] + [scene.steps for scene in scenes])
    first_point = np.cumsum([0] + [len(scene.frame.reference) for scene in scenes])
    rows, most = int(first_row[-1]), max(len(scene.cars) for scene in scenes)
    if rows * most > MAX_STATES:
        raise InvalidScenario(
            f"{paths[0]}: {rows:,} steps of up to {most:,} cars are more than one demonstrations file holds; "
            "import fewer files at once, or cut them into parts of fewer cars"
        )
    states, places = np.zeros((rows, most, 4)), np.zeros((rows, most, 2))
    present, sizes = np.zeros((rows, most), bool), np.zeros((len(scenes), most, 2))
    for k, scene in enumerate(scenes):
        for column, car in enumerate(scene.cars):
            first = first_row[k] + car.first_step - scene.first_step
            there = slice(first, first + len(car.states)), column
            states[there], present[there], sizes[k, column] = car.states, True, (car.length, car.width)
            places[there] = scene.frame.place(car.states[:, :2])
    width = max(scene.frame.edges.shape[1] for scene in scenes)
    edges = [np.pad(f.edges, ((0, 0), (0, width - f.edges.shape[1])), "edge") for f in (s.frame for s in scenes)]
    reference = np.concatenate([scene.frame.reference for scene in scenes])
    file = np.array([scene.file for scene in scenes])
    lines = {"reference": reference, "edges": np.concatenate(edges), "first_point": first_point}
    cars = {"states": states, "present": present, "places": places, "sizes": sizes, "first_row": first_row}
    return {**cars, **lines, "file": file}


def _touching(world: Mapping[str, np.ndarray], scene: int, column: int, car: Car, recovered: Recovered) -> np.ndarray:
    """(T,) bool: as it was recorded, or as it was recovered, the car touches another."""
    first, last = world["first_row"][scene : scene + 2]
    rows, present = world["states"][first:last], world["present"][first:last]
    there = np.flatnonzero(present[:, column])
    others = present[there]
    others[:, column] = False
    sizes = world["sizes"][scene]
    touch = [
        rectangles_touch(states[:, None], sizes[column], rows[there], sizes) & others
        for states in (car.states, recovered.states)
    ]
    return (touch[0] | touch[1]).any(1)


def _repeated(recorded: list[RecordedScene], held_out: set[int]) -> dict[tuple[int, int], str]:
    """Cars, by file and id, whose driver is in another file too, and from which none is to be learned: with the reason.

    Of one driver's recordings among the training files, and among the held-out ones, the longest is kept.
    """
    prints = {
        (file, car.id): set(_fingerprints(car.states[:, 3]))
        for file, scene in enumerate(recorded)
        for car in scene.cars
    }
    in_held_out = set[bytes]().union(*(found for (file, _), found in prints.items() if file in held_out))
    long = [
        (len(car.states), file, car.id)
        for file, scene in enumerate(recorded)
        for car in scene.cars
        if len(car.states) > EPISODE_STEPS
    ]
    reasons = {}
    kept: dict[bool, set[bytes]] = {False: set(), True: set()}
    for _, file, key in sorted(long, key=lambda car: (-car[0], *car[1:])):
        found, judged = prints[file, key], file in held_out
        if not judged and found & in_held_out:
            reasons[file, key] = "also in held-out files"
        elif found & kept[judged]:
            reasons[file, key] = "recorded twice"
        else:
            kept[judged] |= found
    return reasons


def _fingerprints(speeds: np.ndarray) -> Iterator[bytes]:
    """Of every `SAME_STEPS` speeds (T,) [m/s] in a row that are not nearly one and the same."""
    if len(speeds) < SAME_STEPS:
        return
    runs = np.lib.stride_tricks.sliding_window_view(speeds, SAME_STEPS)
    for run in runs[runs.std(1) > SAME_SPREAD]:
        yield np.round(run / SAME_ROUNDING).astype(np.int64).tobytes()


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))
