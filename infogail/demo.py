"""`infogail demo`: everything from demonstrations to videos, for all scenarios and learners."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from envs import SCENARIO_NAMES
from envs.demonstrations import record
from infogail.config import Config
from infogail.evaluate import evaluate_many
from infogail.progress import progress_bar
from infogail.render import render
from infogail.run_folder import check_run
from infogail.runner import Learner, train
from infogail.workers import report, workers

COLUMNS = {
    "style_nmi": "style NMI",
    "success_rate": "success",
    "collision_rate": "collisions",
    "off_road_rate": "off road",
    "posterior_accuracy": "posterior accuracy",
    "occupancy_mmd": "occupancy MMD × 1000",
    "occupancy_mmd_floor": "its floor × 1000",
    "seconds_to_styles": "s to styles",
    "train_seconds": "s to train",
}
"""Of metrics.json, for the table."""


def demo(learners: dict[str, Callable[..., Learner]], seed: int, seeds: int, episodes: int, force: bool) -> None:
    """Record, train, judge and film; runs/ and videos/ hold the results, a table is printed.

    Args:
        learners: classes by the name of their algorithm.
        seed, seeds: training seeds `seed`, …, `seed + seeds - 1`.
        episodes: to record in each scenario, and to judge each run by.
        force: replace runs that are there.

    Raises:
        NonEmptyFolder: a run is there already and `force` is false; see `check_run`.
    """
    cells = [
        (scenario, algorithm, seed + k) for scenario in SCENARIO_NAMES for algorithm in learners for k in range(seeds)
    ]
    runs = [Path("runs") / f"{scenario}-{algorithm}-{s}" for scenario, algorithm, s in cells]
    for run in runs:
        check_run(run, force)
    processes = os.cpu_count() or 1
    with TemporaryDirectory() as folder:  # each run keeps a copy
        files = {scenario: Path(folder) / f"{scenario}.safetensors" for scenario in SCENARIO_NAMES}
        # One thread and one run per core is faster than one run over all cores.
        jobs = [
            (learners[algorithm], algorithm, files[scenario], scenario, Config(seed=s, threads=1), run, force)
            for (scenario, algorithm, s), run in zip(cells, runs, strict=True)
        ]
        for scenario, file in files.items():
            with progress_bar(f"recording {scenario}", episodes) as advance:
                recording, _ = record(scenario, episodes, seed, lambda: advance(1))
            recording.save(file)
        title = f"training {len(jobs)} drivers"
        with progress_bar(title, 100 * len(jobs)) as advance, workers(processes, advance) as mapped:
            list(mapped(partial(train, on_iteration=_report_iteration), *zip(*jobs, strict=True)))
    with progress_bar("judging in highway-env", episodes * len(runs)) as advance:
        results = evaluate_many(runs, episodes, seed, progress=advance)
    films = {run: Path("videos") / c[0] for run, c in zip(runs, cells, strict=True) if c[1:] == ("infogail", seed)}
    with progress_bar("filming each code", len(films)) as advance, workers(processes) as mapped:
        for _ in mapped(partial(render, progress=_report_frames), films.keys(), films.values()):
            advance(1)
    print_table(results)


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """One column per scenario and learner; medians over seeds, and the range in brackets where there are several."""
    columns: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        columns.setdefault((result["scenario"], result["algorithm"]), []).append(result)
    table = Table(title="judged in highway-env", box=SIMPLE)  # 80 letters wide for six columns
    table.add_column()
    for scenario, algorithm in columns:
        table.add_column(f"{scenario}\n{algorithm}", justify="right")
    table.add_row("seeds", *(str(len(some)) for some in columns.values()))
    for key, heading in COLUMNS.items():
        scale = 1000 if "× 1000" in heading else 1
        table.add_row(heading, *(_cell([result[key] for result in some], scale) for some in columns.values()))
    Console().print(table)


def _cell(values: list[float | None], scale: float) -> str:
    known = [round(scale * value, 3) for value in values if value is not None]
    if not known:
        return "–"
    extremes = f" [{min(known):.3g}, {max(known):.3g}]" if len(values) > 1 else ""
    never = f" ({len(values) - len(known)} never)" if len(known) < len(values) else ""
    return f"{median(known):.3g}{extremes}{never}"


def _report_iteration(done: int, total: int, log: dict[str, float]) -> None:
    report(100 / total)


def _report_frames(message: str) -> None:
    report(0)
