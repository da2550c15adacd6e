"""What the server does with runs: sessions that drive and watch, one training at a time, films."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from infogail.config.presets import DEFAULT, PRESETS, settings
from infogail.envs.catalogue import SCENARIO_NAMES, get_scenario
from infogail.envs.errors import BadInput
from infogail.envs.tasks import GymTask, named_in_file
from infogail.rendering.environment_film import render_environment
from infogail.rendering.film import render
from infogail.runs.driver import load
from infogail.runs.runner import MakeLearner
from infogail.studio.driving import drive
from infogail.studio.forecasting import forecast
from infogail.studio.library import DEMOS, Library
from infogail.studio.processes import Channel, Message, Process
from infogail.studio.simulation import open_roads
from infogail.studio.training import Job, train_job
from infogail.studio.watching import watch

IDLE: dict[str, Any] = {
    "type": "state",
    "run": None,
    "state": "idle",
    "error": None,
    "done": 0.0,
    "iteration": 0,
    "iterations": None,
}
IDLE |= {"seconds": 0.0, "left": None, "log": {}}


class Desk:
    """The studio's own state, besides the files."""

    def __init__(self, folder: Path, learners: Mapping[str, MakeLearner], on_progress: Callable[[], None]) -> None:
        """
        Args:
            folder: where demonstrations and runs are.
            learners: the learner classes by algorithm.
            on_progress: called when `progress` has changed.
        """
        torch.set_num_threads(1)  # leave the cores to the sessions
        self.folder, self.learners, self._on_progress = folder, learners, on_progress
        self.library = Library(folder)
        self.progress: list[str | None] = [json.dumps(IDLE), None]
        """The last message about training, and the last about how the policy drives, as JSON."""
        self._trainer: Process | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._filming: dict[str, str | None] = {}

    def state(self) -> dict[str, Any]:
        """The answer to /api/state."""
        runs = [{**run, "filming": self._filming.get(run["name"])} for run in self.library.runs()]
        listed = {"files": self.library.files(), "runs": runs, "forecasts": self.library.forecasts()}
        return {**self._choices, **listed, "ready": True}

    @cached_property
    def _choices(self) -> dict[str, Any]:
        """What does not change."""
        scenarios = [get_scenario(name) for name in SCENARIO_NAMES]
        return {
            "folder": str(self.folder),
            "scenarios": [
                {
                    "name": scenario.name,
                    "styles": [str(style) for style in scenario.styles],
                    "num_codes": scenario.recommended["num_codes"],
                }
                for scenario in scenarios
                if not scenario.recorded
            ],
            "roads": open_roads(),
            "algorithms": list(self.learners),
            "presets": [{"name": name, "summary": preset.summary} for name, preset in PRESETS.items()],
        }

    def driving(self, begin: Message) -> Process:
        """A session at the wheel.

        Raises:
            BadInput: there is no such scenario, road, file or run, or they do not fit.
        """
        name, choices = begin["scenario"], self._choices
        is_scenario = name in (scenario["name"] for scenario in choices["scenarios"])
        if not is_scenario and name not in choices["roads"]:
            raise BadInput("there is no such scenario or road; choose one of the list")
        if not is_scenario and (begin["run"] is not None or begin["file"] is not None):
            raise BadInput(f"{name}: for driving only; record, and have your style guessed, in scenarios")
        if is_scenario and begin["traffic"] is not None:
            raise BadInput(f"{name}: its own cars are part of the scenario; trained traffic is for roads")
        if begin["run"] is not None and (trained_on := self._readable(begin["run"])["task"]) != name:
            raise BadInput(f"{begin['run']}: trained on {trained_on}, not on {name}; choose another")
        file = self._file_for(begin["file"], name) if begin["file"] is not None else None
        run, traffic = (self.run_path(begin[key]) if begin[key] is not None else None for key in ("run", "traffic"))
        return Process(drive, begin, file, run, traffic)

    def _file_for(self, stem: str, scenario: str) -> Path:
        """Where to record `scenario`: a new file, or one that holds demonstrations of it."""
        path = self.folder / DEMOS / f"{stem}.safetensors"
        if path.exists() and (task := self.library.file(f"{DEMOS}/{path.name}")["task"]) != scenario:
            raise BadInput(f"{path.name}: of {task}, not of {scenario}; choose another name")
        return path

    def watching(self, begin: Message) -> Process:
        """A session in front of the panels; raises BadInput if there is no such run."""
        return Process(watch, begin, [self.run_path(panel["run"]) for panel in begin["panels"]])

    def forecasting(self, begin: Message) -> Process:
        """A session in front of a map; raises BadInput if there is no such forecast."""
        return Process(forecast, self.folder / self.library.forecast(begin["forecast"])["name"])

    async def train(
        self,
        file: str,
        algorithm: str,
        num_codes: int | None,
        graded: bool | None,
        preset: str,
        seed: int,
        name: str | None,
    ) -> dict[str, Any]:
        """Begin to train on a file of the library.

        Raises:
            BadInput: there is no such file, learner or preset, the settings are not valid, a run is being trained, or
                no process can be started.
        """
        if algorithm not in self.learners or preset not in PRESETS:
            raise BadInput("there is no such algorithm or preset; choose one of the list")
        typed: dict[str, Any] = {"seed": seed}
        if num_codes is not None:
            typed["num_codes"] = num_codes
        if graded is not None:
            typed["graded_code"] = graded

        def prepared() -> Job:
            task, path = self.library.file(file)["task"], self.folder / file
            config = settings(named_in_file(task), preset, typed)
            stem = name or f"{path.stem}-{algorithm}{'' if preset == DEFAULT else f'-{preset}'}-{seed}"
            return Job(self._new_run(stem), algorithm, path, task, config)

        return await self._begin(await asyncio.to_thread(prepared))

    async def resume(self, run: str) -> dict[str, Any]:
        """Go on with a run that was stopped; raises BadInput if there is none, or a run is being trained."""
        entry = await asyncio.to_thread(self._readable, run)
        return await self._begin(Job(self.folder / run, entry["algorithm"], None, entry["task"]))

    async def stop(self) -> dict[str, Any]:
        """Stop training after the current iteration."""
        if self._trainer is not None:
            self._trainer.terminate()
        return {}

    async def _begin(self, job: Job) -> dict[str, Any]:
        if self._trainer is not None:
            raise BadInput("a run is being trained; stop it first, or wait for it")
        name = str(job.run.relative_to(self.folder))
        self._trainer = trainer = Process(train_job, job, dict(self.learners))
        try:
            await trainer.start()
        except BaseException:
            self._trainer = None  # another try may succeed
            raise
        self.progress = [json.dumps({**IDLE, "run": name, "state": "training"}), None]
        self._on_progress()
        self._keep(self._follow(trainer, name))
        return {"run": name}

    async def _follow(self, trainer: Process, name: str) -> None:
        """Pass on what the training process tells, until it ends."""
        last: dict[str, Any] = {**IDLE, "run": name, "state": "training"}
        while (data := await trainer.receive()) is not None:
            message = json.loads(data)
            if message["type"] == "episodes":
                self.progress = [self.progress[0], data.decode()]
            else:
                failed = {"state": "failed", "error": message["error"]} if message["type"] == "error" else message
                last = {**last, **failed, "type": "state", "run": name}
                if last["state"] != "training":
                    continue  # told when the process has ended, and another may begin
                self.progress = [json.dumps(last), self.progress[1]]
            self._on_progress()
        await trainer.close()
        self._trainer = None
        if last["state"] == "training":
            last |= {"state": "failed", "error": "training ended unexpectedly; is there enough memory?"}
        self.progress = [json.dumps(last), self.progress[1]]
        self._on_progress()

    async def film(self, run: str, seed: int) -> dict[str, Any]:
        """Begin to film a run; raises BadInput if there is none, it is being filmed, or no process can be started."""
        path = await asyncio.to_thread(self.run_path, run)
        if self._filming.get(run) == "":
            raise BadInput(f"{run}: is being filmed; wait for it")
        self._filming[run] = ""
        process = Process(film_job, path, seed)
        try:
            await process.start()
        except BaseException:
            del self._filming[run]
            raise

        async def follow() -> None:
            problem = None
            while (data := await process.receive()) is not None:
                problem = json.loads(data).get("error", problem)
            self._filming[run] = problem
            await process.close()

        self._keep(follow())
        return {"job": run}

    def film_path(self, run: str, name: str) -> Path:
        """The file of a film of the library; raises BadInput if there is none."""
        if name not in self.library.run(run)["films"]:
            raise BadInput("there is no such film")
        return self.folder / run / "videos" / name

    def run_path(self, name: str) -> Path:
        """The folder of a run of the library; raises BadInput if there is none."""
        return self.folder / self.library.run(name)["name"]

    def _readable(self, name: str) -> dict[str, Any]:
        """RUN of a run whose task is known; raises BadInput if there is none, or it is damaged."""
        entry = self.library.run(name)
        if not entry["task"]:
            raise BadInput(entry["problem"])
        return entry

    async def close(self) -> None:
        """End training where it can be resumed."""
        await self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    def _keep(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _new_run(self, stem: str) -> Path:
        """A folder that does not exist yet."""
        path, number = self.folder / "runs" / stem, 2
        while path.exists():
            path, number = self.folder / "runs" / f"{stem}-{number}", number + 1
        return path


def film_job(channel: Channel, run: Path, seed: int) -> None:
    """Film a run, in a process of its own; an error is told over the channel."""
    film = render_environment if isinstance(load(run).task, GymTask) else render
    film(run, run / "videos", seed)
