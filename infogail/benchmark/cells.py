"""`infogail benchmark`: train and judge every learner on every scenario over many seeds.

A cell is a run folder, `DIR/SCENARIO-ALGORITHM[-PRESET]-SEED`, and its result the `metrics.json` in it. Finished cells
are kept: a restart resumes runs that were stopped and makes only what is missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from infogail.benchmark.cluster import check_address, cluster
from infogail.benchmark.results import Cell, Outcome, Results
from infogail.config.presets import DEFAULT, PRESETS, settings
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput
from infogail.envs.files import check_folder
from infogail.envs.recordings.record import record
from infogail.envs.scenarios.scenario import Scenario
from infogail.evaluation.people import judge_peers
from infogail.evaluation.protocol import evaluate
from infogail.parallel.progress import progress_bar
from infogail.parallel.workers import report, workers
from infogail.runs.driver import FILE, InvalidRun
from infogail.runs.folder import DEMONSTRATIONS, MANIFEST, Manifest
from infogail.runs.runner import MakeLearner, resume, train

TRAINING = 0.75  # of a cell's progress


@dataclass(frozen=True)
class Job:
    """A cell to make; may be sent to another process or machine."""

    cell: Cell
    make_learner: MakeLearner
    out: Path
    """The benchmark's folder, as the user knows it."""
    episodes: int
    seed: int
    """Of judging."""
    force: bool
    peers: Mapping[str, Any] | None
    """Of recorded people; see `judge_peers`."""


def benchmark(
    learners: Mapping[str, MakeLearner],
    scenarios: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    episodes: int = 200,
    presets: Sequence[str] = (DEFAULT,),
    overrides: Mapping[str, Any] = MappingProxyType({}),
    force: bool = False,
    ray: str | None = None,
) -> Results:
    """Train and judge every cell that `out` does not hold yet, one per core at a time.

    Args:
        learners: classes by the name of their algorithm.
        seeds: of training; recording and judging have the first one's.
        episodes: to record in each scenario, and to judge each run by.
        presets: names; each but the default is for one of the learners only.
        overrides: settings of every cell, by flat name, over what its scenario and preset have; but for the seed.
        force: make all cells anew.
        ray: address of the Ray cluster whose cores to use; those of this machine by default.

    Raises:
        BadInput: `out` holds cells of other settings or other demonstrations; or there is no such cluster.
    """
    if ray is not None:
        check_address(ray)
    cells = plan(learners, scenarios, seeds, presets, overrides)
    check_folder(out)
    files = {scenario: out / f"{get_scenario(scenario).label}.safetensors" for scenario in scenarios}
    if not force:
        for cell in cells:
            _check_settings(cell, out / cell.name, episodes, seeds[0])
    for scenario, file in files.items():
        _record(get_scenario(scenario), file, episodes, seeds[0], force)
    if not force:
        for cell in cells:
            _check_demonstrations(out / cell.name, files[cell.scenario])
    judged = {} if force else {cell: result for cell in cells if (result := _judged(out / cell.name)) is not None}
    missing = [cell for cell in cells if cell not in judged]
    recorded = {cell.scenario: get_scenario(cell.scenario) for cell in missing if get_scenario(cell.scenario).recorded}
    peers = {  # the same for all cells, and as slow to judge as a run
        name: judge_peers(files[name], Recording.load(files[name], scenario), episodes, seeds[0])
        for name, scenario in recorded.items()
    }
    jobs = [
        Job(cell, learners[cell.algorithm], out, episodes, seeds[0], force, peers.get(cell.scenario))
        for cell in missing
    ]
    runs, sources = [out / cell.name for cell in missing], [files[cell.scenario] for cell in missing]
    side_by_side = partial(workers, os.cpu_count() or 1) if ray is None else partial(cluster, ray)
    title = f"training and judging {len(cells)} drivers"
    with progress_bar(title, len(cells)) as advance, side_by_side(advance) as mapped:
        advance(len(judged))
        made = dict(zip(missing, mapped(_run_cell, jobs, runs, sources), strict=True))
    return Results.of({cell: made[cell] if cell in made else Outcome(judged[cell]) for cell in cells})


def plan(
    algorithms: Iterable[str],
    scenarios: Sequence[str],
    seeds: Sequence[int],
    presets: Sequence[str] = (DEFAULT,),
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> list[Cell]:
    """All cells: the default preset is for every learner, each other one for its own. See `benchmark`."""
    return [
        Cell(scenario, algorithm, settings(get_scenario(scenario), preset, {**overrides, "seed": seed}), preset)
        for scenario in scenarios
        for preset in presets
        for algorithm in algorithms
        if preset == DEFAULT or PRESETS[preset].algorithm == algorithm
        for seed in seeds
    ]


def _record(scenario: Scenario, file: Path, episodes: int, seed: int, force: bool) -> None:
    """Record what all cells of a scenario learn from, unless it is there; people must have been imported there.

    Raises:
        BadInput: what is there has another number of episodes, or nothing was imported.
    """
    if scenario.recorded:
        Recording.load(file, scenario)
        return
    if force or not file.exists():
        with progress_bar(f"recording {scenario.name}", episodes) as advance:
            recording, _ = record(scenario, episodes, seed, partial(advance, 1))
            recording.save(file)
    if Recording.load(file, scenario).demonstrations.num_episodes != episodes:
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
        raise InvalidRun(f"{path}: not JSON ({error}); remove it to judge the run anew") from error


def _run_cell(job: Job, run: Path, file: Path) -> Outcome:
    """Make one cell. A failure becomes its outcome, so that the others go on.

    Args:
        run: its folder, or on a cluster the node's copy of it; so is `file`.
        file: the demonstrations.
    """
    cell, reported = job.cell, 0.0

    def report_share(share: float) -> None:
        nonlocal reported
        report(share - reported)
        reported = share

    def on_iteration(done: int, total: int, log: dict[str, Any]) -> None:
        report_share(TRAINING * done / total)

    def on_episodes(count: int) -> None:
        report_share(reported + (1 - TRAINING) * count / job.episodes)

    try:
        if job.force or not (run / MANIFEST).exists():
            train(job.make_learner, cell.algorithm, file, cell.scenario, cell.config, run, job.force, on_iteration)
        elif not (run / FILE).exists():
            resume({cell.algorithm: job.make_learner}, run, on_iteration=on_iteration)
        return Outcome(evaluate(run, job.episodes, job.seed, 1, on_episodes, job.peers))
    except Exception as error:
        problem = str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
        for copy in (run, file):
            problem = problem.replace(str(copy.parent), str(job.out))
        return Outcome(failure=problem)
    finally:
        report_share(1.0)
