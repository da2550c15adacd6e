"""`infogail studio`: the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from infogail.cli.checks import at_least
from infogail.envs.errors import BadInput

# Torch, highway-env and other heavy packages are imported by the commands that need them, to keep --help fast.


@dataclass(frozen=True)
class Studio:
    """Drive, record, train and watch in a browser: serves a page of this machine and prints its address."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")] = Path(".")
    """Where demonstrations and runs are, and new ones go."""
    port: int = 8000
    """Port to listen at; 0: any that is free."""
    host: str = "127.0.0.1"
    """Address to listen at. Any other lets people on other machines in who know the token; nothing is encrypted."""
    open: bool = False
    """Open the page in the browser."""
    max_sessions: int = 8
    """People who drive or watch at the same time."""

    def run(self) -> None:
        if not 0 <= self.port < 2**16:
            raise BadInput(f"--port {self.port}: give a number from 0 to {2**16 - 1}")
        at_least("--max-sessions", self.max_sessions, 1)
        if not self.folder.is_dir():
            raise BadInput(f"{self.folder}: no such folder; make it first")
        from infogail.cli.training import learner_classes
        from infogail.studio.server import serve

        serve(self.folder.resolve(), self.host, self.port, self.open, self.max_sessions, learner_classes)
