"""Search for starts, and styles of the cars nearby, in which a planner fails, and for the fewest cars that it takes."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from infogail.benchmark.cluster import cluster
from infogail.envs.errors import BadInput
from infogail.envs.files import write_atomically
from infogail.parallel.progress import progress_bar
from infogail.parallel.workers import workers
from infogail.runs.driver import load, usual_mix
from infogail.stress.campaign import common
from infogail.stress.trials import Setting, Traffic, Trial, check, drive, make_environment, run_trial

NAME = "searched"
NEAR = 6
"""So many of the cars nearest to the planner at the start have codes that are searched; those of others are drawn."""
BATCH = 8
"""Episodes between two decisions of the search, whatever the number of processes."""


@dataclass(frozen=True)
class Found:
    """A start in which the planner fails, and how."""

    seed: int
    mix: tuple[float, ...]
    """Relative frequency of the codes of cars that come after the start."""
    codes: tuple[int, ...]
    """Of all cars at the start, also of those left out."""
    fewer: tuple[int, ...]
    """Numbers of the cars left out, see `trials.drive`."""
    trial: Trial
    """The outcome without those."""

    @property
    def cars(self) -> int:
        """How many are left."""
        return len(self.codes) - len(self.fewer)

    def __str__(self) -> str:
        trial, left = self.trial, [code for number, code in enumerate(self.codes, 1) if number not in self.fewer]
        what = (
            trial.error
            or ("no crash", "a crash, not its fault", "a crash that is its fault")[trial.crashed + trial.at_fault]
        )
        codes = f", of codes {' '.join(map(str, left))}" if 0 < len(left) <= 8 else ""
        return (
            f"seed {self.seed}: {what}, after {trial.seconds:.1f} s, with {self.cars} of {len(self.codes)} cars{codes}"
        )


def search(
    planner: str | Path,
    run: Path,
    setting: Setting,
    budget: int,
    seed: int = 0,
    keep: int = 10,
    processes: int | None = None,
    ray: str | None = None,
) -> tuple[list[Found], list[Trial]]:
    """Cases in which the planner fails, the worst first; and all episodes of the search.

    Each episode has a new start. Optuna's tree-structured Parzen estimator chooses codes for the `NEAR` nearest cars,
    seeking crashes that are the planner's fault, then other crashes, then small times to collision.
    The result depends on `seed`, not on the number of processes.

    Args:
        budget: episodes of the search; shrinking the cases takes some more.
        seed: of the first start.
        keep: so many of the cases are shrunk and returned.
        processes: by default one per core.
        ray: address of the Ray cluster to use instead of processes.

    Raises:
        BadInput: Optuna is not installed.
    """
    driver = load(run)
    mix = tuple(usual_mix(run, driver).tolist())
    side_by_side = partial(workers, processes or os.cpu_count() or 1) if ray is None else partial(cluster, ray)
    with side_by_side() as mapped:

        def tried(chosen: Sequence[tuple[int, list[int]]]) -> Iterable[Found]:
            return mapped(attempt, *zip(*((setting, mix, *each, planner, run) for each in chosen), strict=True))

        episodes = explore(tried, driver.num_codes, seed, budget)
        failed = [each for each in episodes if each.trial.failed]
        cases = sorted(failed, key=lambda each: score(each.trial))[:keep]
        with progress_bar(f"shrinking {len(cases)} cases", len(cases)) as advance:
            rows = zip(*((each, setting, planner, run) for each in cases), strict=True)
            shrunk = []
            for case in mapped(shrink, *rows) if cases else ():
                shrunk.append(case)
                advance(1)
    return shrunk, [each.trial for each in episodes]


def score(trial: Trial) -> float:
    """What the search makes small: -2 if the planner is to blame for a crash, -1 after other crashes, otherwise the
    smallest time to collision [s]."""
    return -2.0 if trial.error or trial.at_fault else -1.0 if trial.crashed else trial.min_ttc


def explore(
    tried: Callable[[Sequence[tuple[int, list[int]]]], Iterable[Found]], num_codes: int, seed: int, budget: int
) -> list[Found]:
    """The episodes of a search.

    Args:
        tried: drives episodes, given their seeds and the codes of the nearest cars.
    """
    try:
        import optuna
    except ImportError as error:
        raise BadInput(
            "--search requires the extra 'search'; install it with pip install 'infogail[search]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    choice = optuna.distributions.CategoricalDistribution(range(num_codes))
    space: dict[str, Any] = {f"code_{k}": choice for k in range(NEAR)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=seed)
    study = optuna.create_study(sampler=sampler)
    episodes: list[Found] = []
    with progress_bar(f"searching with {budget:,} episodes", budget) as advance:
        for first in range(0, budget, BATCH):
            asked = [study.ask(space) for _ in range(min(BATCH, budget - first))]
            jobs = [(seed + first + k, list(trial.params.values())) for k, trial in enumerate(asked)]
            for trial, case in zip(asked, tried(jobs), strict=True):
                study.tell(trial, score(case.trial))
                episodes.append(case)
                advance(1)
    return episodes


def attempt(
    setting: Setting, mix: tuple[float, ...], seed: int, near: Sequence[int], planner: str | Path, run: Path
) -> Found:
    """Drive one episode in which the nearest cars at the start have the codes `near`."""
    traffic = Traffic(NAME, mix)
    env = make_environment(setting, traffic, run, seed)
    base: Any = env.unwrapped
    others = [vehicle for vehicle in base.road.vehicles if vehicle is not base.vehicle]
    env.close()
    nearest = sorted(range(len(others)), key=lambda k: np.linalg.norm(others[k].position - base.vehicle.position))
    codes = [vehicle.code for vehicle in others]
    for k, code in zip(nearest, near, strict=False):
        codes[k] = code
    return Found(seed, mix, tuple(codes), (), run_trial(setting, traffic, seed, planner, run, codes=codes))


def shrink(case: Found, setting: Setting, planner: str | Path, run: Path) -> Found:
    """The same case with cars left out as long as the planner fails alike: none of those left can be spared."""
    traffic, numbers = Traffic(NAME, case.mix), range(1, len(case.codes) + 1)

    def left_out(cars: Sequence[int]) -> tuple[int, ...]:
        return tuple(number for number in numbers if number not in cars)

    @cache
    def driven(cars: tuple[int, ...]) -> Trial:
        return run_trial(setting, traffic, case.seed, planner, run, left_out(cars), case.codes)

    def fails(cars: Sequence[int]) -> bool:
        trial = driven(tuple(sorted(cars)))
        alike = "crashed", "at_fault", "error"
        return all(getattr(trial, name) == getattr(case.trial, name) for name in alike)

    _, trace, _ = drive(setting, traffic, case.seed, planner, run, codes=case.codes)
    away = np.linalg.norm(trace.states[:, 1:, :2] - trace.states[:, :1, :2], axis=-1)
    closest = np.nanmin(away, axis=0)[: len(case.codes)]  # further ones came later
    cars = sorted(fewest([number for _, number in sorted(zip(closest, numbers, strict=True))], fails))
    return replace(case, fewer=left_out(cars), trial=driven(tuple(cars)))


def fewest(cars: Sequence[int], fails: Callable[[Sequence[int]], bool]) -> Sequence[int]:
    """Some of `cars`, likely ones first, with which it `fails`, and without any one of which it does not.

    Delta debugging: ddmin in Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input, 2002.
    """
    if not cars or fails(()):
        return ()
    parts = 2
    while len(cars) > 1:
        chunks = [chunk.tolist() for chunk in np.array_split(cars, parts)]
        rests = [[car for car in cars if car not in chunk] for chunk in reversed(chunks)]
        smaller = next((some for some in (*chunks, *rests) if fails(some)), None)
        if smaller is not None:
            parts = 2 if smaller in chunks else max(parts - 1, 2)
            cars = smaller
        elif parts < len(cars):
            parts = min(2 * parts, len(cars))
        else:
            break
    return cars


def write(
    out: Path, found: Sequence[Found], trials: Sequence[Trial], setting: Setting, planner: str | Path, run: Path
) -> dict[str, Any]:
    """Write the result of `search` to the folder `out`: found.json, which is returned, and case-SEED.json to repeat."""
    shared = common(planner, run, setting)
    cases = [asdict(case) | {"cars": case.cars, "cars_before": len(case.codes)} for case in found]
    counts = {"episodes": len(trials), "failed": sum(trial.failed for trial in trials)}
    result = shared | counts | {"cases": cases}
    contents = {"found.json": result} | {f"case-{case['seed']}.json": shared | case for case in cases}
    for name, content in contents.items():
        write_atomically(out / name, f"{json.dumps(content, indent=2)}\n".encode())
    return result


def repeat(file: Path, planner: str | Path, run: Path | None = None) -> tuple[Found, Trial]:
    """The case in `file`, and the outcome of driving it again.

    Args:
        run: the traffic, if it has moved.

    Raises:
        BadInput: it is no such file, or of another traffic, or the planner cannot be had.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        trial = Trial(**values["trial"])
        setting = Setting(values["environment"], values["config"], values["seconds"])
        mix, codes, fewer = (tuple(values[name]) for name in ("mix", "codes", "fewer"))
        case = Found(values["seed"], mix, codes, fewer, trial)
        run = Path(values["traffic"]) if run is None else run
        sha256 = values["traffic_sha256"]
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}; give a case that --search wrote") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file}: not a case that --search wrote, or a damaged one") from error
    if common(planner, run, setting)["traffic_sha256"] != sha256:
        raise BadInput(f"{file}: was found with other traffic than {run}; give that by --traffic")
    traffic = Traffic(NAME, mix)
    check(planner, setting, run, [traffic])
    return case, run_trial(setting, traffic, case.seed, planner, run, fewer, codes)


def same(trial: Trial, other: Trial) -> bool:
    """Whether the outcomes agree in everything but how long the planner computed."""
    return replace(trial, slowest_decision=0.0) == replace(other, slowest_decision=0.0)
