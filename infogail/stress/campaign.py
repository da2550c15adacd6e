"""All trials of a planner: on the cores of this machine or of a Ray cluster, resumable."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from infogail.benchmark.cluster import cluster
from infogail.envs.errors import BadInput
from infogail.envs.files import write_atomically
from infogail.envs.policies import named_function
from infogail.parallel.progress import progress_bar
from infogail.parallel.workers import workers
from infogail.runs.driver import FILE
from infogail.stress.trials import Setting, Traffic, Trial, run_trial

TRIALS = "trials.jsonl"


def run_trials(
    planner: str | Path,
    run: Path,
    setting: Setting,
    kinds: Sequence[Traffic],
    seeds: Sequence[int],
    out: Path,
    force: bool = False,
    processes: int | None = None,
    ray: str | None = None,
) -> dict[str, list[Trial]]:
    """Run every trial that is missing in the file `TRIALS` of the folder `out`; returns all, by kind of traffic.

    Each is written to the file when it is done, so that what was stopped goes on where it was.

    Args:
        force: start anew.
        processes: by default one per core.
        ray: address of the Ray cluster to use instead.

    Raises:
        BadInput: `out` has trials of another planner or setting.
    """
    file = out / TRIALS
    about = common(planner, run, setting)
    done = {} if force else _read(file, about)
    wanted = [(traffic, seed) for traffic in kinds for seed in seeds]
    missing = [(traffic, seed) for traffic, seed in wanted if (traffic, seed) not in done]
    side_by_side = partial(workers, processes or os.cpu_count() or 1) if ray is None else partial(cluster, ray)
    out.mkdir(parents=True, exist_ok=True)
    lines = [about, *(_line(traffic, trial) for (traffic, _), trial in done.items())]
    write_atomically(file, "".join(f"{json.dumps(line)}\n" for line in lines).encode())
    with (
        file.open("a", encoding="utf-8") as written,
        progress_bar(f"driving {len(wanted):,} episodes", len(wanted)) as advance,
        side_by_side() as mapped,
    ):
        advance(len(wanted) - len(missing))
        jobs = ((setting, traffic, seed, planner, run) for traffic, seed in missing)
        for (traffic, seed), trial in zip(missing, mapped(run_trial, *zip(*jobs, strict=True)), strict=True):
            done[traffic, seed] = trial
            written.write(f"{json.dumps(_line(traffic, trial))}\n")
            written.flush()
            advance(1)
    return {traffic.name: [done[traffic, seed] for seed in seeds] for traffic in kinds}


def common(planner: str | Path, run: Path, setting: Setting) -> dict[str, Any]:
    """What the trials of a file have in common. Files are told by their content."""
    file = planner_file(planner)
    return {
        "planner": str(planner),
        "planner_sha256": None if file is None else sha256(file.read_bytes()).hexdigest(),
        "traffic": str(run),
        "traffic_sha256": sha256((run / FILE).read_bytes()).hexdigest(),
        "environment": setting.environment,
        "config": dict(setting.config),
        "seconds": setting.seconds,
    }


def planner_file(planner: str | Path) -> Path | None:
    """The file that a planner is in, if it is not one of highway-env's drivers.

    Raises:
        BadInput: it is a function or class that there is not.
    """
    if isinstance(planner, Path):
        return planner / FILE if planner.is_dir() else planner
    if ":" not in planner:
        return None
    named_function("planner", planner)  # imports its module
    source = sys.modules[planner.partition(":")[0]].__file__
    return None if source is None else Path(source)


def _line(traffic: Traffic, trial: Trial) -> dict[str, Any]:
    return {"mix": traffic.mix, **asdict(trial)}


def _read(file: Path, about: Mapping[str, Any]) -> dict[tuple[Traffic, int], Trial]:
    """The trials in `file`, if it exists. A last line that was cut off is left out.

    Raises:
        BadInput: they are of another planner or setting, or it is no such file.
    """
    if not file.exists():
        return {}
    remedy = "give another --out, or --force to start anew"
    first, *lines = file.read_text(encoding="utf-8").split("\n")
    try:
        before = json.loads(first)
        for key, value in about.items():
            if before[key] != value:
                raise BadInput(f"{file}: has trials with another {key.removesuffix('_sha256')}; {remedy}")
        done = {}
        for line in lines[:-1]:
            values = json.loads(line)
            mix = values.pop("mix")
            trial = Trial(**values)
            done[Traffic(trial.traffic, None if mix is None else tuple(mix)), trial.seed] = trial
        return done
    except BadInput:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file}: not a file of trials, or a damaged one; {remedy}") from error
