"""What trials amount to: rates with intervals in each kind of traffic, and how they differ from those in IDM's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
from scipy.stats import binomtest, bootstrap

from infogail.parallel import terminal
from infogail.runs.driver import CodeLabels
from infogail.stress.trials import IDM, Trial

CONFIDENCE = 0.95
RESAMPLES = 2000
SIGNIFICANT = 0.05
RATES: dict[str, Callable[[Trial], bool]] = {
    "crash_rate": lambda trial: trial.failed,
    "at_fault_rate": lambda trial: trial.at_fault or bool(trial.error),
    "off_road_rate": lambda trial: trial.off_road,
    "hard_brake_rate": lambda trial: trial.hard_brake,
    "others_hard_brake_rate": lambda trial: trial.others_hard_brake,
    "error_rate": lambda trial: bool(trial.error),
}
"""Shares of episodes. One in which the planner raised an error counts as a crash that is its fault."""
MEANS: dict[str, Callable[[Trial], float]] = {
    "mean_speed": lambda trial: trial.mean_speed,
    "progress": lambda trial: trial.progress,
    "lane_changes": lambda trial: trial.lane_changes,
}


def summarise(trials: Mapping[str, Sequence[Trial]]) -> dict[str, Any]:
    """For each kind of traffic: `RATES`, `MEANS` and `min_ttc_p05`, each with `KEY_interval`, 95 %; and but for IDM's,
    the difference from it in the same starts.

    Intervals are Wilson's of rates, and bootstrap percentiles of others; those of differences resample starts.
    `crash_rate_p` is of an exact test of the starts in which one of the two crashed alone (McNemar), multiplied as Holm
    does for the number of comparisons. `worst` is the kind with the highest crash rate, of several the one with the
    smallest `min_ttc_p05`.

    Args:
        trials: by kind of traffic, IDM's first; each with the same seeds in the same order.
    """
    result: dict[str, Any] = {name: _kind(of_kind) for name, of_kind in trials.items()}
    others = [name for name in trials if name != IDM]
    reference = trials.get(IDM)
    if reference is not None:
        for name in others:
            result[name] |= _differences(trials[name], reference)
        _holm([result[name] for name in others])
    result["worst"] = max(trials, key=lambda name: (result[name]["crash_rate"], -result[name]["min_ttc_p05"]))
    return result


def _kind(trials: Sequence[Trial]) -> dict[str, Any]:
    result: dict[str, Any] = {"episodes": len(trials)}
    for key, holds in RATES.items():
        count = sum(map(holds, trials))
        found = binomtest(count, len(trials)).proportion_ci(CONFIDENCE, method="wilson")
        result |= {key: count / len(trials), f"{key}_interval": [float(found.low), float(found.high)]}
    ttc = np.array([trial.min_ttc for trial in trials])
    result |= _with_interval("min_ttc_p05", (ttc,), _fifth)
    for key, value in MEANS.items():
        result |= _with_interval(key, (np.array([value(trial) for trial in trials], float),), np.mean)
    result["slowest_decision"] = max(trial.slowest_decision for trial in trials)
    return result


def _differences(trials: Sequence[Trial], reference: Sequence[Trial]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    crashed, usual = (np.array([trial.failed for trial in each], float) for each in (trials, reference))
    for key, value in ({key: RATES[key] for key in ("crash_rate", "at_fault_rate")} | MEANS).items():
        pairs = [np.array([value(trial) for trial in each], float) for each in (trials, reference)]
        result |= _with_interval(f"{key}_minus_{IDM}", (pairs[0] - pairs[1],), np.mean)
    more, fewer = int(((crashed == 1) & (usual == 0)).sum()), int(((crashed == 0) & (usual == 1)).sum())
    result["crash_rate_p"] = float(binomtest(more, more + fewer).pvalue) if more + fewer else 1.0
    return result


def _holm(results: Sequence[dict[str, Any]]) -> None:
    """Correct `crash_rate_p` in place."""
    largest = 0.0
    for k, row in enumerate(sorted(results, key=lambda each: each["crash_rate_p"])):
        largest = max(largest, min(1.0, (len(results) - k) * row["crash_rate_p"]))
        row["crash_rate_p"] = largest


def _with_interval(key: str, samples: tuple[np.ndarray, ...], statistic: Callable[..., Any]) -> dict[str, Any]:
    value = float(statistic(samples[0]))
    if np.ptp(samples[0]) == 0:
        return {key: value, f"{key}_interval": [value, value]}
    found = bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return {key: value, f"{key}_interval": [float(found.low), float(found.high)]}


def _fifth(values: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.quantile(values, 0.05, axis=axis)


def label(kind: str, labels: CodeLabels) -> str:
    """A kind of traffic in words, with the `labels` of the codes."""
    titles = {f"code_{k}": labels.title(k) for k in range(len(labels.numbers))}
    return "highway-env's IDM" if kind == IDM else titles.get(kind, kind.replace("_", " "))


def verdict(planner: str, result: Mapping[str, Any], kinds: Sequence[str], labels: CodeLabels) -> str:
    """A sentence: which of `kinds` the planner is worst with, and by how much more than with IDM; `labels` as above."""
    worst = result["worst"]
    row = result[worst]
    if not any(result[name]["crash_rate"] for name in kinds):
        episodes = sum(result[name]["episodes"] for name in kinds)
        closest = f"{row['min_ttc_p05']:.1f} s from a collision in the worst 5 % of episodes"
        text = (
            f"{planner} crashes in none of {episodes:,} episodes, and comes closest to it with {label(worst, labels)}"
        )
        return f"{text}: {closest}."
    low, high = row["crash_rate_interval"]
    what = "crashes or fails" if row["error_rate"] else "crashes"
    share = f"{100 * row['crash_rate']:.1f} % of {row['episodes']:,} episodes"
    share += f" (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    text = f"{planner} is worst with {label(worst, labels)}: it {what} in {share}"
    if IDM not in kinds or len(kinds) == 1:
        return f"{text}."
    if worst == IDM:
        return f"{text}, at least as often as with any style."
    key, p, comparisons = f"crash_rate_minus_{IDM}", row["crash_rate_p"], len(kinds) - 1
    low, high = row[f"{key}_interval"]
    difference = f"{100 * row[key]:+.1f} percentage points compared with {label(IDM, labels)} from the same starts"
    detail = f"{100 * low:+.1f} to {100 * high:+.1f}; p = {p:.2g}"
    detail += f", corrected for {comparisons} comparisons" if comparisons > 1 else ""
    detail += "" if p < SIGNIFICANT else ", so that it may be chance"
    return f"{text}, {difference} ({detail})."


def violations(result: Mapping[str, Any], kinds: Sequence[str], limits: Mapping[str, float]) -> list[str]:
    """A line for each kind of traffic and key of `limits` whose rate is higher, or in which the planner failed."""
    found = []
    for name in kinds:
        for key, limit in limits.items():
            if result[name][key] > limit:
                found.append(f"{name}: {key} {result[name][key]:.3g} is above {limit:g}")
        if result[name]["error_rate"] > 0:
            found.append(f"{name}: the planner failed in {result[name]['error_rate']:.1%} of the episodes")
    return found


def junit(
    title: str, trials: Mapping[str, Sequence[Trial]], result: Mapping[str, Any], limits: Mapping[str, float]
) -> bytes:
    """JUnit XML: a suite per kind of traffic, with a case per limit and one for errors of the planner."""
    root = ElementTree.Element("testsuites", name=title)
    for name, of_kind in trials.items():
        errors = [trial for trial in of_kind if trial.error]
        cases = [(key, limit) for key, limit in limits.items()]
        failures = sum(result[name][key] > limit for key, limit in cases)
        counts = {"tests": str(len(cases) + 1), "failures": str(failures), "errors": str(int(bool(errors)))}
        suite = ElementTree.SubElement(root, "testsuite", {"name": name} | counts)
        for key, limit in cases:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=f"{key} at most {limit:g}")
            if result[name][key] > limit:
                ElementTree.SubElement(case, "failure", message=f"{key} is {result[name][key]:.3g}")
        case = ElementTree.SubElement(suite, "testcase", classname=name, name="the planner raises no error")
        if errors:
            message = f"{len(errors)} of {len(of_kind)} episodes, first with seed {errors[0].seed}: {errors[0].error}"
            ElementTree.SubElement(case, "error", message=message)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


COLUMNS = {
    "crash_rate": "crashes",
    "at_fault_rate": "its fault",
    "min_ttc_p05": "time to collision\n5th percentile [s]",
    "hard_brake_rate": "brakes hard",
    "others_hard_brake_rate": "others do",
    "mean_speed": "speed\n[m/s]",
    "progress": "progress\n[m]",
    "lane_changes": "lane\nchanges",
}


def print_table(title: str, result: Mapping[str, Any], kinds: Sequence[str]) -> None:
    """Print the result of `summarise`."""
    lines = []
    for name in kinds:
        row = result[name]
        cells = [f"{row[key]:.0%}" if key in RATES else f"{row[key]:.1f}" for key in COLUMNS]
        low, high = row["crash_rate_interval"]
        cells[0] += f" [{low:.0%}, {high:.0%}]"
        lines.append([name.replace("_", " "), *cells])
    terminal.print_table(title, ["traffic", *COLUMNS.values()], lines)
