"""The model card of an exported driver: what it learned from, how it was judged, its limits, and how to load it.

Its header is for the Hugging Face Hub (https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from infogail.envs.data.recording import Recording
from infogail.envs.recordings.record import SOURCE
from infogail.envs.tasks import GymTask, load_recording
from infogail.runs.folder import DEMONSTRATIONS
from infogail.runs.trained import TrainedDriver

SCRIPTED = "mit"
"""The licence of what scripted experts did: that of this project and of highway-env."""
NOT_RESULTS = {"num_codes", "training_seed", "seed", "episodes"}


def card(driver: TrainedDriver, run: Path, licence: str | None = None) -> str:
    """The card in Markdown.

    Args:
        licence: of the demonstrations, as the Hub names it, such as cc-by-4.0; by default that of scripted drivers,
            or unknown.

    Raises:
        InvalidDemonstrations: the run's copy of its demonstrations is damaged.
    """
    task, judged = driver.task, _judged(run)
    recording = load_recording(run / DEMONSTRATIONS, task)
    scripted = recording.source == SOURCE and isinstance(recording, Recording)
    names = {code: name for code, name in zip(driver.codes, driver.names, strict=True) if name}
    templates = Environment(loader=PackageLoader("infogail.runs", "."), autoescape=False, keep_trailing_newline=True)
    templates.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    return templates.get_template("card.md.j2").render(
        title=f"{driver.algorithm} on {task.name}",
        driver=driver,
        task=task,
        driving=not isinstance(task, GymTask),
        names=names,
        example=next(iter(names.values()), driver.codes[0]),
        count=recording.num_training,
        source=recording.source or "somebody whom the file does not name",
        licence=licence or (SCRIPTED if scripted else "unknown"),
        judged=judged,
        results={key: value for key, value in judged.items() if type(value) in (int, float) and key not in NOT_RESULTS},
    )


def _judged(run: Path) -> dict[str, Any]:
    """The last evaluation, empty if there is none."""
    try:
        content = json.loads((run / "metrics.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
