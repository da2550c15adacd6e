"""What is done with a finished run: `infogail export | evaluate | render | traffic | recognise`."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from infogail.cli.checks import at_least, given_mix
from infogail.envs.catalogue import SCENARIO_NAMES, get_scenario, is_environment
from infogail.envs.errors import BadInput

if TYPE_CHECKING:
    from infogail.envs.tasks import Task

# Torch, highway-env and other heavy packages are imported by the commands that need them, to keep --help fast.


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
    mix: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SHARE …")] = ()
    """Relative frequency of each code, or NAME=SHARE for some of them; by default as in the demonstrations, or as the
    last --measure found."""
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
    headways in highway-v0 at people's speeds, beside people held out and IDM; from then on, codes are as common as
    makes these most like people's."""
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
            from infogail.runs.driver import save_mix

            with status(f"measuring {run}") as update:
                width = measure_width(run, self.starts, self.seed, update)
            print_width(run, width)
            if width.mix is not None:
                shown = " ".join(f"{share:.3f}" for share in width.mix)
                print(f"codes are as common as fitted from now on, {shown}: {save_mix(run, width.mix)}")
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
                given_mix(self.mix) if self.mix else None,
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
