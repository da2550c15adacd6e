"""The commands that train: `infogail train | benchmark | demo`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import tyro

from infogail.cli.checks import at_least, check_known
from infogail.cli.recording import Record
from infogail.config.config import SETTINGS, Config
from infogail.config.presets import DEFAULT, PRESETS, settings
from infogail.config.setting import option
from infogail.envs.catalogue import BASIC_SCENARIOS, check_scenario, get_scenario, is_environment
from infogail.envs.errors import BadInput
from infogail.parallel.launch import leads

if TYPE_CHECKING:
    from infogail.parallel.progress import Advance
    from infogail.runs.folder import Manifest
    from infogail.runs.runner import Learner

Algorithm = Literal["infogail", "gail", "coded-bc", "bc"]


class Typed(dict[str, Any]):
    """Only the settings given on the command line, by flat name; see `infogail.cli.parsing.flags`."""


@dataclass(frozen=True)
class Train:
    """Train a learner on demonstrations without style labels, in the batched twin or any Gymnasium environment.

    Defaults come from the preset, then from the scenario; `infogail train SCENARIO --help` shows them.
    """

    scenario: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="SCENARIO")] = None
    """pass, turn, pass-pace, pass-follow, pass-unbalanced, turn-line, highway, highway-manners or replay; or the id of
    a Gymnasium environment, such as CartPole-v1"""
    out: Path | None = None
    """Run folder to create; runs/SCENARIO-ALGORITHM[-PRESET]-SEED by default."""
    resume: Path | None = None
    """Run folder to resume from its newest checkpoint, with its own settings; a larger --iterations (or
    --bc-steps) extends it."""
    demonstrations: Path | None = None
    """File from `infogail record`; demos/SCENARIO.safetensors by default, recorded first if missing."""
    algorithm: Algorithm = PRESETS[DEFAULT].algorithm
    """The learner."""
    preset: str | None = None
    """Named settings, overridden by other flags; see `infogail/config/presets.py`."""
    force: bool = False
    """Overwrite the run folder if it exists."""
    typed: Annotated[Typed, tyro.conf.arg(name="")] = field(default_factory=Typed)

    @property
    def config(self) -> Config:
        """All settings, in order of precedence: the command line, the preset, the scenario's recommendations.

        Raises:
            BadInput: a setting is invalid, or no scenario is given.
        """
        if self.scenario is None:
            raise BadInput("train: give SCENARIO, or --resume RUN; see 'infogail train --help'")
        from infogail.envs.tasks import get_task

        return settings(get_task(self.scenario), self._preset_name(), self.typed)

    def default_algorithm(self) -> Algorithm:
        """The learner if none is given: the preset's, or that of the run to resume."""
        if self.resume is None or self._preset_name() != DEFAULT:
            return PRESETS[self._preset_name()].algorithm
        algorithm = self._manifest().algorithm
        return cast(Algorithm, check_known(f"algorithm of {self.resume}", algorithm, get_args(Algorithm)))

    def default_settings(self) -> dict[str, Any]:
        """The default settings by flat name; without a scenario, only those that do not depend on it."""
        changes = PRESETS[self._preset_name()].changes
        if self.resume is not None:
            return self._manifest().config.with_(**changes).flat()
        if self.scenario is None:
            return {**general_settings(), **changes}
        return replace(self, typed=Typed()).config.flat()

    def run(self) -> None:
        if self.resume is not None:
            self.resume_run(self.resume)
            return
        config = self.config
        assert self.scenario is not None
        scenario = self.scenario
        from infogail.benchmark.results import Cell
        from infogail.envs.tasks import get_task
        from infogail.parallel.distributed import join, run_on_leader
        from infogail.parallel.progress import progress_bar
        from infogail.runs.runner import train

        file = self.demonstrations or Path("demos") / f"{get_task(scenario).label}.safetensors"
        out = self.out or Path("runs") / Cell(scenario, self.algorithm, config, self._preset_name()).name
        learner = learner_classes()[self.algorithm]
        join()
        run_on_leader(lambda: self.provide(file, scenario, out))
        with progress_bar(f"training {self.algorithm} on {scenario}", 1.0) as advance:
            train(learner, self.algorithm, file, scenario, config, out, self.force, follow(advance))
        say_trained(out)

    def provide(self, file: Path, scenario: str, out: Path) -> None:
        """Record the default demonstrations if they are missing, but only if training could start."""
        from infogail.learning.devices import check_device
        from infogail.parallel.progress import note
        from infogail.runs.folder import check_run

        check_run(out, self.force)
        check_device(self.config.run.device)
        if is_environment(scenario) or file.exists() or self.demonstrations is not None:
            return  # nobody can demonstrate in any environment
        if not get_scenario(scenario).recorded:
            note(f"infogail: {file}: no such file; recording it")
            Record(scenario).run()

    def resume_run(self, run: Path) -> None:
        """Resume a stopped run, or extend a finished one; only its length, threads and device may change."""
        from infogail.runs.folder import DEMONSTRATIONS

        manifest = self._manifest()
        length = "bc_steps" if manifest.algorithm in ("bc", "coded-bc") else "iterations"
        changed = {**PRESETS[self._preset_name()].changes, **self.typed}
        manifest.config.with_(**changed)  # validates them
        given = {"scenario": self.scenario, "algorithm": self.algorithm, "out": self.out, "force": self.force}
        given = {name: value for name, value in given.items() if value is not None} | changed
        its = {"scenario": manifest.scenario, "algorithm": manifest.algorithm, "out": run, "force": False}
        its |= manifest.config.flat()
        for name, value in given.items():
            if value != its[name] and name not in ("threads", "device", length):
                shown = "SCENARIO" if name == "scenario" else option(name)
                raise BadInput(f"{shown} {value}: the run to resume has {its[name]}; leave it out")
        if self.demonstrations is not None:
            named = f"--demonstrations {self.demonstrations}"
            if not self.demonstrations.is_file():
                raise BadInput(f"{named}: no such file; leave it out")
            if sha256(self.demonstrations.read_bytes()).hexdigest() != manifest.files.get(DEMONSTRATIONS):
                raise BadInput(f"{named}: the run to resume has different ones in its folder; leave it out")
        from infogail.parallel.progress import note, progress_bar
        from infogail.runs.runner import resume

        with progress_bar(f"resuming {run}", 1.0) as advance:
            resume(
                learner_classes(),
                run,
                changed.get("threads"),
                follow(advance),
                lambda message: note(f"infogail: {message}"),
                device=changed.get("device"),
                **{length: changed.get(length)},
            )
        say_trained(run)

    def _preset_name(self) -> str:
        return DEFAULT if self.preset is None else check_known("preset", self.preset, list(PRESETS))

    def _manifest(self) -> Manifest:
        from infogail.runs.folder import Manifest

        assert self.resume is not None
        return Manifest.load(self.resume)


@dataclass(frozen=True)
class Benchmark:
    """Train and evaluate every learner on every scenario over many seeds; report intervals and failures.

    A restart resumes where it stopped; with more seeds, only the new ones are run. Settings given here override those
    of every preset.
    """

    out: Path
    """Folder for the runs; each run's result is its metrics.json."""
    scenarios: tuple[str, ...] = BASIC_SCENARIOS
    """Any of pass, turn, pass-pace, pass-follow, pass-unbalanced, turn-line, highway, highway-manners and
    replay."""
    algorithms: tuple[Algorithm, ...] = ("bc", "coded-bc", "gail", "infogail")
    """The learners."""
    presets: tuple[str, ...] = (DEFAULT,)
    """Named settings, each a variant of the learner it is for; see `infogail/config/presets.py`."""
    seeds: int = 10
    """Number of training seeds; they are consecutive, starting at --seed."""
    episodes: int = 200
    """Episodes to record, and to evaluate each run on."""
    force: bool = False
    """Overwrite existing files and runs."""
    ray: str | None = None
    """Ray cluster to run on, auto or HOST:PORT; requires the extra 'dist'. By default, this machine's cores."""
    typed: Annotated[Typed, tyro.conf.arg(name="")] = field(default_factory=Typed)

    def run(self) -> None:
        at_least("--seeds", self.seeds, 1)
        at_least("--episodes", self.episodes, 20)
        scenarios = [check_scenario(name) for name in dict.fromkeys(self.scenarios)]
        presets = [check_known("preset", name, list(PRESETS)) for name in dict.fromkeys(self.presets)]
        from infogail.benchmark.cells import benchmark
        from infogail.benchmark.tables import print_table

        chosen: tuple[str, ...] = self.algorithms
        learners = {name: learner for name, learner in learner_classes().items() if name in chosen}
        first = self.typed.get("seed", 0)
        seeds = range(first, first + self.seeds)
        results = benchmark(
            learners, scenarios, seeds, self.out, self.episodes, presets, self.typed, self.force, self.ray
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
    """Record demonstrations, then train, evaluate and film every learner on the basic scenarios, into runs/ and
    videos/."""

    seed: int = 0
    """Seed for recording, training and evaluation."""
    episodes: int = 200
    """Episodes to record, and to evaluate each run on."""
    force: bool = False
    """Overwrite existing files and runs."""

    def run(self) -> None:
        at_least("--episodes", self.episodes, 20)
        at_least("--seed", self.seed, 0)
        from infogail.benchmark.demo import demo

        if demo(learner_classes(), self.seed, self.episodes, self.force).failures:
            sys.exit(1)


def general_settings() -> dict[str, Any]:
    """The defaults that do not depend on the scenario, by flat name."""
    return {name: value for name, value in Config().flat().items() if not SETTINGS[name].field.metadata["varies"]}


def say_trained(run: Path) -> None:
    """Print the result of training, from the leading process only."""
    if leads():
        from infogail.envs.data.world import NOTHING_HELD_OUT
        from infogail.evaluation.people import lacks_held_out

        print(f"trained: {run}; evaluate it with 'infogail evaluate {shlex.quote(str(run))}'")
        if lacks_held_out(run):
            print(NOTHING_HELD_OUT)


def follow(advance: Advance) -> Callable[[int, int, dict[str, Any]], None]:
    """A callback that advances a progress bar of length 1 after each iteration, with environment steps per second."""
    before = 0.0

    def on_iteration(done: int, total: int, log: dict[str, Any]) -> None:
        nonlocal before
        rate = log["env_steps"] / log["seconds"]
        advance(done / total - before, f"{rate:,.0f} steps/s" if rate else "")
        before = done / total

    return on_iteration


def learner_classes() -> dict[str, Callable[..., Learner]]:
    """The learner classes by algorithm name."""
    from infogail.baselines.bc import BC
    from infogail.baselines.coded_bc import CodedBC
    from infogail.baselines.gail import GAIL
    from infogail.learning.learner import InfoGAIL

    return {"bc": BC, "coded-bc": CodedBC, "gail": GAIL, "infogail": InfoGAIL}
