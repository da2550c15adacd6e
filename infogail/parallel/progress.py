"""Progress on standard error, to keep standard output clean for results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from infogail.parallel.launch import leads

console = Console(stderr=True, quiet=not leads())


class Advance(Protocol):
    """Advances a progress bar by `count`, and changes what is written behind it."""

    def __call__(self, count: float, detail: str = "") -> None: ...


@contextmanager
def progress_bar(title: str, total: float) -> Iterator[Advance]:
    """A progress bar from 0 to `total`; yields a function that advances it. It vanishes on failure.

    Without a terminal, `title` is printed on the first advance instead, when all input has been accepted.
    """
    if not console.is_interactive:
        yield _once(title)
        return
    name, detail = (TextColumn(f"{{task.{text}}}", markup=False) for text in ("description", "fields[detail]"))
    bars = Progress(name, BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), detail, console=console)
    task = bars.add_task(title, total=total, detail="")

    def advance(count: float, detail: str = "") -> None:
        bars.update(task, advance=count, detail=detail)

    with bars.live:
        try:
            yield advance
        except BaseException:
            bars.live.transient = True  # leave only the one-line error
            raise
        bars.update(task, completed=total)


@contextmanager
def status(title: str) -> Iterator[Callable[[str], None]]:
    """A status line for work in progress; yields a function that changes its text.

    Without a terminal, `title` is printed on the first change instead.
    """
    if not console.is_interactive:
        yield _once(title)
        return
    with console.status(Text(title), spinner="line") as line:
        yield lambda message: line.update(Text(message))


def note(message: str) -> None:
    """Print a line of plain text without disturbing the progress display."""
    console.print(Text(message), soft_wrap=True)


def _once(title: str) -> Callable[..., None]:
    """A function that prints `title` the first time it is called."""
    left = [title]

    def say(*_: object) -> None:
        if left:
            note(left.pop())

    return say
