"""What a page may say: every message is checked before a session sees it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from infogail.envs.errors import BadInput

MAX_MESSAGE = 4096  # [characters]
MAX_PANELS = 8
STEM = re.compile(r"[\w-]{1,64}")

Check = Callable[[Any], bool]


class BadMessage(BadInput):
    """A message or request is not one that the page sends; says what is wrong with it."""


def number(low: float, high: float) -> Check:
    """A number from `low` to `high`; NaN is not."""
    return lambda value: type(value) in (int, float) and low <= value <= high


def whole(low: int, high: int) -> Check:
    """An integer from `low` to `high`."""
    return lambda value: type(value) is int and low <= value <= high


def text(longest: int) -> Check:
    """A string without control characters, of at most `longest` characters."""
    return lambda value: isinstance(value, str) and len(value) <= longest and value.isprintable()


def maybe(check: Check) -> Check:
    """None, or what passes `check`."""
    return lambda value: value is None or check(value)


def stem(value: Any) -> bool:
    """The name of a file to be made, without folder and ending."""
    return isinstance(value, str) and STEM.fullmatch(value) is not None


def _panels(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= MAX_PANELS
        and all(isinstance(panel, dict) and not _problem(panel, {"run": NAME, "code": CODE}) for panel in value)
    )


NAME, CODE, SEED = text(256), number(-1, 1000), whole(0, 2**31 - 1)
DRIVE: Mapping[str, Mapping[str, Check]] = {
    "begin": {
        "scenario": text(64),
        "run": maybe(NAME),
        "traffic": maybe(NAME),
        "file": maybe(stem),
        "style": whole(-1, 1000),
        "recorder": text(80),
        "seed": maybe(SEED),
    },
    "pedals": {"acceleration": number(-1, 1), "steering": number(-1, 1), "at": number(0, 1e15)},
    "style": {"style": whole(-1, 1000)},
    **{kind: {} for kind in ("pause", "resume", "keep", "discard", "end")},
}
WATCH: Mapping[str, Mapping[str, Check]] = {
    "begin": {
        "panels": _panels,
        "seed": SEED,
        "demonstration": maybe(whole(0, 10**6)),
        "speed": number(0.25, 8),
    },
    "code": {"panel": whole(0, MAX_PANELS - 1), "code": CODE},
    "speed": {"speed": number(0.25, 8)},
    "restart": {"seed": SEED, "demonstration": maybe(whole(0, 10**6))},
    **{kind: {} for kind in ("play", "pause", "step")},
}
MOVES = maybe(whole(1, 10**6))
FORECAST: Mapping[str, Mapping[str, Check]] = {
    "begin": {"forecast": NAME},
    "start": {"column": whole(0, 10**4), "row": whole(0, 10**4), "heading": whole(0, 7), "moves": MOVES},
    "person": {"person": whole(0, 10**6), "points": whole(1, 10**6), "moves": MOVES},
}


def _names(value: Any) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= 1000 and all(map(NAME, value))


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= 10**5 and all(map(whole(0, 10**6), value))


REQUESTS: Mapping[str, Mapping[str, Check]] = {
    "delete": {"names": _names},
    "split": {"name": NAME, "episodes": _numbers, "out": stem},
    "merge": {"names": _names, "out": stem},
    "relabel": {"name": NAME, "episodes": _numbers, "style": whole(-1, 1000), "out": stem},
    "train": {
        "file": NAME,
        "algorithm": text(32),
        "num_codes": maybe(whole(2, 64)),
        "graded": maybe(lambda value: isinstance(value, bool)),
        "preset": text(64),
        "seed": SEED,
        "name": maybe(stem),
    },
    "resume": {"run": NAME},
    "stop": {},
    "film": {"run": NAME, "seed": SEED},
}
"""The fields of each request that changes something, with their checks."""


def parse(line: str | bytes | None, kinds: Mapping[str, Mapping[str, Check]]) -> dict[str, Any]:
    """The message in `line`, one of `kinds`: the checks of its fields by name, by type of message.

    Raises:
        BadMessage: it is none of them.
    """
    if not isinstance(line, str) or len(line) > MAX_MESSAGE:
        raise BadMessage(f"a message is JSON text of at most {MAX_MESSAGE} characters")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadMessage("a message is not JSON") from error
    kind = message.pop("type", None) if isinstance(message, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise BadMessage(f"a message has no type among {', '.join(kinds)}")
    if problem := _problem(message, kinds[kind]):
        raise BadMessage(f"{kind}: {problem}")
    return {"type": kind, **message}


def parse_request(body: bytes, action: str) -> dict[str, Any]:
    """The fields in `body` of the request for an action of `REQUESTS`.

    Raises:
        BadMessage: it is not such a request.
    """
    try:
        content = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"{action}: the request is not JSON") from error
    problem = _problem(content, REQUESTS[action]) if isinstance(content, dict) else "the request is not a JSON object"
    if problem:
        raise BadMessage(f"{action}: {problem}")
    return content


def _problem(content: Mapping[str, Any], fields: Mapping[str, Check]) -> str:
    for name in fields:
        if name not in content:
            return f"'{name}' is missing"
    for name, value in content.items():
        if name not in fields:
            return "it has an unknown field"
        if not fields[name](value):
            return f"'{name}' is not valid"
    return ""
