"""Parse arguments into a command: a flag for every setting, help with the actual defaults, one-line errors."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import NoneType
from typing import Annotated, Any, TypedDict, cast, get_args

import tyro
from tyro.constructors import (
    MISSING,
    MISSING_NONPROP,
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from infogail.cli.checks import suggestion
from infogail.cli.forecast import Forecast
from infogail.cli.recording import Import, Record
from infogail.cli.runs import Evaluate, Export, Recognise, Render, Traffic
from infogail.cli.speed import Speed
from infogail.cli.starcraft import Maps
from infogail.cli.stress import Stress
from infogail.cli.studio import Studio
from infogail.cli.training import Benchmark, Demo, Train, Typed, general_settings
from infogail.config.config import SETTINGS, Config
from infogail.config.setting import types
from infogail.envs.errors import BadInput

Command = (
    Studio
    | Record
    | Import
    | Export
    | Train
    | Evaluate
    | Render
    | Traffic
    | Recognise
    | Forecast
    | Maps
    | Stress
    | Speed
    | Benchmark
    | Demo
)
HELP = {"-h", "--help"}
DESCRIPTION = """Imitate drivers, and anything else that acts in a Gymnasium environment, with style as a knob.

Any command takes --import MODULE, for a package or file of yours that registers environments or holds scenarios."""


def parse(arguments: Sequence[str]) -> Command:
    """Parse `arguments` into a command.

    `train` is parsed twice: first for what determines its defaults (scenario, preset, run to resume), then with them.

    Raises:
        BadInput: a flag or value is invalid.
    """
    if arguments[:1] != ["train"]:
        return _parse(arguments, general_settings())
    train = _parse([word for word in arguments if word not in HELP], {})
    assert isinstance(train, Train)
    shown = train.default_settings() if HELP & set(arguments) else {}
    return _parse(arguments, shown, Train(algorithm=train.default_algorithm()))


def _parse(arguments: Sequence[str], shown: Mapping[str, Any], defaults: Train | None = None) -> Command:
    """Parse `arguments` into a command; turns tyro's error boxes into one-line errors.

    Args:
        shown: default settings to show in the help, by flat name.
        defaults: default values for `train`.
    """
    errors = io.StringIO()
    default: Any = MISSING_NONPROP if defaults is None else defaults
    try:
        with contextlib.redirect_stderr(errors):
            command: Command = tyro.cli(
                cast(Any, Command),
                args=list(arguments),
                prog="infogail",
                description=DESCRIPTION,
                config=(tyro.conf.OmitSubcommandPrefixes,),
                registry=flags(shown),
                default=default,
            )
        return command
    except SystemExit as stop:
        if not stop.code:
            raise  # --help
        raise BadInput(complaint(errors.getvalue())) from None


def flags(shown: Mapping[str, Any]) -> ConstructorRegistry:
    """tyro's parsing rules for `Typed`: an optional flag for each setting.

    Args:
        shown: defaults to show in the help, by flat name; the scenario recommends the others.
    """
    registry = ConstructorRegistry()

    @registry.struct_rule
    def typed(info: StructTypeInfo) -> StructConstructorSpec | None:
        if info.type is not Typed:
            return None
        settings: Any = Annotated[_optional_settings(shown), tyro.conf.arg(name="")]
        return StructConstructorSpec(lambda typed: Typed(typed), (StructFieldSpec("typed", settings, MISSING),))

    @registry.primitive_rule
    def number_or_none(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
        kind, *rest = get_args(info.type) or (None,)
        if rest != [NoneType] or kind not in (int, float):
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=f"{kind.__name__.upper()}|None",
            instance_from_str=lambda words: None if words[0].lower() == "none" else kind(words[0]),
            is_instance=lambda value: value is None or isinstance(value, kind),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _optional_settings(shown: Mapping[str, Any]) -> Any:
    """A dictionary type with an optional key for each setting."""
    keys, help_texts = {}, descriptions()
    for name, setting in SETTINGS.items():
        hint = f"(default: {shown.get(name, 'recommended by the scenario')})"
        keys[name] = Annotated[setting.type, tyro.conf.arg(help=help_texts[name], help_behavior_hint=hint)]
    return TypedDict("Settings", keys, total=False)  # type: ignore[operator] # mypy wants them spelled out


def descriptions() -> dict[str, str]:
    """The description of each setting, by flat name: the docstring below its field."""
    docstrings = {}
    for kind in types(Config).values():
        (part,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(part, ast.ClassDef)
        for statement, below in pairwise(part.body):
            match statement, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    docstrings[kind, name] = " ".join(text.split())
    kinds = types(Config)
    return {name: docstrings[kinds[setting.part], setting.field.name] for name, setting in SETTINGS.items()}


def complaint(box: str) -> str:
    """Condense tyro's multi-line error box into one line: the problem and the remedy."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯]", " ", box).split())
    _, problem, *_ = re.split(r" [─-]{5,} ", text)  # between the title and the hints
    problem = problem.rstrip(".")
    if match := re.match(r"invalid choice '(.*)' for argument '(.*)'. Expected one of \((.*)\)", problem):
        value, option, choices = match.groups()
        return f"{option} {value}: {suggestion(value, re.findall(r'[^ ,]+', choices.replace(chr(39), '')))}"
    if match := re.match(r"Error parsing (\S+): .*(int|float).*: '(.*)'", problem):
        option, kind, value = match.groups()
        return f"{option} {value}: give a {'whole ' if kind == 'int' else ''}number"
    if match := re.search(r"options: ([^ ,]+).* Available subcommands: ([a-z, ]+)", text):
        return f"unknown command '{match[1]}'; {suggestion(match[1], match[2].strip().split(', '))}"
    if match := re.search(r"(?:Perhaps you meant|Arguments similar to \S+): (--\S+)", text):
        return f"{problem}; did you mean '{match[1]}'?"
    remedy = re.search(r"infogail[a-z ]* --help", text)
    return f"{problem}; see '{remedy[0] if remedy else 'infogail --help'}'"
