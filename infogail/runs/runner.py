"""What is the same for every learner: iterations, progress, logs, checkpoints, resume, and what to do when it stops."""

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
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.data.recording import Recording
from infogail.envs.environment import Environment
from infogail.envs.errors import BadInput
from infogail.envs.files import UnreadableFile, write_atomically
from infogail.envs.twin import DrivingEnvironment
from infogail.learning.networks import Policy
from infogail.learning.posterior import Posterior
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
from infogail.parallel.signals import Stopped, stop_requests
from infogail.runs import checkpoint
from infogail.runs.driver import FILE, Driver
from infogail.runs.folder import DEMONSTRATIONS, InvalidRun, Manifest, RunFolder, check_run

STYLES_FOUND = 0.95  # style_nmi at which the styles count as found

OnIteration = Callable[[int, int, dict[str, Any]], None]
"""Told (iterations done, iterations in all, what was logged) after each."""


class Learner(Protocol):
    """What InfoGAIL, GAIL and BC have in common."""

    iteration: int
    iterations: int

    @property
    def policy(self) -> Policy:
        """What is trained."""

    @property
    def posterior(self) -> Posterior | None:
        """What reads the code back, if anything does."""

    def iterate(self) -> dict[str, float]:
        """One iteration; returns what to log."""

    def parts(self) -> dict[str, Any]:
        """All that changes from one iteration to the next, by name."""


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
) -> Driver:
    """Train on the first four fifths of the demonstrations, into a new run folder.

    Where torchrun started several processes, all call this, and share the work. The first alone reads and writes files.

    Args:
        make_learner: the learner's class.
        algorithm: its name, for the record.
        demonstrations_file: safetensors file, recorded in `scenario`.
        config: all settings.
        run: folder to make. Whatever stops the training, `resume` goes on from the last checkpoint in it.
        force: replace the run that is there.

    Raises:
        InvalidDemonstrations: the file is malformed or of another scenario.
        NonEmptyFolder: see `check_run`.
        InvalidRun: another process trains there.
        BadInput: training diverged, or the processes cannot share its batches evenly.
        Stopped: SIGINT or SIGTERM came.
    """
    join()
    config.check(get_scenario(scenario))
    shard_config(config)  # if that is possible

    def begin() -> RunFolder:
        check_run(run, force)
        Recording.load(demonstrations_file, get_scenario(scenario))
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
) -> Driver:
    """Go on with the run `run` from its newest checkpoint: same machine, threads and versions, same bits.

    As many processes as it began with go on with it. With another length it may go on beyond its end, or end earlier:
    the learning rate falls as it would have, and stays where it ended.

    Args:
        learners: the learners' classes by the name of their algorithm.
        threads: torch threads, if not as before.
        warn: told of damaged checkpoints, and of what is not as it was when the run began.
        iterations: how many in all, if not as before; of GAIL and InfoGAIL.
        bc_steps: the same of BC.

    Raises:
        InvalidRun: it is no run, of another number of processes, all its checkpoints are damaged, or another process
            trains there.
        BadInput: `iterations` or `bc_steps` are fewer than are done; or see `train`.
        Stopped: see `train`.
    """
    join()
    length = {"iterations": iterations, "bc_steps": bc_steps}

    def begin() -> RunFolder:
        folder = stack.enter_context(RunFolder.open(run))
        manifest = folder.manifest
        if manifest.processes != world_size():
            ours, its = world_size(), manifest.processes
            raise InvalidRun(f"{run}: its number of processes is {its}, not {ours}; {_go_on(folder)}")
        now = Manifest(manifest.scenario, manifest.algorithm, manifest.config)
        if manifest.algorithm not in learners:
            raise InvalidRun(f"{run}: algorithm is '{manifest.algorithm}', none of {', '.join(learners)}")
        before = manifest.config.run.threads
        was = {**manifest.versions, "instruction set": manifest.instruction_set, "threads": before}
        here = {**now.versions, "instruction set": now.instruction_set, "threads": threads or before}
        for name, value in here.items():
            if was.get(name) != value:
                warn(f"{run}: began with {name} {was.get(name)}, goes on with {value}; the last bits may differ")
        folder.manifest = _with_length(manifest, {key: value for key, value in length.items() if value is not None})
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
) -> Driver:
    """From the newest checkpoint, or else from the beginning, to the end."""
    manifest, config = folder.manifest, folder.manifest.config
    torch.set_num_threads(threads or config.run.threads)
    recording, saved = run_on_leader(lambda: (_recording(folder), checkpoint.load_newest(folder, warn)))
    own = shard_config(config.with_(iterations=manifest.scheduled_iterations or config.run.iterations))
    learner, log = make_learner(_environment(recording, own), _demonstrations(recording, config), own), b""
    if manifest.scheduled_iterations is not None:
        learner.iterations = config.run.iterations
    if saved is not None:
        learner.iteration, state, log = saved
        try:
            checkpoint.restore(learner.parts(), checkpoint.part_of(state, rank()))
        except (KeyError, RuntimeError, ValueError) as error:
            raise InvalidRun(f"{folder.path}: its checkpoint is of another learner ({error}); train it anew") from error
    if learner.iteration > learner.iterations:
        option = "--bc-steps" if manifest.scheduled_iterations is None else "--iterations"
        raise BadInput(f"{folder.path}: has {learner.iteration} iterations done already; give a larger {option}")
    rows = [json.loads(line) for line in log.splitlines()]
    try:
        if leads() and Manifest.load(folder.path) != manifest:
            folder.describe(manifest)
        _iterate(folder, learner, rows, on_iteration)
        evidence = learner.posterior.evidence if learner.posterior is not None else None
        driver = Driver(recording.scenario, manifest, learner.policy, evidence)
        if leads():
            folder.write("metrics.jsonl", _lines(rows))
            folder.write("training.json", (json.dumps(_cost(rows), indent=2) + "\n").encode())
            known = folder.manifest.files.get(FILE)
            folder.write(FILE, driver.encode())
            if folder.manifest.files[FILE] != known:  # it was judged before it went on
                (folder.path / "metrics.json").unlink(missing_ok=True)
    except OSError as error:
        problem = f"{error.filename or folder.path}: {error.strerror or error}"
        raise BadInput(f"{problem}; once that is mended, {_go_on(folder)}") from error
    return driver


def _with_length(manifest: Manifest, length: Mapping[str, Any]) -> Manifest:
    """That of the run once it is to be as long as `length` says, settings by name."""
    config = manifest.config.with_(**length)
    if config.run.iterations == manifest.config.run.iterations:
        return replace(manifest, config=config)
    scheduled = manifest.scheduled_iterations or manifest.config.run.iterations
    return replace(manifest, config=config, scheduled_iterations=scheduled)


def _recording(folder: RunFolder) -> Recording:
    """What the run learns from, and is judged by."""
    try:
        folder.verify(DEMONSTRATIONS)
    except (UnreadableFile, OSError) as error:
        raise InvalidRun(f"{folder.path / DEMONSTRATIONS}: {error}; train the run anew") from error
    return Recording.load(folder.path / DEMONSTRATIONS, get_scenario(folder.manifest.scenario))


def _demonstrations(recording: Recording, config: Config) -> Demonstrations:
    """Those to learn from."""
    limit, labelled = config.run.demonstrations_limit, config.run.labelled
    chosen = recording.episodes(slice(min(limit or recording.num_training, recording.num_training)))
    return chosen.demonstrations if labelled is None else chosen.with_labels(labelled)


def _environment(recording: Recording, config: Config) -> DrivingEnvironment:
    """What learners drive in; the judge of styles is for the log alone."""
    scenario = recording.scenario
    judge = None if scenario.recorded else scenario.fit_judge(recording)
    return DrivingEnvironment(scenario, config.run.num_envs, judge)


def _iterate(folder: RunFolder, learner: Learner, rows: list[dict[str, Any]], on_iteration: OnIteration) -> None:
    """The iterations that are left; `rows` are those logged so far."""
    env_steps, before = (rows[-1]["env_steps"], rows[-1]["seconds"]) if rows else (0, 0.0)
    interval = folder.manifest.config.run.checkpoint_interval
    start = time.perf_counter() - before
    with _logs(folder, rows) as write, stop_requests() as requested:
        while learner.iteration < learner.iterations:
            log = mean_log(learner.iterate())
            state = checkpoint.state_of(learner.parts())
            _check_finite(folder, learner.iteration, log | state)
            env_steps += int(log.get("rollout/env_steps", 0))
            seconds = time.perf_counter() - start
            rows.append({"iteration": learner.iteration - 1, "env_steps": env_steps, "seconds": seconds} | log)
            write(rows[-1])
            stop = first_truthy(requested())
            due = learner.iteration % interval == 0 or learner.iteration == learner.iterations
            if (stop or due) and (states := gather_to_leader(state)):
                checkpoint.save(folder, learner.iteration, checkpoint.merge(states), _lines(rows))
            on_iteration(learner.iteration, learner.iterations, rows[-1])
            if stop:
                raise Stopped(stop, f"stopped after iteration {learner.iteration}; {_go_on(folder)}")


@contextmanager
def _logs(folder: RunFolder, rows: list[dict[str, Any]]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """metrics.jsonl and TensorBoard's file with the `rows` so far, and a function that adds one."""
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
    """Stop where a loss, a reward, a parameter or a gradient (it spoils what the optimiser keeps) is NaN or Inf."""
    broken = first_truthy(checkpoint.first_not_finite(values))
    if broken is not None:
        saved = checkpoint.checkpoints(folder)
        good = f"its last good checkpoint is {folder.path / saved[-1]}" if saved else "it has no checkpoint yet"
        raise BadInput(
            f"{folder.path}: training diverged in iteration {iteration}: {broken} is not finite; {good}; "
            "train anew with a lower --learning-rate or --discriminator-learning-rate"
        )


def _cost(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What training took, from the rows that it logged."""
    found = next((row for row in rows if row.get("rollout/style_nmi", 0.0) >= STYLES_FOUND), {})
    return {
        "env_steps": rows[-1]["env_steps"],
        "train_seconds": rows[-1]["seconds"],
        "env_steps_to_styles": found.get("env_steps"),
        "seconds_to_styles": found.get("seconds"),
    }


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _go_on(folder: RunFolder) -> str:
    processes = folder.manifest.processes
    command = "infogail" if processes == 1 else f"torchrun --nproc-per-node {processes} -m infogail"
    return f"go on with '{command} train --resume {quote(str(folder.path))}'"
