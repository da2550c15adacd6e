"""Paths of drivers: from demonstrations, and of trained drivers who drive anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from infogail.envs.data.recording import InvalidDemonstrations, Recording
from infogail.envs.errors import BadInput
from infogail.envs.files import UnreadableFile, described
from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.tasks import named_in_file
from infogail.evaluation.metrics import as_common_as
from infogail.evaluation.protocol import drive
from infogail.forecast.grid import HEADINGS
from infogail.forecast.importing import PathsReport
from infogail.forecast.judge import divergence, occupancy
from infogail.forecast.paths import RecordedPaths
from infogail.forecast.walks import Walks
from infogail.runs.driver import Driver, load
from infogail.runs.folder import DEMONSTRATIONS

SUFFIX = ".safetensors"


def import_driving(path: Path) -> tuple[RecordedPaths, PathsReport]:
    """The paths of the demonstrations in the file `path`.

    Raises:
        BadInput: it is not a file of demonstrations of a driving scenario.
    """
    try:
        metadata, _ = described(path)
    except (UnreadableFile, OSError) as error:
        raise InvalidDemonstrations(f"{path}: {error}; give a file from 'infogail record'") from error
    name = metadata.get("scenario")
    scenario = None if name is None else named_in_file(name)
    if not isinstance(scenario, Scenario):
        raise InvalidDemonstrations(f"{path}: holds no driving; give a file that 'infogail record SCENARIO' wrote")
    paths = paths_of(Recording.load(path, scenario), path.name)
    grouped = len(paths)
    return paths, PathsReport(1, grouped, grouped, len(paths.points), grouped, 0, Counter())


def paths_of(recording: Recording, name: str) -> RecordedPaths:
    """The path of every demonstration, in their order, as `Scenario.path` draws it; styles are left behind.

    What is held out was held out from training, too: groups are drivers, in the order of their first demonstrations.

    Args:
        name: of the file.
    """
    scenario, number = recording.scenario, recording.demonstrations.num_episodes
    scenes = [recording.scene(e) for e in range(number)]
    points = [scenario.path(scenario.complete(recording.trajectory(e), scenes[e]), scenes[e]) for e in range(number)]
    lengths = [len(own) for own in points]
    starts = (scenario.horizon + 1) * np.arange(number)
    times = np.concatenate([start + np.arange(length) for start, length in zip(starts, lengths, strict=True)])
    drivers = np.arange(number) if recording.world is None else recording.world.track
    _, first, driver = np.unique(drivers, return_index=True, return_inverse=True)
    return RecordedPaths(
        np.concatenate(points),
        times / scenario.policy_frequency,
        np.append(0, np.cumsum(lengths)).astype(np.int64),
        np.zeros(number, np.int64),
        first.argsort().argsort()[driver].astype(np.int64),
        (name,),
        scenario.name,
        scenario.path_obstacles,
        axes=scenario.path_axes,
        stretch=scenario.path_stretch,
    )


class Run(NamedTuple):
    """A run folder, its driver, and the demonstrations that it learned from."""

    folder: Path
    driver: Driver
    recording: Recording


def load_runs(folders: Sequence[Path], paths: RecordedPaths) -> dict[str, Run]:
    """Runs that learned from the demonstrations whose paths are `paths`, by algorithm.

    Raises:
        BadInput: a folder is not a run, learned from other demonstrations or from those held out here, or has the same
            algorithm as another.
    """
    runs: dict[str, Run] = {}
    for folder in folders:
        driver = load(folder)
        recording = Recording.load(folder / DEMONSTRATIONS, driver.scenario)
        own = paths_of(recording, folder.name)
        if not (np.array_equal(own.points, paths.points) and np.array_equal(own.bounds, paths.bounds)):
            advice = f"give paths from 'infogail import {folder / DEMONSTRATIONS}'"
            raise BadInput(f"--run {folder}: did not learn from {paths.files[0]}; {advice}")
        if paths.held_out()[: recording.num_training].any():
            raise BadInput(f"--run {folder}: learned from some of the last fifth, held out here; hold out more files")
        if driver.algorithm in runs:
            raise BadInput(f"--run {folder}: is of {driver.algorithm}, as is another; give one of each algorithm")
        runs[driver.algorithm] = Run(folder, driver, recording)
    return runs


def judge_drives(
    walks: Walks, run: Run, episodes: int, seed: int, progress: Callable[[int], None] = lambda _: None
) -> dict[str, float]:
    """How far from those of held-out drivers are the cells that a trained driver enters in highway-env.

    Codes are driven as often as they are common, from new initial scenes; see `evaluation.protocol.drive`.

    Args:
        progress: called with the number of further episodes done.
    """
    driver = run.driver
    (driven,) = drive(load, [run.folder], episodes, seed, progress=progress)
    counts = as_common_as(driver.prior, np.array([episode.code for episode in driven]))
    chosen = [episode for episode, counted in zip(driven, counts, strict=True) if counted]
    cells = [walks.grid.walk(driver.scenario.path(e.vehicle_states, e.scene))[1:] for e in chosen]
    people = occupancy(walks.grid, [states[:-1] // HEADINGS for states in walks.held_out.states])
    return {"occupancy_kl": divergence(people, occupancy(walks.grid, cells)), "episodes": len(chosen)}
