"""`infogail benchmark`: train and evaluate every learner on every scenario over many seeds.

A cell is a run folder, `DIR/SCENARIO-ALGORITHM[-PRESET]-SEED`; its result is the `metrics.json` in it. Finished cells
are kept: a restart resumes stopped runs and runs only what is missing.
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
from infogail.evaluation.judges import JUDGES
from infogail.evaluation.protocol import evaluate
from infogail.learning.devices import check_device
from infogail.parallel.progress import progress_bar
from infogail.parallel.workers import report, workers
from infogail.runs.driver import FILE
from infogail.runs.folder import DEMONSTRATIONS, MANIFEST, InvalidRun, Manifest
from infogail.runs.runner import MakeLearner, resume, train

TRAINING = 0.75  # of a cell's progress


@dataclass(frozen=True)
class Job:
    """A cell to run; may be sent to another process or machine."""

    cell: Cell
    make_learner: MakeLearner
    out: Path
    """The benchmark's folder, as named by the user."""
    episodes: int
    seed: int
    """Evaluation seed."""
    force: bool
    peers: Mapping[str, Any] | None
    """For recorded people; see `judge_peers`."""


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
    """Train and evaluate every cell missing from `out`, one per core at a time.

    Args:
        learners: learner classes by algorithm name.
        seeds: training seeds; recording and evaluation use the first one.
        episodes: to record in each scenario, and to evaluate each run on.
        presets: names; every preset except the default is for one learner only.
        overrides: settings of every cell except the seed, by flat name; override those of scenario and preset.
        force: overwrite all cells.
        ray: address of the Ray cluster to use; by default, this machine's cores.

    Raises:
        BadInput: `out` contains cells with other settings or demonstrations; or the cluster cannot be reached, or this
            machine lacks the device.
    """
    if ray is None:
        check_device(overrides.get("device", "cpu"))
    else:
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
    peers = {  # shared by all cells, since evaluating them takes as long as a run
        name: JUDGES[world].judge_peers(files[name], Recording.load(files[name], scenario), episodes, seeds[0])
        for name, scenario in recorded.items()
        if (world := scenario.world_type) is not None
    }
    jobs = [
        Job(cell, learners[cell.algorithm], out, episodes, seeds[0], force, peers.get(cell.scenario))
        for cell in missing
    ]
    runs, sources = [out / cell.name for cell in missing], [files[cell.scenario] for cell in missing]
    side_by_side = partial(workers, os.cpu_count() or 1) if ray is None else partial(cluster, ray)
    title = f"training and evaluating {len(cells)} drivers"
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
    """All cells: the default preset applies to every learner, any other only to its own. See `benchmark`."""
    return [
        Cell(scenario, algorithm, settings(get_scenario(scenario), preset, {**overrides, "seed": seed}), preset)
        for scenario in scenarios
        for preset in presets
        for algorithm in algorithms
        if preset == DEFAULT or PRESETS[preset].algorithm == algorithm
        for seed in seeds
    ]


def _record(scenario: Scenario, file: Path, episodes: int, seed: int, force: bool) -> None:
    """Record the demonstrations shared by all cells of a scenario, unless they exist; people must have been imported.

    Raises:
        BadInput: the existing file has another number of episodes, or nothing was imported.
    """
    if scenario.recorded:
        Recording.load(file, scenario)
        return
    if force or not file.exists():
        with progress_bar(f"recording {scenario.name}", episodes) as advance:
            recording, _ = record(scenario, episodes, seed, partial(advance, 1))
            recording.save(file)
    if Recording.load(file, scenario).demonstrations.num_episodes != episodes:
        raise BadInput(f"{file}: does not contain {episodes} episodes; write elsewhere, or replace it with --force")


def _check_settings(cell: Cell, run: Path, episodes: int, seed: int) -> None:
    """Refuse to mix results from different settings."""
    if not (run / MANIFEST).exists():
        return
    manifest = Manifest.load(run)
    if (manifest.scenario, manifest.algorithm, manifest.config) != (cell.scenario, cell.algorithm, cell.config):
        raise BadInput(f"{run}: was trained with other settings; write elsewhere, or replace it with --force")
    if (result := _judged(run)) and (result["episodes"], result["seed"]) != (episodes, seed):
        problem = "was evaluated with other episodes or another seed"
        raise BadInput(f"{run}: {problem}; write elsewhere, or replace it with --force")


def _check_demonstrations(run: Path, file: Path) -> None:
    """Refuse to mix results from different demonstrations."""
    if (run / MANIFEST).exists():
        known = Manifest.load(run).files.get(DEMONSTRATIONS)
        if known != sha256(file.read_bytes()).hexdigest():
            raise BadInput(f"{run}: was not trained on {file}; write elsewhere, or replace it with --force")


def _judged(run: Path) -> dict[str, Any] | None:
    path = run / "metrics.json"
    try:
        return json.loads(path.read_text()) if (run / MANIFEST).exists() and path.exists() else None
    except ValueError as error:
        raise InvalidRun(f"{path}: not valid JSON ({error}); remove it to evaluate the run again") from error


def _run_cell(job: Job, run: Path, file: Path) -> Outcome:
    """Run one cell. A failure becomes its outcome, so that the other cells continue.

    Args:
        run: its folder, or on a cluster the node's copy of it.
        file: the demonstrations, or on a cluster the node's copy of them.
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
