"""What a part of the configuration is made of: settings with a default, the flag that sets them, and their bounds."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import Field, field, fields
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

from infogail.envs.errors import BadInput


class Bound(NamedTuple):
    """What a number has to be."""

    holds: Callable[[float], bool]
    remedy: str
    """What to give, to a user."""


POSITIVE = Bound(lambda x: x > 0, "a number above 0")
NON_NEGATIVE = Bound(lambda x: x >= 0, "0 or more")
AT_MOST_1 = Bound(lambda x: x <= 1, "a number from 0 to 1")


def setting(default: Any, *bounds: Bound, name: str | None = None, varies: bool = False, sharded: bool = False) -> Any:
    """A field of a part.

    Args:
        bounds: of a number.
        name: by which presets, scenarios and the command line know it, unless that is the field's.
        varies: the recommended value depends on the scenario; `default` is that of most.
        sharded: a total that several processes divide among them (`infogail.parallel.distributed.shard_config`).
    """
    return field(default=default, metadata={"bounds": bounds, "name": name, "varies": varies, "sharded": sharded})


class Part:
    """Settings that belong together, a frozen dataclass of `setting`s, which checks itself."""

    def __post_init__(self) -> None:
        """Reject what cannot be.

        Raises:
            BadInput: naming the flag, its value and what it may be.
        """
        for each in fields(self):  # type: ignore[arg-type] # its subclasses are dataclasses
            check(option(flat_name(each)), getattr(self, each.name), types(type(self))[each.name], each)


def check(flag: str, value: object, kind: Any, setting: Field) -> None:
    """Raise BadInput where `value` is not of the type `kind`, or out of the setting's bounds."""
    optional = ""
    if NoneType in get_args(kind):
        if value is None:
            return
        kind, optional = get_args(kind)[0], ", or None"
    if choices := (True, False) if kind is bool else get_args(kind):
        if not any(value is choice or (value == choice and isinstance(value, str)) for choice in choices):
            raise BadInput(f"{flag} {value}: give one of {', '.join(map(str, choices))}")
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
    """The name of a setting among all settings."""
    return setting.metadata["name"] or setting.name


def option(name: str) -> str:
    """The flag that sets what is called `name`."""
    return "--" + name.replace("_", "-")


def refuse_unknown(found: Iterable[str], known: Iterable[str], where: str = "") -> None:
    """Raise BadInput for the first name of `found` that is not `known`; suggests the nearest."""
    names = list(known)
    for name in found:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            raise BadInput(f"{where}unknown setting '{name}'{f'; did you mean {near[0]}?' if near else ''}")
