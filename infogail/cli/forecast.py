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
    seed: int = 0
    """Seed for goals and sampled paths."""
    out: Path | None = None
    """Output folder, for metrics.json, reward.png, occupancy.png and forecast.png; runs/forecast-FILE by default."""
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
        from infogail.envs.files import check_output, write_atomically
        from infogail.forecast.forecasters import MaxEnt
        from infogail.forecast.judge import judge, print_table
        from infogail.forecast.paths import RecordedPaths
        from infogail.forecast.pictures import NAMES, write_pictures
        from infogail.forecast.walks import make_walks
        from infogail.parallel.progress import status

        out = self.out or Path("runs") / f"forecast-{self.path.stem}"
        metrics = out / "metrics.json"
        for file in (metrics, *(out / name for name in NAMES)):
            check_output(file, self.force)
        paths = RecordedPaths.load(self.path)
        walks = make_walks(paths, self.cell, self.goals, self.seed)
        with status(f"{self.path}: learning rewards") as update:
            model = MaxEnt(walks)
            result = judge(walks, model, self.seed, lambda name: update(f"{self.path}: {name}"))
            text = json.dumps(result, indent=2)
            write_atomically(metrics, f"{text}\n".encode())
            files = write_pictures(out, paths, walks, model, self.seed)
        if self.json:
            print(text)
            return
        print_table(result)
        for file in (metrics, *files):
            print(file)
