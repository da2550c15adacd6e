"""Drivers that imitate unlabelled demonstrations; a latent code chooses their style."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import infogail.envs  # noqa: F401 (registers the environments with Gymnasium)

if TYPE_CHECKING:
    from infogail.runs.driver import Driver


def load(run: str | Path) -> Driver:
    """The driver trained into the folder `run`: `act(obs, code)` gives its action.

    Raises:
        infogail.runs.folder.InvalidRun: no such run, or its file is not what this version writes.
    """
    from infogail.runs.driver import load as load_driver

    return load_driver(run)
