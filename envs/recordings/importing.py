"""Import CommonRoad files: demonstrations of recorded drivers, as the arrays of a demonstrations file.

Every recorded car is a driver, and each of its six-second windows an episode among all the other cars of its file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.data.recording import Recording
from infogail.envs.data.world import RecordedWorld
from infogail.envs.recordings.commonroad import TIME_STEP, Car, InvalidScenario, RecordedScene, read_commonroad
from infogail.envs.recordings.recover import Recovered, mean_absolute_jerk, recover
from infogail.envs.recordings.report import LARGEST_MISS, Report
from infogail.envs.recordings.roadway import Frame, find_frames
from infogail.envs.recordings.same_drivers import repeated_drivers
from infogail.envs.scenarios.replay import Replay
from infogail.envs.scenarios.scenario import EPISODE_STEPS

TRAINING_STRIDE = 10  # steps from one training window of a car to the next; held-out ones do not overlap
HELD_OUT_EVERY = 4  # every fourth file
MAX_STATES = 20_000_000  # of all cars at all steps, present or not: as many as a demonstrations file can hold


class Imported(NamedTuple):
    """Demonstrations of recorded drivers; N decisions of E episodes, `EPISODE_STEPS` each."""

    replays: RecordedWorld
    actions: np.ndarray
    """(N, 2) float32 in [-1, 1]"""
    vehicle_states: np.ndarray
    """(N + E, 1, 4) float64: the ego's states under these actions; see `Recording`"""
    report: Report

    def recording(self) -> Recording:
        """The recording, with the drivers' observations."""
        episodes = len(self.replays.track)
        scenario = Replay.of_world(self.replays, self.vehicle_states[:: EPISODE_STEPS + 1, 0])
        observations = scenario.observations(self.vehicle_states)
        bounds = EPISODE_STEPS * np.arange(episodes + 1)
        demonstrations = Demonstrations(scenario.spec, observations, self.actions, bounds)
        scenes = {"demonstration": np.arange(episodes, dtype=np.float64)}
        styles = np.zeros(episodes, np.int64)
        return Recording(
            scenario, demonstrations, self.vehicle_states, scenes, styles, self.replays, "people on the road"
        )


class _Scene(NamedTuple):
    """One file along one route; its cars are those on any of the file's routes, its drivers those on this one.

    Obstacles that stand on any of the routes come last among the cars.
    """

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


def import_files(
    paths: Sequence[Path], on_file: Callable[[], None] = lambda: None, held_out: Sequence[Path] = ()
) -> Imported:
    """Demonstrations of the cars in CommonRoad files. Files that cannot be read are left out; the report names them.

    Args:
        paths: the files, in any order.
        on_file: called twice for each file: when it was read, and when its actions were recovered.
        held_out: the files for judging, among `paths` or in addition; by default `held_out_files` chooses.

    Raises:
        InvalidScenario: no file can be used, or no demonstration can be made of any; see `read_commonroad`.
    """
    given = in_order(paths, held_out)
    files, unreadable = _read(given, on_file)
    recorded = list(files.values())
    judged = files_to_judge(list(files), held_out)
    first, unread = next(iter(files)), f"; of the others, {unreadable[0]}" if unreadable else ""
    if len(judged) == len(files):
        raise InvalidScenario(f"{first}: no file is left to train on; give more files, or hold out fewer{unread}")
    scenes = [scene for k, file in enumerate(recorded) for scene in _scenes(k, file)]
    if not scenes:
        raise InvalidScenario(
            f"{first}: no car drives on its lanelets; give files whose map matches their cars{unread}"
        )
    world = _world(list(files), scenes)
    tally = _Tally.of(recorded, scenes)
    windows, tracks = _demonstrate(world, scenes, judged, repeated_drivers(recorded, judged), tally, on_file)
    for _ in range(len(given) - len({scene.file for scene in scenes})):
        on_file()  # for the files without scenes
    if not windows[False]:
        left_out = (tally.cars_left_out + tally.windows_left_out).items()
        what = ", ".join(f"{number} {reason}" for reason, number in left_out)
        raise InvalidScenario(
            f"{first}: no demonstration can be made ({what}); give longer recordings, or more{unread}"
        )
    report = tally.report(recorded, unreadable, judged, scenes, windows, tracks)
    return _imported(world, windows, tuple(scene.name for scene in recorded), report)


def _demonstrate(
    world: Mapping[str, np.ndarray],
    scenes: Sequence[_Scene],
    judged: set[int],
    repeated: Mapping[tuple[int, int], str],
    tally: _Tally,
    on_file: Callable[[], None],
) -> tuple[dict[bool, list[_Window]], list[tuple[Car, Recovered]]]:
    """The windows for training (False) and those held out (True); and the tracks that they are cut from."""
    windows: dict[bool, list[_Window]] = {False: [], True: []}
    tracks: list[tuple[Car, Recovered]] = []
    for k, scene in enumerate(scenes):
        held = scene.file in judged
        for column in scene.drivers:
            car = scene.cars[column]
            reason = "too short" if len(car.states) <= EPISODE_STEPS else repeated.get((scene.file, car.id))
            if reason is not None:
                tally.cars_left_out[reason] += 1
                continue
            recovered = recover(car.states, car.length, Replay.steering_range[1], TIME_STEP)
            for start, problem in _starts(world, k, scene, column, recovered, held):
                if problem:
                    tally.windows_left_out[problem] += 1
                else:
                    windows[held].append(_window(world, k, scene, column, len(tracks), recovered, start))
            tracks.append((car, recovered))
        if k + 1 == len(scenes) or scenes[k + 1].file != scene.file:
            on_file()
    return windows, tracks


def in_order(paths: Sequence[Path], held_out: Sequence[Path]) -> list[Path]:
    """The files, each once, in natural order.

    Raises:
        InvalidScenario: a file occurs twice in `paths`, or twice in `held_out`.
    """
    files: dict[Path, Path] = {}
    for given in (held_out, paths):
        seen: set[Path] = set()
        for path in map(Path, given):
            if path.resolve() in seen:
                raise InvalidScenario(f"{path}: is given twice; give each file once")
            seen.add(path.resolve())
            files.setdefault(path.resolve(), path)
    return sorted(files.values(), key=lambda path: (natural_order(path.name), str(path)))


def _read(paths: Sequence[Path], on_file: Callable[[], None]) -> tuple[dict[Path, RecordedScene], list[str]]:
    """The contents of the files, and a line for each that cannot be read.

    Raises:
        InvalidScenario: none of them can.
    """
    recorded: dict[Path, RecordedScene] = {}
    unreadable: list[str] = []
    for path in paths:
        try:
            recorded[path] = read_commonroad(path)
        except InvalidScenario as error:
            unreadable.append(str(error))
            continue
        on_file()
    if not recorded:
        others = f" (and {len(paths) - 1:,} more, none of which can be read)" if len(paths) > 1 else ""
        raise InvalidScenario(unreadable[0] + others if unreadable else "no files are given; give CommonRoad files")
    for _ in unreadable:
        on_file()
    return recorded, unreadable


class _Tally(NamedTuple):
    """The counts of an import; the reasons are in the order of the report."""

    cars_left_out: Counter[str]
    windows_left_out: Counter[str]

    @classmethod
    def of(cls, recorded: Sequence[RecordedScene], scenes: Sequence[_Scene]) -> _Tally:
        """The counts when the routes along the roads are known, and nothing else."""
        cars = ("off the lanes", "too short", "also in held-out files", "recorded twice")
        windows = ("touching another car", "not reproducible", "off the lanes")
        tally = cls(Counter(dict.fromkeys(cars, 0)), Counter(dict.fromkeys(windows, 0)))
        on_lanes = sum(len(scene.drivers) for scene in scenes)
        tally.cars_left_out["off the lanes"] = sum(len(scene.cars) for scene in recorded) - on_lanes
        return tally

    def report(
        self,
        recorded: Sequence[RecordedScene],
        unreadable: Sequence[str],
        judged: set[int],
        scenes: Sequence[_Scene],
        windows: Mapping[bool, Sequence[_Window]],
        tracks: Sequence[tuple[Car, Recovered]],
    ) -> Report:
        """All counts and measures."""
        misses = np.array([_root_mean_square(recovered.misses) for _, recovered in tracks])
        of_file = {scene.file: scene for scene in scenes}  # all of one file have the same cars
        standing = sum(len(scene.cars) for scene in of_file.values()) - sum(len(scene.drivers) for scene in scenes)
        not_cars = sum((Counter(scene.left_out) for scene in recorded), Counter[str]())
        not_cars["standing off the lanes"] = sum(len(scene.standing) for scene in recorded) - standing
        return Report(
            files=len(recorded),
            unreadable=tuple(unreadable),
            notes=tuple(note for scene in recorded for note in scene.notes),
            held_out_files=tuple(recorded[k].name for k in sorted(judged)),
            scenes=len(scenes),
            cars=sum(len(scene.cars) for scene in recorded),
            standing=standing,
            not_cars=+not_cars,
            cars_left_out=self.cars_left_out,
            training=len(windows[False]),
            held_out=len(windows[True]),
            windows_left_out=self.windows_left_out,
            reproduced=float((misses <= LARGEST_MISS).mean()),
            median_miss=float(np.median(misses)),
            high_miss=float(np.quantile(misses, 0.95)),
            recorded_jerk=float(np.mean([mean_absolute_jerk(car.states[:, 3], TIME_STEP) for car, _ in tracks])),
            recovered_jerk=float(np.mean([mean_absolute_jerk(track.states[:, 3], TIME_STEP) for _, track in tracks])),
        )


def _starts(
    world: Mapping[str, np.ndarray], k: int, scene: _Scene, column: int, recovered: Recovered, held: bool
) -> Iterator[tuple[int, str]]:
    """Steps of a car's track at which windows may begin; each with why it may not, or an empty string."""
    touching = _touching(world, k, column, scene.cars[column], recovered)
    off_lanes = ~scene.frame.on_lanes(recovered.states)
    stride = EPISODE_STEPS if held else TRAINING_STRIDE
    for start in range(0, len(recovered.actions) + 1 - EPISODE_STEPS, stride):
        steps = slice(start, start + EPISODE_STEPS + 1)
        if touching[steps].any():
            yield start, "touching another car"
        elif _root_mean_square(recovered.misses[steps]) > LARGEST_MISS:
            yield start, "not reproducible"
        else:
            yield start, "off the lanes" if off_lanes[steps].any() else ""


def _window(
    world: Mapping[str, np.ndarray], k: int, scene: _Scene, column: int, track: int, recovered: Recovered, start: int
) -> _Window:
    row = int(world["first_row"][k]) + scene.cars[column].first_step - scene.first_step + start
    actions = recovered.actions[start : start + EPISODE_STEPS]
    return _Window(k, column, row, track, actions, recovered.states[start : start + EPISODE_STEPS + 1])


def _imported(
    world: Mapping[str, np.ndarray], windows: Mapping[bool, list[_Window]], names: tuple[str, ...], report: Report
) -> Imported:
    chosen = windows[False] + windows[True]
    replays = RecordedWorld(
        **world,
        demonstration_scene=np.array([window.scene for window in chosen]),
        demonstration_car=np.array([window.car for window in chosen]),
        demonstration_row=np.array([window.row for window in chosen]),
        track=np.array([window.track for window in chosen]),
        num_training=np.array([len(windows[False])]),
        files=names,
    )
    actions = np.concatenate([window.actions for window in chosen])
    return Imported(replays, actions, np.concatenate([window.states for window in chosen])[:, None], report)


def natural_order(name: str) -> list[str | int]:
    """Sort key for the natural order of names: 9 before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name)]


def held_out_files(number: int) -> list[int]:
    """Which of `number` files are for judging: every fourth; of fewer than four, the last; of one, none."""
    if number < HELD_OUT_EVERY:
        return [number - 1] if number > 1 else []
    return list(range(HELD_OUT_EVERY - 1, number, HELD_OUT_EVERY))


def files_to_judge(files: Sequence[Path], held_out: Sequence[Path]) -> set[int]:
    """Which of `files` are for judging: those in `held_out`, or, if that is empty, `held_out_files`."""
    if not held_out:
        return set(held_out_files(len(files)))
    chosen = {Path(path).resolve() for path in held_out}
    return {k for k, path in enumerate(files) if path.resolve() in chosen}


def rectangles_touch(states: np.ndarray, size: np.ndarray, others: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(...) bool: rectangles of `size` (..., 2) = length, width [m] in `states` (..., 4) overlap the others.

    Separating-axis test. All shapes broadcast.
    """
    x, y = others[..., 0] - states[..., 0], others[..., 1] - states[..., 1]
    turned = others[..., 2] - states[..., 2]
    cos, sin = abs(np.cos(turned)), abs(np.sin(turned))
    half, halves = np.moveaxis(size, -1, 0) / 2, np.moveaxis(sizes, -1, 0) / 2
    touch = np.full(np.broadcast_shapes(x.shape, half.shape[1:], halves.shape[1:]), True)
    for heading, a, b in ((states[..., 2], half, halves), (others[..., 2], halves, half)):
        ahead, aside = np.cos(heading) * x + np.sin(heading) * y, np.cos(heading) * y - np.sin(heading) * x
        touch &= abs(ahead) <= a[0] + b[0] * cos + b[1] * sin
        touch &= abs(aside) <= a[1] + b[0] * sin + b[1] * cos
    return touch


def _scenes(file: int, recorded: RecordedScene) -> list[_Scene]:
    frames, member = find_frames(recorded.lanelets, recorded.cars)
    seen = np.flatnonzero(member >= 0)
    cars = [recorded.cars[k] for k in seen]
    if not cars:
        return []
    first = min(car.first_step for car in cars)
    steps = max(car.first_step + len(car.states) for car in cars) - first
    cars += [
        car._replace(first_step=first, states=np.repeat(car.states, steps, axis=0))
        for car in recorded.standing
        if any(frame.holds(car) for frame in frames)
    ]
    return [
        _Scene(file, frame, cars, np.flatnonzero(member[seen] == k).tolist(), first, steps)
        for k, frame in enumerate(frames)
    ]


def _world(paths: Sequence[Path], scenes: list[_Scene]) -> dict[str, np.ndarray]:
    """The fields of `RecordedWorld` that do not depend on the demonstrations, by name."""
    first_row = np.cumsum([0] + [scene.steps for scene in scenes])
    first_point = np.cumsum([0] + [len(scene.frame.reference) for scene in scenes])
    rows, most = int(first_row[-1]), max(len(scene.cars) for scene in scenes)
    if rows * most > MAX_STATES:
        raise InvalidScenario(
            f"{paths[0]}: {rows:,} steps of up to {most:,} cars are more than one demonstrations file can hold; "
            "import fewer files at once, or cut them into parts of fewer cars"
        )
    states, places = np.zeros((rows, most, 4)), np.zeros((rows, most, 2))
    present, sizes = np.zeros((rows, most), bool), np.zeros((len(scenes), most, 2))
    for k, scene in enumerate(scenes):
        for column, car in enumerate(scene.cars):
            first = first_row[k] + car.first_step - scene.first_step
            cells = slice(first, first + len(car.states)), column
            states[cells], present[cells], sizes[k, column] = car.states, True, (car.length, car.width)
            places[cells] = scene.frame.place(car.states[:, :2])
    width = max(scene.frame.edges.shape[1] for scene in scenes)
    edges = [np.pad(f.edges, ((0, 0), (0, width - f.edges.shape[1])), "edge") for f in (s.frame for s in scenes)]
    reference = np.concatenate([scene.frame.reference for scene in scenes])
    file = np.array([scene.file for scene in scenes])
    lines = {"reference": reference, "edges": np.concatenate(edges), "first_point": first_point}
    cars = {"states": states, "present": present, "places": places, "sizes": sizes, "first_row": first_row}
    return {**cars, **lines, "file": file}


def _touching(world: Mapping[str, np.ndarray], scene: int, column: int, car: Car, recovered: Recovered) -> np.ndarray:
    """(T,) bool: the car touches another, in its recorded or its recovered states."""
    first, last = world["first_row"][scene : scene + 2]
    rows, present = world["states"][first:last], world["present"][first:last]
    driven = np.flatnonzero(present[:, column])
    others = present[driven]
    others[:, column] = False
    sizes = world["sizes"][scene]
    touch = [
        rectangles_touch(states[:, None], sizes[column], rows[driven], sizes) & others
        for states in (car.states, recovered.states)
    ]
    return (touch[0] | touch[1]).any(1)


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))
