"""Policies by name, for recording what they do."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from typing import Any

import gymnasium

from infogail.envs.errors import BadInput
from infogail.envs.gym_environment import Policy


def load_policy(name: str, env: gymnasium.Env[Any, Any]) -> Policy:
    """The policy `module:function` of an importable module or one in the current folder.

    The function takes an observation, or the unwrapped environment and an observation, and returns an action.

    Raises:
        BadInput: there is no such function, or it takes other arguments.
    """
    module, separator, attribute = name.partition(":")
    if not separator or not all(part.isidentifier() for part in [*module.split("."), attribute]):
        raise BadInput(f"--policy {name}: give module:function, such as experts:balance for balance in experts.py")
    if (folder := os.getcwd()) not in sys.path:
        sys.path.append(folder)  # for scripts, it holds the script's folder, not the current one
    try:
        function = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise BadInput(f"--policy {name}: {error}; run in the folder of {module}.py, or install it") from error
    except AttributeError as error:
        raise BadInput(f"--policy {name}: {module} has no '{attribute}'") from error
    parameters = inspect.signature(function).parameters.values()
    required = [
        p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) == 1:
        return function
    if len(required) == 2:
        return lambda observation: function(env.unwrapped, observation)
    raise BadInput(
        f"--policy {name}: takes {len(required)} arguments; it must take (observation) or (env, observation)"
    )
