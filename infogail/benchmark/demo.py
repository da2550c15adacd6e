"""`infogail demo`: everything from demonstrations to videos, for the basic scenarios and all learners."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from infogail.benchmark.cells import benchmark
from infogail.benchmark.results import Results
from infogail.benchmark.tables import print_table
from infogail.envs.catalogue import BASIC_SCENARIOS
from infogail.parallel.progress import progress_bar
from infogail.parallel.workers import report, workers
from infogail.rendering.film import render
from infogail.runs.runner import MakeLearner


def demo(learners: Mapping[str, MakeLearner], seed: int, episodes: int, force: bool) -> Results:
    """Record, train, evaluate and film into runs/ and videos/, and print a table.

    Args:
        learners: learner classes by algorithm name.
        seed: for recording, training and evaluation.
        episodes: to record in each scenario, and to evaluate each run on.
        force: overwrite existing files and runs.

    Returns:
        the results shown in the table.

    Raises:
        BadInput: see `benchmark`.
    """
    results = benchmark(learners, BASIC_SCENARIOS, [seed], Path("runs"), episodes, force=force)
    films = {
        Path("runs") / cell.name: Path("videos") / cell.scenario
        for cell in results.metrics
        if cell.algorithm == "infogail"
    }
    with progress_bar("filming each code", len(films)) as advance, workers(os.cpu_count() or 1) as mapped:
        for _ in mapped(partial(render, progress=_report_frames), films.keys(), films.values()):
            advance(1)
    print_table(results)
    return results


def _report_frames(message: str) -> None:
    report(0)
