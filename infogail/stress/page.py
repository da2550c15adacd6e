"""OUT/report.html: how a planner fares in each kind of traffic, and its ten worst moments to replay."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape

from infogail.envs.files import write_atomically
from infogail.evaluation.metrics import MAX_TIME_TO_COLLISION
from infogail.parallel.progress import progress_bar
from infogail.parallel.workers import workers
from infogail.rendering.palette import code_colour
from infogail.rendering.viewer import as_script, assets, road_of
from infogail.runs.driver import CodeLabels, load
from infogail.stress.results import label, verdict
from infogail.stress.trace import Trace, struck, time_to_collision, until
from infogail.stress.trials import IDM, Setting, Traffic, Trial, drive

WORST = 10  # moments
LEAD = 4.0  # [s] that a moment is played before it comes
FRAMES = 7.5  # per second, about
SEEN = 110.0  # [m] from the planner; cars further away are left out
SCALE, WIDTH, HEIGHTS = 7.0, 1120, (160, 520)  # of the picture: [px/m], [px], fewest and most [px]
ROADSIDE = 4.0  # [m]
LIMITS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)  # at which the plot may end


@dataclass(frozen=True)
class Column:
    """Of the table."""

    key: str
    heading: str
    shown: str
    """Format of the value and of both ends of its interval."""
    meaning: str


COLUMNS = (
    Column("crash_rate", "crashes", ".1%", "episodes in which the planner crashes, or raises an error"),
    Column("at_fault_rate", "its fault", ".1%", "episodes in which that is its own fault, by the rules below"),
    Column("error_rate", "errors", ".1%", "episodes that an error or an action that is none, such as NaN, ended"),
    Column("off_road_rate", "off road", ".1%", "episodes in which it is ever beside the road"),
    Column(
        "min_ttc_p05",
        "time to collision [s]",
        ".2f",
        "5th percentile over episodes of the smallest time in which the planner and another car would touch if both "
        f"kept their velocity; at most {MAX_TIME_TO_COLLISION:g}",
    ),
    Column("hard_brake_rate", "brakes hard", ".1%", "episodes in which it brakes with more than 3 m/s²"),
    Column(
        "others_hard_brake_rate",
        "others do",
        ".1%",
        "episodes in which the car behind it in its lane does, within 50 m",
    ),
    Column("mean_speed", "speed [m/s]", ".1f", "mean over time, then over episodes"),
    Column("progress", "progress [m]", ".0f", "mean distance driven"),
    Column("lane_changes", "lane changes", ".1f", "mean number of times that it enters another lane of the same road"),
)


@dataclass(frozen=True)
class Moment:
    """What is worst in an episode, driven again."""

    trial: Trial
    """As it was recorded."""
    repeated: bool
    """Whether it came out the same again, in all but the time of computing."""
    at: float
    """[s] in `episode`"""
    text: str
    """What happens."""
    episode: dict[str, Any]
    """EPISODE of the viewer."""


def worst(trials: Mapping[str, Sequence[Trial]]) -> list[Trial]:
    """At most `WORST` trials: crashes that are the planner's fault, other crashes, errors, and then near misses.

    Near misses come by their time to collision. What is equally bad comes from each kind of traffic in turn.
    """
    ranked = []
    for k, of_kind in enumerate(trials.values()):
        before: Counter[tuple[int, float]] = Counter()
        for trial in of_kind:
            if trial.failed or trial.min_ttc < MAX_TIME_TO_COLLISION:
                bad = _badness(trial)
                ranked.append((bad, before[bad], k, trial))
                before[bad] += 1
    return [trial for *_, trial in sorted(ranked, key=lambda each: each[:3])[:WORST]]


def _badness(trial: Trial) -> tuple[int, float]:
    if trial.crashed:
        return (0 if trial.at_fault else 1), 0.0
    return (2, 0.0) if trial.error else (3, trial.min_ttc)


def drive_again(setting: Setting, traffic: Traffic, trial: Trial, planner: str | Path, run: Path) -> Moment:
    """The worst moment of a recorded trial, from driving it again."""
    again, trace, network = drive(setting, traffic, trial.seed, planner, run)
    ttc, labels = time_to_collision(trace), load(run).labels
    step = until(trace) if again.failed else int(ttc[: until(trace) + 1].argmin())
    every = max(1, round(1 / (FRAMES * trace.dt)))
    return Moment(
        trial=trial,
        repeated=replace(again, slowest_decision=trial.slowest_decision) == trial,
        at=step // every * every * trace.dt,
        text=_text(again, trace, step, labels),
        episode=_episode(again, trace, ttc, network, range(step % every, len(trace.states), every), labels),
    )


def _text(trial: Trial, trace: Trace, step: int, labels: CodeLabels) -> str:
    when = f"after {step * trace.dt:.1f} s"
    if trial.crashed:
        other = struck(trace)
        code = trace.codes[other]
        driver = "a car of highway-env" if code is None else f"a car of {labels.title(code)}"
        fault = "its own fault" if trial.at_fault else "not its fault"
        return f"crashes with {driver if other else 'an obstacle'} {when}, {fault}"
    if trial.error:
        return f"fails {when}: {trial.error}"
    return f"{trial.min_ttc:.2f} s from a collision {when}"


def _episode(
    trial: Trial, trace: Trace, ttc: np.ndarray, network: Any, steps: range, labels: CodeLabels
) -> dict[str, Any]:
    """EPISODE at these physics steps, with a null for each car that is not there, or far away."""
    states = trace.states[steps]
    distances = np.linalg.norm(states[..., :2] - states[:, :1, :2], axis=-1)
    near = distances < SEEN  # NaN, of a car that is not there, compares as false
    seen = near.any(0)
    road = road_of(network)
    height, cameras = _cameras(road, states[:, 0, :2])
    soon = ttc[steps]
    return {
        "road": road,
        "size": [WIDTH, height],
        "code": None,  # the planner's own colour
        "label": f"{label(trial.traffic, labels)}, seed {trial.seed}",
        "seconds_per_frame": steps.step * trace.dt,
        "frames": [
            [_rounded(car, (2, 2, 3, 2)) if there else None for car, there in zip(now[seen], here[seen], strict=True)]
            for now, here in zip(states, near, strict=True)
        ],
        "sizes": trace.sizes[seen].tolist(),
        "codes": [code for code, each in zip(trace.codes, seen, strict=True) if each],
        "cameras": cameras,
        "details": [f"time to collision {each:.1f} s" if each < MAX_TIME_TO_COLLISION else "" for each in soon],
        "outcome": "crash" if trial.crashed else "error" if trial.error else None,
    }


def _cameras(road: Mapping[str, Any], driven: np.ndarray) -> tuple[int, list[list[float]]]:
    """Height of the picture [px], and CAMERAs that follow `driven` (T, 2), but across a road only as far as needed."""
    across = np.concatenate([np.array(lane["outline"])[:, 1] for lane in road["lanes"]] + [driven[:, 1]])
    low, high = across.min() - ROADSIDE, across.max() + ROADSIDE
    height = int(np.clip((high - low) * SCALE, *HEIGHTS))
    reach = min(height / SCALE, high - low) / 2
    y = driven[:, 1].clip(low + reach, high - reach)
    return height, [_rounded((*each, SCALE, 0.0), (2, 2, 1, 0)) for each in zip(driven[:, 0], y, strict=True)]


def _rounded(numbers: Sequence[float] | np.ndarray, digits: Sequence[int]) -> list[float]:
    return [round(float(number), k) for number, k in zip(numbers, digits, strict=True)]


def write_report(
    out: Path,
    planner: str | Path,
    run: Path,
    setting: Setting,
    kinds: Sequence[Traffic],
    trials: Mapping[str, Sequence[Trial]],
    result: Mapping[str, Any],
    command: Sequence[str],
    processes: int | None = None,
) -> Path:
    """Write `out`/report.html; drives the worst moments again.

    Args:
        trials: of each of `kinds`.
        result: of `summarise`.
        command: repeats a trial together with --only, --seed, --episodes and --out.
        processes: to drive in; by default one per core.
    """
    by_name = {kind.name: kind for kind in kinds}
    chosen = worst(trials)
    moments: list[Moment] = []
    with (
        progress_bar(f"driving the {len(chosen)} worst moments again", len(chosen)) as advance,
        workers(min(processes or os.cpu_count() or 1, max(len(chosen), 1))) as mapped,
    ):
        jobs = [(setting, by_name[trial.traffic], trial, planner, run) for trial in chosen]
        for moment in mapped(drive_again, *zip(*jobs, strict=True)) if jobs else ():
            moments.append(moment)
            advance(1)
    seeds, labels = [trial.seed for trial in trials[kinds[0].name]], load(run).labels
    highest = max(result[kind.name]["crash_rate_interval"][1] for kind in kinds)
    page = (
        _templates()
        .get_template("page.html.j2")
        .render(
            planner=str(planner),
            setting=setting,
            run=str(run),
            verdict=verdict(str(planner), result, list(by_name), labels),
            kinds=[(kind.name, label(kind.name, labels), _colour(kind)) for kind in kinds],
            codes=[
                (labels.title(k), code_colour(k))
                for k in range(len(next((kind.mix for kind in kinds if kind.mix), ())))
            ],
            rows=[(label(kind.name, labels), _cells(result[kind.name])) for kind in kinds],
            columns=COLUMNS,
            compared=IDM in by_name and len(kinds) > 1,
            result=result,
            idm=IDM,
            limit=next(limit for limit in LIMITS if highest <= limit),
            seeds=(seeds[0], seeds[-1]),
            moments=[(moment, _repeat(command, out, moment.trial)) for moment in moments],
            different=sum(not moment.repeated for moment in moments),
            lead=LEAD,
            scenes=as_script([[moment.episode] for moment in moments]),
            starts=as_script([max(0.0, moment.at - LEAD) for moment in moments]),
            viewer=assets(),
        )
    )
    write_atomically(out / "report.html", page.encode())
    return out / "report.html"


def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("infogail.stress", "."), autoescape=select_autoescape(default=True), trim_blocks=True
    )


def _cells(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Value and interval of each of `COLUMNS`, and of the slowest decision."""
    cells = []
    for column in COLUMNS:
        numbers = row[column.key], *row[f"{column.key}_interval"]
        value, low, high = (format(number, column.shown).replace("%", " %") for number in numbers)
        cells.append((value, f"{low} to {high}".replace(" %", "")))
    return [*cells, (f"{1000 * row['slowest_decision']:.1f}", "")]


def _colour(kind: Traffic) -> str | None:
    """Of the code that drives alone."""
    alone = [k for k, share in enumerate(kind.mix or ()) if share]
    return code_colour(alone[0]) if len(alone) == 1 else None


def _repeat(command: Sequence[str], out: Path, trial: Trial) -> str:
    """The command that drives a trial again, and nothing else."""
    there = out / f"{trial.traffic}-{trial.seed}"
    options = ("--only", trial.traffic, "--seed", str(trial.seed), "--episodes", "1", "--out", str(there))
    return shlex.join((*command, *options))
