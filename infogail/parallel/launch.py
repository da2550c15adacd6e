"""What torchrun's environment variables say. Not in `distributed`, so that `--help` need not wait for torch."""

from __future__ import annotations

import os


def launched() -> bool:
    """Whether this is one of several processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def leads() -> bool:
    """Whether this is the process that writes files and messages."""
    return not launched() or os.environ["RANK"] == "0"
