"""What is in a folder: which of its files a page may list, and what a page shows of a run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from infogail.envs.errors import BadInput, one_line
from infogail.envs.files import UnreadableFile, described
from infogail.envs.tasks import GymTask, named_in_file
from infogail.forecast.saved import check
from infogail.runs.driver import FILE, Driver
from infogail.runs.folder import MANIFEST, InvalidRun, Manifest, being_written

TRASH = "trash"
DEPTH = 4  # folders below which nothing is looked for
NEVER = {TRASH, "node_modules", "__pycache__"}


def walk(top: Path, pattern: str) -> Iterator[Path]:
    """Files of this pattern in the folder `top`, outside hidden folders, the trash, and what is in runs."""
    for place, folders, names in os.walk(top):
        folder = Path(place)
        deepest = len(folder.relative_to(top).parts) >= DEPTH or MANIFEST in names
        folders[:] = [] if deepest else [name for name in folders if nameable(name) and name not in NEVER]
        found = (folder / name for name in names if nameable(name))
        yield from (path for path in found if path.match(pattern) and os.path.isfile(path))


def run_entry(name: str, path: Path, driver_of: Callable[[Path], Driver]) -> dict[str, Any]:
    """RUN: what a page shows of the run in the folder `path`; `driver_of` loads its driver."""
    entry: dict[str, Any] = {
        "name": name,
        "task": "",
        "kind": "driving",
        "algorithm": "",
        "codes": [0],
        "names": [None],
        "graded": False,
        "state": "stopped",
        "prior": None,
        "posterior": False,
        "traffic": False,
        "metrics": _read_json(path / "metrics.json"),
        "films": sorted(film.name for film in (path / "videos").glob("*.mp4") if nameable(film.name)),
        "problem": None,
    }
    try:
        manifest = Manifest.load(path)
        task = named_in_file(manifest.scenario)
        entry |= {"task": printable(manifest.scenario), "algorithm": printable(manifest.algorithm)}
        entry["kind"] = "environment" if isinstance(task, GymTask) else "driving"
        if being_written(path):
            entry["state"] = "training"
        elif FILE in manifest.files:
            driver = driver_of(path)
            entry |= {"state": "finished", "graded": driver.graded, "traffic": task.usable_as_traffic}
            if driver.evidence is not None:
                prior = [round(float(share), 4) for share in driver.prior]
                entry |= {"codes": driver.codes, "names": driver.names, "prior": prior, "posterior": True}
    except (InvalidRun, BadInput, OSError) as error:
        entry |= {"state": "stopped", "problem": printable(str(error))}
    return entry


def forecast_entry(folder: Path, path: Path) -> dict[str, Any] | None:
    """FORECAST: what a page shows of the forecast in the file `path` below `folder`; None if it is something else."""
    with suppress(UnreadableFile):
        if not str(described(path)[0].get("schema", "")).startswith("infogail-forecast-"):
            return None
    problem = None
    try:
        check(path)
    except (BadInput, OSError) as error:
        problem = shown(error, path)
    return {
        "name": str(path.parent.relative_to(folder)),
        "metrics": _read_json(path.parent / "metrics.json"),
        "modified": path.stat().st_mtime,
        "problem": problem,
    }


def nameable(name: str) -> bool:
    """Whether a file or folder may be listed: it is not hidden, and its name can be sent to a page and back."""
    return name.isprintable() and not name.startswith(".")


def printable(text: str) -> str:
    """On one line, with what cannot be sent to a page replaced."""
    return " ".join(text.split()).encode(errors="replace").decode()


def shown(error: Exception, path: Path) -> str:
    """The error's message, without the path that it begins with."""
    return printable(one_line(error).removeprefix(f"{path}: "))


def _read_json(path: Path) -> Any:
    """The content of a file, None if it is not JSON that a page understands."""
    try:
        content = json.loads(path.read_text())
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
        return content
    except (OSError, ValueError, RecursionError):
        return None
