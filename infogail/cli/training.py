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
from infogail.cli.commands import Record
from infogail.config.config import SETTINGS, Config
from infogail.config.presets import DEFAULT, PRESETS, settings
from infogail.config.setting import option
from infogail.envs.catalogue import BASIC_SCENARIOS, check_scenario, get_scenario
from infogail.envs.errors import BadInput
from infogail.parallel.launch import leads

if TYPE_CHECKING:
    from infogail.runs.folder import Manifest
    from infogail.runs.runner import Learner

Algorithm = Literal["infogail", "gail", "bc"]


class Typed(dict[str, Any]):
    """The settings that a user typed, by flat name, and no others; see `infogail.cli.parsing.flags`."""


@dataclass(frozen=True)
class Train:
    """Train one learner on recorded demonstrations, without their style labels, in the batched twin.

    Defaults are those of the preset, else what the scenario recommends: `infogail train SCENARIO --help` shows them.
    """

    scenario: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="SCENARIO")] = None
    """pass, turn, pass-pace, pass-follow, pass-unbalanced, turn-line, highway, highway-manners or replay"""
    out: Path | None = None
    """Run folder to make; runs/SCENARIO-ALGORITHM[-PRESET]-SEED by default."""
    resume: Path | None = None
    """Run folder to continue, from its newest checkpoint and with its settings; beyond its end with more --iterations
    (BC: --bc-steps)."""
    demonstrations: Path | None = None
    """File from `infogail record`; demos/SCENARIO.safetensors by default, recorded now if it is not there."""
    algorithm: Algorithm = PRESETS[DEFAULT].algorithm
    """The learner."""
    preset: str | None = None
    """Named settings, which other flags override; see `infogail/config/presets.py`."""
    force: bool = False
    """Replace the run folder if it is there."""
    typed: Annotated[Typed, tyro.conf.arg(name="")] = field(default_factory=Typed)

    @property
    def config(self) -> Config:
        """All settings: those typed, over those of the preset, over those that the scenario recommends.

        Raises:
            BadInput: one cannot be, or no scenario is given.
        """
        if self.scenario is None:
            raise BadInput("train: give SCENARIO, or --resume RUN; see 'infogail train --help'")
        return settings(get_scenario(self.scenario), self._preset_name(), self.typed)

    def default_algorithm(self) -> Algorithm:
        """The learner where none is typed: the preset's, or that of the run to resume."""
        if self.resume is None or self._preset_name() != DEFAULT:
            return PRESETS[self._preset_name()].algorithm
        algorithm = self._manifest().algorithm
        return cast(Algorithm, check_known(f"algorithm of {self.resume}", algorithm, get_args(Algorithm)))

    def default_settings(self) -> dict[str, Any]:
        """The settings where none are typed, by flat name; without a scenario, those that do not depend on it."""
        changes = PRESETS[self._preset_name()].changes
        if self.resume is not None:
            return self._manifest().config.with_(**changes).flat()
        if self.scenario is None:
            return {**general_settings(), **changes}
        return replace(self, typed=Typed()).config.flat()

    def run(self) -> None:
        if self.resume is not None:
            self.go_on(self.resume)
            return
        config = self.config
        assert self.scenario is not None
        scenario = self.scenario
        from infogail.benchmark.results import Cell
        from infogail.parallel.distributed import join, run_on_leader
        from infogail.parallel.progress import progress_bar
        from infogail.runs.runner import train

        file = self.demonstrations or Path("demos") / f"{get_scenario(scenario).label}.safetensors"
        out = self.out or Path("runs") / Cell(scenario, self.algorithm, config, self._preset_name()).name
        learner = learner_classes()[self.algorithm]
        join()
        run_on_leader(lambda: self.provide(file, scenario, out))
        with progress_bar(f"training {self.algorithm} on {scenario}", 1.0) as advance:
            train(learner, self.algorithm, file, scenario, config, out, self.force, follow(advance))
        say_trained(out)

    def provide(self, file: Path, scenario: str, out: Path) -> None:
        """Record demonstrations where no file was named and there is none, unless training could not begin anyway."""
        from infogail.parallel.progress import note
        from infogail.runs.folder import check_run

        check_run(out, self.force)
        if self.demonstrations is None and not file.exists() and not get_scenario(scenario).recorded:
            note(f"infogail: {file}: no such file; recording it")
            Record(scenario).run()

    def go_on(self, run: Path) -> None:
        """With a run that was stopped, or beyond its end. Its settings are its own, but for its length and threads."""
        from infogail.runs.folder import DEMONSTRATIONS

        manifest = self._manifest()
        length = "bc_steps" if manifest.algorithm == "bc" else "iterations"
        changed = {**PRESETS[self._preset_name()].changes, **self.typed}
        manifest.config.with_(**changed)  # if that is possible
        given = {"scenario": self.scenario, "algorithm": self.algorithm, "out": self.out, "force": self.force}
        given = {name: value for name, value in given.items() if value is not None} | changed
        its = {"scenario": manifest.scenario, "algorithm": manifest.algorithm, "out": run, "force": False}
        its |= manifest.config.flat()
        for name, value in given.items():
            if value != its[name] and name not in ("threads", length):
                shown = "SCENARIO" if name == "scenario" else option(name)
                raise BadInput(f"{shown} {value}: the run to resume has {its[name]}; leave it out")
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
                changed.get("threads"),
                follow(advance),
                lambda message: note(f"infogail: {message}"),
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
    """Train and judge every learner on every scenario over many seeds; intervals, and what failed.

    A restart continues where it was stopped, and with more seeds adds only those. Settings that are given override
    those of every preset.
    """

    out: Path
    """Folder of the runs; each one's metrics.json is its result."""
    scenarios: tuple[str, ...] = BASIC_SCENARIOS
    """Any of pass, turn, pass-pace, pass-follow, pass-unbalanced, turn-line, highway, highway-manners and
    replay."""
    algorithms: tuple[Algorithm, ...] = ("bc", "gail", "infogail")
    """The learners."""
    presets: tuple[str, ...] = (DEFAULT,)
    """Named settings, each a variant of the learner that it is for; see `infogail/config/presets.py`."""
    seeds: int = 10
    """How many training seeds, from the first one on."""
    episodes: int = 200
    """Episodes to record, and to judge each run by."""
    force: bool = False
    """Make anew what is there."""
    ray: str | None = None
    """Ray cluster to work on, auto or HOST:PORT; needs the extra 'dist'. This machine's cores by default."""
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


def general_settings() -> dict[str, Any]:
    """The defaults that do not depend on the scenario, by flat name."""
    return {name: value for name, value in Config().flat().items() if not SETTINGS[name].field.metadata["varies"]}


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


def learner_classes() -> dict[str, Callable[..., Learner]]:
    """The learners by the name of their algorithm."""
    from infogail.baselines.bc import BC
    from infogail.baselines.gail import GAIL
    from infogail.learning.learner import InfoGAIL

    return {"bc": BC, "gail": GAIL, "infogail": InfoGAIL}
