"""The demonstrations and runs in a folder: what a page may list, look at, and make new files of.

A page names things as they are listed, never by paths. Nothing is overwritten, and what is deleted goes to `trash/`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from infogail.envs.data.episodes import SCHEMA as EPISODES_SCHEMA
from infogail.envs.data.episodes import Episodes
from infogail.envs.data.recording import SCHEMA as RECORDING_SCHEMA
from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput
from infogail.envs.files import UnreadableFile, described, write_atomically
from infogail.envs.scenarios.styles import NO_STYLE
from infogail.envs.tasks import GymTask, load_recording, named_in_file
from infogail.evaluation.episodes import demonstrated_episodes
from infogail.rendering.viewer import viewer_episode
from infogail.runs.driver import FILE, load
from infogail.runs.folder import MANIFEST, InvalidRun, Manifest, being_written

DEMOS, TRASH = "demos", "trash"
DEPTH = 4  # folders below which nothing is looked for
UPLOADED = re.compile(r"(?!\.)[\w.-]{1,80}\.safetensors")
NEVER = {TRASH, "node_modules", "__pycache__"}

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
    """The folder's demonstration files and runs. May be used from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._known: dict[Path, tuple[Any, Any]] = {}

    def files(self) -> list[Entry]:
        """FILE of each demonstrations file, the newest first."""
        with self._lock:
            entries = [entry for path in self._find() if (entry := self._entry(path)) is not None]
        return sorted(entries, key=lambda entry: -entry["modified"])

    def runs(self) -> list[Entry]:
        """RUN of each run, the newest first."""
        with self._lock:
            found = [(path.stat().st_mtime, self._run(path.parent)) for path in self._walk(MANIFEST)]
        return [run for _, run in sorted(found, key=lambda each: -each[0])]

    def episodes(self, name: str) -> list[Entry]:
        """Each episode of the file `name`, in short."""
        demonstrated = self._demonstrated(name)
        rate, names = _rate(demonstrated), _style_names(demonstrated)
        bounds = demonstrated.episode_bounds if isinstance(demonstrated, Episodes) else None
        lengths = np.diff(demonstrated.demonstrations.episode_bounds if bounds is None else bounds)
        styles = demonstrated.styles if isinstance(demonstrated, Episodes) else demonstrated.judged_styles
        return [
            {
                "episode": e,
                "seconds": round(float(length / rate), 2),
                "style": _named(names, int(style)),
                "labelled": bool(demonstrated.styles[e] != NO_STYLE),
                "outcome": f"return {demonstrated.returns[e]:.4g}" if isinstance(demonstrated, Episodes) else "",
            }
            for e, (length, style) in enumerate(zip(lengths, styles, strict=True))
        ]

    def episode(self, name: str, episode: int) -> Entry:
        """EPISODE, see `infogail.rendering.viewer`; observations, actions and rewards in other environments.

        Raises:
            BadInput: there is no such file, or episode.
        """
        demonstrated = self._demonstrated(name)
        number = len(demonstrated.styles)
        if episode >= number:
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
        style = _named(_style_names(demonstrated), shown.style)
        return viewer_episode(demonstrated.scenario, shown, label=f"episode {episode}", style=style)

    def upload(self, name: str, data: bytes) -> Entry:
        """Add a file; it is kept only if it holds valid demonstrations.

        Raises:
            BadInput: its name or content is not acceptable.
        """
        if not UPLOADED.fullmatch(name):
            raise BadInput("give a file NAME.safetensors with a name of letters, digits, '-', '_' and '.'")
        path = self._free(name.removesuffix(".safetensors"))
        waiting = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
        write_atomically(waiting, data)
        try:
            self._load(waiting)
        except (BadInput, UnreadableFile) as error:
            raise BadInput(f"{name}: {str(error).removeprefix(f'{waiting}: ')}") from error
        else:
            os.link(waiting, path)  # fails if someone else has just made it
        finally:
            waiting.unlink()
        return self._named_entry(path)

    def delete(self, names: Sequence[str]) -> Entry:
        """Move files and runs to the folder `trash`.

        Raises:
            BadInput: one of them is not listed, or is being trained; nothing is moved.
        """
        listed = {entry["name"] for entry in self.files()}
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
        """Two new files: the chosen episodes, and the others."""
        whole = self._editable(name)
        chosen = self._chosen(name, whole, episodes)
        if chosen.all():
            raise BadInput(f"{name}: all its episodes are chosen; leave some for the other file")
        parts = (whole.episodes(np.flatnonzero(chosen)), whole.episodes(np.flatnonzero(~chosen)))
        return [self._save(part, f"{out}{suffix}") for part, suffix in zip(parts, ("", "-rest"), strict=True)]

    def merge(self, names: Sequence[str], out: str) -> Entry:
        """A new file of all episodes of files of one task."""
        parts = [self._editable(name) for name in names]
        tasks = {_task_of(part) for part in parts}
        if len(parts) < 2 or len(tasks) > 1:
            what = "only one file" if len(parts) < 2 else f"files of {' and '.join(sorted(tasks))}"
            raise BadInput(f"{what}: choose several files of one scenario or environment")
        joined: Demonstrated
        if isinstance(parts[0], Episodes):
            joined = Episodes.join([part for part in parts if isinstance(part, Episodes)])
        else:
            joined = Recording.join([part for part in parts if isinstance(part, Recording)])
        return self._save(joined, out)

    def relabel(self, name: str, episodes: Sequence[int], style: int, out: str) -> Entry:
        """A new file in which the chosen episodes have another label; -1: none."""
        whole = self._editable(name)
        names = _style_names(whole)
        if names and style >= len(names):
            raise BadInput(f"style {style}: choose -1 (unlabelled) to {len(names) - 1}")
        styles = np.where(self._chosen(name, whole, episodes), style, whole.styles)
        return self._save(replace(whole, styles=styles), out)

    def _find(self) -> Iterator[Path]:
        yield from (path for path in self._walk("*.safetensors") if not (path.parent / MANIFEST).exists())

    def _walk(self, pattern: str) -> Iterator[Path]:
        """Files of this pattern, outside hidden folders, the trash, and what is in runs."""

        def within(folder: Path, depth: int) -> Iterator[Path]:
            yield from (path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith("."))
            if depth == DEPTH or (folder / MANIFEST).exists():
                return
            for inner in folder.iterdir():
                if inner.is_dir() and not inner.is_symlink() and inner.name[0] != "." and inner.name not in NEVER:
                    yield from within(inner, depth + 1)

        yield from within(self.folder, 0)

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
        try:
            metadata, _ = described(path)
        except (UnreadableFile, OSError) as error:
            return self._unusable(path, "", str(error)) if path.parent.name == DEMOS else None
        schema = str(metadata.get("schema", ""))
        if schema not in (RECORDING_SCHEMA, EPISODES_SCHEMA):
            known = schema.startswith(("infogail-demonstrations", "infogail-episodes"))
            return self._unusable(path, "", f"is of another version, {schema}") if known else None
        return self._remembered(path, lambda: self._described(path, metadata))

    def _described(self, path: Path, metadata: dict[str, str]) -> Entry:
        task = str(metadata.get("scenario") or metadata.get("environment"))
        try:
            demonstrated = self._load(path)
        except (BadInput, UnreadableFile, OSError) as error:
            return self._unusable(path, task, str(error).removeprefix(f"{path}: "))
        driving = isinstance(demonstrated, Recording)
        names, styles = _style_names(demonstrated), demonstrated.styles
        counts = {
            _named(names, int(style)) or "unlabelled": int((styles == style).sum()) for style in np.unique(styles)
        }
        return {
            "name": str(path.relative_to(self.folder)),
            "task": task,
            "kind": "driving" if driving else "environment",
            "episodes": len(styles),
            "seconds": round(float(demonstrated.demonstrations.episode_bounds[-1] / _rate(demonstrated)), 1),
            "source": demonstrated.source,
            "styles": counts,
            "editable": not (isinstance(demonstrated, Recording) and demonstrated.world is not None),
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
        entry: Entry = {
            "name": str(path.relative_to(self.folder)),
            "task": "",
            "kind": "driving",
            "algorithm": "",
            "codes": [0],
            "graded": False,
            "state": "stopped",
            "prior": None,
            "posterior": False,
            "traffic": False,
            "metrics": _read_json(path / "metrics.json"),
            "films": sorted(film.name for film in (path / "videos").glob("*.mp4")),
            "problem": None,
        }
        try:
            manifest = Manifest.load(path)
            task = named_in_file(manifest.scenario)
            entry |= {"task": manifest.scenario, "algorithm": manifest.algorithm}
            entry["kind"] = "environment" if isinstance(task, GymTask) else "driving"
            if being_written(path):
                entry["state"] = "training"
            elif FILE in manifest.files:
                driver = self._remembered(path / FILE, lambda: load(path))
                entry |= {"state": "finished", "graded": driver.graded, "traffic": task.usable_as_traffic}
                if driver.evidence is not None:
                    prior = [round(float(share), 4) for share in driver.prior]
                    entry |= {"codes": driver.codes, "prior": prior, "posterior": True}
        except (InvalidRun, BadInput, OSError) as error:
            entry |= {"state": "stopped", "problem": str(error)}
        return entry

    def _named_entry(self, path: Path) -> Entry:
        entry = self._entry(path)
        assert entry is not None
        return entry

    def _path(self, name: str) -> Path:
        entry = next((entry for entry in self.files() if entry["name"] == name), None)
        if entry is None:
            raise BadInput("there is no such file; choose from the list")
        if entry["problem"]:
            raise BadInput(f"{name}: {entry['problem']}")
        return self.folder / name

    def _demonstrated(self, name: str) -> Demonstrated:
        return self._load(self._path(name))

    def _editable(self, name: str) -> Demonstrated:
        demonstrated = self._demonstrated(name)
        if isinstance(demonstrated, Recording) and demonstrated.world is not None:
            raise BadInput(f"{name}: its episodes share recorded traffic; import the recordings that you want instead")
        return demonstrated

    @staticmethod
    def _load(path: Path) -> Demonstrated:
        metadata, _ = described(path)
        task = metadata.get("scenario") or metadata.get("environment")
        if metadata.get("schema") not in (RECORDING_SCHEMA, EPISODES_SCHEMA) or not isinstance(task, str):
            raise UnreadableFile("is not a file of demonstrations; give one that 'infogail record' or this page wrote")
        return load_recording(path, named_in_file(task))

    @staticmethod
    def _chosen(name: str, whole: Demonstrated, episodes: Sequence[int]) -> np.ndarray:
        """(E,) bool"""
        chosen = np.zeros(len(whole.styles), dtype=bool)
        if max(episodes) >= len(chosen):
            raise BadInput(f"{name}: has episodes 0 to {len(chosen) - 1}, not {max(episodes)}")
        chosen[list(episodes)] = True
        return chosen

    def _save(self, demonstrated: Demonstrated, stem: str) -> Entry:
        path = self._free(stem)
        demonstrated.save(path)
        return self._named_entry(path)

    def _free(self, stem: str) -> Path:
        """A path for a new file of demonstrations: with a number if the name is taken."""
        path, number = self.folder / DEMOS / f"{stem}.safetensors", 2
        while path.exists():
            path, number = self.folder / DEMOS / f"{stem}-{number}.safetensors", number + 1
        return path


def _task_of(demonstrated: Demonstrated) -> str:
    return demonstrated.environment if isinstance(demonstrated, Episodes) else demonstrated.scenario.name


def _rate(demonstrated: Demonstrated) -> float:
    """Decisions per second; 1 where the environment does not say."""
    return 1.0 if isinstance(demonstrated, Episodes) else demonstrated.scenario.policy_frequency


def _style_names(demonstrated: Demonstrated) -> list[str]:
    return [] if isinstance(demonstrated, Episodes) else [str(style) for style in demonstrated.scenario.styles]


def _named(names: Sequence[str], style: int) -> str | None:
    if style == NO_STYLE:
        return None
    return names[style] if style < len(names) else f"style {style}"


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
