"""Import trajectory tables: demonstrations of drivers who follow one leader, as `infogail/Follow-v0` drives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from infogail.envs.data.recording import Recording
from infogail.envs.data.world import NOTHING_HELD_OUT, FollowedLeaders
from infogail.envs.recordings.columns import InvalidTable
from infogail.envs.recordings.importing import files_to_judge, in_order
from infogail.envs.recordings.recover import mean_absolute_jerk, recover
from infogail.envs.recordings.report import LARGEST_MISS, listed
from infogail.envs.recordings.same_drivers import fingerprints
from infogail.envs.recordings.tables import Table, read_table
from infogail.envs.recordings.tracks import Pair
from infogail.envs.scenarios.following import FOLLOW_STEPS, JUDGED_STEPS, MIN_SPEED, Follow
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE

STRIDE = 50  # steps from one training window of a driver to the next; held-out ones do not overlap
TIME_STEP = 1 / Follow.policy_frequency  # [s]


@dataclass(frozen=True)
class FollowingReport:
    """The summary of an import of followers."""

    files: tuple[str, ...]
    """What was read, each with its kind."""
    unreadable: tuple[str, ...]
    """One line for each other file: which, what is wrong with it, the remedy."""
    held_out_files: tuple[str, ...]
    vehicles: int
    drivers: int
    """Those who follow one leader for long enough."""
    left_out: Mapping[str, int]
    """What was left out, by reason."""
    training: int
    """Demonstrations for training."""
    held_out: int
    """Demonstrations for judging."""
    judged: int
    """Drivers in held-out files who are recorded for long enough to be judged."""
    minutes: float
    """Driven by all drivers together."""
    headway: tuple[float, float, float]
    """[s]: 10th, 50th and 90th percentile of the drivers' median headways"""
    misses: tuple[float, float, float]
    """Share of the drivers whom the recovered accelerations keep within `LARGEST_MISS` of their recorded positions; the
    root mean square distance [m] of the median driver, and of the 95th percentile"""
    jerk: tuple[float, float]
    """[m/s³]: mean absolute jerk, recorded and recovered"""

    def lines(self) -> list[str]:
        """The summary as human-readable lines."""
        low, median, high = self.headway
        reproduced, miss, high_miss = self.misses
        return [
            f"files: {', '.join(self.files)}; held out: {', '.join(self.held_out_files) or 'none'}",
            f"vehicles: {self.vehicles:,}; drivers behind one leader: {self.drivers:,}, {self.minutes:,.0f} minutes",
            f"left out: {listed(self.left_out)}",
            f"median headways: {median:.2f} s, 10th to 90th percentile {low:.2f} to {high:.2f} s",
            f"demonstrations: {self.training:,} for training, {self.held_out:,} held out",
            f"recovered accelerations: {reproduced:.1%} of the drivers within {LARGEST_MISS} m of the recorded "
            f"positions (median {miss:.3f} m, 95th percentile {high_miss:.3f} m)",
            "mean absolute jerk: {:.2f} m/s³ recorded, {:.2f} m/s³ recovered".format(*self.jerk),
            *([] if self.held_out else [NOTHING_HELD_OUT]),
        ]


class ImportedFollowers(NamedTuple):
    """What an import of trajectory tables makes."""

    recording: Recording
    report: FollowingReport


class _Driver(NamedTuple):
    """A recorded driver behind one leader, T states."""

    file: int
    pair: Pair
    states: np.ndarray
    """(T, 3): x [m], speed [m/s] and acceleration since the step before [m/s²], with the recovered commands"""
    misses: np.ndarray
    """(T,) [m]"""

    @classmethod
    def of(cls, file: int, pair: Pair) -> _Driver:
        nothing = np.zeros(len(pair.follower_states))
        x, speed = pair.follower_states.T
        recovered = recover(
            np.column_stack((x, nothing, nothing, speed)), pair.follower_length, Follow.steering_range[1], TIME_STEP
        )
        accelerations = ACCELERATION_RANGE[1] * recovered.actions[:, 0].astype(np.float64)
        states = np.column_stack((recovered.states[:, [0, 3]], np.append(0.0, accelerations)))
        return cls(file, pair, states, recovered.misses)

    @property
    def gaps(self) -> np.ndarray:
        """(T,) [m] from bumper to bumper."""
        bodies = (self.pair.leader_length + self.pair.follower_length) / 2
        return self.pair.leader_states[:, 0] - self.states[:, 0] - bodies


def import_tables(
    paths: Sequence[Path],
    kind: str | None = None,
    held_out: Sequence[Path] = (),
    on_file: Callable[[], None] = lambda: None,
) -> ImportedFollowers:
    """Demonstrations of the drivers in trajectory tables. Files that cannot be read are left out and named.

    Args:
        paths: the files, in any order.
        kind: one of `tables.KINDS`; by default, the kind that the columns fit.
        held_out: the files for judging, among `paths` or in addition; by default `held_out_files` chooses.
        on_file: called twice for each file.

    Raises:
        BadInput: no file can be used, or no demonstration can be made of any; see `read_table`.
    """
    given, tables, unreadable = in_order(paths, held_out), dict[Path, Table](), list[str]()
    for path in given:
        try:
            tables[path] = read_table(path, kind)
        except InvalidTable as error:
            unreadable.append(str(error))
        on_file()
        on_file()  # reading takes the time
    if not tables:
        others = f" (and {len(given) - 1:,} more, none of which can be read)" if len(given) > 1 else ""
        raise InvalidTable(unreadable[0] + others)
    files, judged = list(tables), files_to_judge(list(tables), held_out)
    if len(judged) == len(files):
        raise InvalidTable(f"{files[0]}: no file is left to train on; give more files, or hold out fewer")
    left_out = sum((table.left_out for table in tables.values()), Counter[str]())
    drivers, windows = _drivers(list(tables.values()), judged, left_out)
    training = [window for window in windows if drivers[window[0]].file not in judged]
    if not training:
        raise InvalidTable(
            f"{files[0]}: no demonstration can be made ({listed(left_out)}); give longer recordings, or more"
        )
    held = [window for window in windows if drivers[window[0]].file in judged]
    world = _world(drivers, training + held, len(training), tuple(path.name for path in files))
    headways = [np.median(driver.gaps / np.maximum(driver.states[:, 1], MIN_SPEED)) for driver in drivers]
    misses = np.array([np.sqrt(np.mean(driver.misses**2)) for driver in drivers])
    report = FollowingReport(
        files=tuple(f"{path.name} ({table.kind})" for path, table in tables.items()),
        unreadable=tuple(unreadable),
        held_out_files=tuple(files[k].name for k in sorted(judged)),
        vehicles=sum(table.vehicles for table in tables.values()),
        drivers=len(drivers),
        left_out=left_out,
        training=len(training),
        held_out=len(held),
        judged=sum(driver.file in judged for driver in drivers),
        minutes=sum(len(driver.states) for driver in drivers) * TIME_STEP / 60,
        headway=tuple(np.quantile(headways, (0.1, 0.5, 0.9)).tolist()),
        misses=(float((misses <= LARGEST_MISS).mean()), float(np.median(misses)), float(np.quantile(misses, 0.95))),
        jerk=(
            float(np.mean([mean_absolute_jerk(driver.pair.follower_states[:, 1], TIME_STEP) for driver in drivers])),
            float(np.mean([mean_absolute_jerk(driver.states[:, 1], TIME_STEP) for driver in drivers])),
        ),
    )
    return ImportedFollowers(recording_of(world), report)


def _drivers(
    tables: Sequence[Table], judged: set[int], left_out: Counter[str]
) -> tuple[list[_Driver], list[tuple[int, int]]]:
    """The drivers that are recorded for long enough, and their windows: driver and step of the first state.

    Adds to `left_out`.
    """
    drivers: list[_Driver] = []
    windows: list[tuple[int, int]] = []
    seen: dict[int, set[bytes]] = {}
    for file in sorted(range(len(tables)), key=lambda file: file not in judged):  # held-out people first
        seen[file] = set()
        for pair in tables[file].pairs:
            shortest = JUDGED_STEPS if file in judged else FOLLOW_STEPS
            prints = fingerprints(pair.follower_states[:, 1])
            if len(pair.follower_states) <= shortest:
                left_out[f"drivers under {shortest * TIME_STEP:.0f} s{' in held-out files' * (file in judged)}"] += 1
            elif any(prints & others for other, others in seen.items() if other != file):
                left_out["drivers also in another file"] += 1
            else:
                seen[file] |= prints
                driver = _Driver.of(file, pair)
                starts = _starts(driver, FOLLOW_STEPS if file in judged else STRIDE, left_out)
                if starts:
                    windows += [(len(drivers), start) for start in starts]
                    drivers.append(driver)
    return drivers, windows


def _starts(driver: _Driver, stride: int, left_out: Counter[str]) -> list[int]:
    """Steps at which windows of a driver begin."""
    starts = []
    for start in range(0, len(driver.states) - FOLLOW_STEPS, stride):
        steps = slice(start, start + FOLLOW_STEPS + 1)
        if (driver.gaps[steps] <= 0).any():
            left_out["windows touching the leader"] += 1
        elif np.sqrt(np.mean(driver.misses[steps] ** 2)) > LARGEST_MISS:
            left_out["windows not reproducible"] += 1
        else:
            starts.append(start)
    return starts


def _world(
    drivers: Sequence[_Driver], windows: Sequence[tuple[int, int]], num_training: int, files: tuple[str, ...]
) -> FollowedLeaders:
    first_row = np.cumsum([0, *(len(driver.states) for driver in drivers)])
    track, start = np.array(windows).T
    return FollowedLeaders(
        track=track,
        demonstration_row=first_row[track] + start,
        num_training=np.array([num_training]),
        files=files,
        leader=np.concatenate([driver.pair.leader_states for driver in drivers]),
        follower=np.concatenate([driver.states for driver in drivers]),
        lengths=np.array([(driver.pair.follower_length, driver.pair.leader_length) for driver in drivers]),
        first_row=first_row,
        file=np.array([driver.file for driver in drivers]),
    )


def recording_of(world: FollowedLeaders, source: str = "people on the road") -> Recording:
    """The demonstrations of a world, with what the drivers observed and did."""
    scenario, episodes = Follow.of_world(world), len(world.track)
    demonstrations = scenario.demonstrations(np.arange(episodes))
    states = scenario.recorded_states(np.arange(episodes))[..., :1, :4].reshape(-1, 1, 4)
    scenes = {"demonstration": np.arange(episodes, dtype=np.float64)}
    return Recording(scenario, demonstrations, states, scenes, np.zeros(episodes, np.int64), world, source)
