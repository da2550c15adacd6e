"""`infogail demo`: everything from demonstrations to videos, for all scenarios and learners."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, Queue
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from envs import SCENARIO_NAMES
from envs.demonstrations import record
from infogail.config import Config
from infogail.evaluate import evaluate_many
from infogail.progress import progress_bar
from infogail.render import render
from infogail.runner import Learner, check_output, train

COLUMNS = {
    "style_nmi": "style NMI",
    "success_rate": "success",
    "collision_rate": "collisions",
    "off_road_rate": "off road",
    "posterior_accuracy": "posterior accuracy",
    "occupancy_mmd": "occupancy MMD",
    "occupancy_mmd_floor": "its floor",
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
        NonEmptyFolder: a run is there already and `force` is false.
    """
    cells = [
        (scenario, algorithm, seed + k) for scenario in SCENARIO_NAMES for algorithm in learners for k in range(seeds)
    ]
    runs = [Path("runs") / f"{scenario}-{algorithm}-{s}" for scenario, algorithm, s in cells]
    for run in runs:
        check_output(run, force)
    files = {scenario: Path("demos") / f"{scenario}.safetensors" for scenario in SCENARIO_NAMES}
    for scenario, file in files.items():
        with progress_bar(f"recording {scenario}", episodes) as advance:
            recording, _ = record(scenario, episodes, seed, lambda: advance(1))
        recording.save(file)

    # One thread and one run per core is faster than one run over all cores.
    jobs = [
        (learners[algorithm], algorithm, files[scenario], scenario, Config(seed=s, threads=1), run, force)
        for (scenario, algorithm, s), run in zip(cells, runs, strict=True)
    ]
    with progress_bar(f"training {len(jobs)} drivers", 100 * len(jobs)) as advance, workers() as (pool, queue):
        finish([pool.submit(_train, queue, *job) for job in jobs], queue, advance)
    with progress_bar("judging in highway-env", episodes * len(runs)) as advance:
        results = evaluate_many(runs, episodes, seed, progress=advance)
    films = [(run, Path("videos") / c[0]) for run, c in zip(runs, cells, strict=True) if c[1:] == ("infogail", seed)]
    with progress_bar("filming each code", len(films)) as advance, workers() as (pool, _):
        for future in as_completed([pool.submit(render, run, out) for run, out in films]):
            future.result()
            advance(1)
    print_table(results)


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """One row per scenario and learner; medians over seeds, and the worst in brackets where there are several."""
    table = Table(title="judged in highway-env")
    for heading in ("scenario", "learner", "seeds", *COLUMNS.values()):
        table.add_column(heading, justify="left" if heading in ("scenario", "learner") else "right")
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        rows.setdefault((result["scenario"], result["algorithm"]), []).append(result)
    for (scenario, algorithm), some in rows.items():
        table.add_row(scenario, algorithm, str(len(some)), *(_cell([r[key] for r in some]) for key in COLUMNS))
    Console().print(table)


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    text = f"{median(known):.3g}"
    if len(values) > 1:
        text += f" [{min(known):.3g}, {max(known):.3g}]"
    if len(known) < len(values):
        text += f" ({len(values) - len(known)} never)"
    return text


@contextmanager
def workers() -> Iterator[tuple[ProcessPoolExecutor, Queue]]:
    """One process per core, and a queue on which they report."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(os.cpu_count(), context) as pool:
        try:
            yield pool, manager.Queue()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def finish(futures: list[Future], queue: Queue, advance: Callable[[float], None]) -> None:
    """Wait for all, moving a bar on by what they report on `queue`; a failure is raised as soon as it happens."""
    while not all(future.done() for future in futures):
        for future in futures:
            if future.done():
                future.result()
        with suppress(Empty):
            advance(queue.get(timeout=0.5))
    while not queue.empty():
        advance(queue.get())


def _train(queue: Queue, *job: Any) -> None:
    train(*job, lambda done, total, log: queue.put(100 / total))
