"""The commands but those that train: `infogail record | import | evaluate | render | traffic | recognise | speed`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from errno import EACCES
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from infogail.cli.checks import at_least
from infogail.envs.catalogue import SCENARIO_NAMES, check_scenario, get_scenario
from infogail.envs.errors import BadInput

if TYPE_CHECKING:
    from infogail.envs.scenarios.scenario import Scenario

# Torch, highway-env and the rest are imported by the commands that need them, so that --help answers at once.


@dataclass(frozen=True)
class Record:
    """Record scripted experts of all styles in highway-env."""

    scenario: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SCENARIO")]
    """pass, turn, pass-pace, pass-follow, pass-unbalanced, turn-line, highway or highway-manners"""
    out: Path | None = None
    """File to write; demos/SCENARIO.safetensors by default."""
    episodes: int = 200
    """Episodes to record."""
    seed: int = 0
    """Seed of the starts and the drivers."""
    force: bool = False
    """Replace the file if it is there."""

    def run(self) -> None:
        scenario = check_scenario(self.scenario)
        at_least("--episodes", self.episodes, 10)
        at_least("--seed", self.seed, 0)
        from infogail.envs.files import check_output
        from infogail.envs.recordings.record import record
        from infogail.parallel.progress import progress_bar

        out = self.out or Path("demos") / f"{get_scenario(scenario).label}.safetensors"
        check_output(out, self.force)
        out.parent.mkdir(parents=True, exist_ok=True)  # rather now than when all is recorded
        if not os.access(out.parent, os.W_OK):
            raise BadInput(f"{out.parent}: {os.strerror(EACCES)}; give a place that can be written to")
        with progress_bar(f"recording {scenario}", self.episodes) as advance:
            recording, failed = record(get_scenario(scenario), self.episodes, self.seed, lambda: advance(1))
            recording.save(out)
        print(f"recorded: {out}, {self.episodes} episodes ({failed} more failed and were left out)")


@dataclass(frozen=True)
class Import:
    """Make demonstrations of recorded driving: CommonRoad files, of motorways or intersections."""

    paths: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FILE …")]
    """CommonRoad files (XML, 2018b or 2020a) with steps of up to 0.2 s; needs the extra 'data'."""
    held_out: tuple[Path, ...] = ()
    """Files to judge by, among FILE … or besides; by default every fourth of four or more, the last of two or three."""
    out: Path = Path("demos") / "replay.safetensors"
    """File to write."""
    force: bool = False
    """Replace the file if it is there."""

    def run(self) -> None:
        from infogail.envs.files import check_output

        check_output(self.out, self.force)
        if not self.paths:
            raise BadInput("import: give CommonRoad files; see 'infogail import --help'")
        from infogail.envs.recordings.importing import import_files
        from infogail.parallel.progress import progress_bar

        files = {path.resolve() for path in self.paths + self.held_out}
        with progress_bar("importing", 2 * len(files)) as advance:
            imported = import_files(self.paths, lambda: advance(1), self.held_out)
            imported.recording().save(self.out)
        report = imported.report
        for line in report.lines():
            print(line)
        for problem in report.unreadable:
            print(f"infogail: {problem}", file=sys.stderr)
        print(f"imported: {self.out}, of {report.files} of {len(files)} files")
        if report.unreadable:
            sys.exit(1)


@dataclass(frozen=True)
class Evaluate:
    """Judge a run in highway-env on fresh starts, a replay on its held-out windows; writes RUN/metrics.json."""

    path: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RUN")] = None
    """Run folder; by default the newest one below runs/."""
    episodes: int = 200
    """Episodes to drive, every code equally often; of a replay, windows to drive at most."""
    seed: int = 0
    """Seed of the starts."""
    json: bool = False
    """Print metrics.json instead of a table."""

    def run(self) -> None:
        at_least("--episodes", self.episodes, 1)
        at_least("--seed", self.seed, 0)
        from infogail.evaluation.protocol import evaluate
        from infogail.parallel.progress import progress_bar

        run = self.path or newest_run()
        with progress_bar(f"judging {run} in highway-env", self.episodes) as advance:
            result = evaluate(run, self.episodes, self.seed, progress=advance)
        if self.json:
            print(json.dumps(result, indent=2))
        elif "peers" in result:
            from infogail.evaluation.people_table import print_table

            print_table(result)
        else:
            for key, value in result.items():
                print(f"{key:28} {value}")


@dataclass(frozen=True)
class Render:
    """Film each code of a run in highway-env: codes.mp4, codes.gif and codes.png."""

    path: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RUN")] = None
    """Run folder; by default the newest one below runs/."""
    out: Path | None = None
    """Folder to write into; RUN/videos by default."""
    seed: int = 0
    """Seed of the starts."""
    force: bool = False
    """Replace videos that are there."""

    def run(self) -> None:
        at_least("--seed", self.seed, 0)
        from infogail.envs.files import check_output
        from infogail.parallel.progress import status
        from infogail.rendering.film import render

        run = self.path or newest_run()
        out = self.out or run / "videos"
        for name in ("codes.mp4", "codes.gif", "codes.png"):
            check_output(out / name, self.force)
        with status(f"rendering {run}") as update:
            files = render(run, out, self.seed, progress=lambda message: update(f"{run}: {message}"))
        for file in files:
            print(file)


@dataclass(frozen=True)
class Traffic:
    """Film an environment of highway-env in which a run drives the others, each with a code: traffic-*.mp4 and .gif."""

    path: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RUN")] = None
    """Run folder, of a highway; by default the newest such one below runs/."""
    environment: str = "highway-v0"
    """Which environment: any of highway-env's."""
    mix: tuple[float, ...] = ()
    """How common each code is, in any unit; by default as among the demonstrations."""
    assisted: bool = True
    """Brake and hold the lane for the drivers where the distance is unsafe."""
    seconds: float = 20.0
    """How long the film is."""
    out: Path | None = None
    """Folder to write into; RUN/videos by default."""
    seed: int = 0
    """Seed of the start and of the drawn codes."""
    force: bool = False
    """Replace videos that are there."""

    def run(self) -> None:
        at_least("--seed", self.seed, 0)
        at_least("--seconds", self.seconds, 1)
        from infogail.envs.files import check_output
        from infogail.parallel.progress import status
        from infogail.rendering.traffic_film import check_environment, film_files, film_traffic

        check_environment(self.environment)
        run = self.path or newest_run(lambda scenario: scenario.usable_as_traffic)
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
    """Who finds the styles in held-out demonstrations: the posterior, its unsupervised peers, supervised ceilings."""

    paths: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN …")] = ()
    """Run folders of one scenario, by default the newest one below runs/; of several, the table has interquartile means
    and intervals."""
    seed: int = 0
    """Seed of the peers, one higher from run to run."""
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
    """Measure highway-env, the batched twin and the training loop in one run, and print the ratios."""

    json: bool = False
    """Print JSON instead of a table."""
    seed: int = 0
    """Seed of the starts and the actions."""
    path: Annotated[Path | None, tyro.conf.arg(name="run", metavar="RUN")] = None
    """Run of a highway driver, to measure as traffic against highway-env's own; or of replay, to measure its people."""

    def run(self) -> None:
        at_least("--seed", self.seed, 0)
        from infogail.benchmark.speed import measure, measure_run, print_run, print_table
        from infogail.parallel.progress import status

        with status("measuring") as update:
            of_run = measure_run(self.path, self.seed) if self.path else None
            results = measure(self.seed, update)
        if self.json:
            print(json.dumps(results | ({of_run[0]: of_run[1]} if of_run else {}), indent=2))
            return
        print_table(results)
        if of_run:
            print_run(*of_run)


def newest_run(suits: Callable[[Scenario], bool] = lambda scenario: True) -> Path:
    """The run below runs/ that was trained last, of a scenario that `suits`; says which.

    Raises:
        BadInput: there is none.
    """
    from infogail.envs.catalogue import get_scenario
    from infogail.parallel.progress import note
    from infogail.runs.driver import FILE
    from infogail.runs.folder import Manifest

    files = [file for file in Path("runs").rglob(FILE) if not any(part.startswith(".") for part in file.parts)]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        with contextlib.suppress(BadInput):  # also where its scenario's module cannot be imported from here
            if suits(get_scenario(Manifest.load(file.parent).scenario)):
                note(f"infogail: the newest run is {file.parent}")
                return file.parent
    scenario = next(name for name in SCENARIO_NAMES if suits(get_scenario(name)))
    raise BadInput(f"runs: holds no finished run for this; make one with 'infogail train {scenario}'")
