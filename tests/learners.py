"""Learners as `infogail train` makes them, without a run folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gymnasium import spaces

from infogail.config.config import Config
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import Recording
from infogail.envs.environment import EarlyEnd, Spec
from infogail.envs.twin import DrivingEnvironment
from infogail.runs.runner import Learner, MakeLearner

FROM_RANDOM_WEIGHTS = Config.of(
    num_envs=128,
    threads=1,
    settling_iterations=None,
    warm_start_steps=0,
    held_iterations=0,
    initial_log_std=-1.5,
    learning_rate=3e-3,
)
"""Driving is all that the policy learns from; for 20 of 30 iterations, with an eighth of the environments."""


def box_spec(
    observation_size: int, action_size: int, early_end: EarlyEnd = "failure", horizon: int = 3, one_episode: bool = True
) -> Spec:
    """Of a task with continuous actions, in which every entry of the observation can reveal a style."""
    shape, actions = (observation_size,), spaces.Box(-1.0, 1.0, (action_size,))
    features = tuple(range(observation_size))
    return Spec(shape, np.dtype("float32"), actions, horizon, early_end, features, one_episode=one_episode)


def make_learner(kind: MakeLearner, recording: Recording | Path, config: Config) -> Learner:
    """A learner of that kind from all of a recording, or of the file of one of pass."""
    if isinstance(recording, Path):
        recording = Recording.load(recording, get_scenario("pass"))
    scenario = recording.scenario
    judge = None if scenario.recorded else scenario.fit_judge(recording)
    env = DrivingEnvironment(scenario, config.run.num_envs, judge)
    return kind(env, recording.demonstrations, config)
