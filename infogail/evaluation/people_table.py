"""The tables of `infogail evaluate` for recorded people: the run compared with people and non-learning drivers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infogail.envs.catalogue import get_scenario
from infogail.evaluation.judges import judge_of
from infogail.parallel import terminal


def print_table(result: Mapping[str, Any]) -> None:
    """Print the `metrics.json` of a run that learned from people as tables."""
    judge = judge_of(get_scenario(result["scenario"]))
    tables = judge.tables
    rows = {judge.peers[name]: numbers for name, numbers in result["peers"].items()}
    rows[result["algorithm"]] = result
    if note := result.get("note"):
        print(note)
    for title, columns in () if note else tables.items():
        lines = [[name, *(_shown(numbers.get(key)) for key in columns)] for name, numbers in rows.items()]
        if f"{next(iter(columns))}_floor" in result:
            lines.append(["people vs people", *(_shown(result.get(f"{key}_floor")) for key in columns)])
        terminal.print_table(title, ["", *columns.values()], lines)
    shown = {key for columns in tables.values() for key in columns} | {"peers", "note"}
    shown |= {f"{name}_{key}" for name, numbers in result["peers"].items() for key in numbers}
    for key, value in result.items():
        if key not in shown:
            print(f"{key:28} {value}")


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 6):.3g}"
