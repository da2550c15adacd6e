"""Runs in other people's loops: as traffic of an environment that is already made, and as a policy that does not learn.

env = StyledTraffic(gymnasium.make("highway-v0"), "runs/highway", mix=(0.1, 0.2, 0.3, 0.4))
model = DQN("MlpPolicy", env).learn(20_000)

env = gymnasium.make("infogail/Highway-v0")
mean, std = stable_baselines3.common.evaluation.evaluate_policy(FrozenPolicy("runs/highway", code=2), env)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from infogail.envs.errors import BadInput
from infogail.envs.tasks import GymTask
from infogail.runs.driver import load
from infogail.traffic.population import Mix, population, unsupported
from infogail.traffic.styled import StyledVehicle


class StyledTraffic(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Replaces the other vehicles of a highway-env environment by drivers of a run, from the next reset on.

    `reset(options={"mix": (…)})` changes how frequent their styles are.

    Args:
        env: is reset once, to see whether it has such vehicles.
        run, mix: see `population`.

    Raises:
        BadInput: it has none; or see `population`.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], run: str | Path, mix: Mix | None = None) -> None:
        super().__init__(env)
        self.run = run
        name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
        if not hasattr(env.unwrapped, "configure"):
            raise unsupported(name)
        self._choose(mix)
        env.reset()
        road = getattr(env.unwrapped, "road", None)
        if not any(isinstance(vehicle, StyledVehicle) for vehicle in getattr(road, "vehicles", ())):
            raise unsupported(name)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Like the environment's, whose `options` may have `mix`, for this and all later episodes."""
        options = dict(options or {})
        if "mix" in options:
            self._choose(options.pop("mix"))
        return self.env.reset(seed=seed, options=options)

    def _choose(self, mix: Mix | None) -> None:
        base: Any = self.env.unwrapped
        base.configure({"other_vehicles_type": population(self.run, mix)})


class FrozenPolicy:
    """The driver of a run, with the `predict` of Stable-Baselines3's models, for the environment of the run.

    Args:
        code: to drive with, or its name; by default each episode draws one, as frequent as in the demonstrations.
        seed: of these draws.

    Raises:
        InvalidRun: see `load`.
        BadInput: the run has no such code.
    """

    def __init__(self, run: str | Path, code: float | str | None = None, seed: int = 0) -> None:
        self.driver = load(run)
        codes = self.driver.codes
        code = codes[self.driver.number(code)] if isinstance(code, str) else code
        if code is not None and not (codes[0] <= code <= codes[-1] and (self.driver.graded or code == int(code))):
            raise BadInput(f"code {code:g}: the codes of {run} are {codes[0]} to {codes[-1]}")
        task = self.driver.task
        if isinstance(task, GymTask) and task.interface.observation_space.shape is None:
            raise BadInput(
                f"{run}: its environment's observations are no arrays, but {task.interface.observation_space}"
            )
        self.code, self.draws = code, np.random.default_rng(seed)

    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """The actions for observations (F,) or (B, F), and the state to hand to the next call.

        Args:
            state: the codes (B,) of the episodes under way, in a tuple; None at the start.
            episode_start: (B,) bool: which episodes have just begun, and draw a code.
            deterministic: without effect: it takes the mean or likeliest action.
        """
        task = self.driver.task
        if isinstance(task, GymTask):
            interface = task.interface
            single = np.shape(observation) == interface.observation_space.shape
            rows = [observation] if single else observation
            flat = np.stack([interface.observation(row) for row in rows])
        else:
            flat = np.atleast_2d(observation)
            single = np.ndim(observation) == 1
        drawn = self._draw(len(flat))
        codes = drawn if state is None or episode_start is None else np.where(episode_start, drawn, state[0])
        actions = self.driver.act(flat, codes)
        if isinstance(task, GymTask):
            actions = interface.decode(actions)
        return (actions[0] if single else actions), (codes,)

    def _draw(self, count: int) -> np.ndarray:
        driver = self.driver
        if self.code is not None:
            return np.full(count, self.code)
        return self.draws.choice(driver.codes, count, p=driver.prior / driver.prior.sum())
