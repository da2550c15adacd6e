"""The results of a benchmark: the metrics or the failure of each cell, and comparisons of learners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from infogail.config.config import Config
from infogail.config.presets import DEFAULT
from infogail.envs.tasks import get_task
from infogail.evaluation.judges import PEERS
from infogail.evaluation.people import HORIZONS, SAMPLED
from infogail.evaluation.statistics import improvement_interval, probability_of_improvement


@dataclass(frozen=True)
class Measure:
    """How a number in metrics.json appears in tables and diagrams."""

    label: str
    scale: int = 1
    """Factor by which tables multiply it."""

    @property
    def heading(self) -> str:
        """Heading in a table."""
        return self.label if self.scale == 1 else f"{self.label} × {self.scale}"


MEASURES = {
    "style_nmi": Measure("style NMI"),
    "style_accuracy_merged": Measure("style accuracy, codes merged"),
    "style_accuracy_named": Measure("style accuracy, codes named by labels"),
    "style_rank_correlation": Measure("rank correlation of code and line"),
    "success_rate": Measure("success"),
    "collision_rate": Measure("collisions"),
    "off_road_rate": Measure("off road"),
    "posterior_accuracy": Measure("posterior accuracy"),
    "occupancy_mmd": Measure("occupancy MMD", 1000),
    "occupancy_mmd_floor": Measure("its floor", 1000),
    "occupancy_mmd_worst_code": Measure("worst code's MMD ÷ floor"),
    **{f"position_rmse_{horizon}": Measure(f"RMSE after {horizon[0]} s [m]") for horizon in HORIZONS},
    "position_rmse_best_5s": Measure("RMSE after 5 s, best code [m]"),
    "position_rmse_10s": Measure("RMSE after 10 s [m]"),
    "position_rmse_20s": Measure("RMSE after 20 s [m]"),
    "best_of_k_position_rmse_20s": Measure("RMSE after 20 s, best code [m]"),
    "position_rmse": Measure("RMSE over 20 s [m]"),
    "gap_median_error_20s": Measure("median gap error after 20 s [m]"),
    "speed_rmse_20s": Measure("speed RMSE after 20 s [m/s]"),
    "speed_rmse_5s": Measure("speed RMSE after 5 s [m/s]"),
    "hard_brake_rate": Measure("hard brakes"),
    **{f"wasserstein_{name}": Measure(f"Wasserstein {name.replace('_', ' ')}") for name in SAMPLED},
    "ami_headway": Measure("AMI of code and headway"),
    "ami_speed": Measure("AMI of code and relative speed"),
    "ami_lane_change": Measure("AMI of code and lane changes"),
    "consistency": Measure("same code in both halves"),
    "consistency_chance": Measure("the same by chance"),
    "realism": Measure("realism"),
    "halves_agreement": Measure("same code in both halves"),
    "halves_agreement_chance": Measure("the same by chance"),
    "headway_ami": Measure("AMI of code and headway tercile"),
    "headway_rank_correlation": Measure("rank correlation of code and headway"),
    "seconds_to_styles": Measure("s to styles"),
    "train_seconds": Measure("s to train"),
}
"""The numbers in metrics.json that the table shows where they are defined."""


@dataclass(frozen=True)
class Cell:
    """One training run and its evaluation."""

    scenario: str
    algorithm: str
    config: Config
    preset: str = DEFAULT

    @property
    def variant(self) -> str:
        """The unit of comparison: the learner, and its preset unless that is the default."""
        if self.preset == DEFAULT:
            return self.algorithm
        return self.preset if self.preset.startswith(f"{self.algorithm}-") else f"{self.algorithm}-{self.preset}"

    @property
    def name(self) -> str:
        """The name of its run folder."""
        return f"{get_task(self.scenario).label}-{self.variant}-{self.config.run.seed}"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one cell: either metrics or a failure."""

    metrics: dict[str, Any] | None = None
    """metrics.json"""
    failure: str | None = None
    """The error message."""


@dataclass(frozen=True)
class Results:
    """The outcomes of all cells."""

    metrics: dict[Cell, dict[str, Any]]
    """metrics.json of the evaluated cells"""
    failures: dict[Cell, str]
    """Error messages of the others"""

    @classmethod
    def of(cls, outcomes: Mapping[Cell, Outcome]) -> Results:
        """Metrics and failures, in the order of the cells."""
        return cls(
            {cell: outcome.metrics for cell, outcome in outcomes.items() if outcome.metrics is not None},
            {cell: outcome.failure for cell, outcome in outcomes.items() if outcome.failure is not None},
        )


def failures(results: Results) -> list[str]:
    """One line per failed cell."""
    return [f"failed: {cell.name}: {problem}" for cell, problem in results.failures.items()]


def notes(results: Results) -> list[str]:
    """One line per scenario whose evaluation is limited."""
    by_scenario = {cell.scenario: metrics["note"] for cell, metrics in results.metrics.items() if "note" in metrics}
    return [f"{scenario}: {note}" for scenario, note in by_scenario.items()]


def variants(results: Results) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The metrics of all seeds by scenario and variant."""
    columns: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell, metrics in results.metrics.items():
        columns.setdefault((cell.scenario, cell.variant), []).append(metrics)
    return columns


def peers(results: Results) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The metrics of people and of non-learning drivers by scenario and name; the same for all seeds."""
    columns: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell, metrics in results.metrics.items():
        for name, numbers in metrics.get("peers", {}).items():
            columns.setdefault((cell.scenario, PEERS[name]), [numbers])
    return columns


def judged_by_people(metrics: Mapping[str, Any]) -> bool:
    """Whether these are metrics of driving in place of recorded people."""
    return "position_rmse_5s" in metrics


def improvements(results: Results) -> list[str]:
    """The probability that a seed of InfoGAIL has a higher style NMI than one of each other variant, over scenarios."""
    columns = {group: seeds for group, seeds in variants(results).items() if all("style_nmi" in m for m in seeds)}
    scenarios = list(dict.fromkeys(scenario for scenario, _ in columns))
    names = list(dict.fromkeys(variant for _, variant in columns))

    def strata(variant: str) -> list[np.ndarray]:
        return [np.array([metrics["style_nmi"] for metrics in columns[s, variant]]) for s in scenarios]

    complete = [name for name in names if all(len(columns.get((s, name), ())) > 1 for s in scenarios)]
    lines = []
    for other in complete:
        if "infogail" in complete and other != "infogail":
            sides = strata("infogail"), strata(other)
            low, high = improvement_interval(*sides)
            probability = probability_of_improvement(*sides)
            lines.append(f"P(style NMI of infogail > {other}) = {probability:.3g} [{low:.3g}, {high:.3g}]")
    return lines
