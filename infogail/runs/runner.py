"""The training loop common to all learners: iterations, progress, logs, checkpoints, resuming and stopping."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any, Protocol

import torch

from infogail.config.config import Config
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.data.episodes import Episodes
from infogail.envs.data.recording import Recording
from infogail.envs.environment import Environment
from infogail.envs.errors import BadInput
from infogail.envs.files import UnreadableFile, write_atomically
from infogail.envs.gym_environment import GymEnvironment
from infogail.envs.tasks import get_task, load_recording, named_in_file, training_environment
from infogail.learning.devices import check_device
from infogail.learning.networks import Policy
from infogail.learning.posterior import Posterior
from infogail.learning.schedule import Schedule
from infogail.parallel.distributed import (
    first_truthy,
    gather_to_leader,
    join,
    mean_log,
    rank,
    run_on_leader,
    shard_config,
    world_size,
)
from infogail.parallel.launch import leads
from infogail.parallel.progress import note
from infogail.parallel.signals import Stopped, stop_requests
from infogail.runs import checkpoint
from infogail.runs.driver import FILE
from infogail.runs.folder import DEMONSTRATIONS, MIX, InvalidRun, Manifest, RunFolder, check_run
from infogail.runs.mean_action import MeanActionCheck
from infogail.runs.trained import TrainedDriver

FOUND_BY, AT_START = "mean_action/style_nmi", "start/style_nmi"
STYLES_FOUND = 0.95  # the style NMI from which on the styles count as found

OnIteration = Callable[[int, int, dict[str, Any]], None]
"""Called after each iteration with (iterations done, total iterations, log)."""


class Learner(Protocol):
    """The common interface of InfoGAIL, GAIL, coded BC and BC."""

    iteration: int
    schedule: Schedule

    @property
    def policy(self) -> Policy:
        """The policy being trained."""

    @property
    def posterior(self) -> Posterior | None:
        """The posterior that infers the code, if the learner has one."""

    def start(self) -> None:
        """Do what precedes the first iteration, which does it if it has not been done."""

    def iterate(self) -> dict[str, float]:
        """Run one iteration; returns the log."""

    def parts(self) -> dict[str, Any]:
        """The state that iterations change, by name."""


MakeLearner = Callable[[Environment, Demonstrations, Config], Learner]


def train(
    make_learner: MakeLearner,
    algorithm: str,
    demonstrations_file: Path,
    scenario: str,
    config: Config,
    run: Path,
    force: bool = False,
    on_iteration: OnIteration = lambda done, total, log: None,
) -> TrainedDriver:
    """Train on the first four fifths of the demonstrations, into a new run folder.

    If torchrun started several processes, all of them call this and share the work; only the first one reads and writes
    files.

    Args:
        make_learner: the learner's class.
        algorithm: its name, for the manifest.
        demonstrations_file: safetensors file, recorded in `scenario`.
        scenario: a driving scenario, or the id of a Gymnasium environment.
        config: all settings.
        run: folder to create. However training stops, `resume` continues from the last checkpoint in it.
        force: overwrite an existing run.

    Raises:
        InvalidDemonstrations: the file is malformed or from another scenario.
        NonEmptyFolder: see `check_run`.
        InvalidRun: another process is training in `run`.
        BadInput: training diverged, the device is not there, or the batches cannot be divided evenly among the
            processes.
        Stopped: SIGINT or SIGTERM was received.
    """
    join()
    config.check(get_task(scenario))
    check_device(config.run.device)
    shard_config(config)  # validates it

    def begin() -> RunFolder:
        check_run(run, force)
        load_recording(demonstrations_file, get_task(scenario))
        manifest = Manifest(scenario, algorithm, config, processes=world_size())
        return stack.enter_context(RunFolder.create(run, manifest, demonstrations_file.read_bytes(), force))

    with ExitStack() as stack:
        return _train(run_on_leader(begin), make_learner, on_iteration)


def resume(
    learners: Mapping[str, MakeLearner],
    run: Path,
    threads: int | None = None,
    on_iteration: OnIteration = lambda done, total, log: None,
    warn: Callable[[str], None] = lambda message: None,
    iterations: int | None = None,
    bc_steps: int | None = None,
    device: str | None = None,
) -> TrainedDriver:
    """Resume `run` from its newest checkpoint; bit-identical with the same machine, device, threads and versions.

    The number of processes must be that of the original run. A different length may extend or shorten the run: the
    learning rate keeps its original schedule, and stays constant after its end.

    Args:
        learners: the learner classes by algorithm name.
        threads: torch threads, if different from before.
        warn: called with a message for damaged checkpoints, and for whatever has changed since the run began.
        iterations: new total number of iterations, if different; for GAIL and InfoGAIL.
        bc_steps: the same for BC and coded BC.
        device: where to go on, if not where it was; see `RunConfig.device`.

    Raises:
        InvalidRun: `run` is not a run, had another number of processes, has only damaged checkpoints, or another
            process is training in it.
        BadInput: `iterations` or `bc_steps` is less than already done; or see `train`.
        Stopped: see `train`.
    """
    join()
    changes = {"iterations": iterations, "bc_steps": bc_steps, "device": device}

    def begin() -> RunFolder:
        folder = stack.enter_context(RunFolder.open(run))
        manifest = folder.manifest
        if manifest.processes != world_size():
            ours, its = world_size(), manifest.processes
            raise InvalidRun(f"{run}: its number of processes is {its}, not {ours}; {_resume_hint(folder)}")
        now = Manifest(manifest.scenario, manifest.algorithm, manifest.config)
        if manifest.algorithm not in learners:
            raise InvalidRun(f"{run}: algorithm is '{manifest.algorithm}', not one of {', '.join(learners)}")
        configured = manifest.config.run.threads
        original = {**manifest.versions, "instruction set": manifest.instruction_set, "threads": configured}
        current = {**now.versions, "instruction set": now.instruction_set, "threads": threads or configured}
        for name, value in current.items():
            if original.get(name) != value:
                change = f"started with {name} {original.get(name)}, resuming with {value}"
                warn(f"{run}: {change}; results may differ by rounding")
        folder.manifest = _with(manifest, {key: value for key, value in changes.items() if value is not None})
        check_device(folder.manifest.config.run.device)
        return folder

    with ExitStack() as stack:
        folder = run_on_leader(begin)
        return _train(folder, learners[folder.manifest.algorithm], on_iteration, threads, warn)


def _train(
    folder: RunFolder,
    make_learner: MakeLearner,
    on_iteration: OnIteration,
    threads: int | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> TrainedDriver:
    """Train to the end from the newest checkpoint, or from scratch if there is none."""
    manifest, config = folder.manifest, folder.manifest.config
    torch.set_num_threads(threads or config.run.threads)
    recording, saved = run_on_leader(lambda: (_recording(folder), checkpoint.load_newest(folder, warn)))
    shard = shard_config(config.with_(iterations=manifest.scheduled_iterations or config.run.iterations))
    environment = training_environment(recording, shard.run.num_envs, shard.run.device, shard.run.company)
    if isinstance(environment, GymEnvironment) and not environment.reproducible:
        note(f"infogail: {manifest.scenario}: a reset's seed does not determine what follows; resuming is not exact")
    learner, log = make_learner(environment, _demonstrations(recording, config), shard), b""
    if manifest.scheduled_iterations is not None:
        learner.schedule.length = config.run.iterations
    if saved is not None:
        learner.iteration, state, log = saved
        try:
            goes_on = checkpoint.restore(learner.parts(), checkpoint.part_of(state, rank()))
        except (KeyError, RuntimeError, ValueError) as error:
            problem = f"its checkpoint is from another learner ({error})"
            raise InvalidRun(f"{folder.path}: {problem}; train it again") from error
        if not goes_on:
            change = f"its checkpoint is from another kind of device than {config.run.device}"
            warn(f"{folder.path}: {change}, with other random numbers; results differ from here on")
    if learner.iteration > learner.schedule.iterations:
        option = "--bc-steps" if manifest.scheduled_iterations is None else "--iterations"
        raise BadInput(f"{folder.path}: has already done {learner.iteration} iterations; give a larger {option}")
    rows = [json.loads(line) for line in log.splitlines()]
    try:
        if leads() and Manifest.load(folder.path) != manifest:
            folder.describe(manifest)
        _iterate(folder, learner, rows, on_iteration, _mean_action_check(recording, learner, config))
        evidence = learner.posterior.evidence.cpu() if learner.posterior is not None else None
        driver = TrainedDriver(named_in_file(manifest.scenario), manifest, learner.policy.cpu(), evidence)
        if leads():
            folder.write("metrics.jsonl", _lines(rows))
            folder.write("training.json", (json.dumps(_cost(rows), indent=2) + "\n").encode())
            known = folder.manifest.files.get(FILE)
            folder.write(FILE, driver.encode())
            if folder.manifest.files[FILE] != known:  # the evaluation of the previous driver is obsolete
                for name in ("metrics.json", MIX):
                    (folder.path / name).unlink(missing_ok=True)
    except OSError as error:
        problem = f"{error.filename or folder.path}: {error.strerror or error}"
        raise BadInput(f"{problem}; once that is fixed, {_resume_hint(folder)}") from error
    return driver


def _with(manifest: Manifest, changes: Mapping[str, Any]) -> Manifest:
    """The manifest with the run's length or device changed, settings by name."""
    config = manifest.config.with_(**changes)
    if config.run.iterations == manifest.config.run.iterations:
        return replace(manifest, config=config)
    scheduled = manifest.scheduled_iterations or manifest.config.run.iterations
    return replace(manifest, config=config, scheduled_iterations=scheduled)


def _recording(folder: RunFolder) -> Recording | Episodes:
    """The recording that the run learns from and is evaluated on."""
    try:
        folder.verify(DEMONSTRATIONS)
    except (UnreadableFile, OSError) as error:
        raise InvalidRun(f"{folder.path / DEMONSTRATIONS}: {error}; train the run again") from error
    recording = load_recording(folder.path / DEMONSTRATIONS, named_in_file(folder.manifest.scenario))
    return recording.interpreted(folder.manifest.config.run.early_end) if isinstance(recording, Episodes) else recording


def _demonstrations(recording: Recording | Episodes, config: Config) -> Demonstrations:
    """The demonstrations to learn from."""
    limit, labelled = config.run.demonstrations_limit, config.run.labelled
    chosen = recording.episodes(slice(min(limit or recording.num_training, recording.num_training)))
    return chosen.demonstrations if labelled is None else chosen.with_labels(labelled)


def _mean_action_check(recording: Recording | Episodes, learner: Learner, config: Config) -> MeanActionCheck | None:
    """None if there are no styles to find: they cannot be judged, or the learner has no codes; and in company, where it
    would take as long as the training."""
    if isinstance(recording, Episodes) or not recording.judgeable or config.run.company:
        return None
    if learner.posterior is None or not leads():
        return None
    scenario, num_codes = recording.scenario, config.codes.num_codes
    return MeanActionCheck(scenario, scenario.fit_judge(recording), num_codes, config.run.device)


def _iterate(
    folder: RunFolder,
    learner: Learner,
    rows: list[dict[str, Any]],
    on_iteration: OnIteration,
    check: MeanActionCheck | None,
) -> None:
    """Run the remaining iterations; `rows` holds the log so far. `check` runs until the styles are found."""
    env_steps, before = (rows[-1]["env_steps"], rows[-1]["seconds"]) if rows else (0, 0.0)
    interval = folder.manifest.config.run.checkpoint_interval
    start = time.perf_counter() - before
    at_start: dict[str, float] = {}
    with _logs(folder, rows) as write, stop_requests() as requested:
        if learner.iteration == 0:
            learner.start()
            at_start = {"start/seconds": time.perf_counter() - start}
            if check is not None:
                at_start |= {AT_START: check.style_nmi(learner.policy)}
                start = time.perf_counter() - at_start["start/seconds"]  # the check's time is not training's
        while learner.iteration < learner.schedule.iterations:
            log: dict[str, float] = mean_log(learner.iterate()) | at_start
            at_start = {}
            state = checkpoint.state_of(learner.parts())
            _check_finite(folder, learner.iteration, log | state)
            env_steps += int(log.get("rollout/env_steps", 0))
            seconds = time.perf_counter() - start
            if check is not None and _to_styles([*rows, log]) is None:
                log |= {FOUND_BY: check.style_nmi(learner.policy)}
                start = time.perf_counter() - seconds
            rows.append({"iteration": learner.iteration - 1, "env_steps": env_steps, "seconds": seconds} | log)
            write(rows[-1])
            stop = first_truthy(requested())
            due = learner.iteration % interval == 0 or learner.iteration == learner.schedule.iterations
            if (stop or due) and (states := gather_to_leader(state)):
                checkpoint.save(folder, learner.iteration, checkpoint.merge(states), _lines(rows))
            on_iteration(learner.iteration, learner.schedule.iterations, rows[-1])
            if stop:
                raise Stopped(stop, f"stopped after iteration {learner.iteration}; {_resume_hint(folder)}")


@contextmanager
def _logs(folder: RunFolder, rows: list[dict[str, Any]]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Open metrics.jsonl and TensorBoard's file with the `rows` so far; yields a function that appends a row."""
    if not leads():
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter

    def step(row: dict[str, Any]) -> int:
        return row["env_steps"] or row["iteration"] + 1

    write_atomically(folder.path / "metrics.jsonl", _lines(rows))
    lines = (folder.path / "metrics.jsonl").open("a", buffering=1)
    board = SummaryWriter(str(folder.path), purge_step=step(rows[-1]) + 1 if rows else None)

    def write(row: dict[str, Any]) -> None:
        lines.write(_lines([row]).decode())
        for key, value in row.items():
            if key not in ("iteration", "env_steps", "seconds"):
                board.add_scalar(key, value, step(row))

    with lines, board:
        yield write


def _check_finite(folder: RunFolder, iteration: int, values: Mapping[str, Any]) -> None:
    """Stop if a loss, reward, parameter or gradient (via the optimiser's state) is NaN or Inf."""
    broken = first_truthy(checkpoint.first_not_finite(values))
    if broken is not None:
        saved = checkpoint.checkpoints(folder)
        good = f"its last good checkpoint is {folder.path / saved[-1]}" if saved else "it has no checkpoint yet"
        raise BadInput(
            f"{folder.path}: training diverged in iteration {iteration}: {broken} is not finite; {good}; "
            "train again with a lower --learning-rate or --discriminator-learning-rate"
        )


def _cost(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The cost of training, from its log."""
    env_steps, seconds = _to_styles(rows) or (None, None)
    return {
        "env_steps": rows[-1]["env_steps"],
        "train_seconds": rows[-1]["seconds"],
        "env_steps_to_styles": env_steps,
        "seconds_to_styles": seconds,
    }


def _to_styles(rows: list[dict[str, Any]]) -> tuple[int, float] | None:
    """Environment steps and seconds until the mean action showed the styles, possibly before the first iteration."""
    for row in rows:
        if row.get(AT_START, 0.0) >= STYLES_FOUND:
            return 0, row["start/seconds"]
        if row.get(FOUND_BY, 0.0) >= STYLES_FOUND:
            return row["env_steps"], row["seconds"]
    return None


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _resume_hint(folder: RunFolder) -> str:
    processes = folder.manifest.processes
    command = "infogail" if processes == 1 else f"torchrun --nproc-per-node {processes} -m infogail"
    return f"resume with '{command} train --resume {quote(str(folder.path))}'"
