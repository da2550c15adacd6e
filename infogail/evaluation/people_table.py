"""The tables of `infogail evaluate` for recorded people: the run compared with people and non-learning drivers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infogail.evaluation.judges import PEERS
from infogail.evaluation.people import HORIZONS, SAMPLED
from infogail.parallel import terminal

REPLAY: dict[str, dict[str, str]] = {
    "distance from the person, RMS [m]": {
        **{f"position_rmse_{horizon}": f"{horizon[0]} s" for horizon in HORIZONS},
        "position_rmse_best_5s": "5 s, best code",
    },
    "speed difference, RMS [m/s], and failure rates": {
        **{f"speed_rmse_{horizon}": f"{horizon[0]} s" for horizon in ("1s", "5s")},
        "collision_rate": "collisions",
        "off_road_rate": "off road",
        "hard_brake_rate": "hard brakes",
    },
    "Wasserstein distance from people": {
        f"wasserstein_{name}": f"{name.replace('_', ' ')}\n{unit}"
        for name, unit in zip(SAMPLED, ("m/s", "m/s²", "m/s³", "s", "s"), strict=True)
    },
}

FOLLOW: dict[str, dict[str, str]] = {
    "distance from the person, RMS [m]": {
        **{f"position_rmse_{seconds}s": f"{seconds} s" for seconds in (5, 10, 20)},
        "position_rmse": "over 20 s",
        "best_of_k_position_rmse_20s": "20 s, best code",
        "gap_median_error_20s": "20 s, median",
    },
    "speed difference after 20 s, RMS [m/s], failure rates and realism": {
        "speed_rmse_20s": "speed",
        "collision_rate": "collisions",
        "hard_brake_rate": "hard brakes",
        "realism": "realism",
    },
    "Wasserstein distance from people": {
        f"wasserstein_{name}": f"{name}\n{unit}"
        for name, unit in zip(("headway", "speed", "acceleration"), ("s", "m/s", "m/s²"), strict=True)
    },
}


def print_table(result: Mapping[str, Any]) -> None:
    """Print the `metrics.json` of a run that learned from people as tables."""
    tables = FOLLOW if "position_rmse_20s" in result else REPLAY
    rows = {PEERS[name]: numbers for name, numbers in result["peers"].items()}
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
