"""Judge forecasts by cross-validation: parts of the groups are held out in turn, and measured together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from infogail.envs.errors import BadInput
from infogail.forecast.forecasters import MaxEnt
from infogail.forecast.intersections.manoeuvres import judge_manoeuvres, summary
from infogail.forecast.judge import judge
from infogail.forecast.paths import NO_GROUP, RecordedPaths
from infogail.forecast.walks import make_walks

SUMS = ("held_out_paths", "held_out_moves")


def judge_folds(
    paths: RecordedPaths,
    folds: int,
    cell: float | None,
    number: int | None,
    seed: int,
    update: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """The metrics of `judge`, each held-out path and move counting alike, whichever fold it is in.

    Args:
        folds: number of parts, of consecutive groups; at most one for each group.
        cell, number: see `make_walks`.
        update: called with what is being judged.

    Raises:
        BadInput: there are fewer groups than folds, or paths without one; or see `make_walks`.
    """
    groups = np.unique(paths.group)
    if (paths.group == NO_GROUP).any():
        raise BadInput(f"--folds {folds}: not all paths have a group; leave it out")
    if folds > len(groups):
        raise BadInput(f"--folds {folds}: the paths have {len(groups)} groups; give at most as many folds")
    results = []
    for k, part in enumerate(np.array_split(groups, folds)):
        about = f"fold {k + 1} of {folds}"
        update(f"{about}: learning rewards")
        try:
            walks = make_walks(paths, cell, number, seed, np.isin(paths.group, part))
        except BadInput as error:
            raise BadInput(f"--folds {folds}: part {k + 1}: {error}, or fewer --folds") from error
        model = MaxEnt(walks)
        results.append(judge(walks, model, seed, partial(_tell, update, about)))
        if len(paths.lanes):
            results[-1] |= judge_manoeuvres(paths, walks, model, seed)
    return _pooled(results) | {"folds": folds}


def _tell(update: Callable[[str], None], about: str, name: str) -> None:
    update(f"{about}: {name}")


def _pooled(results: list[dict[str, Any]]) -> dict[str, Any]:
    """One result of many."""
    pooled = dict(results[0])
    for key in pooled:
        values = [result[key] for result in results]
        if key in SUMS:
            pooled[key] = sum(values)
        elif "nll" in key:
            pooled[key] = float(np.average(values, weights=[result["held_out_moves"] for result in results]))
        elif isinstance(values[0], float):
            pooled[key] = float(np.average(values, weights=[result["held_out_paths"] for result in results]))
    if "manoeuvre_cars" in pooled:
        tables = np.array([[list(row.values()) for row in r["manoeuvre_confusion"].values()] for r in results])
        commonest = sum(round(r["manoeuvre_commonest"] * r["manoeuvre_cars"]) for r in results)
        pooled |= summary(tables.sum(0), commonest)
    return pooled
