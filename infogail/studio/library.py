"""The demonstrations, runs and forecasts in a folder: what a page may list, look at, and make new files of.

A page names things as they are listed, never by paths. Nothing is overwritten, and what is deleted goes to `trash/`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from infogail.envs.data.episodes import SCHEMA as EPISODES_SCHEMA
from infogail.envs.data.episodes import Episodes
from infogail.envs.data.recording import SCHEMA as RECORDING_SCHEMA
from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput
from infogail.envs.files import UnreadableFile, described, sync_folder, write_atomically
from infogail.envs.scenarios.styles import NO_STYLE
from infogail.envs.tasks import load_recording, named_in_file
from infogail.evaluation.episodes import demonstrated_episodes
from infogail.forecast.saved import MODEL
from infogail.rendering.viewer import viewer_episode
from infogail.runs.driver import FILE, Driver, load
from infogail.runs.folder import MANIFEST
from infogail.studio.listing import TRASH, forecast_entry, printable, run_entry, shown, walk
from infogail.studio.messages import stem

DEMOS = "demos"
OURS = ("infogail-demonstrations-", "infogail-episodes-")  # how the schemas of all versions begin
UPLOADED = re.compile(r"(?!\.)[\w.-]{1,80}\.safetensors")

Demonstrated = Recording | Episodes
Entry = dict[str, Any]


def append(path: Path, new: Recording) -> int:
    """Add episodes to the file at `path`, or begin it; returns how many it then holds.

    The file is replaced as a whole, so that a reader, or whoever comes after a crash, finds all of the old episodes or
    all of the new. Several processes may append at the same time.

    Raises:
        InvalidDemonstrations: the file is damaged, or of another scenario.
        OSError: it cannot be written.
    """
    with _locked(path):
        old = [Recording.load(path, new.scenario)] if path.exists() else []
        joined = Recording.join([*old, new])
        joined.save(path)
    return joined.demonstrations.num_episodes


def count(path: Path) -> int:
    """The number of episodes in the file at `path`, 0 if there is none."""
    return described(path)[1]["episode_bounds"][0] - 1 if path.exists() else 0


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock on changing the file at `path`; the operating system releases it when a process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Library:
    """The folder's demonstration files, runs and forecasts. May be used from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._known: dict[Path, tuple[Any, Any]] = {}

    def files(self) -> list[Entry]:
        """FILE of each demonstrations file, the newest first."""
        entries = []
        with self._lock:
            for path in self._find():
                with suppress(FileNotFoundError):  # it has just been moved
                    entries.append(self._entry(path))
        return sorted((entry for entry in entries if entry is not None), key=lambda entry: -entry["modified"])

    def runs(self) -> list[Entry]:
        """RUN of each run, the newest first."""
        found = []
        with self._lock:
            for path in walk(self.folder, MANIFEST):
                with suppress(FileNotFoundError):
                    found.append((path.stat().st_mtime, self._run(path.parent)))
        return [run for _, run in sorted(found, key=lambda each: -each[0])]

    def forecasts(self) -> list[Entry]:
        """FORECAST of each folder of a forecast, the newest first."""
        found = []
        with self._lock:
            for path in walk(self.folder, MODEL):
                with suppress(FileNotFoundError):
                    if (entry := self._remembered(path, partial(forecast_entry, self.folder, path))) is not None:
                        found.append(entry)
        return sorted(found, key=lambda entry: -entry["modified"])

    def file(self, name: str) -> Entry:
        """FILE of one file; raises BadInput if it is not listed, or cannot be used."""
        entry = next((entry for entry in self.files() if entry["name"] == name), None)
        if entry is None:
            raise BadInput("there is no such file of demonstrations; choose from the list")
        if entry["problem"]:
            raise BadInput(f"{name}: {entry['problem']}")
        return entry

    def run(self, name: str) -> Entry:
        """RUN of one run; raises BadInput if it is not listed."""
        entry = next((entry for entry in self.runs() if entry["name"] == name), None)
        if entry is None:
            raise BadInput("there is no such run; choose from the list")
        return entry

    def forecast(self, name: str) -> Entry:
        """FORECAST of one forecast; raises BadInput if it is not listed, or cannot be used."""
        entry = next((entry for entry in self.forecasts() if entry["name"] == name), None)
        if entry is None:
            raise BadInput("there is no such forecast; choose from the list")
        if entry["problem"]:
            raise BadInput(f"{name}: {entry['problem']}")
        return entry

    def episodes(self, name: str) -> list[Entry]:
        """Each episode of the file `name`, in short."""
        demonstrated = self._demonstrated(name)
        seconds = (demonstrated.demonstrations.lengths / demonstrated.rate).round(2)
        names, labelled = demonstrated.style_names, demonstrated.styles >= 0
        returns = demonstrated.returns if isinstance(demonstrated, Episodes) else None
        return [
            {
                "episode": e,
                "seconds": float(seconds[e]),
                "style": _named(names, int(style)),
                "labelled": bool(labelled[e]),
                "outcome": "" if returns is None else f"return {returns[e]:.4g}",
            }
            for e, style in enumerate(demonstrated.judged_styles)
        ]

    def episode(self, name: str, episode: int) -> Entry:
        """EPISODE, see `infogail.rendering.viewer`; observations, actions and rewards in other environments.

        Raises:
            BadInput: there is no such file, or episode; or its scene cannot be drawn.
        """
        demonstrated = self._demonstrated(name)
        number = len(demonstrated.styles)
        if not 0 <= episode < number:
            raise BadInput(f"{name}: has episodes 0 to {number - 1}, not {episode}")
        if isinstance(demonstrated, Episodes):
            one = demonstrated.episodes(slice(episode, episode + 1))
            return {
                "observations": one.observations.reshape(len(one.observations), -1)[:, :16].tolist(),
                "actions": one.actions.reshape(len(one.actions), -1).tolist(),
                "rewards": one.rewards.tolist(),
                "style": _named([], int(one.styles[0])),
            }
        shown = demonstrated_episodes(demonstrated.episodes(slice(episode, episode + 1)))[0]
        style = _named(demonstrated.style_names, shown.style)
        entry = viewer_episode(demonstrated.scenario, shown, label=f"episode {episode}", style=style)
        try:
            json.dumps(entry, allow_nan=False)
        except ValueError as error:  # an infinite road, of a scene that cannot be drawn at random
            raise BadInput(f"{name}: episode {episode} cannot be drawn; its scene is impossible") from error
        return entry

    def upload(self, name: str, data: bytes) -> Entry:
        """Add a file; it is kept only if it holds valid demonstrations.

        Raises:
            BadInput: its name or content is not acceptable.
        """
        if not UPLOADED.fullmatch(name):
            raise BadInput("give a file NAME.safetensors with a name of letters, digits, '-', '_' and '.'")

        def write(waiting: Path) -> None:
            write_atomically(waiting, data)
            try:
                self._load(waiting)
            except (BadInput, UnreadableFile) as error:
                raise BadInput(f"{name}: {shown(error, waiting)}") from error

        return self._add(name.removesuffix(".safetensors"), write)

    def delete(self, names: Sequence[str]) -> Entry:
        """Move files, runs and forecasts to the folder `trash`.

        Raises:
            BadInput: one of them is not listed, or is being trained; nothing is moved.
        """
        listed = {entry["name"] for entry in (*self.files(), *self.forecasts())}
        runs = {run["name"]: run for run in self.runs()}
        for name in names:
            if name not in listed and name not in runs:
                raise BadInput("there is no such file or run; choose from the list")
            if name in runs and runs[name]["state"] == "training":
                raise BadInput(f"{name}: is being trained; stop it first")
        moved, stamp = [], time.strftime("%Y-%m-%d-%H%M%S")
        for name in dict.fromkeys(names):
            place, number = self.folder / TRASH / f"{stamp}-{Path(name).name}", 2
            while place.exists():
                place, number = self.folder / TRASH / f"{stamp}-{number}-{Path(name).name}", number + 1
            place.parent.mkdir(exist_ok=True)
            (self.folder / name).rename(place)
            moved.append(str(place.relative_to(self.folder)))
        return {"moved": moved}

    def split(self, name: str, episodes: Sequence[int], out: str) -> list[Entry]:
        """Two new files: the chosen episodes, and the others.

        Raises:
            BadInput: here and below, a file is not listed or cannot be edited, or an episode, a style or the new name
                is not valid.
        """
        whole = self._editable(name)
        chosen = self._chosen(name, whole, episodes)
        if chosen.all():
            raise BadInput(f"{name}: all its episodes are chosen; leave some for the other file")
        parts = (whole.episodes(np.flatnonzero(chosen)), whole.episodes(np.flatnonzero(~chosen)))
        return [self._save(part, out, suffix) for part, suffix in zip(parts, ("", "-rest"), strict=True)]

    def merge(self, names: Sequence[str], out: str) -> Entry:
        """A new file of all episodes of files of one task."""
        parts = [self._editable(name) for name in dict.fromkeys(names)]
        tasks = {part.task for part in parts}
        if len(parts) < 2 or len(tasks) > 1:
            what = "only one file" if len(parts) < 2 else f"files of {' and '.join(sorted(tasks))}"
            raise BadInput(f"{what}: choose several files of one scenario or environment")
        kind: Any = type(parts[0])
        return self._save(kind.join(parts), out)

    def relabel(self, name: str, episodes: Sequence[int], style: int, out: str) -> Entry:
        """A new file in which the chosen episodes have another label; -1: none."""
        whole = self._editable(name)
        names = whole.style_names
        if style < NO_STYLE or (names and style >= len(names)):
            raise BadInput(f"style {style}: choose -1 (unlabelled){f' to {len(names) - 1}' if names else ' or more'}")
        styles = np.where(self._chosen(name, whole, episodes), style, whole.styles)
        return self._save(replace(whole, styles=styles), out)

    def _find(self) -> Iterator[Path]:
        for path in walk(self.folder, "*.safetensors"):
            if path.name != MODEL and not (path.parent / MANIFEST).exists():
                yield path

    def _remembered(self, path: Path, make: Callable[[], Any]) -> Any:
        """What `make` returned for this content of `path`."""
        state = path.stat()
        stamp = (state.st_mtime_ns, state.st_size, state.st_ino)
        with self._lock:
            if path not in self._known or self._known[path][0] != stamp:
                self._known[path] = stamp, make()
            return self._known[path][1]

    def _entry(self, path: Path) -> Entry | None:
        """FILE; None for a file of tensors of something else."""
        return self._remembered(path, lambda: self._described(path))

    def _described(self, path: Path) -> Entry | None:
        task = ""
        try:
            metadata, _ = described(path)
            schema, task = str(metadata.get("schema", "")), _task_in(metadata)
            if not schema.startswith(OURS):
                return None
            demonstrated = self._load(path)
        except FileNotFoundError:
            raise
        except (BadInput, UnreadableFile, OSError) as error:
            ours = bool(task) or path.parent.name == DEMOS
            return self._unusable(path, printable(task), shown(error, path)) if ours else None
        names, styles = demonstrated.style_names, demonstrated.styles
        counts = Counter(_named(names, style) or "unlabelled" for style in styles.tolist())
        return {
            "name": str(path.relative_to(self.folder)),
            "task": task,
            "kind": "driving" if isinstance(demonstrated, Recording) else "environment",
            "episodes": len(styles),
            "seconds": round(float(demonstrated.demonstrations.episode_bounds[-1] / demonstrated.rate), 1),
            "source": demonstrated.source,
            "styles": dict(sorted(counts.items())),
            "editable": demonstrated.divisible,
            "bytes": path.stat().st_size,
            "modified": path.stat().st_mtime,
            "problem": None,
        }

    def _unusable(self, path: Path, task: str, problem: str) -> Entry:
        state = path.stat()
        return {
            "name": str(path.relative_to(self.folder)),
            "task": task,
            "kind": "driving",
            "episodes": 0,
            "seconds": 0.0,
            "source": "",
            "styles": {},
            "editable": False,
            "bytes": state.st_size,
            "modified": state.st_mtime,
            "problem": problem,
        }

    def _run(self, path: Path) -> Entry:
        def driver_of(path: Path) -> Driver:
            return self._remembered(path / FILE, lambda: load(path))

        return run_entry(str(path.relative_to(self.folder)), path, driver_of)

    def _named_entry(self, path: Path) -> Entry:
        entry = self._entry(path)
        assert entry is not None
        return entry

    def _demonstrated(self, name: str) -> Demonstrated:
        return self._load(self.folder / self.file(name)["name"])

    def _editable(self, name: str) -> Demonstrated:
        demonstrated = self._demonstrated(name)
        if not demonstrated.divisible:
            raise BadInput(f"{name}: its episodes share recorded traffic; import the recordings that you want instead")
        return demonstrated

    @staticmethod
    def _load(path: Path) -> Demonstrated:
        metadata, _ = described(path)
        schema, task = str(metadata.get("schema", "")), _task_in(metadata)
        if schema not in (RECORDING_SCHEMA, EPISODES_SCHEMA) or not task:
            known = schema.startswith(OURS)
            what = f"is of another version, {schema}" if known else "is not a file of demonstrations"
            raise UnreadableFile(f"{what}; give one that 'infogail record' or this page wrote")
        return load_recording(path, named_in_file(task))

    @staticmethod
    def _chosen(name: str, whole: Demonstrated, episodes: Sequence[int]) -> np.ndarray:
        """(E,) bool"""
        chosen = np.zeros(len(whole.styles), dtype=bool)
        if not len(episodes):
            raise BadInput(f"{name}: no episode is chosen; choose some")
        for wrong in (episode for episode in (min(episodes), max(episodes)) if not 0 <= episode < len(chosen)):
            raise BadInput(f"{name}: has episodes 0 to {len(chosen) - 1}, not {wrong}")
        chosen[list(episodes)] = True
        return chosen

    def _save(self, demonstrated: Demonstrated, out: str, suffix: str = "") -> Entry:
        if not stem(out):
            raise BadInput("give a new name of at most 64 letters, digits, '-' and '_'")
        return self._add(out + suffix, demonstrated.save)

    def _add(self, name: str, write: Callable[[Path], None]) -> Entry:
        """A new file of demonstrations: with a number if the name is taken.

        It is written under a hidden name, of this thread's own, so that nobody sees it before it is whole.
        """
        folder, number = self.folder / DEMOS, 1
        waiting = folder / f".{name}.{os.getpid()}.{threading.get_ident()}.partial"
        try:
            write(waiting)
            while True:
                path = folder / f"{name}{f'-{number}' if number > 1 else ''}.safetensors"
                try:
                    os.link(waiting, path)  # which, unlike renaming, replaces nothing
                    break
                except FileExistsError:
                    number += 1
        finally:
            waiting.unlink(missing_ok=True)
        sync_folder(folder)
        return self._named_entry(path)


def _task_in(metadata: dict[str, str]) -> str:
    """The scenario or environment that a file names; empty if none."""
    return str(metadata.get("scenario") or metadata.get("environment") or "")


def _named(names: Sequence[str], style: int) -> str | None:
    """None for a style that is unknown, as every negative one is."""
    if style < 0:
        return None
    return names[style] if style < len(names) else f"style {style}"
