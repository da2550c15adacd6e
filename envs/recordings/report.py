"""A human-readable summary of an import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infogail.envs.data.world import NOTHING_HELD_OUT

LARGEST_MISS = 0.2  # [m], root mean square distance of a demonstration from the recorded positions, over a window


def listed(counts: Mapping[str, int]) -> str:
    """Counts by reason, as a phrase."""
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count) or "none"


@dataclass(frozen=True)
class Report:
    """The summary of an import."""

    files: int
    """Number of files read."""
    unreadable: tuple[str, ...]
    """One line for each other file: which, what is wrong with it, the remedy."""
    notes: tuple[str, ...]
    """Messages of commonroad-io about the files."""
    held_out_files: tuple[str, ...]
    scenes: int
    cars: int
    """Recorded vehicles, in all files."""
    standing: int
    """Static obstacles and parked vehicles on the lanes: others see and may hit them; they yield no demonstrations."""
    not_cars: Mapping[str, int]
    """Obstacles that are not cars and not in the world, by reason."""
    cars_left_out: Mapping[str, int]
    """Cars from which no demonstration is made, by reason."""
    training: int
    """Demonstrations for training."""
    held_out: int
    """Demonstrations for judging."""
    windows_left_out: Mapping[str, int]
    """Demonstrations that were not made, by reason."""
    reproduced: float
    """Share of the demonstrating cars whose recovered actions stay within `LARGEST_MISS` of the recorded positions."""
    median_miss: float
    """[m]: root mean square over a car's track"""
    high_miss: float
    """[m]: its 95th percentile"""
    recorded_jerk: float
    """[m/s³]: mean absolute jerk of the recorded speeds"""
    recovered_jerk: float
    """[m/s³]: mean absolute jerk with the recovered actions"""

    def lines(self) -> list[str]:
        """The summary as human-readable lines."""

        unread = f" ({len(self.unreadable)} more cannot be read)" if self.unreadable else ""
        notes = [f"commonroad-io: {len(self.notes):,} notes, e.g. {self.notes[0]}"] if self.notes else []
        held_out = ", ".join(self.held_out_files) or "none"
        return [
            *(" ".join(note.split()) for note in notes),
            f"files: {self.files}{unread}, scenes: {self.scenes}; held out: {held_out}",
            f"cars: {self.cars:,}; standing on the lanes: {self.standing:,}; left out: {listed(self.not_cars)}",
            f"cars left out: {listed(self.cars_left_out)}",
            f"demonstrations: {self.training:,} for training, {self.held_out:,} held out",
            f"demonstrations left out: {listed(self.windows_left_out)}",
            f"recovered actions: {self.reproduced:.1%} of the cars within {LARGEST_MISS} m of the recorded positions "
            f"(median {self.median_miss:.3f} m, 95th percentile {self.high_miss:.3f} m)",
            f"mean absolute jerk: {self.recorded_jerk:.2f} m/s³ recorded, {self.recovered_jerk:.2f} m/s³ recovered",
            *([] if self.held_out else [NOTHING_HELD_OUT]),
        ]
