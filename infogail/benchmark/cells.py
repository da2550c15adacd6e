"""`infogail benchmark`: every learner on every scenario over many seeds, trained, judged, and told with intervals.

A cell is a run folder, `DIR/SCENARIO-ALGORITHM[-PRESET]-SEED`, and its result file the `metrics.json` there. What is
there stays: a restart goes on with runs that were stopped and makes only what is missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infogail.benchmark.cluster import check_address, cluster
from infogail.config.config import Config
from infogail.config.presets import DEFAULT, PRESETS
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.demonstrations import Demonstrations, Recording, record
from infogail.envs.errors import BadInput
from infogail.envs.files import check_folder
from infogail.evaluation.people import HORIZONS, PEERS, SAMPLED, judge_peers
from infogail.evaluation.protocol import evaluate
from infogail.evaluation.statistics import (
    improvement_interval,
    interquartile_mean,
    interval,
    probability_of_improvement,
)
from infogail.parallel.progress import progress_bar
from infogail.parallel.workers import report, workers
from infogail.runs.driver import FILE, InvalidRun
from infogail.runs.folder import DEMONSTRATIONS, MANIFEST, Manifest
from infogail.runs.runner import STYLES_FOUND, MakeLearner, resume, train

MEASURES = {
    "style_nmi": "style NMI",
    "style_accuracy_merged": "style accuracy, codes merged",
    "style_accuracy_named": "style accuracy, codes named by labels",
    "style_rank_correlation": "rank correlation of code and line",
    "success_rate": "success",
    "collision_rate": "collisions",
    "off_road_rate": "off road",
    "posterior_accuracy": "posterior accuracy",
    "occupancy_mmd": "occupancy MMD × 1000",
    "occupancy_mmd_floor": "its floor × 1000",
    "occupancy_mmd_worst_code": "worst code's MMD ÷ floor",
    **{f"position_rmse_{horizon}": f"RMSE after {horizon[0]} s [m]" for horizon in HORIZONS},
    "position_rmse_best_5s": "RMSE after 5 s, best code [m]",
    "speed_rmse_5s": "speed RMSE after 5 s [m/s]",
    "hard_brake_rate": "hard brakes",
    **{f"wasserstein_{name}": f"Wasserstein {name.replace('_', ' ')}" for name in SAMPLED},
    "ami_headway": "AMI of code and headway",
    "ami_speed": "AMI of code and relative speed",
    "ami_lane_change": "AMI of code and lane changes",
    "consistency": "same code in both halves",
    "consistency_chance": "the same by chance",
    "seconds_to_styles": "s to styles",
    "train_seconds": "s to train",
}
"""Of metrics.json, for the table, where they are defined."""
MOST_COLUMNS = 6  # of the table; more variants become its rows
SHORT = (
    *("style_nmi", "style_accuracy_merged", "success_rate", "occupancy_mmd_worst_code", "seconds_to_styles"),
    *("position_rmse_5s", "wasserstein_headway"),
)
"""Those for which a terminal has room then."""
STYLES_HEADING = f"with NMI ≥ {STYLES_FOUND}"
REPLAY_ONLY = ("hard_brake_rate", *(f"wasserstein_{name}" for name in SAMPLED))
"""Those that other scenarios have, too, but that are not in their table."""
TRAINING = 0.75  # of a cell's progress


@dataclass(frozen=True)
class Cell:
    """One training run and its judgement."""

    scenario: str
    algorithm: str
    config: Config
    preset: str = DEFAULT

    @property
    def variant(self) -> str:
        """What is compared: the learner, and its preset unless that is the default."""
        if self.preset == DEFAULT:
            return self.algorithm
        return self.preset if self.preset.startswith(f"{self.algorithm}-") else f"{self.algorithm}-{self.preset}"

    @property
    def name(self) -> str:
        """Of its run folder."""
        return f"{self.scenario}-{self.variant}-{self.config.seed}"


@dataclass(frozen=True)
class Results:
    """What came of all cells."""

    metrics: dict[Cell, dict[str, Any]]
    """metrics.json of those that were judged"""
    failures: dict[Cell, str]
    """What went wrong with the others"""


def benchmark(
    learners: Mapping[str, MakeLearner],
    scenarios: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    episodes: int = 200,
    config: Config = Config(),  # noqa: B008 (frozen)
    presets: Sequence[str] = (DEFAULT,),
    force: bool = False,
    ray: str | None = None,
) -> Results:
    """Train and judge every cell that `out` does not hold yet, one per core at a time, and tell of all.

    Args:
        learners: classes by the name of their algorithm.
        seeds: of training; recording and judging have the first one's.
        episodes: to record in each scenario, and to judge each run by.
        config: of every cell, but for the seed and for what its preset changes.
        presets: names; each but the default is for one of the learners only.
        force: make all cells anew.
        ray: address of the Ray cluster whose cores to use; those of this machine by default.

    Raises:
        BadInput: `out` holds cells of other settings or other demonstrations; or there is no such cluster.
    """
    if ray is not None:
        check_address(ray)
    cells = plan(learners, scenarios, seeds, config, presets)
    check_folder(out)
    files = {scenario: out / f"{scenario}.safetensors" for scenario in scenarios}
    if not force:
        for cell in cells:
            _check_settings(cell, out / cell.name, episodes, seeds[0])
    for scenario, file in files.items():
        _record(scenario, file, episodes, seeds[0], force)
    if not force:
        for cell in cells:
            _check_demonstrations(out / cell.name, files[cell.scenario])
    judged = {} if force else {cell: result for cell in cells if (result := _judged(out / cell.name)) is not None}
    missing = [cell for cell in cells if cell not in judged]
    peers = None
    if any(cell.scenario == "replay" for cell in missing):  # the same for all cells, and as slow to judge as a run
        file = files["replay"]
        peers = judge_peers(file, Recording.load(file, "replay"), episodes, seeds[0])
    jobs = [
        (learners[cell.algorithm], cell, out / cell.name, files[cell.scenario], episodes, seeds[0], force, peers)
        for cell in missing
    ]
    side_by_side = partial(workers, os.cpu_count() or 1) if ray is None else partial(cluster, ray)
    title = f"training and judging {len(cells)} drivers"
    with progress_bar(title, len(cells)) as advance, side_by_side(advance) as mapped:
        advance(len(judged))
        outcomes = judged | dict(zip(missing, mapped(_run_cell, *zip(*jobs, strict=True)), strict=True))
    return Results(
        {cell: outcome for cell in cells if not isinstance(outcome := outcomes[cell], str)},
        {cell: outcome for cell in cells if isinstance(outcome := outcomes[cell], str)},
    )


def plan(
    algorithms: Iterable[str], scenarios: Sequence[str], seeds: Sequence[int], config: Config, presets: Sequence[str]
) -> list[Cell]:
    """All cells: the default preset is for every learner, each other one for its own."""
    return [
        Cell(scenario, algorithm, PRESETS[preset].apply(replace(config, seed=seed)).for_scenario(scenario), preset)
        for scenario in scenarios
        for preset in presets
        for algorithm in algorithms
        if preset == DEFAULT or PRESETS[preset].algorithm == algorithm
        for seed in seeds
    ]


def _record(scenario: str, file: Path, episodes: int, seed: int, force: bool) -> None:
    """Record what all cells of a scenario learn from, unless it is there; people must have been imported there.

    Raises:
        BadInput: what is there has another number of episodes, or nothing was imported.
    """
    if get_scenario(scenario).recorded:
        Demonstrations.load(file, scenario)
        return
    if force or not file.exists():
        with progress_bar(f"recording {scenario}", episodes) as advance:
            recording, _ = record(scenario, episodes, seed, partial(advance, 1))
            recording.save(file)
    if Demonstrations.load(file, scenario).num_episodes != episodes:
        raise BadInput(f"{file}: holds other than {episodes} episodes; write elsewhere, or replace it with --force")


def _check_settings(cell: Cell, run: Path, episodes: int, seed: int) -> None:
    """Refuse to mix results of different settings."""
    if not (run / MANIFEST).exists():
        return
    manifest = Manifest.load(run)
    if (manifest.scenario, manifest.algorithm, manifest.config) != (cell.scenario, cell.algorithm, cell.config):
        raise BadInput(f"{run}: was trained with other settings; write elsewhere, or replace it with --force")
    if (result := _judged(run)) and (result["episodes"], result["seed"]) != (episodes, seed):
        raise BadInput(f"{run}: was judged otherwise; write elsewhere, or replace it with --force")


def _check_demonstrations(run: Path, file: Path) -> None:
    """Refuse to mix results of different demonstrations."""
    if (run / MANIFEST).exists():
        known = Manifest.load(run).files.get(DEMONSTRATIONS)
        if known != sha256(file.read_bytes()).hexdigest():
            raise BadInput(f"{run}: has other demonstrations than {file}; write elsewhere, or replace it with --force")


def _judged(run: Path) -> dict[str, Any] | None:
    path = run / "metrics.json"
    try:
        return json.loads(path.read_text()) if (run / MANIFEST).exists() and path.exists() else None
    except ValueError as error:
        raise InvalidRun(f"{path}: is no JSON ({error}); remove it to judge the run anew") from error


def _run_cell(
    make_learner: MakeLearner,
    cell: Cell,
    run: Path,
    file: Path,
    episodes: int,
    seed: int,
    force: bool,
    peers: Mapping[str, Any] | None = None,
) -> dict[str, Any] | str:
    """The result of one cell, or what went wrong with it: one failure is not to stop the others."""
    told = 0.0

    def tell(share: float) -> None:
        nonlocal told
        report(share - told)
        told = share

    def on_iteration(done: int, total: int, log: dict[str, Any]) -> None:
        tell(TRAINING * done / total)

    try:
        if force or not (run / MANIFEST).exists():
            train(make_learner, cell.algorithm, file, cell.scenario, cell.config, run, force, on_iteration)
        elif not (run / FILE).exists():
            resume({cell.algorithm: make_learner}, run, on_iteration=on_iteration)
        return evaluate(run, episodes, seed, 1, lambda count: tell(told + (1 - TRAINING) * count / episodes), peers)
    except Exception as error:
        return f"{type(error).__name__}: {error}" if not isinstance(error, BadInput) else str(error)
    finally:
        tell(1.0)


def summarise(results: Results, short: bool = False) -> tuple[list[str], list[list[str]]]:
    """Interquartile means over seeds with 95 % intervals: headings, and rows of a heading and its cells.

    Args:
        short: leave out some measures if there are many variants.
    """
    columns, peers = variants(results), _peers(results)
    rows = [["seeds", *(str(len(some)) for some in columns.values()), *("–" for _ in peers)]]
    columns |= peers
    if any("style_nmi" in metrics for some in columns.values() for metrics in some):
        nmis = [[metrics["style_nmi"] for metrics in some if "style_nmi" in metrics] for some in columns.values()]
        rows.append([STYLES_HEADING, *(str(sum(n >= STYLES_FOUND for n in some)) if some else "–" for some in nmis)])
    for key, heading in MEASURES.items():
        scale = 1000 if "× 1000" in heading else 1
        cells = [
            "–" if key in REPLAY_ONLY and scenario != "replay" else _cell([one.get(key) for one in some], scale)
            for (scenario, _), some in columns.items()
        ]
        if set(cells) != {"–"}:
            rows.append([heading, *cells])
    headings = [f"{scenario}\n{variant}" for scenario, variant in columns]
    if len(headings) <= MOST_COLUMNS:
        return headings, rows
    if short:
        rows = [row for row in rows if row[0] in ("seeds", STYLES_HEADING, *(MEASURES[key] for key in SHORT))]
    names, *turned = zip(*rows, strict=True)
    return list(names), [[heading.replace("\n", " "), *cells] for heading, cells in zip(headings, turned, strict=True)]


def print_table(results: Results) -> None:
    """`summarise` on the terminal, and what failed."""
    headings, rows = summarise(results, short=True)
    table = Table(title="judged in highway-env: interquartile means, 95 % intervals", box=SIMPLE)
    table.add_column(no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*map(escape, row))  # units in brackets are no markup
    console = Console()
    if not console.is_terminal:  # a file has room for all of it
        console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table)
    for line in improvements(results) + failures(results) + notes(results):
        console.print(line, markup=False, soft_wrap=True)


def failures(results: Results) -> list[str]:
    """A line for each cell that failed."""
    return [f"failed: {cell.name}: {problem}" for cell, problem in results.failures.items()]


def notes(results: Results) -> list[str]:
    """A line for each scenario of which less can be judged than usual."""
    found = {cell.scenario: metrics["note"] for cell, metrics in results.metrics.items() if "note" in metrics}
    return [f"{scenario}: {note}" for scenario, note in found.items()]


def variants(results: Results) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The metrics of all seeds by scenario and variant."""
    columns: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell, metrics in results.metrics.items():
        columns.setdefault((cell.scenario, cell.variant), []).append(metrics)
    return columns


def _peers(results: Results) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """What others than learners do in the scenario replay, the same for all seeds."""
    for metrics in results.metrics.values():
        if "peers" in metrics:
            return {("replay", PEERS[name]): [numbers] for name, numbers in metrics["peers"].items()}
    return {}


def _cell(values: Sequence[float | None], scale: float) -> str:
    known = np.array([scale * value for value in values if value is not None])
    if not len(known):
        return "–"
    low, high = interval([known])
    bounds = f" [{round(low, 3):.3g}, {round(high, 3):.3g}]" if len(values) > 1 else ""
    never = f" ({len(values) - len(known)} never)" if len(known) < len(values) else ""
    return f"{round(float(interquartile_mean(known)), 3):.3g}{bounds}{never}"


def improvements(results: Results) -> list[str]:
    """How probably a seed of InfoGAIL has a higher style NMI than one of each other variant, over all scenarios."""
    columns = {group: some for group, some in variants(results).items() if all("style_nmi" in one for one in some)}
    scenarios = list(dict.fromkeys(scenario for scenario, _ in columns))
    names = list(dict.fromkeys(variant for _, variant in columns))

    def strata(variant: str) -> list[np.ndarray]:
        return [np.array([metrics["style_nmi"] for metrics in columns[s, variant]]) for s in scenarios]

    complete = [name for name in names if all(len(columns.get((s, name), ())) > 1 for s in scenarios)]
    lines = []
    for other in complete:
        if "infogail" in complete and other != "infogail":
            sides = strata("infogail"), strata(other)
            low, high = improvement_interval(*sides)
            probability = probability_of_improvement(*sides)
            lines.append(f"P(style NMI of infogail > {other}) = {probability:.3g} [{low:.3g}, {high:.3g}]")
    return lines
