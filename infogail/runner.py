"""What is the same for every learner: iterations, progress, logs, and the run folder."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import torch

from envs import BadInput
from envs.demonstrations import Demonstrations, num_training_episodes, write_atomically
from infogail.config import Config
from infogail.driver import FILE, Driver
from infogail.networks import Policy
from infogail.posterior import Posterior

STYLES_FOUND = 0.95  # style_nmi at which the styles count as found
VERSIONED = ("torch", "highway-env", "gymnasium", "numpy")


class Learner(Protocol):
    """What InfoGAIL, GAIL and BC have in common."""

    iterations: int

    @property
    def policy(self) -> Policy:
        """What is trained."""

    @property
    def posterior(self) -> Posterior | None:
        """What reads the code back, if anything does."""

    def iterate(self) -> dict[str, float]:
        """One iteration; returns what to log."""


class NonEmptyFolder(BadInput):
    """There is something where the output is to go, and nobody said that it may be replaced."""


def train(
    make_learner: Callable[[Demonstrations, Config], Learner],
    algorithm: str,
    demonstrations_file: Path,
    scenario: str,
    config: Config,
    run: Path,
    force: bool = False,
    on_iteration: Callable[[int, int, dict[str, float]], None] = lambda done, total, log: None,
) -> Driver:
    """Train on the first four fifths of the demonstrations and leave a run folder.

    Args:
        make_learner: the learner's class.
        algorithm: its name, for the record.
        demonstrations_file: safetensors file, recorded in `scenario`.
        config: all settings.
        run: folder to make; complete when this returns, as it was if it does not.
        force: replace the run that is there.
        on_iteration: told (iterations done, iterations in all, log) after each.

    Raises:
        InvalidDemonstrations: the file is malformed or of another scenario.
        NonEmptyFolder: see `check_run`.
        BadInput: training diverged.
    """
    from torch.utils.tensorboard import SummaryWriter

    check_run(run, force)
    demonstrations = Demonstrations.load(demonstrations_file, scenario)
    torch.set_num_threads(config.threads)
    # Everything is written beside the final folder and renamed at the end: a run that stops halfway leaves none.
    run = run.resolve()
    partial, old = (run.with_name(f".{run.name}.{os.getpid()}.{suffix}") for suffix in ("partial", "old"))
    partial.mkdir(parents=True)
    try:
        shutil.copyfile(demonstrations_file, partial / "demonstrations.safetensors")
        settings = {
            "scenario": scenario,
            "algorithm": algorithm,
            **asdict(config),
            "versions": {name: version(name) for name in VERSIONED},
        }
        _write_json(partial / "config.json", settings)
        start = time.perf_counter()
        learner = make_learner(
            demonstrations.episodes(slice(num_training_episodes(demonstrations.num_episodes))), config
        )
        cost: dict[str, float | None] = {"env_steps_to_styles": None, "seconds_to_styles": None}
        env_steps, seconds = 0, 0.0
        with SummaryWriter(str(partial)) as board, (partial / "metrics.jsonl").open("w", buffering=1) as lines:
            for iteration in range(learner.iterations):
                log = learner.iterate()
                if not all(map(math.isfinite, log.values())):
                    raise BadInput(f"training diverged in iteration {iteration + 1}; lower --learning-rate")
                env_steps += int(log.get("rollout/env_steps", 0))
                seconds = time.perf_counter() - start
                row = {"iteration": iteration, "env_steps": env_steps, "seconds": seconds} | log
                lines.write(json.dumps(row) + "\n")
                for key, value in log.items():
                    board.add_scalar(key, value, env_steps or iteration)
                if cost["seconds_to_styles"] is None and log.get("rollout/style_nmi", 0.0) >= STYLES_FOUND:
                    cost = {"env_steps_to_styles": env_steps, "seconds_to_styles": seconds}
                on_iteration(iteration + 1, learner.iterations, row)
        _write_json(partial / "training.json", {"env_steps": env_steps, "train_seconds": seconds, **cost})
        evidence = learner.posterior.evidence if learner.posterior is not None else None
        driver = Driver(scenario, algorithm, config.num_codes, config.seed, learner.policy, evidence, config.hidden)
        driver.save(partial)
        if run.exists():
            run.rename(old)
        partial.rename(run)
    finally:
        if old.exists() and not run.exists():
            old.rename(run)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
    return driver


def check_output(path: Path, force: bool) -> None:
    """Refuse to write the file `path` where something is.

    Raises:
        NonEmptyFolder: it is there, and `force` is false; or it is a folder, or below a file.
    """
    _check_folder(path.parent)
    if path.is_dir():
        raise NonEmptyFolder(f"{path}: is a folder; give the name of a file in it")
    if path.exists() and not force:
        raise NonEmptyFolder(f"{path}: is there already; replace it with --force, or write elsewhere")


def check_run(path: Path, force: bool) -> None:
    """Refuse to make the run folder `path` where something is. Nothing but a run is ever replaced.

    Raises:
        NonEmptyFolder: it is a run, and `force` is false; or it is a file, or a folder that holds anything else.
    """
    _check_folder(path)
    if path.is_dir() and any(path.iterdir()):
        if not (path / FILE).is_file():
            raise NonEmptyFolder(f"{path}: holds something other than a run; write elsewhere")
        if not force:
            raise NonEmptyFolder(f"{path}: is there already; replace it with --force, or write elsewhere")


def _check_folder(path: Path) -> None:
    for part in (path, *path.parents):
        if part.is_file():
            raise NonEmptyFolder(f"{part}: is a file, not a folder; write elsewhere")


def _write_json(path: Path, content: dict) -> None:
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
