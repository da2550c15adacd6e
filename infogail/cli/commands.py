"""The command line: `infogail COMMAND`.

`infogail record | import | train | evaluate | render | traffic | recognise | speed | benchmark | demo`
"""

from __future__ import annotations

import contextlib
import difflib
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from errno import EACCES
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, cast, get_args

import tyro

from infogail.config.config import Config
from infogail.config.presets import DEFAULT, PRESETS
from infogail.envs.catalogue import BASIC_SCENARIOS, SCENARIO_NAMES
from infogail.envs.errors import BadInput
from infogail.parallel.launch import launched, leads
from infogail.parallel.signals import Stopped
from infogail.parallel.terminal import write_plainly

if TYPE_CHECKING:
    from infogail.envs.scenarios.scenario import Scenario
    from infogail.runs.runner import Learner

# Torch, highway-env and the rest are imported by the commands that need them, so that --help answers at once.


Algorithm = Literal["infogail", "gail", "bc"]
defaults: ContextVar[tuple[Algorithm, Config]] = ContextVar("defaults", default=(PRESETS[DEFAULT].algorithm, Config()))
"""From which the options of `train` differ while it is parsed: so that --help shows true values. See `defaults_of`."""


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
        from infogail.envs.data.demonstrations import record
        from infogail.envs.files import check_output
        from infogail.parallel.progress import progress_bar

        out = self.out or Path("demos") / f"{scenario}.safetensors"
        check_output(out, self.force)
        out.parent.mkdir(parents=True, exist_ok=True)  # rather now than when all is recorded
        if not os.access(out.parent, os.W_OK):
            raise BadInput(f"{out.parent}: {os.strerror(EACCES)}; give a place that can be written to")
        with progress_bar(f"recording {scenario}", self.episodes) as advance:
            recording, failed = record(scenario, self.episodes, self.seed, lambda: advance(1))
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
class Train:
    """Train one learner on recorded demonstrations, without their style labels, in the batched twin."""

    scenario: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="SCENARIO")] = None
    """pass, turn, pass-pace, pass-follow, pass-unbalanced, turn-line, highway, highway-manners or replay"""
    out: Path | None = None
    """Run folder to make; runs/SCENARIO-ALGORITHM[-PRESET]-SEED by default."""
    resume: Path | None = None
    """Run folder to go on with, from its newest checkpoint and with its settings; beyond its end with more --iterations
    (BC: --bc-steps)."""
    demonstrations: Path | None = None
    """File from `infogail record`; demos/SCENARIO.safetensors by default, recorded now if it is not there."""
    algorithm: Algorithm = field(default_factory=lambda: defaults.get()[0])
    """The learner."""
    preset: str | None = None
    """Named settings, from which the options given differ; see `infogail/presets.py`."""
    force: bool = False
    """Replace the run folder if it is there."""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=lambda: defaults.get()[1])

    def run(self) -> None:
        if self.resume is not None:
            self.go_on(self.resume)
            return
        if self.scenario is None:
            raise BadInput("train: give SCENARIO, or --resume RUN; see 'infogail train --help'")
        scenario = check_scenario(self.scenario)
        from infogail.benchmark.cells import Cell
        from infogail.parallel.distributed import join, run_on_leader
        from infogail.parallel.progress import progress_bar
        from infogail.runs.runner import train

        file = self.demonstrations or Path("demos") / f"{scenario}.safetensors"
        cell = Cell(scenario, self.algorithm, self.config.for_scenario(scenario), self.preset or DEFAULT)
        out = self.out or Path("runs") / cell.name
        learner = learner_classes()[self.algorithm]
        join()
        run_on_leader(lambda: self.provide(file, scenario, out))
        with progress_bar(f"training {self.algorithm} on {scenario}", 1.0) as advance:
            train(
                learner,
                self.algorithm,
                file,
                scenario,
                self.config,
                out,
                self.force,
                follow(advance),
            )
        say_trained(out)

    def provide(self, file: Path, scenario: str, out: Path) -> None:
        """Record demonstrations where no file was named and there is none, unless training could not begin anyway."""
        from infogail.envs.catalogue import get_scenario
        from infogail.parallel.progress import note
        from infogail.runs.folder import check_run

        check_run(out, self.force)
        if self.demonstrations is None and not file.exists() and not get_scenario(scenario).recorded:
            note(f"infogail: {file}: no such file; recording it")
            Record(scenario).run()

    def go_on(self, run: Path) -> None:
        """With a run that was stopped, or beyond its end. Its settings are its own, but for its length and threads."""
        from infogail.runs.folder import DEMONSTRATIONS, Manifest

        manifest = Manifest.load(run)
        length = "bc_steps" if manifest.algorithm == "bc" else "iterations"
        at_least(option(length), getattr(self.config, length), 1)
        given = {"scenario": self.scenario, "algorithm": self.algorithm, "out": self.out} | vars(self.config)
        its = {"scenario": manifest.scenario, "algorithm": manifest.algorithm, "out": run} | vars(manifest.config)
        for name, value in (given | {"force": self.force}).items():
            known = its.get(name, False)
            if value not in (None, known) and name not in ("threads", length):
                shown = "SCENARIO" if name == "scenario" else option(name)
                raise BadInput(f"{shown} {value}: the run to resume has {known}; leave it out")
        if self.demonstrations is not None:
            named = f"--demonstrations {self.demonstrations}"
            if not self.demonstrations.is_file():
                raise BadInput(f"{named}: no such file; leave it out")
            if sha256(self.demonstrations.read_bytes()).hexdigest() != manifest.files.get(DEMONSTRATIONS):
                raise BadInput(f"{named}: the run to resume has others, in its folder; leave it out")
        from infogail.parallel.progress import note, progress_bar
        from infogail.runs.runner import resume

        with progress_bar(f"resuming {run}", 1.0) as advance:
            resume(
                learner_classes(),
                run,
                self.config.threads,
                follow(advance),
                lambda message: note(f"infogail: {message}"),
                **{length: getattr(self.config, length)},
            )
        say_trained(run)


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
        run = self.path or newest_run(lambda scenario: scenario.name == "highway")
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


@dataclass(frozen=True)
class Benchmark:
    """Train and judge every learner on every scenario over many seeds; intervals, and what failed.

    A restart goes on where it was stopped, and with more seeds adds only those.
    """

    out: Path
    """Folder of the runs; each one's metrics.json is its result."""
    scenarios: tuple[str, ...] = BASIC_SCENARIOS
    """Any of pass, turn, pass-pace, pass-follow, pass-unbalanced, turn-line, highway, highway-manners and
    replay."""
    algorithms: tuple[Literal["infogail", "gail", "bc"], ...] = ("bc", "gail", "infogail")
    """The learners."""
    presets: tuple[str, ...] = (DEFAULT,)
    """Named settings, each a variant of the learner that it is for; see `infogail/presets.py`."""
    seeds: int = 10
    """How many training seeds, from the first one on."""
    episodes: int = 200
    """Episodes to record, and to judge each run by."""
    force: bool = False
    """Make anew what is there."""
    ray: str | None = None
    """Ray cluster to work on, auto or HOST:PORT; needs the extra 'dist'. This machine's cores by default."""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()
    """Names of the settings that were asked for, which override those of every preset."""

    def run(self) -> None:
        at_least("--seeds", self.seeds, 1)
        at_least("--episodes", self.episodes, 20)
        scenarios = [check_scenario(name) for name in dict.fromkeys(self.scenarios)]
        presets = [check_known("preset", name, list(PRESETS)) for name in dict.fromkeys(self.presets)]
        from infogail.benchmark.cells import benchmark
        from infogail.benchmark.tables import print_table

        chosen: tuple[str, ...] = self.algorithms
        learners = {name: learner for name, learner in learner_classes().items() if name in chosen}
        seeds = range(self.config.seed, self.config.seed + self.seeds)
        results = benchmark(
            learners, scenarios, seeds, self.out, self.episodes, self.config, presets, self.force, self.ray, self.given
        )
        print_table(results)
        if results.metrics:
            from infogail.benchmark.report import write_report
            from infogail.parallel.progress import status

            with status("writing the report") as update:
                page = write_report(self.out, results, f"infogail {shlex.join(sys.argv[1:])}", update)
            print(page)
        if results.failures:
            sys.exit(1)


@dataclass(frozen=True)
class Demo:
    """Record, train InfoGAIL, GAIL and BC, judge and film them, on all scenarios; see runs/ and videos/."""

    seed: int = 0
    """Seed of recording, training and judging."""
    episodes: int = 200
    """Episodes to record, and to judge each run by."""
    force: bool = False
    """Make anew what is there."""

    def run(self) -> None:
        at_least("--episodes", self.episodes, 20)
        at_least("--seed", self.seed, 0)
        from infogail.benchmark.demo import demo

        if demo(learner_classes(), self.seed, self.episodes, self.force).failures:
            sys.exit(1)


OUT_OF_MEMORY = "there is not enough memory for that; give a smaller --num-envs, --hidden or other size"
Command = Record | Import | Train | Evaluate | Render | Traffic | Recognise | Speed | Benchmark | Demo


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Exit status: 0, 2 for bad input with one line on standard error, 130 for Ctrl-C."""
    # Idle threads sleep: where cores are shared, threads that spin slow each other down a hundredfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    write_plainly()
    try:
        command = parse((sys.argv[1:] if arguments is None else arguments) or ["--help"])
        if launched() and not isinstance(command, Train):
            raise BadInput(f"{type(command).__name__.lower()}: torchrun is for training; run this without it")
        command.run()
    except Stopped as stop:
        fail(stop.message, stop.status)
    except KeyboardInterrupt:
        fail("interrupted; nothing was left half-written", 130)
    except BadInput as error:
        fail(str(error), 2)
    except MemoryError:
        fail(OUT_OF_MEMORY, 2)
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # as torch says it
            raise
        fail(OUT_OF_MEMORY, 2)
    except UnicodeEncodeError as error:
        fail(f"{error.object}: holds bytes that are no text in this locale; set PYTHONUTF8=1, or rename it", 2)
    except OSError as error:
        if not error.filename:
            fail(str(error), 2)
        name = re.sub(r"\.([^/]*)\.\d+\.partial$", r"\1", str(error.filename))  # what it was to become
        fail(f"{name}: {error.strerror}; give a place that can be written to", 2)
    finally:
        if launched():
            from infogail.parallel.distributed import leave

            leave()


def option(name: str) -> str:
    """The option that sets `name`."""
    return "--" + name.replace("_", "-")


def fail(problem: str, status: int) -> NoReturn:
    """Leave with one line on standard error."""
    problem = " ".join(problem.splitlines())
    if launched():
        from infogail.parallel.distributed import print_once

        print_once(f"infogail: {problem}")
    else:
        print(f"infogail: {problem}", file=sys.stderr)
    sys.exit(status)


def say_trained(run: Path) -> None:
    """What came of training, told once by all processes."""
    if leads():
        from infogail.envs.data.world import NOTHING_HELD_OUT
        from infogail.evaluation.people import lacks_held_out

        print(f"trained: {run}; judge it with 'infogail evaluate {shlex.quote(str(run))}'")
        if lacks_held_out(run):
            print(NOTHING_HELD_OUT)


def follow(advance: Callable[[float], None]) -> Callable[[int, int, dict[str, Any]], None]:
    """What moves a bar of length 1 on to where training is after each iteration."""
    before = 0.0

    def on_iteration(done: int, total: int, log: dict[str, Any]) -> None:
        nonlocal before
        advance(done / total - before)
        before = done / total

    return on_iteration


def newest_run(suits: Callable[[Scenario], bool] = lambda scenario: True) -> Path:
    """The run below runs/ that was trained last, of a scenario that `suits`; says which.

    Raises:
        BadInput: there is none.
    """
    from infogail.envs.catalogue import get_scenario
    from infogail.parallel.progress import note
    from infogail.runs.driver import FILE
    from infogail.runs.folder import InvalidRun, Manifest

    files = [file for file in Path("runs").rglob(FILE) if not any(part.startswith(".") for part in file.parts)]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        with contextlib.suppress(InvalidRun):
            if suits(get_scenario(Manifest.load(file.parent).scenario)):
                note(f"infogail: the newest run is {file.parent}")
                return file.parent
    scenario = next(name for name in SCENARIO_NAMES if suits(get_scenario(name)))
    raise BadInput(f"runs: holds no finished run for this; make one with 'infogail train {scenario}'")


def parse(arguments: list[str]) -> Command:
    """The command that `arguments` ask for; tyro's own complaints become one line.

    Raises:
        BadInput: an option or a value that tyro does not accept.
    """
    said = io.StringIO()
    before = defaults.set(defaults_of(arguments))
    try:
        with contextlib.redirect_stderr(said):
            command: Command = tyro.cli(
                Command, args=arguments, prog="infogail", config=(tyro.conf.OmitSubcommandPrefixes,)
            )
        return replace(command, given=settings_in(arguments)) if isinstance(command, Benchmark) else command
    except SystemExit as stop:
        if not stop.code:
            raise  # --help
        raise BadInput(complaint(said.getvalue())) from None
    finally:
        defaults.reset(before)


def defaults_of(arguments: Sequence[str]) -> tuple[Algorithm, Config]:
    """Learner and settings from which the options of `train` differ: those of the run to resume, changed by the preset.

    Raises:
        BadInput: there is no such run, or no preset of that name.
    """
    algorithm: Algorithm = PRESETS[DEFAULT].algorithm
    config = Config()
    if arguments[:1] != ["train"]:
        return algorithm, config
    if (run := value_of("--resume", arguments)) is not None:
        from infogail.runs.folder import Manifest

        manifest = Manifest.load(Path(run))
        check_known(f"algorithm of {run}", manifest.algorithm, get_args(Algorithm))
        algorithm, config = cast(Algorithm, manifest.algorithm), manifest.config
    if (name := value_of("--preset", arguments)) not in (None, DEFAULT):
        preset = PRESETS[check_known("preset", name, list(PRESETS))]
        algorithm, config = preset.algorithm, preset.apply(config)
    return algorithm, config


def value_of(option: str, arguments: Sequence[str]) -> str | None:
    """What is given to the option, the last time; None where it is not given."""
    values = [after for before, after in pairwise(arguments) if before == option]
    values += [argument.removeprefix(f"{option}=") for argument in arguments if argument.startswith(f"{option}=")]
    return values[-1] if values else None


def settings_in(arguments: Sequence[str]) -> frozenset[str]:
    """Names of the settings that are among the arguments."""
    words = {word.partition("=")[0].replace("_", "-") for word in arguments}
    return frozenset(
        setting.name for setting in fields(Config) if words & {option(setting.name), option(f"no_{setting.name}")}
    )


def complaint(box: str) -> str:
    """What tyro says in a box of several lines, as one line: what is wrong, and the remedy."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯]", " ", box).split())
    _, problem, *_ = re.split(r" [─-]{5,} ", text)  # between the title and the rest
    problem = problem.rstrip(".")
    if match := re.match(r"invalid choice '(.*)' for argument '(.*)'. Expected one of \((.*)\)", problem):
        value, option, choices = match.groups()
        return f"{option} {value}: {suggestion(value, re.findall(r'[^ ,]+', choices.replace(chr(39), '')))}"
    if match := re.match(r"Error parsing (\S+): .*(int|float).*: '(.*)'", problem):
        option, kind, value = match.groups()
        return f"{option} {value}: give a {'whole ' if kind == 'int' else ''}number"
    if match := re.search(r"options: ([^ ,]+).* Available subcommands: ([a-z, ]+)", text):
        return f"unknown command '{match[1]}'; {suggestion(match[1], match[2].strip().split(', '))}"
    if match := re.search(r"(?:Perhaps you meant|Arguments similar to \S+): (--\S+)", text):
        return f"{problem}; did you mean '{match[1]}'?"
    remedy = re.search(r"infogail[a-z ]* --help", text)
    return f"{problem}; see '{remedy[0] if remedy else 'infogail --help'}'"


def check_scenario(name: str) -> str:
    """`name`, if there is such a scenario; see `check_known`."""
    return check_known("scenario", name, SCENARIO_NAMES)


def check_known(kind: str, name: str, names: Sequence[str]) -> str:
    """`name`, if it is one of `names`.

    Raises:
        BadInput: it is none of them; suggests the nearest.
    """
    if name not in names:
        raise BadInput(f"unknown {kind} '{name}'; {suggestion(name, names)}")
    return name


def suggestion(word: str, names: Sequence[str]) -> str:
    """The name that may have been meant, or else all of them."""
    near = difflib.get_close_matches(word.lower(), names, 1, 0.3)
    return f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names[:-1])} and {names[-1]}"


def at_least(option: str, value: float, least: int) -> None:
    """Raise BadInput where `value` is below `least`, or infinite, or not a number."""
    if not least <= value < float("inf"):
        raise BadInput(f"{option} {value}: give at least {least}")
    if value >= 2**63:
        raise BadInput(f"{option} {value}: give a number below 2^63")


def learner_classes() -> dict[str, Callable[..., Learner]]:
    """The learners by the name of their algorithm."""
    from infogail.baselines.bc import BC
    from infogail.baselines.gail import GAIL
    from infogail.learning.learner import InfoGAIL

    return {"bc": BC, "gail": GAIL, "infogail": InfoGAIL}


if __name__ == "__main__":
    main()
