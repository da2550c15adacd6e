"""`infogail record` and `infogail import`: files of demonstrations."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from errno import EACCES
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from infogail.cli.checks import at_least
from infogail.cli.starcraft import given_games, import_games
from infogail.envs.catalogue import check_scenario, get_scenario, is_environment
from infogail.envs.errors import BadInput

if TYPE_CHECKING:
    from infogail.envs.data.episodes import Episodes
    from infogail.envs.recordings.following import FollowingReport
    from infogail.envs.recordings.report import Report

TABLE_NAME = re.compile(r"\.(csv|txt)(\.gz)?$", re.IGNORECASE)

# Torch, highway-env and other heavy packages are imported by the commands that need them, to keep --help fast.


@dataclass(frozen=True)
class Record:
    """Record scripted experts of every style in highway-env, or your policy in any Gymnasium environment."""

    scenario: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SCENARIO")]
    """pass, turn, pass-pace, pass-follow, pass-unbalanced, turn-line, highway or highway-manners; or the id of a
    Gymnasium environment, such as CartPole-v1"""
    policy: str | None = None
    """For an environment: module:function, which takes (observation) or (env, observation) and returns an action, also
    from the current folder; an ONNX file; or a Stable-Baselines3 zip, which can run any code: open only your own."""
    style: int = -1
    """For an environment: style of these episodes, for judging only; -1: unknown."""
    min_return: float = -math.inf
    """For an environment: leave out episodes of a smaller return, and record others in their place."""
    append: bool = False
    """For an environment: add to the file if it exists."""
    out: Path | None = None
    """File to write; demos/SCENARIO.safetensors by default."""
    episodes: int = 200
    """Episodes to record."""
    seed: int = 0
    """Seed for initial scenes and drivers."""
    force: bool = False
    """Overwrite the file if it exists."""

    def run(self) -> None:
        if is_environment(self.scenario):
            self.record_policy()
            return
        scenario = check_scenario(self.scenario)
        theirs = {"policy": self.policy, "append": self.append, "min-return": self.min_return > -math.inf}
        for flag, given in theirs.items():
            if given:
                raise BadInput(f"--{flag}: {scenario} is recorded by its own experts; leave it out")
        at_least("--episodes", self.episodes, 10)
        at_least("--seed", self.seed, 0)
        from infogail.envs.files import check_output
        from infogail.envs.recordings.record import record
        from infogail.parallel.progress import progress_bar

        out = self.out or Path("demos") / f"{get_scenario(scenario).label}.safetensors"
        check_output(out, self.force)
        self.make_folder(out)
        with progress_bar(f"recording {scenario}", self.episodes) as advance:
            recording, failed = record(get_scenario(scenario), self.episodes, self.seed, lambda: advance(1))
            recording.save(out)
        print(f"recorded: {out}, {self.episodes} episodes ({failed} more failed and were left out)")

    def record_policy(self) -> None:
        """Record `policy` in a Gymnasium environment."""
        at_least("--episodes", self.episodes, 1)
        at_least("--seed", self.seed, 0)
        at_least("--style", self.style, -1)
        if self.policy is None:
            raise BadInput(f"record {self.scenario}: give --policy, which demonstrates")
        from infogail.envs.data.episodes import Episodes
        from infogail.envs.data.recording import MAX_SOURCE
        from infogail.envs.files import check_output
        from infogail.envs.gym_environment import record_policy
        from infogail.envs.policies import load_policy
        from infogail.envs.tasks import GymTask
        from infogail.parallel.progress import progress_bar

        task = GymTask(self.scenario)
        out = self.out or Path("demos") / f"{task.label}.safetensors"
        check_output(out, self.force or self.append)
        before = [Episodes.load(out, task.interface)] if self.append and out.exists() else []
        env = task.make()
        policy = load_policy(self.policy, env)
        self.make_folder(out)
        with progress_bar(f"recording {task.name}", self.episodes) as advance:
            new = record_policy(
                env,
                policy,
                self.episodes,
                self.seed,
                style=self.style,
                progress=lambda: advance(1),
                min_return=self.min_return,
                source=self.policy.rpartition("/")[2][:MAX_SOURCE],
            )
        Episodes.join([*before, new]).save(out)
        print(f"recorded: {out}, {self.episodes} episodes, {spread(new)}")

    @staticmethod
    def make_folder(out: Path) -> None:
        """Create the folder of the file `out`, to fail now rather than after recording."""
        out.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(out.parent, os.W_OK):
            raise BadInput(f"{out.parent}: {os.strerror(EACCES)}; give a writable path")


@dataclass(frozen=True)
class Import:
    """Import demonstrations: recordings of traffic as CommonRoad files or trajectory tables, a Minari data set, the
    paths of people over an area, for 'infogail forecast', or replays of StarCraft II."""

    paths: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FILE …")]
    """CommonRoad files (XML, 2018b or 2020a) with time steps of at most 0.2 s, which requires the extra 'data'; or
    trajectory tables (CSV, also gzip) of NGSIM, highD, inD or exiD, in which drivers follow a leader; or minari:NAME, a
    Minari data set, downloaded if it is not there, which requires the extra 'minari'; or paths: CSV with columns time,
    id, x, y and perhaps group, UCY's obsmat text, npz with xyt, bounds and perhaps game or group, or one file of
    demonstrations from 'infogail record' or 'infogail import'; or replays of one map (GAME.SC2Replay), which requires
    the extra 'starcraft'."""
    kind: Literal["ngsim", "highd", "ind", "exid", "paths"] | None = None
    """Kind of the tables; by default their columns tell."""
    obstacles: Path | None = None
    """For paths: what stands in their way. CSV with columns x1, y1, x2, y2, or OpenTraj's XML map; or a picture, whose
    dark pixels are obstacles."""
    area: tuple[float, float, float, float] | None = None
    """For a picture of obstacles: left, bottom, right and top of what it covers, in the unit of the paths."""
    environment: str | None = None
    """Id of the environment of a Minari data set that does not name it."""
    held_out: tuple[Path, ...] = ()
    """Files held out for evaluation, whether or not listed in FILE …; by default every fourth of four or more files, or
    the last of two or three."""
    out: Path | None = None
    """File to write; by default demos/replay.safetensors, demos/follow.safetensors for tables of traffic,
    demos/paths.safetensors for paths, demos/ENVIRONMENT.safetensors, or demos/starcraft.safetensors, with the files
    …-armies and …-scouts beside it."""
    force: bool = False
    """Overwrite the file if it exists."""

    def run(self) -> None:
        from infogail.envs.files import check_output

        if not self.paths:
            raise BadInput("import: give recordings of traffic or minari:NAME; see 'infogail import --help'")
        if str(self.paths[0]).startswith("minari:"):
            self.import_minari()
            return
        if self.environment is not None:
            raise BadInput(f"--environment {self.environment}: recordings of traffic have none; leave it out")
        if self.kind is None and given_games(self.paths):
            if self.held_out:
                raise BadInput("--held-out: of games, the last fifth is held out; leave it out")
            import_games(self.paths, self.out, self.force)
            return
        if self.kind == "paths" or (self.kind is None and self.given_paths()):
            self.import_paths()
            return
        if self.obstacles is not None or self.area is not None:
            raise BadInput("--obstacles and --area: are for paths; leave them out, or add --kind paths")
        from infogail.parallel.progress import progress_bar

        given = self.paths + self.held_out
        table = next((path for path in given if TABLE_NAME.search(path.name)), None)
        scene = next((path for path in given if path.suffix.lower() == ".xml"), None)
        if table and scene:
            raise BadInput(f"import: {table} is a trajectory table, {scene} a CommonRoad file; import them one by one")
        if scene and self.kind is not None:
            raise BadInput(f"--kind {self.kind}: is for trajectory tables, {scene} is a CommonRoad file; leave it out")
        tables = self.kind is not None or table is not None
        out = self.out or Path("demos") / ("follow.safetensors" if tables else "replay.safetensors")
        check_output(out, self.force)
        files = {path.resolve() for path in given}
        with progress_bar("importing", 2 * len(files)) as advance:
            report = self.import_traffic(tables, out, lambda: advance(1))
        imported = f"from {len(files) - len(report.unreadable)} of {len(files)} files"
        conclude(report.lines(), report.unreadable, f"imported: {out}, {imported}")

    def import_traffic(self, tables: bool, out: Path, on_file: Callable[[], None]) -> Report | FollowingReport:
        """Import trajectory tables or CommonRoad files; returns the summary."""
        if tables:
            from infogail.envs.recordings.following import import_tables

            recording, summary = import_tables(self.paths, self.kind, self.held_out, on_file)
            recording.save(out)
            return summary
        from infogail.envs.recordings.importing import import_files

        imported = import_files(self.paths, on_file, self.held_out)
        imported.recording().save(out)
        return imported.report

    def given_paths(self) -> bool:
        """Whether the first file is a table of paths."""
        from infogail.forecast.importing import holds_paths

        return holds_paths(self.paths[0])

    def import_paths(self) -> None:
        """Import paths over an area."""
        from infogail.envs.files import check_output
        from infogail.forecast.driving import SUFFIX, import_driving
        from infogail.forecast.importing import import_paths
        from infogail.forecast.intersections.streets import import_streets
        from infogail.forecast.obstacles import read_obstacles

        if self.held_out:
            raise BadInput("--held-out: 'infogail forecast' holds out the last fifth of paths; leave it out")
        if self.area is not None and self.obstacles is None:
            raise BadInput("--area: is what a picture covers; give --obstacles PICTURE, too")
        out = self.out or Path("demos/paths.safetensors")
        check_output(out, self.force)
        kinds = {path.suffix.lower() for path in self.paths}
        if SUFFIX in kinds and len(self.paths) > 1:
            raise BadInput(f"import {self.paths[0]}: give a file of demonstrations alone, without other files")
        if SUFFIX in kinds:
            paths, report = import_driving(self.paths[0])
        else:
            paths, report = import_streets(self.paths) if ".xml" in kinds else import_paths(self.paths)
        if self.obstacles is not None:
            paths = replace(paths, obstacles=read_obstacles(self.obstacles, self.area, paths.points))
            print(f"obstacles: {len(paths.obstacles):,} segments")
        paths.save(out)
        conclude(report.lines(), report.unreadable, f"imported: {out}, {len(paths):,} paths")

    def import_minari(self) -> None:
        """Import one Minari data set."""
        from infogail.envs.files import check_output
        from infogail.envs.minari_datasets import PREFIX, load_minari
        from infogail.envs.tasks import GymTask

        if len(self.paths) > 1 or self.held_out:
            raise BadInput(f"import {self.paths[0]}: give it alone, without other files or --held-out")
        episodes = load_minari(str(self.paths[0]).removeprefix(PREFIX), self.environment)
        out = self.out or Path("demos") / f"{GymTask(episodes.environment).label}.safetensors"
        check_output(out, self.force)
        episodes.save(out)
        print(f"imported: {out}, {episodes.num_episodes} episodes of {episodes.environment}, {spread(episodes)}")


def conclude(summary: Iterable[str], unreadable: Sequence[str], imported: str) -> None:
    """Print what an import found, and leave with status 1 if files were `unreadable`."""
    for line in summary:
        print(line)
    for problem in unreadable:
        print(f"infogail: {problem}", file=sys.stderr)
    print(imported)
    if unreadable:
        sys.exit(1)


def spread(episodes: Episodes) -> str:
    """Returns and ends of recorded episodes, as a phrase."""
    returns, terminated = episodes.returns, episodes.terminated.mean()
    return f"return {returns.mean():.1f} ± {returns.std():.1f}, {terminated:.0%} of them terminated"
