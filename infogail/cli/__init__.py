"""The command line: `infogail COMMAND`."""

from infogail.cli.commands import main, parse

__all__ = ["main", "parse"]
