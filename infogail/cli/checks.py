"""Validation of command arguments."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from infogail.envs.errors import BadInput


def check_known(kind: str, name: str, names: Sequence[str]) -> str:
    """Return `name` if it is one of `names`.

    Raises:
        BadInput: it is not; the message suggests the closest match.
    """
    if name not in names:
        raise BadInput(f"unknown {kind} '{name}'; {suggestion(name, names)}")
    return name


def suggestion(word: str, names: Sequence[str]) -> str:
    """A hint: the closest match for `word`, or all the names if none is close."""
    near = difflib.get_close_matches(word.lower(), names, 1, 0.3)
    return f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(names[:-1])} and {names[-1]}"


def given_mix(words: Sequence[str]) -> list[float] | dict[str, float]:
    """The shares that `words` give to all codes in turn, such as 0.5, or to some by name, such as tailgater=0.5.

    Raises:
        BadInput: they do neither.
    """
    try:
        if all("=" in word for word in words):
            named = (word.split("=", 1) for word in words)
            return {name: float(share) for name, share in named}
        return [float(word) for word in words]
    except ValueError as error:
        remedy = (
            "give a share for each code, such as 0.5 0.5 0 0, or for some by name, such as tailgater=0.5 speeder=0.5"
        )
        raise BadInput(f"--mix {' '.join(words)}: {remedy}") from error


def at_least(option: str, value: float, least: int) -> None:
    """Raise BadInput if `value` is below `least`, infinite, NaN, or 2^63 or more."""
    if not least <= value < float("inf"):
        raise BadInput(f"{option} {value}: give at least {least}")
    if value >= 2**63:
        raise BadInput(f"{option} {value}: give a number below 2^63")
