"""Drivers that imitate unlabelled demonstrations; a latent code chooses their style."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import infogail.envs  # noqa: F401 (registers the environments with Gymnasium)

if TYPE_CHECKING:
    from infogail.runs.driver import Driver


def load(run: str | Path) -> Driver:
    """Load the driver from the folder `run`; `act(obs, code)` returns its action.

    The folder is that of a run, or one from `infogail export`, which needs no torch.

    Raises:
        infogail.runs.folder.InvalidRun: the folder is missing, or a file in it was not written by this version.
    """
    from infogail.runs.driver import load as load_driver

    return load_driver(run)
