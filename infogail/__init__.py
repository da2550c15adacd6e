"""Drivers that imitate unlabelled demonstrations; a latent code chooses their style."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import infogail.envs  # noqa: F401 (registers the environments with Gymnasium)

if TYPE_CHECKING:
    from infogail.runs.driver import Driver


def load(run: str | Path) -> Driver:
    """Load the trained driver from the run folder `run`; `act(obs, code)` returns its action.

    Raises:
        infogail.runs.folder.InvalidRun: the run is missing, or its file was not written by this version.
    """
    from infogail.runs.driver import load as load_driver

    return load_driver(run)
