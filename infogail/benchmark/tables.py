"""The results of a benchmark as a table: interquartile means over seeds, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infogail.benchmark.results import (
    MEASURES,
    Results,
    failures,
    improvements,
    judged_by_people,
    notes,
    peers,
    variants,
)
from infogail.evaluation.people import SAMPLED
from infogail.evaluation.statistics import interquartile_mean, interval
from infogail.parallel import terminal
from infogail.runs.runner import STYLES_FOUND

MOST_COLUMNS = 6  # with more variants, the table is transposed
SHORT = (
    *("style_nmi", "style_accuracy_merged", "success_rate", "occupancy_mmd_worst_code", "seconds_to_styles"),
    *("position_rmse_5s", "wasserstein_headway"),
)
"""The measures for which a terminal then has room."""
STYLES_HEADING = f"with NMI ≥ {STYLES_FOUND}"
OF_PEOPLE = ("hard_brake_rate", *(f"wasserstein_{name}" for name in SAMPLED))
"""Measures shown only for recorded people, although other scenarios have them too."""


def summarise(results: Results, short: bool = False) -> tuple[list[str], list[list[str]]]:
    """Interquartile means over seeds with 95 % intervals: column headings, and rows, each a heading and its cells.

    Args:
        short: omit less important measures if there are many variants.
    """
    columns, beside = variants(results), peers(results)
    rows = [["seeds", *(str(len(seeds)) for seeds in columns.values()), *("–" for _ in beside)]]
    columns |= beside
    nmis = [[metrics["style_nmi"] for metrics in seeds if "style_nmi" in metrics] for seeds in columns.values()]
    if any(nmis):
        rows.append([STYLES_HEADING, *(str(sum(n >= STYLES_FOUND for n in seeds)) if seeds else "–" for seeds in nmis)])
    for key, measure in MEASURES.items():
        cells = [
            "–"
            if key in OF_PEOPLE and not any(map(judged_by_people, seeds))
            else _cell([metrics.get(key) for metrics in seeds], measure.scale)
            for seeds in columns.values()
        ]
        if set(cells) != {"–"}:
            rows.append([measure.heading, *cells])
    headings = [f"{scenario}\n{variant}" for scenario, variant in columns]
    if len(headings) <= MOST_COLUMNS:
        return headings, rows
    if short:
        rows = [row for row in rows if row[0] in ("seeds", STYLES_HEADING, *(MEASURES[key].heading for key in SHORT))]
    names, *turned = zip(*rows, strict=True)
    return list(names), [[heading.replace("\n", " "), *cells] for heading, cells in zip(headings, turned, strict=True)]


def print_table(results: Results) -> None:
    """Print the result of `summarise`, comparisons, failures and notes."""
    headings, rows = summarise(results, short=True)
    terminal.print_table("evaluated in highway-env: interquartile means, 95 % intervals", ["", *headings], rows)
    for line in improvements(results) + failures(results) + notes(results):
        print(line)


def _cell(values: Sequence[float | None], scale: float) -> str:
    known = np.array([scale * value for value in values if value is not None])
    if not len(known):
        return "–"
    low, high = interval([known])
    bounds = f" [{round(low, 3):.3g}, {round(high, 3):.3g}]" if len(values) > 1 else ""
    never = f" ({len(values) - len(known)} never)" if len(known) < len(values) else ""
    return f"{round(float(interquartile_mean(known)), 3):.3g}{bounds}{never}"
