"""What a run is trained on: a driving scenario, or any registered Gymnasium environment."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.error import Error

from infogail.envs.catalogue import check_scenario, get_scenario, is_environment
from infogail.envs.data.episodes import Episodes
from infogail.envs.data.recording import Recording
from infogail.envs.environment import Environment, Spec
from infogail.envs.errors import BadInput, one_line
from infogail.envs.interface import Interface
from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.scenarios.styles import Style

RECOMMENDED: dict[str, Any] = {
    "num_codes": 2,
    "gamma": 0.99,
    "num_envs": 16,  # episodes are long
    "iterations": 40,
    "settling_iterations": None,
    "bc_steps": 2000,
    "warm_start_steps": 2000,
    "learning_rate": 3e-4,  # at the driving scenarios' 1e-3, a good clone was spoilt within a few iterations
    "ppo_epochs": 5,
    "gradient_penalty": 3.0,
}
"""Training settings for any environment; chosen on MountainCar, Walker2d and Hopper with other seeds than reported."""


class GymTask:
    """A Gymnasium environment by its id.

    Raises:
        BadInput: no such environment is registered.
    """

    recorded = graded = usable_as_traffic = steers = False
    styles: tuple[Style, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self._checked(gymnasium.spec, name)

    @property
    def label(self) -> str:
        """The name as part of file names."""
        return self.name.replace("/", "-")

    @property
    def recommended(self) -> dict[str, Any]:
        """Training settings by name."""
        return RECOMMENDED

    @cached_property
    def interface(self) -> Interface:
        """How learners see it; the demonstrations say what a termination means."""
        env = self.make()
        try:
            return Interface(env, "neither")
        finally:
            env.close()

    @property
    def spec(self) -> Spec:
        """What learners need to know about it."""
        return self.interface.spec

    def make(self, **options: Any) -> gymnasium.Env[Any, Any]:
        """The environment.

        Raises:
            BadInput: it cannot be made, such as for lack of a package.
        """
        return self._checked(gymnasium.make, self.name, **options)

    def _checked(self, function: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except (Error, ImportError) as error:
            raise BadInput(f"environment '{self.name}': {one_line(error)}") from error


Task = Scenario | GymTask


def get_task(name: str) -> Task:
    """The driving scenario or environment called `name`.

    Raises:
        BadInput: there is none.
    """
    return GymTask(name) if is_environment(name) else get_scenario(check_scenario(name))


def named_in_file(name: str) -> Task:
    """The scenario or environment of a name that was read from a file, which must not decide what code is run.

    Raises:
        BadInput: there is none, or it is in a module that has not been imported.
    """
    module, separator, _ = name.partition(":")
    if separator and module not in sys.modules:
        raise BadInput(f"scenario '{name}': is in a module of yours; if you trust it, add --import {module}")
    return get_task(name)


def load_recording(path: Path, task: Task) -> Recording | Episodes:
    """The demonstrations at `path`, which must be of `task`.

    Raises:
        InvalidDemonstrations: they are not, or are malformed.
    """
    return Episodes.load(path, task.interface) if isinstance(task, GymTask) else Recording.load(path, task)


def training_environment(
    recording: Recording | Episodes, num_envs: int, device: str, company: bool = False
) -> Environment:
    """Copies of what the demonstrations were recorded in; a style judge, where there is one, is only for logging.

    Args:
        company: all vehicles on a highway are driven by the learner, see `Company`.
    """
    from infogail.envs.company import Company
    from infogail.envs.gym_environment import GymEnvironment
    from infogail.envs.twin import DrivingEnvironment

    if isinstance(recording, Episodes):
        return GymEnvironment(recording.environment, num_envs, recording.interface.spec.early_end, device)
    scenario = recording.scenario
    if company:
        return Company(scenario, num_envs, device)
    judge = scenario.fit_judge(recording) if recording.judgeable else None
    return DrivingEnvironment(scenario, num_envs, judge, device)
