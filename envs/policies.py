"""Policies by name, for recording what they do."""

from __future__ import annotations

import inspect
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from infogail.envs.catalogue import import_here
from infogail.envs.errors import BadInput, one_line
from infogail.envs.gym_environment import Policy
from infogail.envs.interface import Interface

ALGORITHMS = {"dqn": "DQN", "sac": "SAC", "td3": "TD3"}
"""Stable-Baselines3's module of the policy class → algorithm; DDPG's zips are TD3's."""


def load_policy(name: str, env: gymnasium.Env[Any, Any], option: str = "--policy") -> Policy:
    """The policy `name` for `env`, given as `option`.

    One of: `module:function` of an importable module or one in the current folder, a function that takes an
    observation, or the unwrapped environment and an observation, and returns an action; `module:Class`, of which an
    instance, made without arguments, is such a function; an ONNX file; a zip file of Stable-Baselines3, which acts
    deterministically.

    Raises:
        BadInput: there is no such policy, or it is for other spaces.
    """
    if name.endswith(".zip"):
        return _stable_baselines(Path(name), env, option)
    if name.endswith(".onnx"):
        return _onnx(Path(name), env, option)
    return _function(name, env, option)


def _stable_baselines(path: Path, env: gymnasium.Env[Any, Any], option: str) -> Policy:
    """A zip file of Stable-Baselines3, which alone unpickles it."""
    algorithm = _algorithm(path, option)
    try:
        import stable_baselines3
    except ImportError as error:
        remedy = "run: pip install stable-baselines3"
        raise BadInput(f"{option} {path}: Stable-Baselines3 is not installed ({error}); {remedy}") from error
    try:
        model = getattr(stable_baselines3, algorithm).load(path, device="cpu")
    except Exception as error:  # whatever unpickling raises
        problem = one_line(error)
        raise BadInput(f"{option} {path}: Stable-Baselines3 cannot load it ({problem}); save it again") from error
    for kind in ("observation_space", "action_space"):
        theirs, ours = getattr(model, kind), getattr(env, kind)
        if theirs != ours:
            what = f"its {kind.replace('_', ' ')} is {theirs}, the environment's {ours}"
            raise BadInput(f"{option} {path}: {what}; give a policy trained in this environment")
    return lambda observation: model.predict(observation, deterministic=True)[0]


def _algorithm(path: Path, option: str) -> str:
    """The class that wrote the zip file, from its JSON, without unpickling anything."""
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(archive.read("data"))
        module = data["policy_class"]["__module__"].split(".")[1]
    except (OSError, zipfile.BadZipFile, KeyError, IndexError, ValueError) as error:
        remedy = "give a file that a model's save() wrote"
        raise BadInput(f"{option} {path}: not a Stable-Baselines3 zip ({error}); {remedy}") from error
    return ALGORITHMS.get(module, "PPO" if "clip_range" in data else "A2C")


def _onnx(path: Path, env: gymnasium.Env[Any, Any], option: str) -> Policy:
    """An ONNX file of one input, a batch of observations; its first output is actions, or logits of discrete ones."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BadInput(f"{option} {path}: ONNX Runtime is missing ({error}); run: pip install onnxruntime") from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # of its own classes, which are not public
        problem = one_line(error)
        raise BadInput(f"{option} {path}: not an ONNX model ({problem}); export it again") from error
    inputs, space, interface = session.get_inputs(), env.action_space, Interface(env, "neither")
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs)
        raise BadInput(f"{option} {path}: has inputs {names}; export a model of the observation alone")
    dtype = np.double if "double" in inputs[0].type else np.single
    shaped = len(inputs[0].shape) > 2  # otherwise, observations are flat

    def act(observation: Any) -> Any:
        row = np.asarray(observation if shaped else interface.flatten(observation), dtype)
        try:
            output = np.asarray(session.run(None, {inputs[0].name: row[None]})[0])
        except Exception as error:
            problem = one_line(error)
            raise BadInput(f"{option} {path}: {problem}; export a model of {env.observation_space}") from error
        if isinstance(space, spaces.Discrete):
            return int(output.argmax() + space.start) if output.size > 1 else int(output.item())
        return output.reshape(space.shape)

    return act


def named_function(option: str, name: str) -> Callable[..., Any]:
    """The function `name`, `module:function`, of an importable module or one in the current folder.

    Raises:
        BadInput: there is none; names the `option`.
    """
    module, separator, attribute = name.partition(":")
    if not separator or not all(part.isidentifier() for part in [*module.split("."), attribute]):
        raise BadInput(f"{option} {name}: give module:function, such as experts:balance for balance in experts.py")
    imported = import_here(module, f"{option} {name}")
    try:
        return getattr(imported, attribute)
    except AttributeError as error:
        raise BadInput(f"{option} {name}: {module} has no '{attribute}'") from error


def _function(name: str, env: gymnasium.Env[Any, Any], option: str) -> Policy:
    """The policy `module:function` or `module:Class`."""
    function: Any = named_function(option, name)
    if inspect.isclass(function):
        try:
            function = function()
        except Exception as error:
            raise BadInput(f"{option} {name}: cannot be made without arguments ({one_line(error)})") from error
    if not callable(function):
        raise BadInput(f"{option} {name}: is not a function of the observation; give one, or a class with __call__")
    parameters = inspect.signature(function).parameters.values()
    required = [
        p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) == 1:
        return function
    if len(required) == 2:
        return lambda observation: function(env.unwrapped, observation)
    raise BadInput(
        f"{option} {name}: takes {len(required)} arguments; it must take (observation) or (env, observation)"
    )
