"""The command `infogail forecast`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from infogail.cli.checks import at_least
from infogail.envs.errors import BadInput

# Torch and other heavy packages are imported by the commands that need them, to keep --help fast.


@dataclass(frozen=True)
class Forecast:
    """Learn where people go from recorded paths, and forecast the paths of others, held out; draws the rewards."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """File from 'infogail import FILE … --kind paths'. Held out is the last fifth of its groups, or, if not all paths
    have one, of the paths by time."""
    cell: float | None = None
    """Width of a cell, in the unit of the file; by default such that the area has about 1,300 cells."""
    goals: int | None = None
    """Number of goals, places where paths end; by default as few as have all ends near by, and at most 12."""
    folds: int | None = None
    """Hold out each of so many parts of the groups in turn, for the metrics, instead of only the last fifth; at most
    one part for each group."""
    runs: Annotated[tuple[Path, ...], tyro.conf.arg(name="run", metavar="RUN …")] = ()
    """For paths of demonstrations of driving: run folders that learned from them, one of each algorithm. Each drives
    anew in highway-env, to compare the cells that it enters; where one has a posterior, forecasts also follow the code
    that it reads."""
    episodes: int = 200
    """Episodes that each run drives."""
    seed: int = 0
    """Seed for goals and sampled paths."""
    out: Path | None = None
    """Output folder, for metrics.json, pictures, a film, and what the studio needs; runs/forecast-FILE by default."""
    force: bool = False
    """Overwrite existing files."""
    json: bool = False
    """Print metrics.json instead of a table."""

    def run(self) -> None:
        at_least("--seed", self.seed, 0)
        if self.cell is not None and not 0 < self.cell < math.inf:
            raise BadInput(f"--cell {self.cell}: give a number above 0")
        if self.goals is not None:
            at_least("--goals", self.goals, 1)
        if self.folds is not None:
            at_least("--folds", self.folds, 2)
        at_least("--episodes", self.episodes, 1)
        if self.folds is not None and self.runs:
            raise BadInput("--folds: a run learned from all but the last fifth; leave --folds or --run out")
        from infogail.envs.files import check_output, write_atomically
        from infogail.forecast.driving import judge_drives, load_runs
        from infogail.forecast.film import NAMES as FILMS
        from infogail.forecast.film import film_forecast
        from infogail.forecast.forecasters import MaxEnt
        from infogail.forecast.intersections.folds import judge_folds
        from infogail.forecast.intersections.manoeuvres import judge_manoeuvres, print_manoeuvres
        from infogail.forecast.judge import judge, print_table
        from infogail.forecast.paths import RecordedPaths
        from infogail.forecast.pictures import NAMES, write_pictures
        from infogail.forecast.reading import PICTURE, Reading, judge_reading, print_reading, write_reading
        from infogail.forecast.saved import MODEL, PATHS, save
        from infogail.forecast.walks import make_walks
        from infogail.parallel.progress import status

        out = self.out or Path("runs") / f"forecast-{self.path.stem}"
        metrics = out / "metrics.json"
        for file in (metrics, *(out / name for name in (*NAMES, *FILMS, MODEL, PATHS, PICTURE))):
            check_output(file, self.force)
        paths = RecordedPaths.load(self.path)
        runs = load_runs(self.runs, paths)
        reader = next((run for run in runs.values() if run.driver.evidence is not None), None)
        walks = make_walks(paths, self.cell, self.goals, self.seed)
        with status(f"{self.path}: learning rewards") as update:
            model = MaxEnt(walks)

            def about(name: str) -> None:
                update(f"{self.path}: {name}")

            if self.folds is not None:
                result = judge_folds(paths, self.folds, self.cell, self.goals, self.seed, about)
            else:
                result = judge(walks, model, self.seed, about)
                if len(paths.lanes):
                    result |= judge_manoeuvres(paths, walks, model, self.seed)
            for name, run in runs.items():
                if not run.driver.scenario.recorded:
                    about(f"{name} drives in highway-env")
                    drives = judge_drives(walks, run, self.episodes, self.seed)
                    result |= {f"run_{name}_{key}": value for key, value in drives.items()}
            if reader is not None:
                about("forecasts by code")
                reading = Reading(model, reader.driver, reader.recording)
                result |= judge_reading(walks, paths, model, reading)
            text = json.dumps(result, indent=2)
            write_atomically(metrics, f"{text}\n".encode())
            save(out, paths, model, self.cell, self.goals, self.seed)
            files = write_pictures(out, paths, walks, model, self.seed) + film_forecast(out, paths, model, update)
            if reader is not None:
                files.append(write_reading(out, walks, paths, model, reading))
        if self.json:
            print(text)
            return
        print_table(result)
        if "manoeuvre_cars" in result:
            print_manoeuvres(result)
        if reader is not None:
            print_reading(result)
        for file in (metrics, *files):
            print(file)
