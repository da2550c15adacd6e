"""The commands that do not train: `infogail record | import | evaluate | render | traffic | recognise | speed`."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from errno import EACCES
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from infogail.cli.checks import at_least
from infogail.cli.starcraft import given_games, import_games
from infogail.envs.catalogue import SCENARIO_NAMES, check_scenario, get_scenario, is_environment
from infogail.envs.errors import BadInput

if TYPE_CHECKING:
    from infogail.envs.data.episodes import Episodes
    from infogail.envs.recordings.following import FollowingReport
    from infogail.envs.recordings.report import Report
    from infogail.envs.tasks import Task

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
        for line in report.lines():
            print(line)
        for problem in report.unreadable:
            print(f"infogail: {problem}", file=sys.stderr)
        print(f"imported: {out}, from {len(files) - len(report.unreadable)} of {len(files)} files")
        if report.unreadable:
            sys.exit(1)

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
        for line in report.lines():
            print(line)
        for problem in report.unreadable:
            print(f"infogail: {problem}", file=sys.stderr)
        print(f"imported: {out}, {len(paths):,} paths")
        if report.unreadable:
            sys.exit(1)

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


@dataclass(frozen=True)
class Export:
    """Export the driver of a run as ONNX models that need no torch, with a model card for the Hugging Face Hub; or
    recorded episodes of a Gymnasium environment as a Minari data set."""

    path: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RUN|FILE")] = None
    """Run folder, by default the newest under runs/, which requires the extra 'onnx'; or, with --minari, a file from
    'infogail record'."""
    out: Path | None = None
    """Output folder; RUN/export by default."""
    licence: str | None = None
    """Licence of the demonstrations, for the model card, as the Hub names it, such as cc-by-4.0; of scripted experts it
    is known."""
    minari: str | None = None
    """Name of the data set to create, such as cartpole/two-styles-v0; requires the extra 'minari'."""
    force: bool = False
    """Overwrite existing files."""

    def run(self) -> None:
        if self.minari is not None:
            self.export_episodes(self.minari)
            return
        from infogail.parallel.progress import status
        from infogail.runs.export import export

        run = self.path or newest_run()
        if run.is_file():
            raise BadInput(f"export {run}: is a file; give the folder of a run, or add --minari NAME for a data set")
        with status(f"exporting {run}"):
            files = export(run, self.out or run / "export", self.licence, self.force)
        for file in files:
            print(file)

    def export_episodes(self, name: str) -> None:
        """Export the episodes of a file as a Minari data set."""
        if self.path is None:
            raise BadInput(f"--minari {name}: give the FILE to export, from 'infogail record'")
        for flag, given in {"out": self.out, "licence": self.licence, "force": self.force or None}.items():
            if given is not None:
                raise BadInput(f"--{flag}: is for the driver of a run; leave it out, or leave out --minari")
        from infogail.envs.data.episodes import Episodes, environment_of
        from infogail.envs.minari_datasets import save_minari
        from infogail.envs.tasks import GymTask, named_in_file

        task = named_in_file(environment_of(self.path))
        assert isinstance(task, GymTask)
        episodes = Episodes.load(self.path, task.interface)
        save_minari(episodes, name)
        print(f"exported: minari:{name}, {episodes.num_episodes} episodes of {episodes.environment}")


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a run in highway-env, on new initial scenes or held-out windows (replay), or in its Gymnasium
    environment; writes RUN/metrics.json."""

    path: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RUN")] = None
    """Run folder; by default the newest under runs/."""
    episodes: int = 200
    """Episodes to drive, split evenly over the codes; for replay, the maximum number of windows."""
    seed: int = 0
    """Seed for initial scenes."""
    action_noise: float = 0.0
    """Standard deviation of noise added to the actions; the file is then named after it."""
    start_spread: float = 1.0
    """Factor by which the ranges of starts are widened; the file is then named after it."""
    demonstrations: Path | None = None
    """For a run of follow: file whose people all judge it, none of whom it learned from; by default, the held-out
    people of its own."""
    transfer: bool = False
    """For a run of follow: also drive as traffic of highway-v0, and among IDM cars."""
    style: str | None = None
    """For a Gymnasium environment: module:function, also from the current folder, which judges a trajectory by its
    observations (T + 1, F), actions and rewards, as a label or a float; for judging only."""
    json: bool = False
    """Print metrics.json instead of a table."""

    def run(self) -> None:
        at_least("--episodes", self.episodes, 1)
        at_least("--seed", self.seed, 0)
        if not 0 <= self.action_noise < math.inf:
            raise BadInput(f"--action-noise {self.action_noise}: give a number of at least 0")
        if not 0 < self.start_spread < math.inf:
            raise BadInput(f"--start-spread {self.start_spread}: give a number above 0")
        from infogail.evaluation.episodes import Perturbation
        from infogail.evaluation.protocol import evaluate
        from infogail.parallel.progress import progress_bar
        from infogail.runs.folder import Manifest

        run, perturbation = self.path or newest_run(), Perturbation(self.action_noise, self.start_spread)
        if is_environment(scenario := Manifest.load(run).scenario):
            if self.demonstrations is not None or self.transfer:
                raise BadInput(
                    f"--demonstrations and --transfer: {run} is of {scenario}, not of follow; leave them out"
                )
            self.evaluate_returns(run, perturbation == Perturbation())
            return
        if self.style is not None:
            raise BadInput(f"--style {self.style}: driving scenarios judge their own styles; leave it out")
        with progress_bar(f"evaluating {run} in highway-env", self.episodes) as advance:
            result = evaluate(
                run,
                self.episodes,
                self.seed,
                progress=advance,
                perturbation=perturbation,
                others=self.demonstrations,
                elsewhere=self.transfer,
            )
        if self.json:
            print(json.dumps(result, indent=2))
        elif "peers" in result:
            from infogail.evaluation.people_table import print_table

            print_table(result)
        else:
            for key, value in result.items():
                print(f"{key:28} {value}")

    def evaluate_returns(self, run: Path, unperturbed: bool) -> None:
        """Evaluate a run in a Gymnasium environment."""
        if not unperturbed:
            raise BadInput(f"{run}: --action-noise and --start-spread are for driving scenarios; leave them out")
        from infogail.envs.policies import named_function
        from infogail.evaluation.returns import evaluate_returns
        from infogail.parallel.progress import progress_bar

        style = None if self.style is None else named_function("--style", self.style)
        with progress_bar(f"evaluating {run}", self.episodes) as advance:
            result = evaluate_returns(run, self.episodes, self.seed, advance, style)
        if self.json:
            print(json.dumps(result, indent=2))
            return
        for key, value in result.items():
            print(f"{key:28} {value}")


@dataclass(frozen=True)
class Render:
    """Film each code of a run in highway-env, or in its Gymnasium environment: codes.mp4, codes.gif and codes.png.

    With --html, codes.html instead: a page of its own to play, that can be mailed or published. With --commonroad, a
    CommonRoad file of each code instead.
    """

    path: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RUN")] = None
    """Run folder; by default the newest under runs/."""
    out: Path | None = None
    """Output folder; RUN/videos by default."""
    seed: int = 0
    """Seed for initial scenes."""
    html: bool = False
    """Write a page that plays every code from several scenes, instead of films; for driving scenarios."""
    commonroad: Path | None = None
    """Write what each code drives into this folder as CommonRoad files, instead of films; for driving scenarios. It
    requires the extra 'data'."""
    force: bool = False
    """Overwrite existing files."""

    def run(self) -> None:
        at_least("--seed", self.seed, 0)
        from infogail.envs.files import check_output
        from infogail.parallel.progress import status
        from infogail.rendering.environment_film import render_environment
        from infogail.rendering.film import render, render_page
        from infogail.runs.folder import Manifest

        run = self.path or newest_run()
        out = self.out or run / "videos"
        other = is_environment(scenario := Manifest.load(run).scenario)
        for flag, given in {"html": self.html, "commonroad": self.commonroad}.items():
            if given and other:
                raise BadInput(f"--{flag}: is of roads and cars, which {scenario} has none of; leave it out")
        if self.commonroad is not None:
            self.write_scenarios(run, self.commonroad)
            return
        for name in ("codes.html",) if self.html else ("codes.mp4", "codes.gif", "codes.png"):
            check_output(out / name, self.force)
        with status(f"rendering {run}") as update:
            film = render_page if self.html else render_environment if other else render
            files = film(run, out, self.seed, progress=lambda message: update(f"{run}: {message}"))
        for file in files:
            print(file)

    def write_scenarios(self, run: Path, folder: Path) -> None:
        """Write CommonRoad files."""
        if self.html or self.out is not None:
            raise BadInput(
                "--commonroad: its files go into its own folder, without films or pages; leave the others out"
            )
        from infogail.parallel.progress import status
        from infogail.rendering.commonroad import write_scenarios

        with status(f"driving {run}") as update:
            files = write_scenarios(run, folder, self.seed, self.force, lambda message: update(f"{run}: {message}"))
        for file in files:
            print(file)


@dataclass(frozen=True)
class Traffic:
    """Film a highway-env environment whose traffic is driven by a run, one code per vehicle: traffic-*.mp4 and .gif; or
    measure how its drivers get on among themselves."""

    path: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RUN")] = None
    """Run folder of a driver of highway, follow or replay; by default the newest such run under runs/."""
    environment: str = "highway-v0"
    """ID of a highway-env environment."""
    mix: tuple[float, ...] = ()
    """Relative frequency of each code; by default as in the demonstrations."""
    assisted: bool = True
    """Brake and keep the lane on the drivers' behalf when gaps are unsafe."""
    seconds: float = 20.0
    """Length of the film."""
    out: Path | None = None
    """Output folder; RUN/videos by default."""
    seed: int = 0
    """Seed for the initial scene and the sampled codes."""
    measure: bool = False
    """Print a table instead of filming. Of a run of highway: crashes, styles and speeds, with and without the assistant
    and beside the demonstrators, and whether a standstill dissolves. Of a run that learned from people: crashes, and
    headways in highway-v0 at people's speeds, beside people held out and IDM."""
    starts: int = 10
    """Starts to measure, from --seed on; one of highway-v0 takes about 30 seconds of a core."""
    force: bool = False
    """Overwrite existing videos."""

    def run(self) -> None:
        at_least("--seed", self.seed, 0)
        at_least("--seconds", self.seconds, 1)
        at_least("--starts", self.starts, 1)
        from infogail.envs.files import check_output
        from infogail.parallel.progress import status
        from infogail.rendering.traffic_film import check_environment, film_files, film_traffic
        from infogail.runs.driver import load

        check_environment(self.environment)
        run = self.path or newest_run(lambda scenario: scenario.usable_as_traffic)
        if self.measure and load(run).scenario.recorded:
            if self.environment != "highway-v0":
                raise BadInput(f"--environment {self.environment}: {run} is measured in highway-v0; leave it out")
            from infogail.evaluation.width import measure_width, print_width

            with status(f"measuring {run}") as update:
                width = measure_width(run, self.starts, self.seed, update)
            print_width(run, width)
            return
        if self.measure:
            from infogail.traffic.measuring import measure_traffic, print_measured

            processes = min(os.cpu_count() or 1, self.starts)
            measured = measure_traffic(run, self.environment, self.starts, self.seconds, self.seed, processes)
            print_measured(self.environment, measured)
            return
        out = self.out or run / "videos"
        for file in film_files(out, self.environment):
            check_output(file, self.force)
        with status(f"filming {run}") as update:
            files = film_traffic(
                run,
                self.environment,
                self.mix or None,
                self.assisted,
                self.seconds,
                self.seed,
                out,
                lambda message: update(f"{run}: {message}"),
            )
        for file in files:
            print(file)


@dataclass(frozen=True)
class Recognise:
    """Compare how well posterior, unsupervised peers and supervised ceilings find held-out demonstrations' styles."""

    paths: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN …")] = ()
    """Run folders of one scenario, by default the newest under runs/; for several runs, the table shows interquartile
    means and intervals."""
    seed: int = 0
    """Seed for the peers of the first run, incremented for each further run."""
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> None:
        at_least("--seed", self.seed, 0)
        from infogail.evaluation.recognise import print_table, recognise
        from infogail.parallel.progress import status

        runs = self.paths or (newest_run(lambda scenario: not scenario.recorded),)
        with status(f"{runs[0]}: fitting the peers") as update:
            results = [recognise(run, self.seed + k, update) for k, run in enumerate(runs)]
        if self.json:
            print(json.dumps(dict(zip(map(str, runs), results, strict=True)), indent=2))
        else:
            print_table(results)


@dataclass(frozen=True)
class Speed:
    """Benchmark highway-env, the batched twin and the training loop together, and print the speed ratios."""

    json: bool = False
    """Print JSON instead of a table."""
    seed: int = 0
    """Seed for initial scenes and actions."""
    path: Annotated[Path | None, tyro.conf.arg(name="run", metavar="RUN")] = None
    """Highway run to compare, as traffic, with highway-env's own; or a run that learned from people, whose recorded
    traffic to measure."""
    device: str | None = None
    """Measure only the compiled twin, on this device, such as cuda, with up to a million environments."""
    forecast: bool = False
    """Measure only the fit of 'infogail forecast', on 1,000 made-up paths over areas of three sizes."""

    def run(self) -> None:
        at_least("--seed", self.seed, 0)
        if self.forecast:
            self.measure_forecast()
            return
        from infogail.benchmark.speed import measure, measure_device, measure_run, print_run, print_table
        from infogail.parallel.progress import status

        if self.device is not None:
            with status(f"measuring on {self.device}"):
                on_device = measure_device(self.device, self.seed)
            if self.json:
                print(json.dumps(on_device, indent=2))
                return
            for scenario, rates in on_device.items():
                print_run(f"{scenario}, on {self.device}", {name: {"steps per second": r} for name, r in rates.items()})
            return
        with status("measuring") as update:
            of_run = measure_run(self.path, self.seed) if self.path else None
            results = measure(self.seed, update)
        if self.json:
            print(json.dumps(results | ({of_run[0]: of_run[1]} if of_run else {}), indent=2))
            return
        print_table(results)
        if of_run:
            print_run(*of_run)

    def measure_forecast(self) -> None:
        from infogail.benchmark.speed import print_run
        from infogail.forecast.speed import measure
        from infogail.parallel.progress import status

        with status("fitting") as update:
            results = measure(self.seed, update)
        if self.json:
            print(json.dumps(results, indent=2))
        else:
            print_run("maximum causal entropy IRL", results)


@dataclass(frozen=True)
class Studio:
    """Drive, record, train and watch in a browser: serves a page of this machine and prints its address."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")] = Path(".")
    """Where demonstrations and runs are, and new ones go."""
    port: int = 8000
    """Port to listen at; 0: any that is free."""
    host: str = "127.0.0.1"
    """Address to listen at. Any other lets people on other machines in who know the token; nothing is encrypted."""
    open: bool = False
    """Open the page in the browser."""
    max_sessions: int = 8
    """People who drive or watch at the same time."""

    def run(self) -> None:
        if not 0 <= self.port < 2**16:
            raise BadInput(f"--port {self.port}: give a number from 0 to {2**16 - 1}")
        at_least("--max-sessions", self.max_sessions, 1)
        if not self.folder.is_dir():
            raise BadInput(f"{self.folder}: no such folder; make it first")
        from infogail.cli.training import learner_classes
        from infogail.studio.server import serve

        serve(self.folder.resolve(), self.host, self.port, self.open, self.max_sessions, learner_classes)


def spread(episodes: Episodes) -> str:
    """Returns and ends of recorded episodes, as a phrase."""
    returns, terminated = episodes.returns, episodes.terminated.mean()
    return f"return {returns.mean():.1f} ± {returns.std():.1f}, {terminated:.0%} of them terminated"


def newest_run(suits: Callable[[Task], bool] = lambda scenario: True) -> Path:
    """The most recently trained run under runs/ whose scenario `suits`; prints which it is.

    Raises:
        BadInput: there is no such run.
    """
    from infogail.envs.tasks import named_in_file
    from infogail.parallel.progress import note
    from infogail.runs.driver import FILE
    from infogail.runs.folder import Manifest

    files = [file for file in Path("runs").rglob(FILE) if not any(part.startswith(".") for part in file.parts)]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        with contextlib.suppress(BadInput):  # including a scenario whose module cannot be imported
            if suits(named_in_file(Manifest.load(file.parent).scenario)):
                note(f"infogail: the newest run is {file.parent}")
                return file.parent
    scenario = next(name for name in SCENARIO_NAMES if suits(get_scenario(name)))
    raise BadInput(f"runs: no suitable finished run; make one with 'infogail train {scenario}'")
