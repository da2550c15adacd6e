"""Building blocks of the configuration: settings with their defaults, flags and bounds."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import Field, field, fields
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

from infogail.envs.errors import BadInput


class Bound(NamedTuple):
    """A condition on a number."""

    holds: Callable[[float], bool]
    remedy: str
    """What to give instead, for the error message."""


POSITIVE = Bound(lambda x: x > 0, "a number above 0")
NON_NEGATIVE = Bound(lambda x: x >= 0, "0 or more")
AT_MOST_1 = Bound(lambda x: x <= 1, "a number from 0 to 1")


def setting(default: Any, *bounds: Bound, name: str | None = None, varies: bool = False, sharded: bool = False) -> Any:
    """A field of a `Part`.

    Args:
        bounds: conditions on a number.
        name: flat name in presets, scenarios and flags, if it differs from the field's.
        varies: the recommended value depends on the scenario; `default` suits most.
        sharded: a total that is divided among processes (`infogail.parallel.distributed.shard_config`).
    """
    return field(default=default, metadata={"bounds": bounds, "name": name, "varies": varies, "sharded": sharded})


class Part:
    """A group of settings: the base of frozen dataclasses of `setting`s, which validate themselves."""

    def __post_init__(self) -> None:
        """Reject invalid values.

        Raises:
            BadInput: naming the flag, its value and the remedy.
        """
        for entry in fields(self):  # type: ignore[arg-type] # its subclasses are dataclasses
            check(option(flat_name(entry)), getattr(self, entry.name), types(type(self))[entry.name], entry)


def check(flag: str, value: object, kind: Any, setting: Field) -> None:
    """Raise BadInput if `value` is not of type `kind`, or violates the setting's bounds."""
    optional = ""
    if NoneType in get_args(kind):
        if value is None:
            return
        kind, optional = get_args(kind)[0], ", or None"
    if choices := (True, False) if kind is bool else get_args(kind):
        if not any(value is choice or (value == choice and isinstance(value, str)) for choice in choices):
            raise BadInput(f"{flag} {value}: give one of {', '.join(map(str, choices))}")
        return
    if kind is str:
        if not isinstance(value, str):
            raise BadInput(f"{flag} {value}: give a word")
        return
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        raise BadInput(f"{flag} {value}: give a {'whole ' if kind is int else ''}number{optional}")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"{flag} {value}: give a finite number{optional}")
    for bound in setting.metadata["bounds"]:
        if not bound.holds(value):
            raise BadInput(f"{flag} {value}: give {bound.remedy}{optional}")


def types(part: type) -> dict[str, Any]:
    """The type of each field, by name."""
    return get_type_hints(part)


def flat_name(setting: Field) -> str:
    """The name of a setting, unique among all settings."""
    return setting.metadata["name"] or setting.name


def option(name: str) -> str:
    """The command-line flag for the setting `name`."""
    return "--" + name.replace("_", "-")


def refuse_unknown(found: Iterable[str], known: Iterable[str], where: str = "") -> None:
    """Raise BadInput for the first name of `found` that is not in `known`; suggests the closest match."""
    names = list(known)
    for name in found:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            raise BadInput(f"{where}unknown setting '{name}'{f'; did you mean {near[0]}?' if near else ''}")
