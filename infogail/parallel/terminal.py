"""Text output for limited terminals: narrow ones, and those that cannot show every character."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Sequence

PLAIN = {
    **{"–": "-", "—": "-", "−": "-", "…": "...", "•": "*", "·": "*", "×": "x", "÷": "/", "→": "->"},
    **{"≥": ">=", "≤": "<=", "≠": "!=", "±": "+-", "²": "2", "³": "3", "“": '"', "”": '"', "‘": "'", "’": "'"},
    **{"α": "alpha", "γ": "gamma", "ε": "epsilon", "λ": "lambda", "μ": "mu", "π": "pi", "σ": "sigma", "τ": "tau"},
    **{"─": "-", "━": "-", "╸": "-", "╺": "-", "│": "|", "┃": "|"},
}
"""Replacements for characters that an encoding lacks; any others are escaped."""


def _plainly(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return b"".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> bytes:
    if "\udc80" <= character <= "\udcff":  # an undecodable byte of a file name (PEP 383)
        return bytes((ord(character) - 0xDC00,))
    if "\u2500" <= character <= "\u257f":  # box-drawing characters
        return PLAIN.get(character, "+").encode()
    return PLAIN.get(character, character).encode("ascii", "backslashreplace")


codecs.register_error("infogail.plainly", _plainly)


def write_plainly() -> None:
    """Make standard output and error replace unencodable characters instead of raising UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="infogail.plainly")


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on standard output; on a terminal that is too narrow, print its rows as a list.

    Args:
        headings: the first is the heading of the row names.
        rows: plain text, one cell per heading.
    """
    from rich.box import SIMPLE
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), box=SIMPLE)
    names, *others = map(Text, headings)
    table.add_column(names, no_wrap=True, min_width=max(cell_len(row[0]) for row in rows))
    for heading in others:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    size = Console(width=1000).measure(table)
    if not console.is_terminal:  # a file has no width limit
        console.width = max(console.width, size.maximum)
    if size.minimum <= console.width:
        console.print(table)
        return
    print(f"{title}\n")
    for row in rows:
        print(f"{headings[0]} {row[0]}".strip())
        for name, cell in zip(headings[1:], row[1:], strict=True):
            print(f"  {' '.join(name.split())}: {cell}")
    print()
