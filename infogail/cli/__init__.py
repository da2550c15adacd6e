"""The command line: `infogail COMMAND`."""

from infogail.cli.parsing import parse
from infogail.cli.program import main

__all__ = ["main", "parse"]
