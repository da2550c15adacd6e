"""The room Train: the ordinary runner in a process of its own, which tells how far it is and how each code drives."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infogail.config.config import Config
from infogail.envs.data.recording import Recording
from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.scenarios.styles import NO_STYLE
from infogail.envs.tasks import GymTask, named_in_file
from infogail.envs.twin import DrivingVectorEnv
from infogail.evaluation.episodes import Episode
from infogail.learning.networks import Policy, levels
from infogail.parallel.signals import Stopped
from infogail.rendering.captions import style_phrase
from infogail.rendering.viewer import viewer_episode
from infogail.runs.driver import CodeLabels
from infogail.runs.folder import DEMONSTRATIONS
from infogail.runs.runner import Learner, MakeLearner, resume, train
from infogail.studio.processes import Channel

PAUSE = 1.0  # [s] between two shows of how the policy drives
CURVES = {
    "style NMI": ("mean_action/style_nmi", "rollout/style_nmi"),
    "imitation reward": ("reward/imitation",),
    "information reward": ("reward/information",),
    "discriminator loss": ("discriminator/loss",),
    "posterior cross-entropy": ("posterior/cross_entropy",),
    "success rate": ("rollout/success_rate",),
    "cloning loss": ("bc/negative_log_likelihood",),
}
"""What is plotted, and the entries of the log that it may be."""
SCENE_SEED = 0x51DE  # of the scene in which the codes are shown


@dataclass(frozen=True)
class Job:
    """What to train."""

    run: Path
    algorithm: str
    file: Path | None
    """The demonstrations; None: resume `run`."""
    task: str
    config: Config | None = None


def train_job(channel: Channel, job: Job, learners: Mapping[str, MakeLearner]) -> None:
    """Train, or resume, and tell about it; SIGTERM, or the end of the server, stops it where it can be resumed."""
    reporter = Reporter(channel, job)
    making = {name: reporter.observed(make) for name, make in learners.items()}
    try:
        if job.file is None:
            resume(making, job.run, on_iteration=reporter.on_iteration)
        else:
            assert job.config is not None
            train(
                making[job.algorithm],
                job.algorithm,
                job.file,
                job.task,
                job.config,
                job.run,
                on_iteration=reporter.on_iteration,
            )
    except Stopped:
        reporter.tell(state="stopped")
        return
    reporter.tell(state="finished", done=1.0, left=0.0)


class Reporter:
    """Tells the server about a training run. Its learner trains as without it: the shows draw nothing at random."""

    def __init__(self, channel: Channel, job: Job) -> None:
        self.channel, self.job = channel, job
        self.learner: Learner | None = None
        self.task = named_in_file(job.task)
        self.show: Show | None = None
        self.shown = 0.0
        self.curves: dict[str, list[list[float]]] = {}
        self.state: dict[str, Any] = {"state": "training", "done": 0.0, "iteration": 0, "iterations": None}
        self.state |= {"seconds": 0.0, "left": None, "error": None}
        self.tell()

    def observed(self, make: MakeLearner) -> MakeLearner:
        """`make`, remembering the learner that it makes."""

        def making(*arguments: Any) -> Learner:
            self.learner = make(*arguments)
            return self.learner

        return making

    def on_iteration(self, done: int, total: int, log: dict[str, Any]) -> None:
        """Called by the runner after each iteration."""
        share, seconds = done / total, log["seconds"]
        for name, keys in CURVES.items():
            value = next((log[key] for key in keys if key in log), None)
            if value is not None:
                self.curves.setdefault(name, []).append([done, round(float(value), 5)])
        left = seconds * (1 - share) / share
        self.tell(done=share, iteration=done, iterations=total, seconds=round(seconds, 2), left=round(left, 2))
        if time.monotonic() - self.shown > PAUSE or done == total:
            self.show_codes(done)

    def tell(self, **changes: Any) -> None:
        """Tell how far training is."""
        self.state |= changes
        self._send({"type": "state", **self.state, "log": self.curves})

    def show_codes(self, iteration: int) -> None:
        """Tell how each code drives now; nothing for environments that are not of driving."""
        if isinstance(self.task, GymTask) or self.learner is None:
            return
        self.show = self.show or Show(self.task, self.job.run)
        episodes = self.show.episodes(self.learner.policy)
        self._send({"type": "episodes", "iteration": iteration, "episodes": episodes})
        self.shown = time.monotonic()

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(OSError):
            self.channel.send(message)
            return
        os.kill(os.getpid(), signal.SIGTERM)  # the server is gone: stop where this can be resumed


class Show:
    """Drives every code of a policy from one scene, in the twin: an episode takes a few hundredths of a second."""

    def __init__(self, scenario: Scenario, run: Path) -> None:
        self.scenario = Recording.load(run / DEMONSTRATIONS, scenario).scenario
        twin = DrivingVectorEnv(self.scenario, 1)
        twin.reset(seed=SCENE_SEED)
        self.scene = {name: value[0] for name, value in twin.scene.items()}

    def episodes(self, policy: Policy) -> list[dict[str, Any]]:
        """EPISODE of each code, see `infogail.rendering.viewer`."""
        codes = levels(policy.num_codes).tolist() if policy.graded else range(policy.num_codes)
        labels, shown = CodeLabels.of(codes, policy.graded), []
        for episode in self.drive(policy):
            style = style_phrase(self.scenario, episode.style) or None
            shown.append(viewer_episode(self.scenario, episode, label=labels.title(episode.code), style=style))
        return shown

    @torch.inference_mode()
    def drive(self, policy: Policy) -> list[Episode]:
        """What each code drives; its style where geometry tells it."""
        num_codes, device = policy.num_codes, next(policy.parameters()).device
        twin, codes = DrivingVectorEnv(self.scenario, num_codes, tensors=True), torch.arange(num_codes, device=device)
        obs, _ = twin.reset(options={"scene": self.scene})
        observations, actions, states = [], [], [twin.vehicle_state]
        ends = np.zeros(num_codes, dtype=int)
        crashed, off_road = np.zeros(num_codes, dtype=bool), np.zeros(num_codes, dtype=bool)
        for step in range(self.scenario.horizon):
            chosen = policy(policy.inputs(obs.to(device), codes)).mode().clamp(-1.0, 1.0).cpu()
            observations.append(obs.numpy())
            actions.append(chosen.numpy())
            obs, _, terminated, truncated, infos = twin.step(chosen)
            final = infos["final_info"]
            states.append(final["vehicle_state"].double().numpy())
            over = (terminated | truncated).numpy() & (ends == 0)
            crashed |= over & final["crashed"].numpy()
            off_road |= over & final["off_road"].numpy()
            ends[over] = step + 1
            if ends.all():
                break
        driven = []
        for k, end in enumerate(ends):
            seen, acted = (np.stack([each[k] for each in rows[:end]]) for rows in (observations, actions))
            trajectory = np.stack([each[k] for each in states[: end + 1]])
            flags = bool(crashed[k]), bool(off_road[k])
            episode = Episode(k, seen, acted, trajectory, self.scene, *flags, NO_STYLE)
            if not (self.scenario.measures or episode.failed):
                episode = replace(episode, style=int(self.scenario.style(trajectory, self.scene)))
            driven.append(episode)
        return driven
