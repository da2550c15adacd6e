"""Checks of what commands are given."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from infogail.envs.errors import BadInput


def check_known(kind: str, name: str, names: Sequence[str]) -> str:
    """`name`, if it is one of `names`.

    Raises:
        BadInput: it is none of them; suggests the nearest.
    """
    if name not in names:
        raise BadInput(f"unknown {kind} '{name}'; {suggestion(name, names)}")
    return name


def suggestion(word: str, names: Sequence[str]) -> str:
    """The name that may have been meant, or else all of them."""
    near = difflib.get_close_matches(word.lower(), names, 1, 0.3)
    return f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names[:-1])} and {names[-1]}"


def at_least(option: str, value: float, least: int) -> None:
    """Raise BadInput where `value` is below `least`, or infinite, or not a number."""
    if not least <= value < float("inf"):
        raise BadInput(f"{option} {value}: give at least {least}")
    if value >= 2**63:
        raise BadInput(f"{option} {value}: give a number below 2^63")
