"""Read torchrun's environment variables. Not in `distributed`, so that `--help` need not import torch."""

from __future__ import annotations

import os


def launched() -> bool:
    """Whether this process is one of several that train together."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def leads() -> bool:
    """Whether this process writes the files and messages."""
    return not launched() or os.environ["RANK"] == "0"
