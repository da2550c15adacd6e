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
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import tyro

from infogail.config.config import Config
from infogail.config.presets import DEFAULT, PRESETS, Preset
from infogail.envs.catalogue import BASIC_SCENARIOS, SCENARIO_NAMES
from infogail.envs.errors import BadInput
from infogail.parallel.launch import launched, leads
from infogail.parallel.signals import Stopped

if TYPE_CHECKING:
    from infogail.runs.runner import Learner

# Torch, highway-env and the rest are imported by the commands that need them, so that --help answers at once.


chosen_preset: ContextVar[Preset] = ContextVar("chosen_preset", default=PRESETS[DEFAULT])
"""Where `train` has its defaults from while it is parsed: so options override a preset, and --help shows its values."""


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
        with progress_bar(f"recording {scenario}", self.episodes) as advance:
            recording, failed = record(scenario, self.episodes, self.seed, lambda: advance(1))
            recording.save(out)
        print(f"recorded: {out}, {self.episodes} episodes ({failed} more failed and were left out)")


@dataclass(frozen=True)
class Import:
    """Make demonstrations of recorded driving: CommonRoad files, of motorways or intersections."""

    paths: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FILE …")]
    """CommonRoad files (XML, 2018b or 2020a) with steps of 0.1 s; needs the extra 'data'."""
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

        with progress_bar("importing", 2 * len(self.paths)) as advance:
            imported = import_files(self.paths, lambda: advance(1))
            imported.recording().save(self.out)
        for line in imported.report.lines():
            print(line)
        print(f"imported: {self.out}")


@dataclass(frozen=True)
class Train:
    """Train one learner on recorded demonstrations, without their style labels, in the batched twin."""

    scenario: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="SCENARIO")] = None
    """pass, turn, pass-pace, pass-follow, pass-unbalanced, turn-line, highway, highway-manners or replay"""
    out: Path | None = None
    """Run folder to make."""
    resume: Path | None = None
    """Run folder to go on with, from its newest checkpoint and with its settings."""
    demonstrations: Path | None = None
    """File from `infogail record`; demos/SCENARIO.safetensors by default."""
    algorithm: Literal["infogail", "gail", "bc"] = field(default_factory=lambda: chosen_preset.get().algorithm)
    """The learner."""
    preset: str | None = None
    """Named settings, from which the options given differ; see `infogail/presets.py`."""
    force: bool = False
    """Replace the run folder if it is there."""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(
        default_factory=lambda: chosen_preset.get().apply(Config())
    )

    def run(self) -> None:
        if self.resume is not None:
            self.go_on(self.resume)
            return
        if self.scenario is None or self.out is None:
            raise BadInput("train: give SCENARIO and --out RUN, or --resume RUN; see 'infogail train --help'")
        scenario = check_scenario(self.scenario)
        file = self.demonstrations or Path("demos") / f"{scenario}.safetensors"
        from infogail.parallel.progress import progress_bar
        from infogail.runs.runner import train

        learner = learner_classes()[self.algorithm]
        with progress_bar(f"training {self.algorithm} on {scenario}", 1.0) as advance:
            train(
                learner,
                self.algorithm,
                file,
                scenario,
                self.config,
                self.out,
                self.force,
                lambda done, total, log: advance(1 / total),
            )
        say_trained(self.out)

    def go_on(self, run: Path) -> None:
        """With a run that was stopped. Its settings are its own, except for the threads."""
        from infogail.runs.folder import DEMONSTRATIONS, Manifest

        manifest = Manifest.load(run)
        given = {"scenario": self.scenario, "algorithm": self.algorithm, "out": self.out, "force": self.force}
        its = {"scenario": manifest.scenario, "algorithm": manifest.algorithm, "out": run, "force": False}
        for name, value in (given | vars(self.config)).items():
            known = its[name] if name in its else getattr(manifest.config, name)
            default = (
                PRESETS[DEFAULT].algorithm if name == "algorithm" else getattr(Train if name in its else Config, name)
            )
            if name != "threads" and value not in (default, known):
                shown = "SCENARIO" if name == "scenario" else option(name)
                raise BadInput(f"{shown} {value}: the run to resume has {known}; leave it out")
        file = self.demonstrations
        if file is not None and sha256(file.read_bytes()).hexdigest() != manifest.files.get(DEMONSTRATIONS):
            raise BadInput(f"--demonstrations {file}: the run to resume has others, in its folder; leave it out")
        threads = self.config.threads if self.config.threads != Config().threads else None
        from infogail.parallel.progress import console, progress_bar
        from infogail.runs.runner import resume

        def warn(message: str) -> None:
            console.print(f"infogail: {message}", soft_wrap=True, highlight=False)

        with progress_bar(f"resuming {run}", 1.0) as advance:
            resume(learner_classes(), run, threads, lambda done, total, log: advance(1 / total), warn)
        say_trained(run)


@dataclass(frozen=True)
class Evaluate:
    """Judge a run in highway-env on fresh starts, a replay on its held-out windows; writes RUN/metrics.json."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder."""
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

        with progress_bar(f"judging {self.path} in highway-env", self.episodes) as advance:
            result = evaluate(self.path, self.episodes, self.seed, progress=advance)
        if self.json:
            print(json.dumps(result, indent=2))
        elif result["scenario"] == "replay":
            from infogail.evaluation.people_table import print_table

            print_table(result)
        else:
            for key, value in result.items():
                print(f"{key:28} {value}")


@dataclass(frozen=True)
class Render:
    """Film each code of a run in highway-env: codes.mp4, codes.gif and codes.png."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    out: Path | None = None
    """Folder to write into; RUN/videos by default."""
    seed: int = 0
    """Seed of the starts."""
    force: bool = False
    """Replace videos that are there."""

    def run(self) -> None:
        at_least("--seed", self.seed, 0)
        from infogail.envs.files import check_output
        from infogail.parallel.progress import console
        from infogail.rendering.film import render

        out = self.out or self.path / "videos"
        for name in ("codes.mp4", "codes.gif", "codes.png"):
            check_output(out / name, self.force)
        with console.status(f"rendering {self.path}") as status:
            files = render(self.path, out, self.seed, progress=lambda message: status.update(f"{self.path}: {message}"))
        for file in files:
            print(file)


@dataclass(frozen=True)
class Traffic:
    """Film an environment of highway-env in which a run drives the others, each with a code: traffic-*.mp4 and .gif."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder, of a highway."""
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
        from infogail.parallel.progress import console
        from infogail.rendering.traffic_film import check_environment, film_files, film_traffic

        check_environment(self.environment)
        out = self.out or self.path / "videos"
        for file in film_files(out, self.environment):
            check_output(file, self.force)
        with console.status(f"filming {self.path}") as status:
            files = film_traffic(
                self.path,
                self.environment,
                self.mix or None,
                self.assisted,
                self.seconds,
                self.seed,
                out,
                lambda message: status.update(f"{self.path}: {message}"),
            )
        for file in files:
            print(file)


@dataclass(frozen=True)
class Recognise:
    """Who finds the styles in held-out demonstrations: the posterior, its unsupervised peers, supervised ceilings."""

    paths: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN …")]
    """Run folders of one scenario; of several, the table has interquartile means and intervals."""
    seed: int = 0
    """Seed of the peers, one higher from run to run."""
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> None:
        at_least("--seed", self.seed, 0)
        from infogail.evaluation.recognise import print_table, recognise
        from infogail.parallel.progress import console

        results = []
        with console.status("fitting the peers") as status:
            for k, path in enumerate(self.paths):
                status.update(f"{path}: fitting the peers")
                results.append(recognise(path, self.seed + k))
        if self.json:
            print(json.dumps(dict(zip(map(str, self.paths), results, strict=True)), indent=2))
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
        from infogail.parallel.progress import console

        with console.status("measuring") as status:
            of_run = measure_run(self.path, self.seed) if self.path else None
            results = measure(self.seed, status.update)
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

    def run(self) -> None:
        at_least("--seeds", self.seeds, 1)
        at_least("--episodes", self.episodes, 20)
        scenarios = [check_scenario(name) for name in dict.fromkeys(self.scenarios)]
        presets = [check_known("preset", name, list(PRESETS)) for name in dict.fromkeys(self.presets)]
        from infogail.benchmark.cells import benchmark, print_table

        chosen: tuple[str, ...] = self.algorithms
        learners = {name: learner for name, learner in learner_classes().items() if name in chosen}
        seeds = range(self.config.seed, self.config.seed + self.seeds)
        results = benchmark(
            learners, scenarios, seeds, self.out, self.episodes, self.config, presets, self.force, self.ray
        )
        print_table(results)
        if results.metrics:
            from infogail.benchmark.report import write_report
            from infogail.parallel.progress import console

            with console.status("writing the report") as status:
                page = write_report(self.out, results, f"infogail {shlex.join(sys.argv[1:])}", status.update)
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


Command = Record | Import | Train | Evaluate | Render | Traffic | Recognise | Speed | Benchmark | Demo


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Exit status: 0, 2 for bad input with one line on standard error, 130 for Ctrl-C."""
    # Idle threads sleep: where cores are shared, threads that spin slow each other down a hundredfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        if launched() and not isinstance(command, Train):
            raise BadInput(f"{type(command).__name__.lower()}: torchrun is for training; run this without it")
        command.run()
    except Stopped as stop:
        fail(stop.message, stop.status)
    except KeyboardInterrupt:
        fail("interrupted; nothing was left half-written", 130)
    except BadInput as error:
        fail(str(error), 2)
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
    if launched():
        from infogail.parallel.distributed import print_once

        print_once(f"infogail: {problem}")
    else:
        print(f"infogail: {problem}", file=sys.stderr)
    sys.exit(status)


def say_trained(run: Path) -> None:
    """What came of training, told once by all processes."""
    if leads():
        print(f"trained: {run}; judge it with 'infogail evaluate {run}'")


def parse(arguments: list[str]) -> Command:
    """The command that `arguments` ask for; tyro's own complaints become one line.

    Raises:
        BadInput: an option or a value that tyro does not accept.
    """
    said = io.StringIO()
    before = chosen_preset.set(preset_in(arguments))
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(Command, args=arguments, prog="infogail", config=(tyro.conf.OmitSubcommandPrefixes,))
    except SystemExit as stop:
        if not stop.code:
            raise  # --help
        raise BadInput(complaint(said.getvalue())) from None
    finally:
        chosen_preset.reset(before)


def preset_in(arguments: Sequence[str]) -> Preset:
    """The preset that the arguments of `train` name, or else the defaults.

    Raises:
        BadInput: there is none of that name; suggests the nearest.
    """
    names = [after for option, after in pairwise(arguments) if option == "--preset"]
    names += [argument.removeprefix("--preset=") for argument in arguments if argument.startswith("--preset=")]
    if not names or arguments[0] != "train":
        return PRESETS[DEFAULT]
    return PRESETS[check_known("preset", names[-1], list(PRESETS))]


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
    """Raise BadInput where `value` is below `least`."""
    if value < least:
        raise BadInput(f"{option} {value}: give at least {least}")


def learner_classes() -> dict[str, Callable[..., Learner]]:
    """The learners by the name of their algorithm."""
    from infogail.baselines.bc import BC
    from infogail.baselines.gail import GAIL
    from infogail.learning.learner import InfoGAIL

    return {"bc": BC, "gail": GAIL, "infogail": InfoGAIL}


if __name__ == "__main__":
    main()
